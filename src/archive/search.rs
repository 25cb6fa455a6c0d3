//! Looking back: the frames of the archive, newest first.
//!
//! There is no index: most who look back ask about what has just happened, which stands at the end, and an index of all tokens
//! would be as large as the archive. So a look back is bounded, and says how far it went.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;

use super::folder::Folder;
use super::frame::{Frames, Opener};
use crate::model::Timestamp;

/// How far a look back went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looked {
    /// The hour that it came to; `None` where there is nothing. Where it was cut short that may have been in its middle.
    pub since: Option<Timestamp>,
    /// The bound came before the beginning of the archive.
    pub cut_short: bool,
    /// Frames that cannot be read.
    pub damaged: u64,
}

/// Shows the lines of frame after frame, newest frame first, until `look` breaks off or so many packed bytes were opened. Besides,
/// where frames begin is found by going over all of a file.
pub fn newest_first(
    folder: &Folder,
    bytes_max: u64,
    mut look: impl FnMut(&str) -> ControlFlow<()>,
) -> io::Result<Looked> {
    let (mut looked, mut bytes) = (Looked::default(), 0_u64);
    let mut opener = Opener::new()?;
    for name in folder.names()?.into_iter().rev() {
        if bytes >= bytes_max {
            looked.cut_short = true;
            return Ok(looked);
        }
        let path = folder.file(name);
        let mut spans = VecDeque::new();
        let mut frames = match Frames::of(&path) {
            Ok(frames) => frames,
            // Pruned meanwhile: so are all before it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(looked),
            Err(error) => return Err(error),
        };
        while let Some(frame) = frames.next()? {
            let length = frame.len();
            spans.push_front((frames.offset - length as u64, length));
        }
        looked.since = Some(name.since());
        // The same file, also when it has been replaced meanwhile.
        let file = frames.into_inner();
        for (at, length) in spans {
            if bytes >= bytes_max {
                looked.cut_short = true;
                return Ok(looked);
            }
            bytes += length as u64;
            let mut frame = vec![0; length];
            file.read_exact_at(&mut frame, at)?;
            match opener.open(&frame) {
                Some(lines) if lines.is_empty() => {}
                Some(lines) if look(&lines).is_break() => return Ok(looked),
                Some(_) => {}
                None => looked.damaged += 1,
            }
        }
    }
    Ok(looked)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::archive::Writer;

    fn written(folder: &Folder, frames: &[&str]) {
        let locked = folder.lock().unwrap().expect("nobody has it");
        let (mut writer, _) = Writer::open(locked, |_| None).unwrap();
        for frame in frames {
            let now = "2026-11-22T05:30:00Z".parse().unwrap();
            writer.write(frame.as_bytes(), now).unwrap();
        }
        writer.end_file().unwrap();
    }

    fn shown(folder: &Folder, bytes_max: u64) -> (Vec<String>, Looked) {
        let mut all = Vec::new();
        let looked = newest_first(folder, bytes_max, |lines| {
            all.push(lines.to_owned());
            ControlFlow::Continue(())
        });
        (all, looked.unwrap())
    }

    #[test]
    fn the_bound_counts_within_a_file_too() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path());
        written(&folder, &["1\n", "2\n", "3\n"]);
        let whole = folder.bytes().unwrap();
        let (all, looked) = shown(&folder, whole);
        assert_eq!(all, ["3\n", "2\n", "1\n"]);
        assert!(!looked.cut_short);
        let (newest, looked) = shown(&folder, whole * 2 / 3);
        assert_eq!(newest, ["3\n", "2\n"], "of the same file");
        assert!(looked.cut_short);
    }

    #[test]
    fn a_damaged_frame_hides_no_other() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path());
        let long = "23\n".repeat(1000);
        written(&folder, &["1\n", &long, "4\n"]);
        let path = folder.file(folder.names().unwrap()[0]);
        let mut frames = Frames::of(&path).unwrap();
        frames.next().unwrap();
        frames.next().unwrap();
        let checksum = usize::try_from(frames.offset).unwrap() - 1;
        let mut bytes = fs::read(&path).unwrap();
        bytes[checksum] ^= 1;
        fs::write(&path, bytes).unwrap();
        let (all, looked) = shown(&folder, u64::MAX);
        assert_eq!((all, looked.damaged), (vec!["4\n".into(), "1\n".into()], 1));
    }
}
