//! Files that are replaced as a whole: without some lines, or with larger frames.
//!
//! The new file is written beside the old one and takes its name when all of it is on the disk, so that a crash leaves the one
//! or the other. Files that are being written are left alone.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use super::file::{End, Name, create};
use super::folder::{Folder, UNFINISHED};
use super::frame::{Frames, Opener, Press};
use crate::model::limits::ARCHIVE_FRAME_BYTES;

/// The usual level of zstd: nobody waits for it.
const LEVEL: i32 = 3;
/// A file whose frames are larger on average gains little by being packed.
const PACKED_BELOW: u64 = 32 * 1024;

/// What was rewritten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rewritten {
    pub files: u64,
    /// Frames that could not be read, and went.
    pub damaged: u64,
}

/// Gives the lines of each frame to `change`, which says what shall stand there instead; a file in which nothing changes is not
/// touched. What cannot be read goes too: nobody can say what it holds. Files that are being written are left out.
pub fn rewrite(
    folder: &Folder,
    mut change: impl FnMut(&str) -> Option<String>,
) -> io::Result<Rewritten> {
    let mut rewritten = Rewritten::default();
    for name in folder.names()? {
        if End::of(&folder.file(name))? != End::Open {
            let changed = rewrite_file(folder, name, &mut change, &mut rewritten.damaged)?;
            rewritten.files += u64::from(changed);
        }
    }
    Ok(rewritten)
}

fn rewrite_file(
    folder: &Folder,
    name: Name,
    change: &mut impl FnMut(&str) -> Option<String>,
    damaged: &mut u64,
) -> io::Result<bool> {
    let path = folder.file(name);
    let end = End::of(&path)?;
    let (mut frames, mut opener, mut press) =
        (Frames::of(&path)?, Opener::new()?, Press::new(LEVEL)?);
    let mut instead: Option<Replacement> = None;
    let mut before = 0;
    while let Some(frame) = frames.next()? {
        let lines = opener.open(frame);
        let is_mark = lines.as_deref() == Some("");
        let changed = if let Some(lines) = lines {
            change(&lines)
        } else {
            *damaged += 1;
            Some(String::new())
        };
        match (changed, &mut instead) {
            (None, None) => {}
            // The end mark is made anew.
            (None, Some(_)) if is_mark => {}
            (None, Some(instead)) => instead.file.write_all(frame)?,
            (Some(lines), instead) => {
                let instead = match instead {
                    Some(instead) => instead,
                    None => instead.insert(Replacement::beginning_as(folder, name, before)?),
                };
                if !lines.is_empty() {
                    instead.file.write_all(&press.press(lines.as_bytes())?)?;
                }
            }
        }
        before = frames.offset;
    }
    if before < fs::metadata(&path)?.len() {
        // Where a frame has lost its beginning, what follows cannot be found.
        *damaged += 1;
        if instead.is_none() {
            instead = Some(Replacement::beginning_as(folder, name, before)?);
        }
    }
    let changed = instead.is_some();
    if let Some(instead) = instead {
        instead.take_its_place(folder, end)?;
    }
    Ok(changed)
}

/// Packs the frames of files whose hour is over into large ones, where they are small; gives how many files that were.
pub fn pack(folder: &Folder) -> io::Result<u64> {
    let mut packed = 0;
    for name in folder.names()? {
        if End::of(&folder.file(name))? == End::Whole {
            packed += u64::from(pack_file(folder, name)?);
        }
    }
    Ok(packed)
}

fn pack_file(folder: &Folder, name: Name) -> io::Result<bool> {
    let path = folder.file(name);
    let (mut frames, mut count) = (Frames::of(&path)?, 0_u64);
    while frames.next()?.is_some() {
        count += 1;
    }
    let is_whole = frames.offset == fs::metadata(&path)?.len();
    if count <= 2 || frames.offset / count >= PACKED_BELOW || !is_whole {
        return Ok(false);
    }
    let (mut frames, mut opener, mut press) =
        (Frames::of(&path)?, Opener::new()?, Press::new(LEVEL)?);
    let mut instead = Replacement::beginning_as(folder, name, 0)?;
    let mut lines = String::new();
    while let Some(frame) = frames.next()? {
        let opened = opener.open(frame);
        let damaged = opened.is_none().then_some(frame);
        lines.push_str(&opened.unwrap_or_default());
        if lines.len() >= ARCHIVE_FRAME_BYTES || damaged.is_some() && !lines.is_empty() {
            instead.file.write_all(&press.press(lines.as_bytes())?)?;
            lines.clear();
        }
        // It stays as it is.
        instead.file.write_all(damaged.unwrap_or_default())?;
    }
    if !lines.is_empty() {
        instead.file.write_all(&press.press(lines.as_bytes())?)?;
    }
    instead.take_its_place(folder, End::Packed)?;
    Ok(true)
}

/// What is going to stand in place of a file. Given up, it goes.
struct Replacement {
    file: File,
    path: PathBuf,
    of: PathBuf,
    done: bool,
}

impl Replacement {
    /// With the first bytes of the file that it is to replace.
    fn beginning_as(folder: &Folder, name: Name, bytes: u64) -> io::Result<Self> {
        let of = folder.file(name);
        let mut path = of.clone().into_os_string();
        path.push(UNFINISHED);
        let path = PathBuf::from(path);
        let mut instead = Self {
            file: create(&path)?,
            path,
            of,
            done: false,
        };
        io::copy(&mut File::open(&instead.of)?.take(bytes), &mut instead.file)?;
        Ok(instead)
    }

    fn take_its_place(mut self, folder: &Folder, end: End) -> io::Result<()> {
        end.mark(&mut self.file)?;
        fs::rename(&self.path, &self.of)?;
        self.done = true;
        folder.sync()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.done {
            // Otherwise the next start removes it.
            fs::remove_file(&self.path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::archive::{Writer, newest_first};

    fn written(path: &std::path::Path, frames: &[&str]) -> Writer {
        let locked = Folder::new(path).lock().unwrap().expect("nobody has it");
        let (mut writer, _) = Writer::open(locked, |_| None).unwrap();
        for frame in frames {
            let now = "2026-11-22T05:30:00Z".parse().unwrap();
            writer.write(frame.as_bytes(), now).unwrap();
        }
        writer
    }

    fn frames(folder: &Folder) -> Vec<String> {
        let mut all = Vec::new();
        newest_first(folder, u64::MAX, |frame| {
            all.insert(0, frame.to_owned());
            ControlFlow::Continue(())
        })
        .unwrap();
        all
    }

    fn without_alice(lines: &str) -> Option<String> {
        let keep = |line: &&str| !line.contains("alice");
        let kept = || lines.split_inclusive('\n').filter(keep).collect();
        lines.contains("alice").then(kept)
    }

    #[test]
    fn lines_go_and_what_is_written_at_the_moment_stays() {
        let home = tempfile::tempdir().unwrap();
        let mut writer = written(
            home.path(),
            &["bob 1\n", "alice 2\nbob 3\n", "alice 4\n", "bob 5\n"],
        );
        let folder = writer.folder().clone();
        let files = || rewrite(&folder, without_alice).unwrap().files;
        assert_eq!(files(), 0, "it is open");
        writer.end_file().unwrap();
        assert_eq!(files(), 1);
        assert_eq!(frames(&folder), ["bob 1\n", "bob 3\n", "bob 5\n"]);
        assert_eq!(files(), 0, "nothing is left");
        drop(writer);
        let (_, opened) = Writer::open(folder.lock().unwrap().unwrap(), |_| None).unwrap();
        assert_eq!(opened.mended, 0, "the mark is there again");
    }

    #[test]
    fn small_frames_become_large_ones_once() {
        let home = tempfile::tempdir().unwrap();
        let lines: Vec<String> = (0..500)
            .map(|n| format!("{{\"event_id\":\"{n}\",\"user_agent\":\"Mozilla/5.0\"}}\n"))
            .collect();
        let mut writer = written(
            home.path(),
            &lines.iter().map(|it| &**it).collect::<Vec<_>>(),
        );
        let folder = writer.folder().clone();
        assert_eq!(pack(&folder).unwrap(), 0, "it is open");
        writer.end_file().unwrap();
        let before = folder.bytes().unwrap();
        assert_eq!(pack(&folder).unwrap(), 1);
        assert_eq!(frames(&folder), [lines.concat()]);
        assert!(folder.bytes().unwrap() * 5 < before);
        assert_eq!(pack(&folder).unwrap(), 0, "once is enough");
        let gone = |lines: &str| lines.contains("\"7\"").then(String::new);
        assert_eq!(rewrite(&folder, gone).unwrap().files, 1);
        assert_eq!(frames(&folder), [""; 0]);
    }

    /// The second of four frames: its checksum, or its first byte.
    fn damaged(folder: &Folder, at_its_beginning: bool) {
        let path = folder.file(folder.names().unwrap()[0]);
        let mut frames = Frames::of(&path).unwrap();
        frames.next().unwrap();
        let begins = frames.offset;
        frames.next().unwrap();
        let at = if at_its_beginning {
            begins
        } else {
            frames.offset - 1
        };
        let mut bytes = fs::read(&path).unwrap();
        bytes[usize::try_from(at).unwrap()] ^= 1;
        fs::write(&path, bytes).unwrap();
    }

    #[test]
    fn what_cannot_be_read_goes_with_whoever_is_forgotten_and_is_kept_by_packing() {
        let long = "alice 23\n".repeat(1000);
        for (at_its_beginning, kept) in [
            (false, ["bob 1\n", "bob 5\n"].as_slice()),
            (true, &["bob 1\n"]),
        ] {
            let home = tempfile::tempdir().unwrap();
            let mut writer = written(home.path(), &["bob 1\n", &long, "alice 4\n", "bob 5\n"]);
            let folder = writer.folder().clone();
            writer.end_file().unwrap();
            damaged(&folder, at_its_beginning);
            let (bytes, is_packed) = (folder.bytes().unwrap(), !at_its_beginning);
            assert_eq!(pack(&folder).unwrap(), u64::from(is_packed));
            assert!(folder.bytes().unwrap() + 100 > bytes, "nothing is lost");
            let rewritten = rewrite(&folder, without_alice).unwrap();
            assert_eq!((rewritten.files, rewritten.damaged), (1, 1));
            assert_eq!(frames(&folder).concat(), kept.concat());
            let again = rewrite(&folder, without_alice).unwrap();
            assert_eq!(again, Rewritten::default());
        }
    }
}
