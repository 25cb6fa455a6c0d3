//! L3: the event archive: every event that was taken, as lines of JSON in hourly files, compressed with zstd.
//!
//! Uses `model` only. What a line says is `decode`'s; here are files, frames, and what has to hold when the process is killed
//! or the disk is full.
//!
//! ```text
//! archive/2026-11-22T05-0001.jsonl.zst     begun in this hour (UTC); a start or 256 MiB begin the next number
//!   frame | frame | ... | end mark         a frame holds whole lines; every commit of the store ends one before it begins
//! ```
//!
//! - A commit of the store waits until the frames of its events are with the operating system. So what was committed is in the
//!   archive, also when the process is killed; after a power failure up to a second may be missing.
//! - Killed between the two, the daemon reads the last events again. The writer remembers the last ones in the archive and leaves
//!   them out ([`Writer::holds`]); whoever reads drops repeats by event id all the same, since a source may repeat itself.
//! - A file without an end mark was being written when the process died. The next start cuts off what is no whole frame: after a
//!   kill that was never committed, and is read again.
//! - A frame whose bytes changed on the disk hides no other: it is passed over and told, and goes when somebody is to be forgotten,
//!   since nobody can say whose it is.
//! - A file with an end mark is only ever replaced as a whole, by one that was written beside it.
//!
//! One stream over commits would compress better than a frame for each, but end in the middle whenever one looks. So small
//! frames are packed into large ones when the file's hour is over ([`pack`]).

mod file;
mod folder;
mod frame;
mod rewrite;
mod search;
mod writer;

pub use folder::{Folder, Locked};
pub use rewrite::{Rewritten, pack, rewrite};
pub use search::{Looked, newest_first};
pub use writer::{Opened, Writer};
