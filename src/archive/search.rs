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
    /// Everything from here on was shown; `None` where there is nothing.
    pub since: Option<Timestamp>,
    /// The bound came before the beginning of the archive.
    pub cut_short: bool,
}

/// Shows the lines of frame after frame, newest frame first, until `look` breaks off or so many bytes were read.
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
        bytes += frames.offset;
        looked.since = Some(name.since());
        // The same file, also when it has been replaced meanwhile.
        let file = frames.into_inner();
        for (at, length) in spans {
            let mut frame = vec![0; length];
            file.read_exact_at(&mut frame, at)?;
            let lines = opener.open(&frame)?;
            if !lines.is_empty() && look(&lines).is_break() {
                return Ok(looked);
            }
        }
    }
    Ok(looked)
}
