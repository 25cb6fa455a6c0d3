//! The saved form: what is small in front, then blocks of whole entries, each of one part of the state.
//!
//! ```text
//! version: u32 | length: u32 | head | ( part: u8 | entries: u32 | length: u32 | entries )*
//! ```
//!
//! Blocks can be made while events go on, in any order, and are handed over without being copied into one. An entry lies in one
//! block, so that parts can be read on several threads. All numbers are little-endian.

use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};

/// A block is closed when it is as large: small enough to grow in a moment, large enough that its head does not count.
const BLOCK_BYTES: usize = 256 * 1024;
const HEAD_BYTES: usize = 1 + 4 + 4;
/// For the last entry of a block, so that it need not grow: a family is some kilobytes at most.
const ENTRY_ROOM: usize = 16 * 1024;

/// Version of the form; another one is not read: what it held is made anew from what the sources have.
const VERSION: u32 = 14;

/// The blocks of one part, as they come to be.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    part: u8,
    closed: Vec<Vec<u8>>,
    open: Vec<u8>,
    /// In the open one.
    entries: u32,
}

impl Blocks {
    pub(super) const fn new(part: u8) -> Self {
        Self {
            part,
            closed: Vec::new(),
            open: Vec::new(),
            entries: 0,
        }
    }

    /// Appends an entry; returns its bytes.
    pub(super) fn push(&mut self, entry: &impl Serialize) -> usize {
        if self.open.is_empty() {
            self.open.reserve_exact(BLOCK_BYTES + ENTRY_ROOM);
            self.open.resize(HEAD_BYTES, 0);
        }
        let before = self.open.len();
        write(&mut self.open, entry);
        self.entries += 1;
        let bytes = self.open.len() - before;
        if self.open.len() >= BLOCK_BYTES {
            self.close();
        }
        bytes
    }

    /// Those that are closed, in the order in which they were: each is handed over once.
    pub(super) fn take_closed(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.closed)
    }

    pub(super) fn into_pieces(mut self) -> Vec<Vec<u8>> {
        self.finish();
        self.closed
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self) {
        if self.entries > 0 {
            self.close();
        }
    }

    fn close(&mut self) {
        let mut block = std::mem::take(&mut self.open);
        // Entries are bounded: a block is far from 4 GiB.
        let length = u32::try_from(block.len() - HEAD_BYTES).unwrap_or(u32::MAX);
        block[0] = self.part;
        block[1..5].copy_from_slice(&self.entries.to_le_bytes());
        block[5..HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
        self.closed.push(block);
        self.entries = 0;
    }
}

/// A block that is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) part: u8,
    pub(super) entries: usize,
    body: &'a [u8],
}

impl<'a> Block<'a> {
    pub(super) const fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Hands over each entry; `false` where the block is not what it says.
    pub(super) fn read<T: DeserializeOwned>(&self, mut take: impl FnMut(T)) -> bool {
        let mut rest = self.body;
        for _ in 0..self.entries {
            let Ok((entry, after)) = postcard::take_from_bytes(rest) else {
                return false;
            };
            take(entry);
            rest = after;
        }
        rest.is_empty()
    }

    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (part, rest) = bytes.split_first()?;
        let (entries, rest) = number(rest)?;
        let (length, rest) = number(rest)?;
        let (body, rest) = rest.split_at_checked(length)?;
        // No entry is empty: what is reserved for them is bounded by the bytes that are there.
        let block = (entries <= length).then_some(Self {
            part: *part,
            entries,
            body,
        })?;
        Some((block, rest))
    }
}

/// What stands in front of the blocks.
pub(super) fn head(head: &impl Serialize) -> Vec<u8> {
    let mut body = Vec::new();
    write(&mut body, head);
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut bytes = VERSION.to_le_bytes().to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(body);
    bytes
}

/// The head and the blocks; `None` where the form is not known.
pub(super) fn parse<H: DeserializeOwned>(bytes: &[u8]) -> Option<(H, Vec<Block<'_>>)> {
    let (version, rest) = bytes.split_first_chunk()?;
    if u32::from_le_bytes(*version) != VERSION {
        return None;
    }
    let (length, rest) = number(rest)?;
    let (head, mut rest) = rest.split_at_checked(length)?;
    let (head, after) = postcard::take_from_bytes(head).ok()?;
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        let (block, after) = Block::split(rest)?;
        blocks.push(block);
        rest = after;
    }
    after.is_empty().then_some((head, blocks))
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

fn write(bytes: &mut Vec<u8>, value: &impl Serialize) {
    // Plain data into memory: there is nothing that could fail but the allocator.
    postcard::serialize_with_flavor(value, Append(bytes)).ok();
}

/// Behind what is there already, which postcard's own vector would not do.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(entries: u32) -> Vec<u8> {
        let mut blocks = Blocks::new(3);
        for entry in 0..entries {
            blocks.push(&(entry, "an entry of some length"));
        }
        let mut bytes = head(&7_u64);
        bytes.extend(blocks.into_pieces().concat());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Vec<u32>> {
        let (_, blocks) = parse::<u64>(bytes)?;
        let mut entries = Vec::new();
        let whole = |block: &Block<'_>| block.read(|(entry, _): (u32, String)| entries.push(entry));
        let is_whole = blocks.iter().map(whole).fold(true, |all, it| all & it);
        is_whole.then_some(entries)
    }

    #[test]
    fn what_was_saved_is_read_whatever_number_of_blocks() {
        for entries in [0, 1, 50_000] {
            let expected: Vec<u32> = (0..entries).collect();
            assert_eq!(read(&saved(entries)), Some(expected));
        }
        let bytes = saved(50_000);
        let (_, blocks) = parse::<u64>(&bytes).unwrap();
        assert!(blocks.len() > 2 && blocks.iter().all(|block| block.part == 3));
    }

    #[test]
    fn what_is_cut_off_or_of_another_version_is_refused() {
        let whole = saved(3);
        for length in 0..whole.len() {
            // Between two blocks only the head can tell.
            let is_border = length == saved(0).len();
            assert_eq!(read(&whole[..length]).is_some(), is_border, "{length}");
        }
        let mut other = whole;
        other[0] ^= 1;
        assert_eq!(read(&other), None);
    }

    #[test]
    fn a_block_that_claims_more_than_it_holds_is_refused() {
        let at = saved(0).len();
        for (claimed, offset) in [(u32::MAX, 1), (4, 1), (2, 1), (u32::MAX, 5), (1, 5)] {
            let mut bytes = saved(3);
            bytes[at + offset..at + offset + 4].copy_from_slice(&claimed.to_le_bytes());
            assert_eq!(read(&bytes), None, "{claimed} at {offset}");
        }
    }
}
