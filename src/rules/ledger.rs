//! The ledger of a family: who presented which token when, from where, with what answer, and what it issued.
//!
//! A set, not a log: adding an entry gives the same ledger whatever the order of arrival, so that verdicts over it do
//! not depend on delivery. Entries are bounded; the oldest by event time goes first, and what its context made known stays.

use serde::{Deserialize, Serialize};

use super::context::{Context, Seen};
use crate::model::{Text, limits};

/// Everything lineage rules may read about one family.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Ordered by time, then token, then answer, so that equal sets are equal vectors.
    entries: Vec<Entry>,
    contexts: Vec<Context>,
    /// Last accepted presentation by context, of entries that had to go.
    settled: Vec<Settled>,
}

/// One presentation of a token, or the issue of the family's first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Event time, milliseconds since 1970.
    pub time: i64,
    pub answer: Answer,
    /// The presented token; absent for the issue, and where the source names no tokens.
    pub token: Option<Text>,
    /// The token issued in answer.
    pub issued: Option<Text>,
    pub generation: Option<u64>,
    pub latest_generation: Option<u64>,
    pub client_id: Option<Text>,
    pub event_id: Text,
    /// The presented token had been used so long ago that the use is no longer here.
    pub used_long_ago: bool,
    context: u16,
}

/// What the server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Answer {
    Issued,
    Accepted,
    /// Refused for what may be a reuse: the provider said so, or gave no better reason.
    Refused,
    /// Refused, and the provider itself calls it a reuse.
    RefusedReuse,
    /// Refused because the server no longer knows the token, which is also what some say of a reuse.
    RefusedGone,
    /// Refused as dead: expired, or the aftermath of something else (session ended, user disabled).
    RefusedDead,
    /// Refused for a reason of the request: the client, its key, a policy.
    RefusedOther,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Settled {
    context: u16,
    time: i64,
}

impl Answer {
    pub const fn accepted(self) -> bool {
        matches!(self, Self::Issued | Self::Accepted)
    }

    pub const fn may_be_reuse(self) -> bool {
        matches!(self, Self::Refused | Self::RefusedReuse | Self::RefusedGone)
    }

    /// Whether the server held the token for dead: then it proves nothing about who holds a live one.
    pub const fn dead(self) -> bool {
        matches!(self, Self::RefusedGone | Self::RefusedDead)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Accepted => "accepted",
            Self::Refused
            | Self::RefusedReuse
            | Self::RefusedGone
            | Self::RefusedDead
            | Self::RefusedOther => "refused",
        }
    }
}

/// An entry before its context is filed.
#[derive(Debug, Clone)]
pub struct NewEntry {
    pub time: i64,
    pub answer: Answer,
    pub token: Option<Text>,
    pub issued: Option<Text>,
    pub generation: Option<u64>,
    pub latest_generation: Option<u64>,
    pub client_id: Option<Text>,
    pub event_id: Text,
    /// An accepted presentation of the same token is known, here or from before the oldest entry here.
    pub used_before: bool,
    pub context: Context,
}

impl Ledger {
    /// Adds a presentation; `false` when it is already there (a repeat beyond the memory of event ids).
    pub fn add(&mut self, new: NewEntry) -> bool {
        let repeat = |e: &Entry| {
            e.time == new.time
                && e.answer == new.answer
                && e.token == new.token
                && e.issued == new.issued
                && e.event_id == new.event_id
        };
        if self.entries.iter().any(repeat) {
            return false;
        }
        let used_long_ago = new.used_before && self.has_folded_what_precedes(&new);
        let context = self.file(new.context);
        let entry = Entry {
            time: new.time,
            answer: new.answer,
            token: new.token,
            issued: new.issued,
            generation: new.generation,
            latest_generation: new.latest_generation,
            client_id: new.client_id,
            event_id: new.event_id,
            used_long_ago,
            context,
        };
        let at = self.entries.partition_point(|e| e.order() <= entry.order());
        self.entries.insert(at, entry);
        if self.entries.len() > limits::LEDGER_ENTRIES_MAX {
            self.fold_oldest();
        }
        true
    }

    /// Takes over what another family's ledger knew, when a late event shows that the two are one.
    pub fn absorb(&mut self, other: Self) {
        for entry in other.entries {
            let context = other
                .contexts
                .get(usize::from(entry.context))
                .cloned()
                .unwrap_or_default();
            self.add(NewEntry {
                time: entry.time,
                answer: entry.answer,
                token: entry.token,
                issued: entry.issued,
                generation: entry.generation,
                latest_generation: entry.latest_generation,
                client_id: entry.client_id,
                event_id: entry.event_id,
                used_before: entry.used_long_ago,
                context,
            });
        }
        for settled in other.settled {
            if let Some(context) = other.contexts.get(usize::from(settled.context)) {
                let context = self.file(context.clone());
                self.settle(context, settled.time);
            }
        }
    }

    /// Entries in order of event time.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn context(&self, entry: &Entry) -> &Context {
        // Contexts are only ever removed together with the entries that name them.
        &self.contexts[usize::from(entry.context)]
    }

    pub fn seen<'a>(&'a self, entry: &Entry) -> Seen<'a> {
        Seen {
            context: self.context(entry),
            time: entry.time,
        }
    }

    /// Contexts of accepted presentations so old that their entries had to go.
    pub fn settled(&self) -> impl Iterator<Item = Seen<'_>> {
        self.settled.iter().filter_map(|s| {
            self.contexts
                .get(usize::from(s.context))
                .map(|context| Seen {
                    context,
                    time: s.time,
                })
        })
    }

    /// Whether the use of the presented token has been folded away; a repeat of an old record is older than all that is here.
    fn has_folded_what_precedes(&self, new: &NewEntry) -> bool {
        let of_token = |e: &Entry| e.answer.accepted() && e.token == new.token;
        !self.settled.is_empty()
            && self
                .entries
                .first()
                .is_some_and(|first| first.time < new.time)
            && !self.entries.iter().any(of_token)
    }

    fn file(&mut self, context: Context) -> u16 {
        let at = self
            .contexts
            .iter()
            .position(|c| *c == context)
            .unwrap_or_else(|| {
                self.contexts.push(context);
                self.contexts.len() - 1
            });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    /// Makes room. Refusals are anybody's to cause: they take a part of the ledger, and never push out what was accepted.
    fn fold_oldest(&mut self) {
        let refusals = self.entries.iter().filter(|e| !e.answer.accepted());
        let crowded = refusals.count() > limits::LEDGER_REFUSALS_MAX;
        let at = if crowded {
            self.entries.iter().position(|e| !e.answer.accepted())
        } else {
            self.entries.iter().position(|e| e.answer.accepted())
        };
        let oldest = self.entries.remove(at.unwrap_or(0));
        if oldest.answer.accepted() {
            self.settle(oldest.context, oldest.time);
        }
        self.drop_unused_contexts();
    }

    fn settle(&mut self, context: u16, time: i64) {
        match self.settled.iter_mut().find(|s| s.context == context) {
            Some(settled) => settled.time = settled.time.max(time),
            None => self.settled.push(Settled { context, time }),
        }
        if self.settled.len() > limits::LEDGER_SETTLED_MAX {
            let oldest = (0..self.settled.len())
                .min_by_key(|&i| (self.settled[i].time, self.settled[i].context));
            if let Some(oldest) = oldest {
                self.settled.remove(oldest);
            }
        }
    }

    fn drop_unused_contexts(&mut self) {
        let mut used = vec![false; self.contexts.len()];
        for context in self
            .entries
            .iter()
            .map(|e| e.context)
            .chain(self.settled.iter().map(|s| s.context))
        {
            used[usize::from(context)] = true;
        }
        if used.iter().all(|u| *u) {
            return;
        }
        let mut renumbered = vec![0_u16; self.contexts.len()];
        let mut kept = 0_u16;
        for (old, used) in used.iter().enumerate() {
            renumbered[old] = kept;
            kept += u16::from(*used);
        }
        let mut index = 0;
        self.contexts.retain(|_| {
            index += 1;
            used[index - 1]
        });
        for entry in &mut self.entries {
            entry.context = renumbered[usize::from(entry.context)];
        }
        for settled in &mut self.settled {
            settled.context = renumbered[usize::from(settled.context)];
        }
    }
}

impl Entry {
    fn order(&self) -> (i64, Option<&Text>, Answer, Option<&Text>, &Text) {
        (
            self.time,
            self.token.as_ref(),
            self.answer,
            self.issued.as_ref(),
            &self.event_id,
        )
    }
}
