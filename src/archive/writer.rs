//! The one that writes: adds frames to the file of the hour, and begins the next file when its time has come.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};

use super::file::{End, Name, create};
use super::folder::{Folder, Locked};
use super::frame::{Frames, Opener, Press};
use crate::model::Timestamp;
use crate::model::limits::{ARCHIVE_EVENTS_REMEMBERED, ARCHIVE_FILE_BYTES};

/// Quick rather than small: the disk of a busy hour costs less than the core that it would take.
const LEVEL: i32 = 1;

/// Writes the archive. Never two at once on one folder.
pub struct Writer {
    locked: Locked,
    press: Press,
    current: Option<Current>,
    remembered: HashSet<u64>,
}

/// What opening found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Opened {
    /// Files that had no end mark.
    pub mended: u64,
    /// Bytes that were no whole frame.
    pub cut_bytes: u64,
    /// Frames among the last ones that cannot be read. They stay, and what they hold may come twice.
    pub damaged: u64,
}

struct Current {
    name: Name,
    file: File,
    /// Up to where its frames are whole.
    bytes: u64,
    synced: bool,
    /// Something stands behind them that could not be taken back.
    is_torn: bool,
}

impl Writer {
    /// Mends what a crash left. `key_of` gives a number for the event of a line, by which it is known again.
    pub fn open(
        locked: Locked,
        key_of: impl Fn(&str) -> Option<u64>,
    ) -> io::Result<(Self, Opened)> {
        let folder = locked.folder();
        let (mut opened, mut remembered) = (Opened::default(), HashSet::new());
        // One that is killed again before it has committed how far it had read finds what it wrote in several files.
        for name in folder.names()?.into_iter().rev() {
            let is_open = End::of(&folder.file(name))? == End::Open;
            if !is_open && remembered.len() >= ARCHIVE_EVENTS_REMEMBERED {
                continue;
            }
            let tail = Tail::of(folder, name)?;
            let (lines, damaged) = tail.lines()?;
            remembered.extend(lines.iter().flat_map(|it| it.lines()).filter_map(&key_of));
            opened.damaged += damaged;
            if is_open {
                opened.mended += 1;
                opened.cut_bytes += tail.cut(folder, name)?;
            }
        }
        let writer = Self {
            press: Press::new(LEVEL)?,
            current: None,
            remembered,
            locked,
        };
        Ok((writer, opened))
    }

    pub fn folder(&self) -> &Folder {
        self.locked.folder()
    }

    /// Whether this event was among the last when the process died. Told once.
    pub fn holds(&mut self, key: u64) -> bool {
        !self.remembered.is_empty() && self.remembered.remove(&key)
    }

    /// Adds whole lines as one frame. When this returns, the operating system has them: a killed process loses nothing. After an
    /// error the file ends where it did before, and the next lines try again.
    pub fn write(&mut self, lines: &[u8], now: Timestamp) -> io::Result<u64> {
        let frame = self.press.press(lines)?;
        self.current(now)?.add(&frame)?;
        Ok(frame.len() as u64)
    }

    /// The file, where something was written to it since it was last asked for: whoever asks makes it reach the disk.
    pub fn unsynced(&mut self) -> Option<File> {
        let current = self.current.as_mut().filter(|current| !current.synced)?;
        let file = current.file.try_clone().ok()?;
        current.synced = true;
        Some(file)
    }

    /// Ends the file, so that it may be rewritten; what comes next begins another. Where its end cannot be marked it goes on, and
    /// is ended the next time.
    pub fn end_file(&mut self) -> io::Result<()> {
        if let Some(current) = &mut self.current {
            current.add(&End::Whole.bytes())?;
        }
        match self.current.take() {
            Some(ended) => ended.file.sync_all(),
            None => Ok(()),
        }
    }

    fn current(&mut self, now: Timestamp) -> io::Result<&mut Current> {
        let is_due = |it: &Current| !it.name.is_of_hour(now) || it.bytes >= ARCHIVE_FILE_BYTES;
        if self.current.as_ref().is_some_and(is_due) {
            self.end_file()?;
        }
        let current = match self.current.take() {
            Some(current) => current,
            None => self.begin(now)?,
        };
        Ok(self.current.insert(current))
    }

    fn begin(&self, now: Timestamp) -> io::Result<Current> {
        let folder = self.folder();
        let name = Name::after(&folder.names()?, now);
        let file = create(&folder.file(name))?;
        folder.sync()?;
        Ok(Current {
            name,
            file,
            bytes: 0,
            synced: true,
            is_torn: false,
        })
    }
}

impl Current {
    /// Adds a frame or a mark, all of it or nothing.
    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.undo()?;
        self.is_torn = true;
        if let Err(error) = self.file.write_all(bytes) {
            // Where that fails too it is tried again before anything else is added, or by the next start.
            self.undo().ok();
            return Err(error);
        }
        self.is_torn = false;
        self.bytes += bytes.len() as u64;
        self.synced = false;
        Ok(())
    }

    /// Takes back what was written only in part.
    fn undo(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.bytes)?;
            self.file.seek(SeekFrom::Start(self.bytes))?;
            self.is_torn = false;
        }
        Ok(())
    }
}

/// The last frames of a file, as many as may hold what has to be remembered, and where the whole ones end.
#[derive(Default)]
struct Tail {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    whole: u64,
}

impl Tail {
    /// A commit's events are below 100 bytes each when packed; one of a few events with long texts is small anyhow.
    const BYTES: usize = 100 * ARCHIVE_EVENTS_REMEMBERED;

    fn of(folder: &Folder, name: Name) -> io::Result<Self> {
        let (mut tail, mut frames) = (Self::default(), Frames::of(&folder.file(name))?);
        while let Some(frame) = frames.next()? {
            tail.add(frame);
        }
        tail.whole = frames.offset;
        let mut opener = Opener::new()?;
        // A frame may have its length and not its bytes, after a power failure.
        while let Some(frame) = tail.frames.pop_back() {
            if opener.open(&frame).is_some() {
                tail.frames.push_back(frame);
                break;
            }
            tail.whole -= frame.len() as u64;
        }
        Ok(tail)
    }

    fn add(&mut self, frame: &[u8]) {
        self.frames.push_back(frame.to_vec());
        self.bytes += frame.len();
        while let Some(first) = self.frames.front()
            && self.bytes - first.len() >= Self::BYTES
        {
            self.bytes -= first.len();
            self.frames.pop_front();
        }
    }

    /// What the last frames hold, newest first, and how many of them cannot be read.
    fn lines(&self) -> io::Result<(Vec<String>, u64)> {
        let (mut opener, mut all, mut events, mut damaged) = (Opener::new()?, Vec::new(), 0, 0);
        for frame in self.frames.iter().rev() {
            if events >= ARCHIVE_EVENTS_REMEMBERED {
                break;
            }
            match opener.open(frame) {
                Some(lines) => {
                    events += lines.lines().count();
                    all.push(lines);
                }
                None => damaged += 1,
            }
        }
        Ok((all, damaged))
    }

    /// Cuts the file behind its last whole frame and marks its end; gives how many bytes that was.
    fn cut(&self, folder: &Folder, name: Name) -> io::Result<u64> {
        let mut file = File::options().append(true).open(folder.file(name))?;
        let length = file.metadata()?.len();
        file.set_len(self.whole)?;
        End::Whole.mark(&mut file)?;
        Ok(length - self.whole)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::archive::newest_first;

    const NOW: &str = "2026-11-22T05:30:00Z";

    fn open(path: &Path) -> (Writer, Opened) {
        let locked = Folder::new(path).lock().unwrap().expect("nobody has it");
        Writer::open(locked, |line| line.parse().ok()).unwrap()
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    /// All lines, oldest first.
    fn lines(path: &Path) -> Vec<String> {
        let mut all = Vec::new();
        newest_first(&Folder::new(path), u64::MAX, |frame| {
            all.extend(frame.lines().rev().map(ToOwned::to_owned));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        all.reverse();
        all
    }

    fn files(path: &Path) -> Vec<String> {
        let names = Folder::new(path).names().unwrap().into_iter();
        names.map(|name| name.to_string()).collect()
    }

    #[test]
    fn what_was_written_is_there_at_once_and_hours_are_files() {
        let home = tempfile::tempdir().unwrap();
        let (mut writer, opened) = open(home.path());
        assert_eq!(opened, Opened::default());
        writer.write(b"1\n2\n", at(NOW)).unwrap();
        assert_eq!(lines(home.path()), ["1", "2"]);
        writer.write(b"3\n", at("2026-11-22T06:00:00Z")).unwrap();
        writer.unsynced().unwrap().sync_data().unwrap();
        assert!(writer.unsynced().is_none());
        drop(writer);
        let (mut writer, _) = open(home.path());
        writer.write(b"4\n", at("2026-11-22T06:10:00Z")).unwrap();
        writer.end_file().unwrap();
        assert_eq!(lines(home.path()), ["1", "2", "3", "4"]);
        let expected = ["T05-0001", "T06-0001", "T06-0002"];
        assert_eq!(
            files(home.path()),
            expected.map(|name| format!("2026-11-22{name}.jsonl.zst"))
        );
    }

    #[test]
    fn a_killed_writer_loses_no_whole_frame_and_the_last_events_are_known_again() {
        let home = tempfile::tempdir().unwrap();
        let (mut writer, _) = open(home.path());
        writer.write(b"1\n", at(NOW)).unwrap();
        writer.write(b"2\n3\n", at(NOW)).unwrap();
        drop(writer);
        let path = home.path().join(&files(home.path())[0]);
        let whole = fs::read(&path).unwrap();
        // As if the process had died within the second frame, at each of its bytes.
        let first = whole.len() - Press::new(LEVEL).unwrap().press(b"2\n3\n").unwrap().len();
        for cut in first..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut writer, opened) = open(home.path());
            assert_eq!((opened.mended, opened.cut_bytes), (1, (cut - first) as u64));
            assert!(writer.holds(1) && !writer.holds(1) && !writer.holds(2));
            assert_eq!(lines(home.path()), ["1"]);
        }
        fs::write(&path, &whole).unwrap();
        let (mut writer, opened) = open(home.path());
        assert_eq!((opened.mended, opened.cut_bytes), (1, 0));
        assert!(writer.holds(2) && writer.holds(3) && !writer.holds(4));
        writer.write(b"4\n", at(NOW)).unwrap();
        assert_eq!(lines(home.path()), ["1", "2", "3", "4"]);
    }

    #[test]
    fn killed_again_before_anything_was_committed_it_knows_what_it_wrote_each_time() {
        let home = tempfile::tempdir().unwrap();
        for line in ["1\n", "2\n", "3\n"] {
            let (mut writer, _) = open(home.path());
            writer.write(line.as_bytes(), at(NOW)).unwrap();
        }
        let (mut writer, opened) = open(home.path());
        assert_eq!(opened.mended, 1, "the others were, by those after them");
        assert!(writer.holds(1) && writer.holds(2) && writer.holds(3));
    }

    #[test]
    fn after_a_power_failure_a_frame_with_other_bytes_is_cut_off() {
        let home = tempfile::tempdir().unwrap();
        let (mut writer, _) = open(home.path());
        writer.write(b"1\n", at(NOW)).unwrap();
        let long = "23\n".repeat(1000);
        let written = writer.write(long.as_bytes(), at(NOW)).unwrap();
        drop(writer);
        let path = home.path().join(&files(home.path())[0]);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        let (_, opened) = open(home.path());
        assert_eq!((opened.mended, opened.cut_bytes), (1, written));
        assert_eq!(lines(home.path()), ["1"]);
    }

    #[test]
    fn a_damaged_frame_before_a_good_one_keeps_nobody_from_starting() {
        let home = tempfile::tempdir().unwrap();
        let (mut writer, _) = open(home.path());
        writer.write(b"1\n", at(NOW)).unwrap();
        let long = "23\n".repeat(1000);
        writer.write(long.as_bytes(), at(NOW)).unwrap();
        let last = writer.write(b"4\n", at(NOW)).unwrap();
        drop(writer);
        let path = home.path().join(&files(home.path())[0]);
        let mut bytes = fs::read(&path).unwrap();
        let checksum = bytes.len() - usize::try_from(last).unwrap() - 1;
        bytes[checksum] ^= 1;
        fs::write(&path, &bytes).unwrap();
        for mended in [1, 0] {
            let (mut writer, opened) = open(home.path());
            let expected = Opened {
                mended,
                cut_bytes: 0,
                damaged: 1,
            };
            assert_eq!(opened, expected);
            assert!(writer.holds(1) && writer.holds(4) && !writer.holds(23));
        }
        assert_eq!(lines(home.path()), ["1", "4"]);
    }

    #[test]
    fn a_file_that_cannot_be_ended_or_undone_is_ended_the_next_time() {
        let home = tempfile::tempdir().unwrap();
        let (mut writer, _) = open(home.path());
        writer.write(b"1\n", at(NOW)).unwrap();
        let path = home.path().join(&files(home.path())[0]);
        // As on a disk that takes nothing.
        let current = writer.current.as_mut().unwrap();
        let good = std::mem::replace(&mut current.file, File::open(&path).unwrap());
        writer.end_file().unwrap_err();
        writer.write(b"2\n", at(NOW)).unwrap_err();
        assert_eq!(writer.folder().unended().unwrap().len(), 1);
        // ... of which something has reached the file.
        (&good).write_all(b"half a mark").unwrap();
        writer.current.as_mut().unwrap().file = good;
        writer.write(b"3\n", at(NOW)).unwrap();
        writer.end_file().unwrap();
        assert_eq!(writer.folder().unended().unwrap(), []);
        writer.write(b"4\n", at(NOW)).unwrap();
        assert_eq!(lines(home.path()), ["1", "3", "4"]);
        assert_eq!(files(home.path()).len(), 2);
    }
}
