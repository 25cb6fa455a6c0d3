//! The folder of the archive: which files there are, from oldest to newest, and who may write to them.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::file::{End, Name};
use crate::model::Timestamp;

const LOCK: &str = ".lock";
/// A file that is written beside the one that it is to replace.
pub(super) const UNFINISHED: &str = ".unfinished";

/// Where an archive is.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// As long as it lives, nobody else writes to the archive.
#[derive(Debug)]
pub struct Locked {
    folder: Folder,
    _lock: File,
}

impl Folder {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn exists(&self) -> bool {
        self.0.is_dir()
    }

    /// Makes the folder where there is none, and takes it; `None` when another process has it.
    pub fn lock(&self) -> io::Result<Option<Locked>> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o750).create(&self.0)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.0.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let locked = Locked {
            folder: self.clone(),
            _lock: lock,
        };
        locked.remove_unfinished()?;
        Ok(Some(locked))
    }

    /// Every file of the archive, oldest first. None where there is no folder.
    pub fn names(&self) -> io::Result<Vec<Name>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().to_str().and_then(Name::parse));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Files without an end mark: one is being written, or its end could not be marked.
    pub fn unended(&self) -> io::Result<Vec<Name>> {
        let mut unended = Vec::new();
        for name in self.names()? {
            match End::of(&self.file(name)) {
                Ok(End::Open) => unended.push(name),
                Ok(End::Whole | End::Packed) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(unended)
    }

    /// How much all files take.
    pub fn bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for name in self.names()? {
            // It may have gone meanwhile.
            bytes += fs::metadata(self.file(name)).map_or(0, |meta| meta.len());
        }
        Ok(bytes)
    }

    /// Removes files whose hour was over before `oldest`; gives how many.
    pub fn prune(&self, oldest: Timestamp) -> io::Result<u64> {
        let mut removed = 0;
        for name in self.names()?.into_iter().filter(|it| it.until() < oldest) {
            fs::remove_file(self.file(name))?;
            removed += 1;
        }
        Ok(removed)
    }

    pub(super) fn file(&self, name: Name) -> PathBuf {
        self.0.join(name.to_string())
    }

    /// A new or replaced name outlives a power failure only when its folder is written too.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl Locked {
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder.0)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(UNFINISHED) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_writes_and_the_oldest_go_first() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path().join("a/b"));
        assert_eq!((folder.exists(), folder.bytes().unwrap()), (false, 0));
        let locked = folder.lock().unwrap().expect("nobody has it");
        assert!(folder.lock().unwrap().is_none());
        for name in [
            "2026-11-22T05-0010.jsonl.zst",
            "2026-11-22T05-0009.jsonl.zst",
            "2026-11-21T23-0001.jsonl.zst",
            "2026-11-22T05-0001.jsonl.zst.unfinished",
            "notes.txt",
        ] {
            fs::write(folder.path().join(name), "7 bytes").unwrap();
        }
        let names = || -> Vec<String> {
            let names = folder.names().unwrap().into_iter();
            names.map(|name| name.to_string()).collect()
        };
        let old = "2026-11-21T23-0001.jsonl.zst";
        let new = [
            "2026-11-22T05-0009.jsonl.zst",
            "2026-11-22T05-0010.jsonl.zst",
        ];
        assert_eq!(names(), [&[old], &new[..]].concat());
        assert_eq!(folder.bytes().unwrap(), 21);
        assert_eq!(
            folder
                .prune("2026-11-22T00:00:00Z".parse().unwrap())
                .unwrap(),
            0
        );
        assert_eq!(
            folder
                .prune("2026-11-22T00:00:01Z".parse().unwrap())
                .unwrap(),
            1
        );
        assert_eq!(names(), new);
        drop(locked);
        drop(folder.lock().unwrap().expect("it was given back"));
        let left = folder
            .path()
            .join("2026-11-22T05-0001.jsonl.zst.unfinished");
        assert!(!left.exists(), "what a crash left behind");
    }
}
