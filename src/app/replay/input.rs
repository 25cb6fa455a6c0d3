//! A recorded log as a stream of events: plain, gzip or zstd; lines of JSON or of a server's log, or one JSON array.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::value::RawValue;

use crate::decode::Decoder;
use crate::model::{Event, Reject, Text, limits};

/// A recording as one array is read whole; larger ones must be lines.
const ARRAY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// One input file.
pub(super) struct Recording {
    name: Text,
    source: Text,
    records: Records,
    decoder: Arc<dyn Decoder>,
    ready: VecDeque<Event>,
    line: u64,
    pub(super) rejected: Vec<Reject>,
}

enum Records {
    Lines(Box<dyn BufRead>),
    Array(std::vec::IntoIter<Box<RawValue>>),
}

impl Recording {
    /// Opens a file, or standard input for `-`. `read` counts bytes read, for the progress bar.
    pub(super) fn open(
        path: &Path,
        source: &Text,
        decoder: Arc<dyn Decoder>,
        read: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let raw: Box<dyn Read> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(path)?)
        };
        let mut input = unpacked(BufReader::with_capacity(
            1 << 16,
            Counting { inner: raw, read },
        ))?;
        let records = if first_byte(&mut *input)? == Some(b'[') {
            Records::Array(array(input)?)
        } else {
            Records::Lines(input)
        };
        Ok(Self {
            name: path.display().to_string().into(),
            source: source.clone(),
            records,
            decoder,
            ready: VecDeque::new(),
            line: 0,
            rejected: Vec::new(),
        })
    }

    /// The next event, without taking it.
    pub(super) fn peek(&mut self) -> io::Result<Option<&Event>> {
        while self.ready.is_empty() {
            if !self.read_record()? {
                return Ok(None);
            }
        }
        Ok(self.ready.front())
    }

    pub(super) fn take(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// Decodes one more record; `false` at the end.
    fn read_record(&mut self) -> io::Result<bool> {
        let payload = match &mut self.records {
            Records::Lines(input) => bounded_line(&mut **input)?,
            Records::Array(items) => items.next().map(|item| item.get().as_bytes().to_vec()),
        };
        let Some(payload) = payload else {
            return Ok(false);
        };
        self.line += 1;
        if payload.trim_ascii().is_empty() {
            return Ok(true);
        }
        let mut events = Vec::new();
        if let Err(why) = self.decoder.decode(&payload, &self.source, &mut events) {
            self.rejected.push(Reject {
                source: self.source.clone(),
                partition: self.name.clone(),
                place: format!("line {}", self.line).into(),
                reason: why.reason,
                message: why.message.into(),
                payload: self.decoder.redact(&payload),
            });
        }
        self.ready.extend(events);
        Ok(true)
    }
}

fn unpacked(mut input: BufReader<Counting>) -> io::Result<Box<dyn BufRead>> {
    let start = input.fill_buf()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(
            input,
        ))));
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        // As many frames as there are: the event archive has one for each commit.
        return Ok(Box::new(BufReader::new(zstd::Decoder::with_buffer(input)?)));
    }
    Ok(Box::new(input))
}

fn first_byte(input: &mut dyn BufRead) -> io::Result<Option<u8>> {
    let start = input.fill_buf()?;
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    Ok(start
        .iter()
        .copied()
        .find(|byte| !byte.is_ascii_whitespace()))
}

fn array(input: Box<dyn BufRead>) -> io::Result<std::vec::IntoIter<Box<RawValue>>> {
    let mut text = String::new();
    input.take(ARRAY_BYTES_MAX).read_to_string(&mut text)?;
    let items: Vec<Box<RawValue>> = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("not a JSON array: {error}"),
            )
        })?;
    Ok(items.into_iter())
}

/// A line, cut a little beyond what the decoder accepts, so that an endless one is rejected and not kept.
fn bounded_line(input: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut any = false;
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            return Ok(any.then_some(line));
        }
        any = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        let room = (limits::RECORD_BYTES_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let consumed = end.map_or(chunk.len(), |end| end + 1);
        input.consume(consumed);
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

struct Counting {
    inner: Box<dyn Read>,
    read: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// The size of all files together; standard input counts nothing.
pub(super) fn total_bytes(files: &[PathBuf]) -> u64 {
    files
        .iter()
        .filter_map(|file| std::fs::metadata(file).ok())
        .map(|meta| meta.len())
        .sum()
}
