//! The form for files: one line an entry, between a line that says where the log begins and one that says where it ends.
//!
//! What can be checked in the store can be checked in such a file, on another machine, without the store. Each value has
//! one form only, and a line that is not written exactly so is no entry: no byte of a file can be changed unseen.

use std::io::{self, BufRead, Read as _};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::model::AuditHead;
use crate::model::limits::AUDIT_LINE_BYTES_MAX;

use super::super::sql;
use super::chain::{End, Entry, Found, Hash, Verdict, Verifier, hex, unhex};

/// An end of the log.
#[derive(Serialize, Deserialize)]
struct EndLine {
    r#type: String,
    seq: u64,
    hash: String,
}

#[derive(Serialize, Deserialize)]
struct EntryLine {
    r#type: String,
    seq: u64,
    time: String,
    what: String,
    who: String,
    facts: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    personal: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commitment: Option<String>,
    hash: String,
}

const FIRST: &str = "audit_log";
const ENTRY: &str = "audit_entry";
const LAST: &str = "audit_end";

/// The first line: the log goes on behind `base`.
pub fn first(base: End) -> String {
    end_line(FIRST, base)
}

pub fn entry(entry: &Entry) -> String {
    written(&EntryLine {
        r#type: ENTRY.to_owned(),
        seq: entry.seq,
        time: sql::time(entry.recorded_at).to_string(),
        what: entry.what.clone(),
        who: entry.who.clone(),
        facts: raw(&entry.body),
        personal: entry.personal.as_deref().map(raw),
        salt: entry.salt.as_deref().map(hex),
        commitment: entry.commitment.as_deref().map(hex),
        hash: entry.hash.to_string(),
    })
}

pub fn last(head: End) -> String {
    end_line(LAST, head)
}

fn end_line(kind: &str, end: End) -> String {
    written(&EndLine {
        r#type: kind.to_owned(),
        seq: end.seq,
        hash: end.hash.to_string(),
    })
}

/// Checks an exported log.
pub fn verify(mut reader: impl BufRead, noted: &[AuditHead]) -> io::Result<Verdict> {
    let mut verifier = FileVerifier::new(noted);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = reader.by_ref().take(AUDIT_LINE_BYTES_MAX);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            return Ok(verifier.finish());
        }
        verifier.take(&line);
    }
}

/// Checks an exported log line by line.
#[derive(Clone)]
pub struct FileVerifier {
    noted: Vec<AuditHead>,
    /// From the first line on.
    verifier: Option<Verifier>,
    last: Option<End>,
    lines: u64,
}

impl FileVerifier {
    pub fn new(noted: &[AuditHead]) -> Self {
        Self {
            noted: noted.to_vec(),
            verifier: None,
            last: None,
            lines: 0,
        }
    }

    /// A line with its end: without it, it is not as it was written, nor is what is no text.
    pub fn take(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or_default();
        let line = std::str::from_utf8(line).unwrap_or_default();
        self.lines += 1;
        let Some(verifier) = &mut self.verifier else {
            let base = read_end(FIRST, line);
            let mut verifier = Verifier::new(base.unwrap_or(End::START), &self.noted);
            if base.is_none() {
                verifier.fault_at_line(self.lines, "is not how an exported log begins");
            }
            self.verifier = Some(verifier);
            return;
        };
        if self.last.is_some() {
            verifier.fault_at_line(self.lines, "stands behind the end of the log");
        } else if let Some(entry) = read_entry(line) {
            verifier.take(&entry);
        } else if let Some(head) = read_end(LAST, line) {
            self.last = Some(head);
        } else {
            verifier.fault_at_line(self.lines, "is not as it was written");
        }
    }

    /// Something was found already: what is still to come cannot mend it.
    pub fn has_found(&self) -> bool {
        self.verifier.as_ref().is_some_and(Verifier::has_found)
    }

    pub fn finish(self) -> Verdict {
        let mut verifier = self
            .verifier
            .unwrap_or_else(|| Verifier::new(End::START, &self.noted));
        if self.last.is_none() {
            verifier.fault_at_line(self.lines, "is the last one, and not the end of the log");
        }
        verifier.finish(self.last.unwrap_or(End::START))
    }
}

/// `None` also where the line says the same in other bytes.
fn read_entry(line: &str) -> Option<Entry> {
    let read: EntryLine = serde_json::from_str(line).ok()?;
    let time: crate::model::Timestamp = read.time.parse().ok()?;
    let personal = read.personal.as_ref().map(|text| text.get().to_owned());
    let found = Found::by(personal.as_deref());
    let read = Entry {
        seq: read.seq,
        recorded_at: sql::ms(time),
        what: read.what,
        who: read.who,
        body: read.facts.get().to_owned(),
        personal,
        salt: read
            .salt
            .map(|salt| unhex(&salt).ok_or(()))
            .transpose()
            .ok()?,
        commitment: read
            .commitment
            .map(|hash| unhex(&hash).ok_or(()))
            .transpose()
            .ok()?,
        hash: read.hash.parse().ok()?,
        user_id: found.user_id,
        family_id: found.family_id,
    };
    (entry(&read) == line).then_some(read)
}

fn read_end(kind: &str, line: &str) -> Option<End> {
    let read: EndLine = serde_json::from_str(line).ok()?;
    let hash: Hash = read.hash.parse().ok()?;
    let end = End {
        seq: read.seq,
        hash,
    };
    (end_line(kind, end) == line).then_some(end)
}

/// Text that is no JSON any more was changed in the store; what is written then meets no hash.
fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned())
        .or_else(|_| to_raw_value(json))
        .unwrap_or_default()
}

fn written(line: &impl Serialize) -> String {
    serde_json::to_string(line).unwrap_or_default()
}
