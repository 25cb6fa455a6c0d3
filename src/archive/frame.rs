//! Frames: whole lines compressed together, each complete in itself.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use crate::model::limits::ARCHIVE_FRAME_BYTES_MAX;

/// Twice what one frame may have, so that a frame is met whole and little is moved.
const WINDOW_BYTES: usize = 2 * ARCHIVE_FRAME_BYTES_MAX;
/// The first bytes of a frame that holds something; those of marks begin otherwise.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Makes frames, with a checksum over what they hold.
pub(super) struct Press(Compressor<'static>);

impl Press {
    /// `level` as of zstd: 1 is quick, 3 is small.
    pub(super) fn new(level: i32) -> io::Result<Self> {
        let mut compressor = Compressor::new(level)?;
        compressor.include_checksum(true)?;
        Ok(Self(compressor))
    }

    pub(super) fn press(&mut self, lines: &[u8]) -> io::Result<Vec<u8>> {
        self.0.compress(lines)
    }
}

/// Opens frames.
pub(super) struct Opener(Decompressor<'static>);

impl Opener {
    pub(super) fn new() -> io::Result<Self> {
        Decompressor::new().map(Self)
    }

    /// The lines of a frame, none of a mark; `None` where its bytes are others than were written.
    pub(super) fn open(&mut self, frame: &[u8]) -> Option<String> {
        if !frame.starts_with(&MAGIC) {
            return Some(String::new());
        }
        let lines = self.0.decompress(frame, ARCHIVE_FRAME_BYTES_MAX).ok()?;
        String::from_utf8(lines).ok()
    }
}

/// The frames of a file from its beginning, as long as they are whole.
pub(super) struct Frames<R> {
    input: R,
    window: Vec<u8>,
    /// Where in the window the next frame begins.
    at: usize,
    /// Where in the file the next frame begins.
    pub(super) offset: u64,
    ended: bool,
}

impl Frames<File> {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self::new)
    }
}

impl<R: Read> Frames<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            window: Vec::new(),
            at: 0,
            offset: 0,
            ended: false,
        }
    }

    /// The next frame as it stands in the file; `None` at the end, or where something else begins.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.ended && self.window.len() - self.at < ARCHIVE_FRAME_BYTES_MAX {
            self.fill()?;
        }
        let Ok(bytes) = zstd_safe::find_frame_compressed_size(&self.window[self.at..]) else {
            return Ok(None);
        };
        let began = self.at;
        self.at += bytes;
        self.offset += bytes as u64;
        Ok(Some(&self.window[began..self.at]))
    }

    pub(super) fn into_inner(self) -> R {
        self.input
    }

    fn fill(&mut self) -> io::Result<()> {
        self.window.drain(..self.at);
        self.at = 0;
        let room = WINDOW_BYTES - self.window.len();
        let mut input = (&mut self.input).take(room as u64);
        self.ended = input.read_to_end(&mut self.window)? < room;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(bytes: &[u8]) -> (Vec<String>, u64) {
        let (mut frames, mut opener) = (Frames::new(bytes), Opener::new().unwrap());
        let mut lines = Vec::new();
        while let Some(frame) = frames.next().unwrap() {
            lines.push(opener.open(frame).unwrap());
        }
        (lines, frames.offset)
    }

    #[test]
    fn frames_are_found_one_by_one_and_a_torn_one_is_none() {
        let mut press = Press::new(1).unwrap();
        let first = press.press(b"one\ntwo\n").unwrap();
        let second = press.press(b"three\n").unwrap();
        let both = [first.clone(), second].concat();
        let length = both.len() as u64;
        assert_eq!(
            frames(&both),
            (vec!["one\ntwo\n".into(), "three\n".into()], length)
        );
        for cut in first.len()..both.len() {
            assert_eq!(
                frames(&both[..cut]),
                (vec!["one\ntwo\n".into()], first.len() as u64)
            );
        }
        // Blocks that the file system had not written when the power failed.
        let zeros = [first.clone(), vec![0; 5000]].concat();
        assert_eq!(frames(&zeros).1, first.len() as u64);
    }

    #[test]
    fn many_frames_pass_the_window() {
        let mut press = Press::new(1).unwrap();
        // Hardly compressible, so that the file is several windows long.
        let mut state = 7_u64;
        let mut noise = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            format!("{:08x}", state >> 32)
        };
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        while bytes.len() < 3 * WINDOW_BYTES {
            let lines: String = (0..100_000).map(|_| noise()).collect();
            bytes.extend(press.press(lines.as_bytes()).unwrap());
            expected.push(lines);
        }
        assert_eq!(frames(&bytes), (expected, bytes.len() as u64));
    }
}
