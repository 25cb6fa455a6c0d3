//! The ledger of a family: who presented which token when, from where, with what answer, and what it issued.
//!
//! A set, not a log: adding an entry gives the same ledger whatever the order of arrival, so that verdicts over it do
//! not depend on delivery. Entries are small and bounded. Names (token, event id) are kept of the newest entries and of
//! those in dispute; of the others a hash is enough. At the bound, links of a chain that nobody disputes are drawn
//! together: the chain stays connected, only the tokens in between are no longer told from unknown ones.

use std::cmp::Ordering;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::context::{Context, Seen};
use super::short::Short as _;
use crate::model::{Enriched, Text, limits};

/// Everything lineage rules may read about one family.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Ordered by time, then token, answer, issued token and event, so that equal sets are equal vectors.
    entries: Vec<Entry>,
    contexts: Vec<Arc<Context>>,
    /// Contexts of accepted presentations whose entries had to go.
    settled: Vec<Settled>,
    /// Event time of the newest presentation that sets something in question.
    disputed_at: Option<i64>,
    /// Whether any token was accepted twice.
    forked: bool,
    /// Event time up to which accepted presentations may have been drawn together or let go.
    folded_until: Option<i64>,
}

/// The hash of a token's id: 64 bits tell the few tokens of one family apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenHash(NonZeroU64);

/// One presentation of a token, or the issue of the family's first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Event time, milliseconds since 1970.
    pub time: i64,
    /// The presented token; absent for the issue, and where the source names no tokens.
    pub token: Option<TokenHash>,
    /// The token issued in answer, or the last of a chain drawn together.
    pub issued: Option<TokenHash>,
    pub generation: Option<u32>,
    pub latest_generation: Option<u32>,
    client: u32,
    context: u16,
    pub answer: Answer,
    /// The presented token had been used so long ago that the use is no longer here.
    pub used_long_ago: bool,
    names: Option<Box<Names>>,
}

/// What a person reads of an entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Names {
    pub event_id: Text,
    pub token: Option<Text>,
    pub issued: Option<Text>,
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
    first: i64,
    last: i64,
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

impl TokenHash {
    pub fn of(token: &str) -> Self {
        let hash = xxhash_rust::xxh3::xxh3_64(token.as_bytes());
        Self(NonZeroU64::new(hash).unwrap_or(NonZeroU64::MAX))
    }
}

impl std::fmt::Display for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// An entry before it is filed.
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
    /// An accepted presentation of the same token is known, here or from before.
    pub used_before: bool,
    /// Shared with whatever else remembers it.
    pub context: Arc<Context>,
}

impl Ledger {
    /// Adds a presentation; `false` when it is already there (a repeat beyond the memory of event ids).
    pub fn add(&mut self, new: NewEntry) -> bool {
        let token = new.token.as_deref().map(TokenHash::of);
        let names = Names {
            event_id: new.event_id,
            token: new
                .token
                .map(|name| self.issued_name(token).unwrap_or(name)),
            issued: new.issued,
        };
        let entry = Entry {
            time: new.time,
            token,
            issued: names.issued.as_deref().map(TokenHash::of),
            generation: new.generation.map(narrow),
            latest_generation: new.latest_generation.map(narrow),
            client: new.client_id.as_deref().map_or(0, client_hash),
            context: 0,
            answer: new.answer,
            used_long_ago: false,
            names: Some(Box::new(names)),
        };
        let used_long_ago = new.used_before && self.has_folded_its_use(&entry);
        self.file(
            Entry {
                used_long_ago,
                ..entry
            },
            new.context,
        )
    }

    /// Takes over what another family's ledger knew, when a late event shows that the two are one.
    pub fn absorb(&mut self, other: Self) {
        for entry in other.entries {
            let context = other
                .contexts
                .get(usize::from(entry.context))
                .cloned()
                .unwrap_or_default();
            self.file(entry, context);
        }
        self.folded_until = self.folded_until.max(other.folded_until);
        for settled in other.settled {
            if let Some(context) = other.contexts.get(usize::from(settled.context)) {
                let context = self.number(context.clone());
                self.settle(context, settled.first, settled.last);
            }
        }
    }

    /// Entries in order of event time.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether any token was presented in a way that needs judging at all.
    pub const fn disputed(&self) -> bool {
        self.disputed_at.is_some()
    }

    /// Whether any was since an event time.
    pub fn disputed_since(&self, time: i64) -> bool {
        self.disputed_at.is_some_and(|at| at >= time)
    }

    /// Whether any token was accepted twice, so that two successors of it may be about.
    pub const fn forked(&self) -> bool {
        self.forked
    }

    /// Event time up to which accepted presentations may be missing.
    pub const fn folded_until(&self) -> Option<i64> {
        self.folded_until
    }

    /// Whether there is more than one context to compare.
    pub fn varies(&self) -> bool {
        self.contexts.len() > 1
    }

    /// Every context that anybody presented a token from, each once.
    pub fn contexts(&self) -> impl Iterator<Item = &Context> {
        self.contexts.iter().map(|context| &**context)
    }

    /// The event's context, if somebody presented a token from it before. Most often it is the newest.
    pub fn context_of(&self, event: &Enriched) -> Option<&Arc<Context>> {
        self.contexts
            .iter()
            .rev()
            .find(|context| context.is_of(event))
    }

    pub fn context(&self, entry: &Entry) -> &Context {
        // Contexts are only ever removed together with the entries that name them.
        &self.contexts[usize::from(entry.context)]
    }

    /// The same, to be kept beside the ledger.
    pub fn shared_context(&self, entry: &Entry) -> &Arc<Context> {
        &self.contexts[usize::from(entry.context)]
    }

    pub fn seen<'a>(&'a self, entry: &Entry) -> Seen<'a> {
        Seen {
            context: self.context(entry),
            time: entry.time,
        }
    }

    /// Contexts of accepted presentations so old that their entries had to go, first seen before `time`.
    pub fn settled_before(&self, time: i64) -> impl Iterator<Item = Seen<'_>> + Clone {
        self.settled
            .iter()
            .filter(move |s| s.first < time)
            .filter_map(|s| {
                self.contexts
                    .get(usize::from(s.context))
                    .map(|context| Seen {
                        context,
                        time: s.last,
                    })
            })
    }

    /// The name under which the token was issued, so that it is kept once. Most often the newest entry issued it.
    fn issued_name(&self, token: Option<TokenHash>) -> Option<Text> {
        let issuing = |e: &&Entry| e.issued == token && e.names.is_some();
        let names = self.entries.iter().rev().find(issuing)?.names();
        names.and_then(|names| names.issued.clone())
    }

    /// What a person calls the token: the name under which it was presented or issued, its hash where none is kept.
    pub fn name_of(&self, token: TokenHash) -> Text {
        let names = |e: &&Entry| e.names.is_some() && (e.token == Some(token));
        let presented = self.entries.iter().rev().find(names);
        let presented = presented.and_then(|e| e.names()?.token.clone());
        presented
            .or_else(|| self.issued_name(Some(token)))
            .unwrap_or_else(|| format!("#{token}").into())
    }

    /// Whether the use of the presented token has been folded away. A repeat of an old record stands before the fold.
    fn has_folded_its_use(&self, new: &Entry) -> bool {
        self.folded_until.is_some_and(|until| until < new.time) && !self.accepted(new.token)
    }

    /// Whether a use of the token is here.
    fn accepted(&self, token: Option<TokenHash>) -> bool {
        let of_token = |e: &Entry| e.answer.accepted() && e.token == token;
        self.entries.iter().any(of_token)
    }

    fn file(&mut self, mut entry: Entry, context: Arc<Context>) -> bool {
        if self.has(&entry, &context) {
            return false;
        }
        entry.context = self.number(context);
        if self.disputes(&entry) {
            self.disputed_at = self.disputed_at.max(Some(entry.time));
            self.forked |= entry.answer.accepted() && self.accepted(entry.token);
        }
        let at = self.place_of(&entry);
        self.entries.make_room();
        self.entries.insert(at, entry);
        self.forget_names();
        self.bound_refusals();
        if self.entries.len() > limits::LEDGER_ENTRIES_MAX {
            self.make_room();
        }
        true
    }

    /// Where it stands in order. Most come behind all others; names, which stand elsewhere in memory, are read in a tie only.
    fn place_of(&self, entry: &Entry) -> usize {
        let behind = |e: &Entry| {
            let beside = e.key().cmp(&entry.key());
            beside.then_with(|| e.event_id().cmp(&entry.event_id())) != Ordering::Greater
        };
        if self.entries.last().is_none_or(behind) {
            return self.entries.len();
        }
        self.entries.partition_point(behind)
    }

    /// Whether this very presentation is here. Clocks of a second's grain show two of one token at the same time: who
    /// presented them, and under which event id, tells them apart while the ids are kept.
    fn has(&self, entry: &Entry, context: &Context) -> bool {
        let earlier = |e: &Entry| e.time < entry.time;
        let since = &self.entries[self.entries.partition_point(earlier)..];
        let same_time = since.iter().take_while(|e| e.time == entry.time);
        let mut alike = same_time.filter(|e| e.key() == entry.key());
        alike.any(|e| {
            let same_event = match (e.event_id(), entry.event_id()) {
                (Some(theirs), Some(mine)) => theirs == mine,
                _ => entry.token.is_some() || entry.issued.is_some(),
            };
            same_event && self.context(e) == context
        })
    }

    /// Whether the entry sets something in question: a refusal, a token again, another client, another proof key.
    fn disputes(&self, entry: &Entry) -> bool {
        let key = &self.context(entry).key_thumbprint;
        entry.answer.may_be_reuse()
            || entry.used_long_ago
            || self.entries.iter().any(|e| {
                let other_key = || {
                    let theirs = &self.context(e).key_thumbprint;
                    key.is_some() && theirs.is_some() && theirs != key
                };
                (entry.token.is_some() && e.token == entry.token)
                    || e.other_client(entry)
                    || (e.context != entry.context && other_key())
            })
    }

    /// Names stay with the newest entries, and with everything a dispute may be about.
    fn forget_names(&mut self) {
        let Some(last) = self
            .entries
            .len()
            .checked_sub(limits::LEDGER_NAMED_ENTRIES + 1)
        else {
            return;
        };
        // One leaves the newest at each addition; in disorder a few more.
        for i in last.saturating_sub(4)..=last {
            let entry = &self.entries[i];
            if entry.names.is_none() || !entry.answer.accepted() || entry.used_long_ago {
                continue;
            }
            let again = self
                .entries
                .iter()
                .filter(|e| e.token.is_some() && e.token == entry.token)
                .count()
                > 1;
            if !again {
                self.entries[i].names = None;
            }
        }
    }

    /// Refusals are anybody's to cause: they are few, each costs a judgement, and they never push out what was accepted.
    /// Garbage goes first, then of those that say the same the oldest but one: while somebody goes on trying, the first is what a
    /// judgement waits for. A refusal that stands alone stays longest.
    fn bound_refusals(&mut self) {
        let refusals: Vec<usize> = (0..self.entries.len())
            .filter(|&i| !self.entries[i].answer.accepted())
            .collect();
        if refusals.len() <= limits::LEDGER_REFUSALS_MAX {
            return;
        }
        let entries = &self.entries;
        let alike = |to: usize| {
            let refusals = refusals.iter().copied();
            refusals.filter(move |i| entries[*i].is_like(&entries[to]))
        };
        let garbage = |i: &usize| self.is_garbage(&entries[*i]);
        let goes = refusals.iter().copied().find(garbage).or_else(|| {
            let most = refusals.iter().rev().max_by_key(|i| alike(**i).count())?;
            alike(*most).take(2).last()
        });
        if let Some(goes) = goes {
            self.entries.remove(goes);
            self.drop_unused_contexts();
        }
    }

    /// How many refusals there were in these times, each of another token or from another context, but for garbage.
    pub fn refusals_apart(&self, times: RangeInclusive<i64>) -> usize {
        let refused = |e: &&Entry| !e.answer.accepted() && !self.is_garbage(e);
        let within = self.entries.iter().filter(|e| times.contains(&e.time));
        let refusals: Vec<&Entry> = within.filter(refused).collect();
        let is_first = |i: usize| !refusals[..i].iter().any(|e| e.is_like(refusals[i]));
        (0..refusals.len()).filter(|i| is_first(*i)).count()
    }

    /// A token that this family is not known to have held.
    fn is_garbage(&self, refusal: &Entry) -> bool {
        let holds = |e: &Entry| {
            e.answer.accepted() && (e.token == refusal.token || e.issued == refusal.token)
        };
        let counted = refusal.generation.is_some() || refusal.used_long_ago;
        refusal.token.is_some() && !counted && !self.entries.iter().any(holds)
    }

    fn make_room(&mut self) {
        if let Some((before, link)) = self.dull_link() {
            let entry = self.entries.remove(link);
            self.entries[before].issued = entry.issued;
            self.folded_until = self.folded_until.max(Some(entry.time));
            self.settle(entry.context, self.entries[before].time, entry.time);
        } else {
            let oldest = self
                .entries
                .iter()
                .position(|e| e.answer.accepted())
                .unwrap_or(0);
            let oldest = self.entries.remove(oldest);
            self.folded_until = self.folded_until.max(Some(oldest.time));
            if oldest.answer.accepted() {
                self.settle(oldest.context, oldest.time, oldest.time);
            }
        }
        self.drop_unused_contexts();
    }

    /// The oldest link of a chain that nobody disputes: used once, in the context of the link that issued it.
    ///
    /// Never one of the newest: a race presents its token again a moment later, and must still find the first use.
    fn dull_link(&self) -> Option<(usize, usize)> {
        let old = self
            .entries
            .len()
            .saturating_sub(limits::LEDGER_NAMED_ENTRIES);
        self.entries
            .iter()
            .enumerate()
            .take(old)
            .skip(1)
            .find_map(|(i, entry)| {
                let (token, _) = (entry.token?, entry.issued?);
                let plain = entry.answer == Answer::Accepted
                    && entry.generation.is_none()
                    && !entry.used_long_ago;
                let alone = self
                    .entries
                    .iter()
                    .filter(|e| e.token == Some(token))
                    .count()
                    == 1;
                let before = self.entries[..i]
                    .iter()
                    .position(|e| e.issued == Some(token) && e.context == entry.context)?;
                (plain && alone).then_some((before, i))
            })
    }

    fn number(&mut self, context: Arc<Context>) -> u16 {
        let at = self
            .contexts
            .iter()
            .position(|c| Arc::ptr_eq(c, &context) || *c == context)
            .unwrap_or_else(|| {
                self.contexts.push(context);
                self.contexts.len() - 1
            });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    fn settle(&mut self, context: u16, first: i64, last: i64) {
        match self.settled.iter_mut().find(|s| s.context == context) {
            Some(settled) => {
                settled.first = settled.first.min(first);
                settled.last = settled.last.max(last);
            }
            None => self.settled.push(Settled {
                context,
                first,
                last,
            }),
        }
        if self.settled.len() > limits::LEDGER_SETTLED_MAX {
            let oldest = (0..self.settled.len())
                .min_by_key(|&i| (self.settled[i].last, self.settled[i].context));
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
    /// What a person reads of it, while it is kept.
    pub fn names(&self) -> Option<&Names> {
        self.names.as_deref()
    }

    /// The event, or nothing where its id is no longer kept.
    pub fn event_id(&self) -> Option<&Text> {
        self.names.as_ref().map(|names| &names.event_id)
    }

    /// The presented token as the source names it; its hash where the name is no longer kept.
    pub fn token_name(&self) -> Option<Text> {
        let named = self.names.as_ref().and_then(|names| names.token.clone());
        named.or_else(|| self.token.map(|hash| hash.to_string().into()))
    }

    /// Whether both are of one token and from one context.
    fn is_like(&self, other: &Self) -> bool {
        self.token == other.token && self.context == other.context
    }

    /// Whether both name a client, and not the same.
    pub fn other_client(&self, other: &Self) -> bool {
        self.client != 0 && other.client != 0 && self.client != other.client
    }

    /// Whether it came through one of these clients.
    pub fn is_of_one_of(&self, client_ids: &[Text]) -> bool {
        self.client != 0 && client_ids.iter().any(|id| client_hash(id) == self.client)
    }

    /// What it is ordered by, before its event.
    const fn key(&self) -> (i64, Option<TokenHash>, Answer, Option<TokenHash>) {
        (self.time, self.token, self.answer, self.issued)
    }
}

fn narrow(generation: u64) -> u32 {
    u32::try_from(generation).unwrap_or(u32::MAX)
}

/// Never 0, which stands for no client.
fn client_hash(client_id: &str) -> u32 {
    let hash = xxhash_rust::xxh3::xxh3_64(client_id.as_bytes());
    u32::try_from(hash >> 32).unwrap_or_default() | 1
}

#[cfg(test)]
mod tests;
