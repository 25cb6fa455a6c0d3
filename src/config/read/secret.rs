//! Secrets: `x` holds the secret itself, `x_file` names a file that holds it. The environment is never read: it is
//! inherited by children and shown in `/proc`.

use std::io::Read;

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
    let mut text = String::new();
    let read = std::fs::File::open(&path).and_then(|file| {
        file.take(SECRET_BYTES_MAX as u64 + 1)
            .read_to_string(&mut text)
    });
    let fault = match read {
        Err(error) => format!(
            "the secret file `{}` cannot be read: {error}",
            path.display()
        ),
        Ok(_) if text.len() > SECRET_BYTES_MAX => {
            format!(
                "the secret file `{}` is larger than {SECRET_BYTES_MAX} bytes",
                path.display()
            )
        }
        Ok(_) => {
            let secret = text.trim_end_matches(['\r', '\n']);
            if !secret.is_empty() {
                return Some(Secret::new(secret));
            }
            format!("the secret file `{}` is empty", path.display())
        }
    };
    faults.push(node.fault(fault));
    None
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
