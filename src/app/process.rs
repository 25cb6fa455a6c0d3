//! Which process this is, so that another one on the same machine can see whether it is still there.
//!
//! A daemon that was killed and started again need not wait until its own lead has run out. Of another machine, container or
//! user nothing can be known, and nothing is: then time decides.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::model::Text;

/// ESRCH: it ended between the opening and the reading.
const NO_SUCH_PROCESS: i32 = 3;

/// As it stands in the store: machine, process id, and when it was started by the machine's count; empty where the system
/// does not say. The machine is its boot, the namespaces of the ids and of the users, and the user: where processes are hidden,
/// those of another are not seen, though they live.
pub(super) fn this() -> Text {
    let id = std::process::id();
    let known = || Some(format!("{} {id} {}", machine()?, started(id).ok()??));
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
    machine().is_some_and(|here| here == on) && has_ended(started(id), since)
}

/// Where it cannot be asked, for there is no memory or no file descriptor left, it may live.
fn has_ended(started: io::Result<Option<String>>, since: &str) -> bool {
    match started {
        Ok(started) => started.is_none_or(|started| started != since),
        Err(error) => {
            error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(NO_SUCH_PROCESS)
        }
    }
}

fn machine() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = |of: &str| Some(fs::metadata(format!("/proc/self/ns/{of}")).ok()?.ino());
    let (ids, users) = (namespace("pid")?, namespace("user")?);
    let user = fs::metadata("/proc/self").ok()?.uid();
    Some(format!("{}/{ids}/{users}/{user}", boot.trim()))
}

/// The 22nd field of its line, of which the second may hold anything within brackets; none of one that has ended and was
/// not asked for its end yet (`Z` in the third).
fn started(id: u32) -> io::Result<Option<String>> {
    let line = fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat"))?;
    let (_, rest) = line.rsplit_once(')').unwrap_or_default();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if matches!(fields.first(), Some(&("Z" | "X"))) {
        return Ok(None);
    }
    let started = fields.get(19).map(|started| (*started).to_owned());
    started.map(Some).ok_or(io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_not_gone() {
        let error = |number| Err(io::Error::from_raw_os_error(number));
        for (found, expected) in [
            (Ok(None), true),
            (Ok(Some("8".to_owned())), true),
            (Ok(Some("7".to_owned())), false),
            (error(2), true),
            (error(NO_SUCH_PROCESS), true),
            (error(12), false),
            (error(13), false),
            (error(24), false),
            (Err(io::ErrorKind::InvalidData.into()), false),
        ] {
            let shown = format!("{found:?}");
            assert_eq!(has_ended(found, "7"), expected, "{shown}");
        }
        let elsewhere = this().replacen(
            &fs::metadata("/proc/self/ns/user")
                .unwrap()
                .ino()
                .to_string(),
            "1",
            1,
        );
        let hidden = elsewhere.replace(&format!(" {} ", std::process::id()), " 4194305 ");
        assert!(!is_gone(&hidden), "of another namespace: {hidden}");
    }

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
            super::started(other).unwrap().unwrap_or_default()
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
