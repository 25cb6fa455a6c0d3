//! `networks_file:`, `clients_file:`, `tenants_file:`: lists that stand in files of their own, as secrets do.
//!
//! Such a file holds what would stand behind the key: a list of networks, a mapping of clients or tenants. Its nodes are
//! put into the tree before anything is read, each with its own place: so every reader and every check across the file
//! sees one list, and a fault names the file it stands in. They are read again with the configuration.

use std::path::PathBuf;

use crate::model::limits;
use crate::yaml::{Faults, Map, Node};

use super::read_text;

/// Keys that may stand in files of their own, with the key that names the files.
const LISTS: [(&str, &str); 3] = [
    ("networks", "networks_file"),
    ("clients", "clients_file"),
    ("tenants", "tenants_file"),
];

/// Puts the content of every list file to where it belongs.
pub(super) fn put_in(root: &mut Node, faults: &mut Faults) {
    for (key, file_key) in LISTS {
        let Some(named) = root.remove(file_key) else {
            continue;
        };
        for path in paths(&named, faults) {
            match read_text(&path) {
                Ok(text) => {
                    if let Some(list) = Node::parse(&text, &path, faults) {
                        root.extend(key, list, faults);
                    }
                }
                Err(fault) => {
                    faults.push(named.fault(format!("`{}` {}", path.display(), fault.message)));
                }
            }
        }
    }
}

/// For whoever writes another key: these are keys too, though nothing is left of them by now.
pub(super) fn know(map: &mut Map<'_>) {
    for (_, file_key) in LISTS {
        map.get(file_key);
    }
}

fn paths(named: &Node, faults: &mut Faults) -> Vec<PathBuf> {
    let mut paths = named.one_or_list(faults, Node::path).unwrap_or_default();
    if paths.len() > limits::LIST_FILES_MAX {
        let most = limits::LIST_FILES_MAX;
        faults.push(named.fault(format!("names more than {most} files")));
        paths.truncate(most);
    }
    paths
}
