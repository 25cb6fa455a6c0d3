//! Which file to read, from which byte, and when to go on to the next: blocking, called off the shared threads.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tracing::{error, warn};
use xxhash_rust::xxh3::xxh3_64;

use super::lines::{Line, Lines};
use crate::config::Start;
use crate::model::{Position, RawRecord, StartAt, limits};
use crate::sources::SourceError;

/// Bytes of the beginning of a file by which it is known again, beside its inode: numbers of deleted files are reused.
const HEAD_BYTES: u64 = 256;
/// One read.
const CHUNK_BYTES: usize = 64 * 1024;
/// Files of the folder that are looked at for a rotated one.
const FOLDER_ENTRIES_MAX: usize = 10_000;
/// Endings of rotated files that cannot be read as they are.
const COMPRESSED: &[&str] = &["gz", "zst", "bz2", "xz", "lz4"];

/// What one look at the file gave.
pub(super) enum Progress {
    Records(Vec<RawRecord>),
    /// Everything that is there has been read.
    AtEnd,
    /// The next file has begun, this one may still get a last line.
    Later,
    /// For a person: tried again at the next look.
    Unreadable(String),
}

/// The position in a followed file, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FilePosition {
    inode: u64,
    offset: u64,
    /// Hash of the first bytes, at most `HEAD_BYTES` and at most `offset` of them.
    #[serde(default)]
    head: u64,
    /// During a warm-up: the byte from which on lines will be judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judge_from: Option<u64>,
}

/// Follows one path.
pub(super) struct Follower {
    path: PathBuf,
    start: Start,
    warm_up: bool,
    /// The file of the stored position is read from its beginning, since nothing is remembered of it.
    anew: bool,
    /// Where the position stands while no file is open.
    resume: Option<FilePosition>,
    /// Lines before this byte of this file, and all of the files before it, are muted.
    border: Option<(u64, u64)>,
    open: Option<Open>,
    /// There was no file at the first look: what appears later is new, all of it.
    looked: bool,
}

struct Open {
    file: File,
    path: PathBuf,
    inode: u64,
    lines: Lines,
    /// The end was seen after the next file had begun: one more look, then go on.
    successor_seen: bool,
}

impl Follower {
    pub(super) fn new(
        path: &Path,
        claimed: &StartAt,
        start: Start,
        warm_up: bool,
    ) -> Result<Self, SourceError> {
        let (resume, border, anew) = match claimed {
            StartAt::Fresh => (None, None, false),
            StartAt::Resume {
                from,
                committed,
                anew,
            } => {
                let committed = parse(committed)?;
                let judge_from = committed.judge_from.unwrap_or(0).max(committed.offset);
                let border = (committed.inode, judge_from);
                (Some(parse(from)?), Some(border), *anew && warm_up)
            }
        };
        Ok(Self {
            path: path.to_owned(),
            start,
            warm_up,
            anew,
            resume,
            border,
            open: None,
            looked: false,
        })
    }

    /// Reads at most one batch.
    pub(super) fn read(&mut self) -> Progress {
        match self.try_read() {
            Ok(progress) => progress,
            Err(error) => {
                self.looked = true;
                Progress::Unreadable(format!("cannot read {}: {error}", self.path.display()))
            }
        }
    }

    pub(super) fn position(&self) -> Position {
        let position = match &self.open {
            Some(open) => open.position(self.border),
            None => self.resume.clone().unwrap_or(FilePosition {
                inode: 0,
                offset: 0,
                head: 0,
                judge_from: None,
            }),
        };
        // Four integers always have a JSON form.
        Position(serde_json::to_string(&position).unwrap_or_default().into())
    }

    fn try_read(&mut self) -> io::Result<Progress> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open_first()?,
        };
        let lines = open.read_lines()?;
        if !lines.is_empty() {
            let records = self.records(&open, lines);
            self.open = Some(open);
            return Ok(Progress::Records(records));
        }
        let at_end = self.at_end(&mut open);
        self.open.get_or_insert(open);
        at_end
    }

    /// Nothing new in the open file: has it been replaced?
    fn at_end(&mut self, open: &mut Open) -> io::Result<Progress> {
        let Some(next) = successor(&self.path, open)? else {
            open.successor_seen = false;
            return if self.path.exists() || open.path != self.path {
                Ok(Progress::AtEnd)
            } else {
                Err(io::Error::new(io::ErrorKind::NotFound, "it has been removed or renamed, and no new one has been made"))
            };
        };
        // The writer has gone over to the next file once that holds something; a last write may still have raced.
        if !std::mem::replace(&mut open.successor_seen, true) {
            return Ok(Progress::Later);
        }
        let files = family(&self.path)?;
        let rest: Vec<Line> = open.lines.finish().into_iter().collect();
        let records = self.records(open, rest);
        if self.border.is_some_and(|(inode, _)| inode == open.inode) {
            self.border = None;
        }
        self.forget_border_without_file(&files);
        self.open = Some(Open::new(&next, 0)?);
        if records.is_empty() {
            return self.try_read();
        }
        Ok(Progress::Records(records))
    }

    fn records(&self, open: &Open, lines: Vec<Line>) -> Vec<RawRecord> {
        lines
            .into_iter()
            .map(|line| RawRecord {
                place: format!("byte {}", line.start).into(),
                muted: match self.border {
                    Some((inode, offset)) => inode != open.inode || line.start < offset,
                    None => false,
                },
                payload: line.payload,
            })
            .collect()
    }

    fn open_first(&mut self) -> io::Result<Open> {
        match self.resume.clone() {
            Some(position) => self.reopen(&position),
            None => self.open_fresh(),
        }
    }

    fn open_fresh(&mut self) -> io::Result<Open> {
        let metadata = fs::metadata(&self.path)?;
        let end = metadata.len();
        let mut open = Open::new(&self.path, 0)?;
        if self.start == Start::Latest && !self.looked {
            self.border = Some((open.inode, end));
            if !self.warm_up {
                open.lines = match end {
                    0 => Lines::at(0),
                    _ => open.lines_after(end)?,
                };
            }
        }
        Ok(open)
    }

    /// Finds the file of a stored position again, under its name or as a rotated one.
    fn reopen(&mut self, position: &FilePosition) -> io::Result<Open> {
        let files = family(&self.path)?;
        let found = files.iter().find(|(_, metadata)| metadata.ino() == position.inode);
        if let Some((path, _)) = found {
            let mut open = Open::new(path, position.offset)?;
            if open.head(position.offset)? == Some(position.head) {
                self.forget_border_without_file(&files);
                if self.anew {
                    open.lines = Lines::at(0);
                }
                return Ok(open);
            }
            warn!(file = %path.display(), "{} has been truncated or replaced since it was last read; reading it from its beginning", path.display());
            open.lines = Lines::at(0);
            self.border = None;
            return Ok(open);
        }
        let open = Open::new(&self.path, 0)?;
        if position.inode != 0 {
            error!(file = %self.path.display(), inode = position.inode, offset = position.offset, "The file that was read up to byte {} is no longer beside {}: what was written to it after that is lost", position.offset, self.path.display());
        }
        self.border = None;
        Ok(open)
    }

    /// A border in a file that is gone would mute for ever.
    fn forget_border_without_file(&mut self, files: &[(PathBuf, Metadata)]) {
        self.border = self
            .border
            .filter(|(inode, _)| files.iter().any(|(_, metadata)| metadata.ino() == *inode));
    }
}

impl Open {
    fn new(path: &Path, offset: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(Self {
            inode: metadata.ino(),
            path: path.to_owned(),
            file,
            lines: Lines::at(offset),
            successor_seen: false,
        })
    }

    /// From the end, but never from the middle of a line.
    fn lines_after(&self, end: u64) -> io::Result<Lines> {
        let mut last = [0];
        self.file.read_exact_at(&mut last, end - 1)?;
        Ok(match last {
            [b'\n'] => Lines::at(end),
            _ => Lines::after_line_at(end),
        })
    }

    fn read_lines(&mut self) -> io::Result<Vec<Line>> {
        if self.file.metadata()?.len() < self.lines.next_byte() {
            warn!(file = %self.path.display(), "{} has been truncated; reading it from its beginning", self.path.display());
            self.lines = Lines::at(0);
        }
        let mut lines = Vec::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let (mut bytes, mut read) = (0, CHUNK_BYTES);
        while read > 0 && lines.len() < limits::BATCH_RECORDS_MAX && bytes < limits::BATCH_BYTES_MAX
        {
            read = self.file.read_at(&mut chunk, self.lines.next_byte())?;
            bytes += read;
            self.lines.feed(&chunk[..read], &mut lines);
        }
        Ok(lines)
    }

    /// `None` when the file is shorter than that.
    fn head(&self, offset: u64) -> io::Result<Option<u64>> {
        let mut head = vec![0; usize::try_from(offset.min(HEAD_BYTES)).unwrap_or(0)];
        if self.file.metadata()?.len() < offset {
            return Ok(None);
        }
        self.file.read_exact_at(&mut head, 0)?;
        Ok(Some(xxh3_64(&head)))
    }

    fn position(&self, border: Option<(u64, u64)>) -> FilePosition {
        let offset = self.lines.position();
        let judge_from = border.filter(|(inode, from)| *inode == self.inode && offset < *from);
        FilePosition {
            inode: self.inode,
            offset,
            head: self.head(offset).ok().flatten().unwrap_or(0),
            judge_from: judge_from.map(|(_, from)| from),
        }
    }
}

/// The file that was begun after the open one was left, and holds something.
fn successor(path: &Path, open: &Open) -> io::Result<Option<PathBuf>> {
    // Nothing replaces a file that still has the name.
    if !fs::metadata(path).is_ok_and(|metadata| metadata.ino() != open.inode) {
        return Ok(None);
    }
    let files = family(path)?;
    let is_open = |metadata: &Metadata| metadata.ino() == open.inode;
    let left = match files.iter().find(|(_, metadata)| is_open(metadata)) {
        Some((file, metadata)) => Age::of(file, metadata, path)?,
        // Deleted meanwhile: older than all that has been written since.
        None => Age {
            modified: open.file.metadata()?.modified()?,
            turn: i64::MIN,
        },
    };
    let mut newer = Vec::new();
    for (file, metadata) in &files {
        let age = Age::of(file, metadata, path)?;
        if !is_open(metadata) && metadata.len() > 0 && age > left {
            newer.push((age, file));
        }
    }
    Ok(newer.into_iter().min().map(|(_, file)| file.clone()))
}

/// Orders a file and its rotated forerunners from old to new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Age {
    modified: SystemTime,
    /// Files written within one step of the clock: a higher number is older, the name itself is the newest.
    turn: i64,
}

impl Age {
    fn of(file: &Path, metadata: &Metadata, path: &Path) -> io::Result<Self> {
        let number = file.extension().and_then(|it| it.to_str()?.parse().ok());
        Ok(Self {
            modified: metadata.modified()?,
            turn: match number {
                _ if file == path => 1,
                Some(number) => 0_i64.saturating_sub(number),
                None => 0,
            },
        })
    }
}

/// The file itself and what rotation has made of it: `NAME.1`, `NAME-20260102`, `NAME.2026-01-02`.
fn family(path: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)?.take(FOLDER_ENTRIES_MAX) {
        let entry = entry?;
        let other = entry.file_name();
        let rest = other.as_encoded_bytes().strip_prefix(name);
        if rest.is_some_and(|rest| rest.is_empty() || is_rotated(rest)) {
            // Followed as a link: the name may point elsewhere. A file that vanishes meanwhile is none.
            if let Ok(metadata) = fs::metadata(entry.path()) {
                // Rotated files keep the folder's spelling, the file itself ours: the two are compared later.
                let file = match rest {
                    Some([]) => path.to_owned(),
                    _ => entry.path(),
                };
                found.push((file, metadata));
            }
        }
    }
    Ok(found)
}

fn is_rotated(ending: &[u8]) -> bool {
    let numbered = matches!(ending, [b'.' | b'-' | b'_', digit, ..] if digit.is_ascii_digit());
    let compressed = COMPRESSED
        .iter()
        .any(|it| ending.ends_with(format!(".{it}").as_bytes()));
    numbered && !compressed
}

fn parse(position: &Position) -> Result<FilePosition, SourceError> {
    serde_json::from_str(&position.0).map_err(|error| {
        SourceError(format!(
            "the stored position `{}` is not one of a file ({error})",
            position.0
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(path: &Path, claimed: &StartAt) -> Follower {
        Follower::new(path, claimed, Start::Earliest, false).unwrap()
    }

    /// The next lines, a `~` before each muted one.
    fn lines(follower: &mut Follower) -> Vec<String> {
        // Over to the next file it takes two looks.
        for _ in 0..3 {
            if let Progress::Records(records) = follower.read() {
                let text = |it: &RawRecord| {
                    let mark = if it.muted { "~" } else { "" };
                    format!("{mark}{}", String::from_utf8_lossy(&it.payload))
                };
                return records.iter().map(text).collect();
            }
        }
        Vec::new()
    }

    #[test]
    fn a_file_that_goes_while_those_before_it_are_read_again_mutes_none_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.log");
        let (first, second) = (path.with_extension("log.2"), path.with_extension("log.1"));
        fs::write(&path, "one\n").unwrap();
        let mut follower = follow(&path, &StartAt::Fresh);
        assert_eq!(lines(&mut follower), ["one"]);
        fs::rename(&path, &first).unwrap();
        fs::write(&path, "two\n").unwrap();
        assert_eq!(lines(&mut follower), ["two"]);
        let committed = follower.position();

        fs::rename(&path, &second).unwrap();
        fs::write(&path, "three\n").unwrap();
        let from = FilePosition {
            inode: fs::metadata(&first).unwrap().ino(),
            offset: 0,
            head: xxh3_64(&[]),
            judge_from: None,
        };
        let from = Position(serde_json::to_string(&from).unwrap().into());
        let claimed = StartAt::Resume {
            from,
            committed,
            anew: false,
        };
        let mut restarted = follow(&path, &claimed);
        assert_eq!(lines(&mut restarted), ["~one"]);
        fs::rename(&second, path.with_extension("log.1.gz")).unwrap();
        assert_eq!(lines(&mut restarted), ["three"]);
    }
}
