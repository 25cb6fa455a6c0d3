//! One file of the archive: its name, how it is made, and the mark at its end.
//!
//! The mark is a skippable frame of the zstd format, which every zstd passes over. It says that the file is whole, and whether its
//! frames have been packed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::model::Timestamp;

const HOUR_S: i64 = 3600;
const SUFFIX: &str = ".jsonl.zst";

/// The hour in which a file was begun, and its number within. They sort as they came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    hour: i64,
    number: u32,
}

impl Name {
    pub(super) fn new(now: Timestamp, number: u32) -> Self {
        let hour = now.as_second().div_euclid(HOUR_S);
        Self { hour, number }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let (hour, number) = name.strip_suffix(SUFFIX)?.rsplit_once('-')?;
        let began: Timestamp = format!("{hour}:00:00Z").parse().ok()?;
        Some(Self::new(began, number.parse().ok()?))
    }

    /// What comes after all of these and was begun now. A clock that was set back begins at an older hour.
    pub(super) fn after(names: &[Self], now: Timestamp) -> Self {
        let hour = Self::new(now, 0).hour;
        let same = names.iter().filter(|name| name.hour == hour);
        let number = same.map(|name| name.number).max().unwrap_or(0);
        Self {
            hour,
            number: number.saturating_add(1),
        }
    }

    pub(super) fn is_of_hour(self, now: Timestamp) -> bool {
        self.hour == Self::new(now, 0).hour
    }

    /// When it was begun, to the hour.
    pub fn since(self) -> Timestamp {
        Timestamp::from_second(self.hour.saturating_mul(HOUR_S)).unwrap_or(Timestamp::MIN)
    }

    pub(super) fn until(self) -> Timestamp {
        let end = self.hour.saturating_add(1).saturating_mul(HOUR_S);
        Timestamp::from_second(end).unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hour = self.since().strftime("%Y-%m-%dT%H");
        write!(formatter, "{hour}-{:04}{SUFFIX}", self.number)
    }
}

/// Readable by the owner and the group, as far as the umask allows.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o640).open(path)
}

/// How a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It is being written, or was when the process died.
    Open,
    /// With the frames of each commit.
    Whole,
    /// With large frames.
    Packed,
}

/// Magic number of a skippable frame, and the length of what follows.
const MARK: [u8; 8] = [0x50, 0x2a, 0x4d, 0x18, 8, 0, 0, 0];
const MARK_BYTES: u8 = 16;

impl End {
    /// What stands at the end.
    pub(super) fn bytes(self) -> Vec<u8> {
        self.word()
            .map_or_else(Vec::new, |word| [MARK, *word].concat())
    }

    const fn word(self) -> Option<&'static [u8; 8]> {
        match self {
            Self::Open => None,
            Self::Whole => Some(b"tw-whole"),
            Self::Packed => Some(b"tw-packd"),
        }
    }

    /// Marks the end and makes all of it reach the disk.
    pub(super) fn mark(self, file: &mut File) -> io::Result<()> {
        file.write_all(&self.bytes())?;
        file.sync_all()
    }

    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut mark = [0; MARK_BYTES as usize];
        if file.seek(SeekFrom::End(0))? < u64::from(MARK_BYTES) {
            return Ok(Self::Open);
        }
        file.seek_relative(-i64::from(MARK_BYTES))?;
        file.read_exact(&mut mark)?;
        let is = |end: &Self| mark == *end.bytes();
        Ok([Self::Whole, Self::Packed]
            .into_iter()
            .find(is)
            .unwrap_or(Self::Open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when_and_comes_back() {
        let now: Timestamp = "2026-11-22T05:59:59Z".parse().unwrap();
        let name = Name::after(&[], now);
        assert_eq!(name.to_string(), "2026-11-22T05-0001.jsonl.zst");
        assert_eq!(Name::parse(&name.to_string()), Some(name));
        assert_eq!(name.since().to_string(), "2026-11-22T05:00:00Z");
        assert_eq!(
            Name::after(&[name, Name::new(now, 9999)], now).number,
            10000
        );
        let later = Name::after(&[name], now + std::time::Duration::from_secs(1));
        assert_eq!(later.to_string(), "2026-11-22T06-0001.jsonl.zst");
        assert!(name < later && name.is_of_hour(now) && !later.is_of_hour(now));
        for foreign in [
            "x.jsonl.zst",
            "2026-11-22T05-0001.jsonl",
            "2026-11-22T05-x.jsonl.zst",
        ] {
            assert_eq!(Name::parse(foreign), None);
        }
    }

    #[test]
    fn a_mark_is_known_at_the_end_only() {
        let home = tempfile::tempdir().unwrap();
        for (at, end) in [End::Open, End::Whole, End::Packed].into_iter().enumerate() {
            let path = home.path().join(at.to_string());
            let mut file = create(&path).unwrap();
            assert_eq!(End::of(&path).unwrap(), End::Open);
            end.mark(&mut file).unwrap();
            assert_eq!(End::of(&path).unwrap(), end);
            file.write_all(b"more").unwrap();
            assert_eq!(End::of(&path).unwrap(), End::Open);
        }
    }
}
