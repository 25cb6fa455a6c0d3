//! Secrets: `x` holds the secret itself, `x_file` names a file that holds it. The environment is never read: it is
//! inherited by children and shown in `/proc`.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::model::limits::SECRET_BYTES_MAX;
use crate::yaml::{Faults, Map, Node};

use super::super::Secret;

/// Shorter keys could be searched through by who has the hashes.
const TOKEN_KEY_BYTES_MIN: usize = 16;

/// `key` or `key_file`, if one is there.
pub(super) fn optional(map: &mut Map<'_>, key: &str, faults: &mut Faults) -> Option<Secret> {
    placed(map, key, faults).map(|(secret, _)| secret)
}

/// `key` or `key_file`, one of which must be there.
pub(super) fn required(map: &mut Map<'_>, key: &str, faults: &mut Faults) -> Option<Secret> {
    required_placed(map, key, faults).map(|(secret, _)| secret)
}

/// As [`required`], with the node that gave it.
pub(super) fn required_placed<'a>(
    map: &mut Map<'a>,
    key: &str,
    faults: &mut Faults,
) -> Option<(Secret, &'a Node)> {
    if !is_given(map, key) {
        faults.push(map.fault(format!("`{key}_file` (or `{key}`) is missing")));
    }
    placed(map, key, faults)
}

pub(super) fn is_given(map: &mut Map<'_>, key: &str) -> bool {
    let inline = map.get(key.to_owned()).is_some();
    let file = map.get(format!("{key}_file")).is_some();
    inline || file
}

pub(super) fn placed<'a>(
    map: &mut Map<'a>,
    key: &str,
    faults: &mut Faults,
) -> Option<(Secret, &'a Node)> {
    let inline = map.get(key.to_owned());
    let file = map.get(format!("{key}_file"));
    match (inline, file) {
        (None, None) => None,
        (Some(_), Some(file)) => {
            faults.push(file.fault(format!(
                "`{key}_file` and `{key}` exclude each other: keep one of them"
            )));
            None
        }
        (Some(node), None) => {
            let Some(text) = node.as_str().filter(|text| !text.is_empty()) else {
                // Says nothing of what stands there.
                faults.push(node.fault("expected a text"));
                return None;
            };
            Some((Secret::new(text), node))
        }
        (None, Some(node)) => Some((from_file(node, faults)?, node)),
    }
}

/// The content of the file that the node names, without the line break at its end.
pub(super) fn from_file(node: &Node, faults: &mut Faults) -> Option<Secret> {
    let path = node.path(faults)?;
    let file = format!("the secret file `{}`", path.display());
    let fault = match read(&path) {
        Err(error) => {
            let fault = node.fault(format!("{file} cannot be read: {error}"));
            fault.with_hint(why_unreadable(&error))
        }
        Ok((text, _)) if text.len() > SECRET_BYTES_MAX => {
            node.fault(format!("{file} is larger than {SECRET_BYTES_MAX} bytes"))
        }
        Ok((text, exposed)) => {
            let secret = text.trim_end_matches(['\r', '\n']);
            if !secret.is_empty() {
                // A placeholder is no secret yet.
                if exposed && !secret.contains("change-me") {
                    let fault = node.fault(format!("{file} can be read by every account here"));
                    faults.warn(fault.with_hint(format!("chmod o= {}", path.display())));
                }
                return Some(Secret::new(secret));
            }
            node.fault(format!("{file} is empty"))
                .with_hint("it holds the secret and nothing else")
        }
    };
    faults.push(fault);
    None
}

/// The file's content, one byte more than allowed at most, and whether everybody can read it.
fn read(path: &Path) -> std::io::Result<(String, bool)> {
    let file = std::fs::File::open(path)?;
    let everybody = |metadata: std::fs::Metadata, right: u32| metadata.mode() & right != 0;
    let path = path.canonicalize()?;
    let mut folders = path.ancestors().skip(1);
    let closed = folders.any(|folder| folder.metadata().is_ok_and(|it| !everybody(it, 0o001)));
    let exposed = !closed && everybody(file.metadata()?, 0o004);
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)?;
    Ok((text, exposed))
}

fn why_unreadable(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "a relative path starts at the folder of this file",
        std::io::ErrorKind::PermissionDenied => {
            "the account that runs tokenwarden must be able to read it"
        }
        std::io::ErrorKind::InvalidData => "a secret is text; binary keys in hex or base64",
        _ => "name a file that holds the secret and nothing else",
    }
}

pub(super) fn token_key(map: &mut Map<'_>, key: &str, faults: &mut Faults) -> Option<Secret> {
    let (secret, node) = placed(map, key, faults)?;
    if secret.expose().len() < TOKEN_KEY_BYTES_MIN {
        let message = format!("a key of at least {TOKEN_KEY_BYTES_MIN} bytes is needed");
        let hint = "make one: head -c 32 /dev/urandom | base64";
        faults.push(node.fault(message).with_hint(hint));
        return None;
    }
    Some(secret)
}
