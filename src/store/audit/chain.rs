//! The chain: what is hashed, and how a log is checked. Pure.
//!
//! Each entry's hash covers the hash before it, so whoever changes, removes or moves an entry must make all that follow
//! anew, and the newest hash with them: it stands in every digest mail. What is about a person is not hashed itself but
//! committed to, with a salt of the entry's own. When the person is to be forgotten, text and salt go and the commitment
//! stays: the chain holds, and without 128 bits that nobody has any more it tells nothing, not even to who guesses right.
//! What was emptied is named by an entry of its own, so nobody can empty entries without a trace.
//!
//! Everything hashed is framed (length, then bytes) behind the name of what it is: no two things have the same bytes.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::model::{AuditHead, AuditKind};

/// SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

/// What stands before the first entry of all.
pub(super) const GENESIS: Hash = Hash([0; 32]);

pub(super) const SALT_BYTES: usize = 16;

/// Faults that are told one by one; a log with more is counted.
const FAULTS_TOLD_MAX: usize = 100;

/// One entry as it is kept: texts as they were hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    /// Milliseconds since 1970 UTC.
    pub recorded_at: i64,
    pub what: String,
    pub who: String,
    /// JSON object.
    pub body: String,
    /// JSON object; gone when the person was forgotten.
    pub personal: Option<String>,
    pub salt: Option<Vec<u8>>,
    /// There from the beginning, and for good, where there is something personal.
    pub commitment: Option<Vec<u8>>,
    pub hash: Hash,
    /// By which it is found; also in `personal`.
    pub user_id: Option<String>,
    pub family_id: Option<String>,
}

/// An end of a stretch of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub seq: u64,
    pub hash: Hash,
}

impl End {
    /// Before the first entry of all.
    pub const START: Self = Self {
        seq: 0,
        hash: GENESIS,
    };

    pub fn head(&self) -> AuditHead {
        AuditHead {
            seq: self.seq,
            hash: self.hash.to_string().into(),
        }
    }
}

/// What the chain says in place of `personal`.
pub(super) fn commitment(salt: &[u8], personal: &str) -> Hash {
    let mut hasher = Framed::new("tokenwarden audit personal 1");
    hasher.add(salt);
    hasher.add(personal.as_bytes());
    hasher.hash()
}

/// The entry's place in the chain behind `before`; its own `hash` is not looked at.
pub(super) fn link(before: &Hash, entry: &Entry) -> Hash {
    let mut hasher = Framed::new("tokenwarden audit entry 1");
    hasher.add(&before.0);
    hasher.add(&entry.seq.to_be_bytes());
    hasher.add(&entry.recorded_at.to_be_bytes());
    hasher.add(entry.what.as_bytes());
    hasher.add(entry.who.as_bytes());
    hasher.add(entry.body.as_bytes());
    hasher.add(entry.commitment.as_deref().unwrap_or_default());
    hasher.hash()
}

/// By what an entry is found again, as its personal part names it.
#[derive(Default, Deserialize)]
pub(super) struct Found {
    pub(super) user_id: Option<String>,
    pub(super) family_id: Option<String>,
}

impl Found {
    pub(super) fn by(personal: Option<&str>) -> Self {
        let found = personal.and_then(|text| serde_json::from_str::<Self>(text).ok());
        let found = found.unwrap_or_default();
        let clean = |id: Option<String>| id.map(|id| super::super::sql::clean(&id));
        Self {
            user_id: clean(found.user_id),
            family_id: clean(found.family_id),
        }
    }
}

/// One thing that is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The entry; of several, the first.
    pub seq: u64,
    pub why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}: {}", self.seq, self.why)
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub base: End,
    pub head: End,
    pub entries: u64,
    /// Entries whose person was forgotten.
    pub emptied: u64,
    /// The first ones, in order.
    pub broken: Vec<Broken>,
    pub broken_total: u64,
}

/// Takes entries in the order in which they stand, and says at the end what is wrong.
#[derive(Clone)]
pub struct Verifier {
    base: End,
    at: End,
    entries: u64,
    emptied: BTreeSet<u64>,
    /// Those that an entry says it emptied.
    told: BTreeSet<u64>,
    pruned: Option<End>,
    /// Hashes that somebody noted before, and that must be met.
    noted: Vec<(u64, String)>,
    broken: Vec<Broken>,
    broken_total: u64,
}

impl Verifier {
    /// `base`: the last entry that was pruned; `noted`: ends that were noted outside, as from a digest mail.
    pub fn new(base: End, noted: &[AuditHead]) -> Self {
        Self {
            base,
            at: base,
            entries: 0,
            emptied: BTreeSet::new(),
            told: BTreeSet::new(),
            pruned: None,
            noted: noted
                .iter()
                .map(|head| (head.seq, head.hash.to_string()))
                .collect(),
            broken: Vec::new(),
            broken_total: 0,
        }
    }

    pub fn take(&mut self, entry: &Entry) {
        self.entries += 1;
        self.check_place(entry);
        self.check_personal(entry);
        self.read(entry);
        self.check_noted(entry.seq, &entry.hash);
        // On from what stands there: one change is then told once.
        self.at = End {
            seq: entry.seq,
            hash: entry.hash,
        };
    }

    /// `head`: what the log says is its newest entry.
    pub fn finish(mut self, head: End) -> Verdict {
        if self.at.seq != head.seq {
            let why = format!("the log ends here, and not at entry {}", head.seq);
            self.fault(self.at.seq, why);
        } else if self.at.hash != head.hash {
            self.fault(head.seq, "its hash is not the one noted as the newest");
        }
        for (seq, _) in std::mem::take(&mut self.noted) {
            if seq > self.base.seq {
                self.fault(
                    seq,
                    "was noted outside and is not there: the log was cut off",
                );
            }
        }
        self.check_base();
        self.check_emptied();
        Verdict {
            base: self.base,
            head: self.at,
            entries: self.entries,
            emptied: u64::try_from(self.emptied.len()).unwrap_or(u64::MAX),
            broken: self.broken,
            broken_total: self.broken_total,
        }
    }

    fn check_place(&mut self, entry: &Entry) {
        let expected = self.at.seq.saturating_add(1);
        if entry.seq != expected {
            let why = format!("stands where {expected} should: an entry was removed or moved");
            self.fault(entry.seq, why);
        } else if link(&self.at.hash, entry) != entry.hash {
            self.fault(entry.seq, "was changed, or the entry before it");
        }
    }

    fn check_personal(&mut self, entry: &Entry) {
        let parts = (&entry.personal, &entry.salt, &entry.commitment);
        match parts {
            (None, None, None) => {}
            (None, None, Some(_)) => {
                self.emptied.insert(entry.seq);
            }
            (Some(personal), Some(salt), Some(known)) => {
                if commitment(salt, personal).0 != known.as_slice() {
                    self.fault(entry.seq, "what it says of a person was changed");
                }
            }
            _ => self.fault(entry.seq, "half of what it says of a person is missing"),
        }
        let found = Found::by(entry.personal.as_deref());
        if found.user_id != entry.user_id || found.family_id != entry.family_id {
            self.fault(entry.seq, "is filed under another person than it names");
        }
    }

    fn read(&mut self, entry: &Entry) {
        if entry.what == AuditKind::Erased.as_str() {
            match erased(&entry.body) {
                Some(told) => self.told.extend(told.filter(|seq| *seq < entry.seq)),
                None => self.fault(entry.seq, "does not say which entries it emptied"),
            }
        } else if entry.what == AuditKind::Pruned.as_str() {
            self.pruned = pruned(&entry.body);
            if self.pruned.is_none() {
                self.fault(entry.seq, "does not say up to where the log was pruned");
            }
        }
    }

    fn check_noted(&mut self, seq: u64, hash: &Hash) {
        let hash = hash.to_string();
        let mut differs = false;
        self.noted.retain(|(noted, expected)| {
            differs |= *noted == seq && *expected != hash;
            *noted != seq
        });
        if differs {
            let why = "its hash is not the one that was noted outside: the log was written anew";
            self.fault(seq, why);
        }
    }

    fn check_base(&mut self) {
        let said = self.pruned.unwrap_or(End::START);
        if said != self.base {
            let why = format!(
                "the log begins behind entry {}, but was pruned up to entry {}",
                self.base.seq, said.seq
            );
            self.fault(self.base.seq.saturating_add(1), why);
        }
    }

    fn check_emptied(&mut self) {
        let base = self.base.seq;
        let untold: Vec<u64> = self.emptied.difference(&self.told).copied().collect();
        let full = self.told.difference(&self.emptied);
        let full: Vec<u64> = full.copied().filter(|seq| *seq > base).collect();
        for seq in untold {
            self.fault(seq, "was emptied, and no entry says so");
        }
        for seq in full {
            self.fault(seq, "is said to be empty, and is not");
        }
    }

    pub(super) fn has_found(&self) -> bool {
        self.broken_total > 0
    }

    /// A line of a file that is no entry.
    pub(super) fn fault_at_line(&mut self, line: u64, why: &str) {
        self.fault(self.at.seq.saturating_add(1), format!("line {line} {why}"));
    }

    fn fault(&mut self, seq: u64, why: impl Into<String>) {
        self.broken_total += 1;
        if self.broken.len() < FAULTS_TOLD_MAX {
            let why = why.into();
            self.broken.push(Broken { seq, why });
        }
    }
}

/// Member of an `erased` entry: which ones it emptied, as `3,7-9`.
pub(super) const EMPTIED: &str = "entries";
/// Members of a `pruned` entry: the last one that went.
pub(super) const THROUGH: &str = "through";
pub(super) const THROUGH_HASH: &str = "hash";

/// An entry cannot name more than there could be: a hostile body must not fill the memory.
const RANGE_MAX: u64 = 10_000;

fn erased(body: &str) -> Option<impl Iterator<Item = u64>> {
    #[derive(Deserialize)]
    struct Body {
        entries: String,
    }
    let body: Body = serde_json::from_str(body).ok()?;
    let mut ranges = Vec::new();
    for part in body.entries.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        if last.checked_sub(first)? > RANGE_MAX {
            return None;
        }
        ranges.push(first..=last);
    }
    Some(ranges.into_iter().flatten())
}

/// The form that [`erased`] reads; the numbers ascend.
pub(super) fn ranges(numbers: &[u64]) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let texts = ranges.iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    texts.collect::<Vec<_>>().join(",")
}

fn pruned(body: &str) -> Option<End> {
    #[derive(Deserialize)]
    struct Body {
        through: u64,
        hash: String,
    }
    let body: Body = serde_json::from_str(body).ok()?;
    Some(End {
        seq: body.through,
        hash: body.hash.parse().ok()?,
    })
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// 64 hexadecimal digits, in lower case.
impl FromStr for Hash {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = unhex(text).ok_or(())?;
        Ok(Self(bytes.try_into().map_err(|_| ())?))
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        write!(hex, "{byte:02x}").ok();
    }
    hex
}

/// Lower case alone: one value has one form.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

/// A hash over parts, each behind its length.
struct Framed(Sha256);

impl Framed {
    fn new(domain: &str) -> Self {
        let mut framed = Self(Sha256::new());
        framed.add(domain.as_bytes());
        framed
    }

    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn hash(self) -> Hash {
        Hash(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_run_into_each_other() {
        assert_ne!(commitment(b"ab", "c"), commitment(b"a", "bc"));
        let entry = |what: &str, who: &str| Entry {
            seq: 1,
            recorded_at: 0,
            what: what.into(),
            who: who.into(),
            body: "{}".into(),
            personal: None,
            salt: None,
            commitment: None,
            hash: GENESIS,
            user_id: None,
            family_id: None,
        };
        assert_ne!(
            link(&GENESIS, &entry("ab", "c")),
            link(&GENESIS, &entry("a", "bc"))
        );
    }

    #[test]
    fn numbers_come_back_from_their_ranges() {
        let numbers = [3, 7, 8, 9, 12];
        let text = ranges(&numbers);
        assert_eq!(text, "3,7-9,12");
        let body = format!(r#"{{"{EMPTIED}":"{text}"}}"#);
        assert_eq!(erased(&body).unwrap().collect::<Vec<_>>(), numbers);
        assert!(erased(r#"{"entries":"1-99999999999"}"#).is_none());
        assert!(erased(r#"{"entries":"9-1"}"#).is_none());
    }

    #[test]
    fn a_hash_has_one_form() {
        let hash = commitment(b"salt", "text");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert!(hash.to_string().to_uppercase().parse::<Hash>().is_err());
        assert!("ab".parse::<Hash>().is_err());
    }
}
