//! Which process this is, so that another one on the same machine can see whether it is still there.
//!
//! A daemon that was killed and started again need not wait until its own lead has run out. Of another machine, container or
//! user nothing can be known, and nothing is: then time decides.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::model::Text;

/// As it stands in the store: machine, process id, and when it was started by the machine's count; empty where the system
/// does not say. The machine is its boot, the namespace of the ids, and the user, of whom alone all processes are seen.
pub(super) fn this() -> Text {
    let id = std::process::id();
    let known = || Some(format!("{} {id} {}", machine()?, started(id)?));
    known().unwrap_or_default().into()
}

/// Certainly gone: it was on this machine, and is not there any more.
pub(super) fn is_gone(process: &str) -> bool {
    let mut words = process.split(' ');
    let (Some(on), Some(id), Some(since)) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let Ok(id) = id.parse() else {
        return false;
    };
    machine().is_some_and(|here| here == on) && started(id).is_none_or(|started| started != since)
}

fn machine() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::metadata("/proc/self/ns/pid").ok()?.ino();
    let user = fs::metadata("/proc/self").ok()?.uid();
    Some(format!("{}/{namespace}/{user}", boot.trim()))
}

/// The 22nd field of its line, of which the second may hold anything within brackets; none of one that has ended and was
/// not asked for its end yet (`Z` in the third).
fn started(id: u32) -> Option<String> {
    let line = fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat")).ok()?;
    let (_, rest) = line.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let has_ended = matches!(fields.first(), Some(&("Z" | "X")));
    let started = fields.get(19).filter(|_| !has_ended)?;
    Some((*started).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_of_this_machine_that_is_not_there_is_gone() {
        let this = this();
        assert!(!is_gone(&this), "{this}");
        let words: Vec<&str> = this.split(' ').collect();
        let [machine, id, started] = words[..] else {
            panic!("{this}");
        };
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let other = child.id();
        let killed = format!(
            "{machine} {other} {}",
            super::started(other).unwrap_or_default()
        );
        child.kill().ok();
        for _ in 0..60_000 {
            if is_gone(&killed) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(is_gone(&killed), "it has ended, and nobody has asked");
        child.wait().unwrap();
        assert!(is_gone(&killed));
        assert!(is_gone(&format!("{machine} {id} 1")), "another with its id");
        assert!(!is_gone(&format!("elsewhere/1/2 {other} {started}")));
        for nothing in ["", "a", "a b c", &format!("{machine} x 1")] {
            assert!(!is_gone(nothing), "{nothing}");
        }
    }
}
