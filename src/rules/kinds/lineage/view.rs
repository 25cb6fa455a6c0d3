//! What of a ledger a judgement reads: the entries up to the cut, with the questions the table asks of them.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::super::case::{ClientFacts, Ends, FamilyCase, Login, Logins, Told, millis};
use super::super::super::context::{
    Basis, Seen, Standing, TravelBounds, cannot_be_one, is_apart_by_device_alone, standing,
};
use super::super::super::ledger::{Answer, Entry, Ledger, TokenHash};
use super::verdict::Judgement;
use crate::model::{Rotation, Text, limits};

/// Presentations further away than this from a disputed one say nothing about it: a suspicion that is not proved by then
/// ends as a record.
pub(super) const HORIZON_MS: i64 = 24 * 3600 * 1000;

/// Disputes whose last presentation is older than this are closed: nothing that comes now can change them, nor those
/// that are counted beside them. Families live for months, and all but a few of their disputes lie behind them.
const CLOSED_AFTER_MS: i64 = 2 * HORIZON_MS;

/// From the attempt at a revocation to its effect; the longest that a call may take.
const OUR_END_TAKES: Duration = Duration::from_secs(10);

/// What of a rule's parameters a judgement reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) settle: Duration,
    pub(super) lost_response: Duration,
    pub(super) proof_window: Duration,
    pub(super) new_device_login: Duration,
    pub(super) travel: TravelBounds,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(2),
            lost_response: Duration::from_mins(30),
            proof_window: Duration::from_mins(10),
            new_device_login: Duration::from_mins(5),
            travel: TravelBounds::default(),
        }
    }
}

/// How much of the table may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// At this engine time (milliseconds): only what no fact still to come can excuse.
    Certain(i64),
    /// Everything, over the entries up to this event time (milliseconds).
    Settled(i64),
}

pub(super) struct View<'a> {
    pub(super) bounds: Bounds,
    pub(super) client: &'a ClientFacts,
    pub(super) scope: Scope,
    /// Event time before which disputes are closed.
    closed_before: i64,
    ledger: &'a Ledger,
    entries: &'a [Entry],
    ends: &'a Ends,
    logins: Logins<'a>,
    told: Told<'a>,
    family: &'a Text,
    index: OnceCell<Index>,
}

/// Which entries name a token, in order of token and time. Who asks of one token after the other, as whoever follows a
/// chain does, need not go through the whole ledger for each: that was most of judging a disputed family of a hundred
/// generations, which is done at each of its events.
struct Index {
    presented: Vec<(TokenHash, usize)>,
    issued: Vec<(TokenHash, usize)>,
}

impl Index {
    fn of(entries: &[Entry]) -> Self {
        let named = |token: fn(&Entry) -> Option<TokenHash>| {
            let entries = entries.iter().enumerate();
            // Nearly each names one: grown as they come, it would be allocated seven times at each event of a family in dispute.
            let mut named = Vec::with_capacity(entries.len());
            named.extend(entries.filter_map(|(i, entry)| Some((token(entry)?, i))));
            named.sort_unstable();
            named
        };
        Self {
            presented: named(|entry| entry.token),
            issued: named(|entry| entry.issued),
        }
    }
}

/// The entries of one token.
fn of_token(named: &[(TokenHash, usize)], token: TokenHash) -> impl Iterator<Item = usize> {
    let first = named.partition_point(|(other, _)| *other < token);
    let named = named[first..].iter();
    named
        .take_while(move |(other, _)| *other == token)
        .map(|(_, i)| *i)
}

impl<'a> View<'a> {
    /// What a person calls the token.
    pub(super) fn name_of(&self, token: TokenHash) -> Text {
        self.ledger.name_of(token)
    }

    pub(super) fn new(bounds: Bounds, case: &FamilyCase<'a>, scope: Scope) -> Self {
        let ledger = case.ledger;
        let all = ledger.entries();
        let entries = match scope {
            Scope::Certain(_) => all,
            Scope::Settled(cut) => &all[..all.partition_point(|e| e.time <= cut)],
        };
        let newest = entries.last().map_or(i64::MIN, |e| e.time);
        Self {
            bounds,
            client: case.client,
            scope,
            closed_before: newest.saturating_sub(CLOSED_AFTER_MS),
            ledger,
            entries,
            ends: case.ends,
            logins: case.logins,
            told: case.told,
            family: case.id,
            index: OnceCell::new(),
        }
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::of(self.entries))
    }

    /// The same with the disputes that are closed, for a person who asks.
    pub(super) fn with_closed(self, wanted: bool) -> Self {
        let closed_before = if wanted { i64::MIN } else { self.closed_before };
        Self {
            closed_before,
            ..self
        }
    }

    /// Whether anything in it may still be judged anew.
    pub(super) fn has_open_disputes(&self) -> bool {
        self.ledger.disputed_since(self.closed_before)
    }

    pub(super) fn is_open(&self, entry: &Entry) -> bool {
        entry.time >= self.closed_before
    }

    /// Whether the token was presented since disputes are open.
    pub(super) fn is_open_token(&self, token: TokenHash) -> bool {
        let mut presented = self.presented(token);
        presented.any(|i| self.is_open(&self.entries[i]))
    }

    /// All tokens but those that were presented once and accepted, which is nearly every one of a long chain.
    pub(super) fn presented_again(&self) -> BTreeSet<TokenHash> {
        let presented = self.index().presented.chunk_by(|(a, _), (b, _)| a == b);
        let is_again = |of_token: &&[(TokenHash, usize)]| {
            let mut entries = of_token.iter().map(|(_, i)| &self.entries[*i]);
            of_token.len() > 1 || entries.any(|e| !e.answer.accepted() || e.used_long_ago)
        };
        let again = presented.filter(is_again);
        again
            .filter_map(|of_token| Some(of_token.first()?.0))
            .collect()
    }

    /// Presentations of a token, in order of time.
    pub(super) fn presented(&self, token: TokenHash) -> impl Iterator<Item = usize> {
        of_token(&self.index().presented, token)
    }

    pub(super) fn settled(&self) -> bool {
        matches!(self.scope, Scope::Settled(_))
    }

    /// Whether all is known that was before an entry: what comes from now on is younger.
    pub(super) fn is_complete_until(&self, index: usize) -> bool {
        match self.scope {
            Scope::Settled(_) => true,
            Scope::Certain(now) => self.entry(index).time.saturating_add(self.settle_ms()) <= now,
        }
    }

    pub(super) fn settle_ms(&self) -> i64 {
        millis(self.bounds.settle)
    }

    pub(super) fn entries(&self) -> impl ExactSizeIterator<Item = (usize, &'a Entry)> + use<'a> {
        self.entries.iter().enumerate()
    }

    pub(super) fn entry(&self, index: usize) -> &'a Entry {
        &self.entries[index]
    }

    /// The first that is not older than this event time (milliseconds).
    pub(super) fn first_since(&self, time: i64) -> usize {
        self.entries.partition_point(|e| e.time < time)
    }

    pub(super) fn seen(&self, index: usize) -> Seen<'a> {
        self.ledger.seen(&self.entries[index])
    }

    /// Refused after a person or this daemon ended the family.
    ///
    /// A family that was accepted again has not been ended: a disabled user was enabled, a server kept the session.
    pub(super) fn is_aftermath(&self, entry: &Entry) -> bool {
        let lived_since = |end: i64| {
            self.entries
                .iter()
                .any(|e| e.answer.accepted() && end < e.time && e.time < entry.time)
        };
        let ends = self.ends;
        // What was under way while we asked for the end may be answered a little later.
        let by_us = |&end: &i64| ends.assumed || !lived_since(end + millis(OUR_END_TAKES));
        let by_people = |&end: &i64| !lived_since(end);
        let past = |end: &&i64| **end <= entry.time;
        ends.by_us.iter().filter(past).any(by_us)
            || ends.by_people.iter().filter(past).any(by_people)
    }

    /// Accepted presentations of a token, in order of time.
    pub(super) fn uses(&self, token: TokenHash) -> Vec<usize> {
        self.presented(token)
            .filter(|i| self.entries[*i].answer.accepted())
            .collect()
    }

    /// Presentations that consumed a token. Where the server is not known to rotate, only what issued another token did.
    pub(super) fn consumptions(&self, token: TokenHash) -> Vec<usize> {
        let mut uses = self.uses(token);
        if self.client.rotation == Rotation::Unknown {
            uses.retain(|&u| self.entries[u].issued.is_some());
        }
        uses
    }

    /// Every token that was issued in exchange for this one, or for one of those.
    ///
    /// Of a token used before all that is remembered these are all tokens since.
    pub(super) fn descendants(&self, token: TokenHash) -> BTreeSet<TokenHash> {
        if (self.presented(token)).any(|i| self.entries[i].used_long_ago) {
            let since = self
                .entries
                .iter()
                .filter(|e| e.answer.accepted() && !e.used_long_ago);
            return since
                .flat_map(|e| [e.token, e.issued])
                .flatten()
                .filter(|t| *t != token)
                .collect();
        }
        let mut found = BTreeSet::new();
        let mut ahead: Vec<usize> = self.presented(token).collect();
        while let Some(i) = ahead.pop() {
            let entry = &self.entries[i];
            let issued = entry.issued.filter(|_| entry.answer.accepted());
            if let Some(issued) = issued.filter(|issued| found.insert(*issued)) {
                ahead.extend(self.presented(issued));
            }
        }
        found
    }

    /// Generations between the presented token and the newest issued, as it stood when it was presented.
    pub(super) fn gap(&self, index: usize) -> u64 {
        let entry = &self.entries[index];
        if entry.used_long_ago {
            let since = self.entries[..index].iter().filter(|e| e.answer.accepted());
            return since.count() as u64 + 1;
        }
        if let (Some(generation), Some(latest)) = (entry.generation, entry.latest_generation) {
            return latest.saturating_sub(generation).into();
        }
        entry.token.map_or(0, |token| self.depth(token, index))
    }

    /// Levels of the tree of tokens that grew from this one before it was presented again.
    fn depth(&self, token: TokenHash, index: usize) -> u64 {
        let presented = &self.entries[index];
        // A refusal can stand a little before the use that it is about; an acceptance is after what it repeats, and what
        // a coarse clock shows at the same time is not known to have been before it.
        let until = if presented.answer.accepted() {
            presented.time - 1
        } else {
            presented.time + self.settle_ms()
        };
        let own_token = |u: &usize| self.entries[*u].token == presented.token && *u < index;
        let before = |u: &usize| *u != index && (self.entries[*u].time <= until || own_token(u));
        let mut visited = BTreeSet::from([token]);
        let mut level = vec![token];
        for depth in 0.. {
            let uses: Vec<usize> = level
                .iter()
                .flat_map(|token| self.uses(*token))
                .filter(before)
                .collect();
            if uses.is_empty() {
                return depth;
            }
            let issued = uses.into_iter().filter_map(|u| self.entries[u].issued);
            level = issued.filter(|token| visited.insert(*token)).collect();
        }
        0
    }

    /// Contexts of the issue and of accepted presentations of tokens older than the disputed one, at any age.
    pub(super) fn known(
        &self,
        token: Option<TokenHash>,
        generation: Option<u32>,
        index: usize,
    ) -> Vec<Seen<'a>> {
        let mut older: BTreeSet<usize> = BTreeSet::new();
        // Whoever came with the disputed token or after it is not history.
        let first_use = token.and_then(|token| self.uses(token).first().copied());
        let since = self.entries[first_use.map_or(index, |use_| use_.min(index))].time;
        match token {
            Some(token) => self.ancestors(token, &mut older),
            None => older.extend(
                self.entries()
                    .filter(|(i, e)| *i < index && e.answer.accepted())
                    .map(|(i, _)| i),
            ),
        }
        if let Some(generation) = generation {
            older.extend(
                self.entries()
                    .filter(|(_, e)| {
                        e.answer.accepted() && e.generation.is_some_and(|g| g < generation)
                    })
                    .map(|(i, _)| i),
            );
        }
        let issue = self
            .entries()
            .filter(|(_, e)| e.answer == Answer::Issued)
            .map(|(i, _)| i);
        older.extend(issue);
        older
            .into_iter()
            .map(|i| self.seen(i))
            .chain(self.ledger.settled_before(since))
            .collect()
    }

    fn ancestors(&self, token: TokenHash, found: &mut BTreeSet<usize>) {
        let mut visited = BTreeSet::new();
        let mut ahead = vec![token];
        while let Some(token) = ahead.pop() {
            for i in of_token(&self.index().issued, token) {
                let entry = &self.entries[i];
                if !entry.answer.accepted() {
                    continue;
                }
                found.insert(i);
                if let Some(parent) = entry.token.filter(|parent| visited.insert(*parent)) {
                    // Every use of the parent is a presentation of an older token.
                    found.extend(self.uses(parent));
                    ahead.push(parent);
                }
            }
        }
    }

    pub(super) fn standing(&self, index: usize, known: &[Seen<'_>]) -> (Standing, Basis) {
        standing(self.seen(index), known, &self.bounds.travel)
    }

    pub(super) fn same_context(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.seen(a).context, self.seen(b).context);
        // A ledger keeps each context once, and most of a family's presentations share one.
        std::ptr::eq(a, b) || a.same_as(b)
    }

    /// Whether all that sets it apart from what is known is its device id.
    pub(super) fn is_another_device(&self, index: usize, known: &[Seen<'_>]) -> bool {
        is_apart_by_device_alone(self.seen(index), known)
    }

    /// Whether the user has logged in on the device of a presentation, shortly before it or after; `None` where he still may.
    pub(super) fn logged_in_there(&self, index: usize) -> Option<bool> {
        let Scope::Settled(known_until) = self.scope else {
            return None;
        };
        let (time, context) = (self.entry(index).time, self.seen(index).context);
        let wait = millis(self.bounds.new_device_login);
        let (from, end) = (time.saturating_sub(wait), time.saturating_add(wait));
        let so_far = from..=end.min(known_until);
        let times = if self.is_crowded(so_far.clone()) {
            so_far
        } else {
            from..=end
        };
        let device_id = context.device_id.clone()?;
        self.logins.has(&Login {
            device_id,
            times,
            known_until,
        })
    }

    /// Whether so much is refused, of other tokens and from elsewhere, that the ledger could forget one refusal before its time is
    /// over. A new phone does not do that.
    fn is_crowded(&self, times: RangeInclusive<i64>) -> bool {
        self.ledger.refusals_apart(times) >= limits::LEDGER_REFUSALS_MAX / 2
    }

    /// Whether this was found before, by the rule that asks.
    pub(super) fn has_told(&self, judgement: &Judgement) -> bool {
        self.told.has(&judgement.about(self.family))
    }

    /// Whether one person cannot have been at both.
    pub(super) fn unreachable(&self, a: usize, b: usize) -> bool {
        cannot_be_one(self.seen(a), self.seen(b), &self.bounds.travel)
    }
}
