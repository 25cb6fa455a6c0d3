//! L2: the engine: a deterministic state machine over keyed stages. It cannot fail, reads no clock and does no I/O.
//!
//! Uses `rules`, `enrich`, `model` and the plain values of `config::policy`. Bad data was rejected in `decode`, bad rules in `rules`.
//!
//! ```text
//! event --> rename (only after a change of the token key)
//!       --> resolve (token or session -> family) --> lineage (family) --> account (user) --> network, client --> keyed (whatever a rule says) --> risk --> found
//! ```
//!
//! In: events, ticks and our own doings, in order of arrival. Out: what the rules found, for the response policy.
//! Events are judged when they arrive; nothing waits in a reorder buffer. Where a verdict hangs on a fact that may still
//! come, the *question* waits (`state::Waiting`) until engine time has passed the settling time, and is then answered
//! over exactly the facts up to there: the answer does not depend on the order of arrival.

mod account;
mod active;
mod aftermath;
mod ahead;
mod blocks;
mod compiled;
mod cut;
mod digest;
mod explain;
mod facts;
mod family;
mod found;
mod key;
mod keyed;
mod lifecycle;
mod lineage;
mod parts;
mod passing;
mod plan;
mod queue;
mod rate;
mod rename;
mod repeats;
mod resolve;
mod risk;
mod stages;
mod state;
mod sweep;
mod table;
mod time;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

pub use explain::{Explained, FamilyStory, Outcome};
pub use found::{Found, stable_id};
pub use parts::Made;

use crate::config::{Clients, StateLimits, Tenants};
use crate::model::{
    ActionKind, Afterwards, Enriched, Input, Mode, OwnEvent, OwnEventKind, Target, Text, Timestamp,
    limits,
};
use crate::rules::RuleSet;
use compiled::Compiled;
use key::Scope;
use parts::Part as _;
use state::{State, Waiting};

/// The engine: rules and everything they remember.
#[derive(Debug, Clone)]
pub struct Engine {
    compiled: Compiled,
    /// Of partitions that have none of their own.
    lateness_ms: i64,
    lateness_of: BTreeMap<u32, i64>,
    limits: StateLimits,
    state: State,
    counters: Counters,
    errors: keyed::Errors,
}

/// What became of the input, counted since the start of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub events: u64,
    pub duplicates: u64,
    pub late: u64,
}

/// How much the engine remembers, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    pub families: usize,
    pub tokens: usize,
    pub users: usize,
    pub networks: usize,
    pub clients: usize,
    pub waiting: usize,
    pub evicted: u64,
}

/// One part of what the engine remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub what: &'static str,
    pub entries: usize,
    /// In the saved form, without compression; in memory it is three to five times as much.
    pub bytes: usize,
    /// Equal for equal memories, of what is of use at the time that was asked for.
    pub digest: u128,
}

impl Held {
    /// Of all parts together.
    pub fn digest_of(parts: &[Self]) -> u128 {
        let parts: Vec<_> = parts.iter().map(|part| (part.what, part.digest)).collect();
        digest::of(&parts)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Engine {
    /// How many events are looked at together before they come.
    pub const LOOKS_AHEAD: usize = ahead::AT_ONCE;

    pub fn new(rules: &RuleSet, clients: Clients, lateness: Duration) -> Self {
        Self {
            compiled: Compiled::new(rules, clients, Tenants::default()),
            lateness_ms: millis(lateness),
            lateness_of: BTreeMap::new(),
            limits: StateLimits::default(),
            state: State::new(),
            counters: Counters::default(),
            errors: keyed::Errors::new(),
        }
    }

    /// The same, knowing what the operator says about tenants.
    #[must_use]
    pub fn with_tenants(mut self, tenants: Tenants) -> Self {
        self.compiled.know(tenants);
        self
    }

    /// The same, remembering at most so much.
    #[must_use]
    pub fn with_limits(mut self, limits: StateLimits) -> Self {
        self.set_limits(limits);
        self
    }

    /// Remembers at most so much from now on. Where that is less than there is, the oldest goes as more comes.
    pub fn set_limits(&mut self, limits: StateLimits) {
        self.limits = limits;
        self.state.cap(&limits);
    }

    /// While memory is short no table grows: for what comes, the oldest goes.
    pub fn hold(&mut self, held: bool) {
        self.state.hold(held);
    }

    /// Other rules, same memory.
    pub fn replace_rules(&mut self, rules: &RuleSet, clients: Clients, tenants: Tenants) {
        self.compiled = Compiled::new(rules, clients, tenants);
    }

    /// Takes one input and appends what it released.
    pub fn apply(&mut self, input: &Input, out: &mut Vec<Found>) {
        let before = out.len();
        let muted = match input {
            Input::Event {
                partition,
                event,
                muted,
                arrived_at,
            } => {
                self.event(*partition, event, arrived_at.is_some(), out);
                *muted
            }
            Input::Own { event, muted } => {
                self.own(event);
                *muted
            }
            Input::Tick { partition, time } => {
                self.state.time.tick(*partition, time.as_millisecond());
                false
            }
            Input::Ended { partition } => {
                self.state.time.ended(*partition);
                false
            }
        };
        self.answer_questions(out);
        keyed::note_thefts(&mut self.state, &out[before..]);
        risk::follow(&mut self.state, &self.compiled, before, out);
        for found in &mut out[before..] {
            found.families_active = lineage::families_active(&self.state, &found.detection);
        }
        self.state.sweep();
        if muted {
            // An output belongs to the event that released it: what was judged before is not judged again.
            out.truncate(before);
        }
    }

    /// Looks at what these events, which come next, will ask for: [`Self::LOOKS_AHEAD`] of them at most.
    pub fn look_ahead<'a>(&self, events: impl Iterator<Item = &'a Enriched>) {
        ahead::fetch(&self.state, &self.compiled, events);
    }

    /// How far behind the partition's own watermark an event may come and still be acted upon.
    pub fn set_lateness(&mut self, partition: u32, lateness: Duration) {
        self.lateness_of.insert(partition, millis(lateness));
    }

    /// A partition is going to be read: engine time waits for it, also before its first event.
    pub fn expect(&mut self, partition: u32) {
        self.state.time.expected(partition);
    }

    /// After a restart: of what was read before, only what is expected again holds time back.
    pub fn expect_none(&mut self) {
        self.state.time.none_expected();
    }

    /// In `replay` an action decided `execute` counts as done at the event time of its detection.
    pub fn assume_done(&mut self, kind: ActionKind, target: &Target, time: Timestamp) {
        self.state.nothing_performed = true;
        self.ended_by_us(kind, target, time);
    }

    fn ended_by_us(&mut self, kind: ActionKind, target: &Target, time: Timestamp) {
        let whole_user = matches!(kind, ActionKind::RevokeUser | ActionKind::LockUser);
        if whole_user || kind == ActionKind::RevokeFamily {
            lineage::ended_by_us(&mut self.state, target, whole_user, time.as_millisecond());
        }
    }

    /// Forgets a user with all families, of whichever server. Hashes in other tables stay; they name nobody.
    pub fn forget(&mut self, user_id: &str) {
        let state = &mut self.state;
        // It would still name the user.
        state.give_up_round();
        let is_theirs = |user: &Option<Text>| user.as_deref() == Some(user_id);
        let of_user = state.families.iter().map(|(_, family)| family);
        let of_user = of_user.filter(|family| is_theirs(&family.user_id));
        let families: HashSet<Text> = of_user.map(|family| family.id.clone()).collect();
        state.families.retain(|family| !is_theirs(&family.user_id));
        state.users.retain(|user| &*user.id != user_id);
        state
            .aside
            .retain(|(event, _)| !is_theirs(&event.event.user_id));
        state.keyed.for_each(|keyed| {
            keyed.memory.hits.forget(|party| {
                let of_family = |family| families.contains(family);
                is_theirs(&party.user_id) || party.family_id.as_ref().is_some_and(of_family)
            });
        });
    }

    /// What was seen after an event time of a family, or of a user where no family is named; `None` where nothing is
    /// remembered.
    pub fn afterwards(&self, target: &Target, since: Timestamp) -> Option<Afterwards> {
        aftermath::afterwards(&self.state, target, since.as_millisecond())
    }

    /// Engine time: the lowest watermark. `None` before anything was seen, and when every input has ended.
    pub fn now(&self) -> Option<Timestamp> {
        self.state
            .time
            .now()
            .and_then(|now| Timestamp::from_millisecond(now).ok())
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The mode of a rule by itself; `None` where there is none of that name, or it is off.
    pub fn mode_of(&self, rule: &str) -> Option<Mode> {
        self.compiled.mode_of(rule)
    }

    /// How often a condition of a rule had no answer since the start of this process, by the rule's name.
    pub fn rule_errors(&self) -> impl Iterator<Item = (&Text, u64)> {
        self.errors.iter().map(|(rule, count)| (rule, *count))
    }

    pub fn sizes(&self) -> Sizes {
        let state = &self.state;
        Sizes {
            families: state.families.len(),
            tokens: state.resolve.tokens.len(),
            users: state.users.len(),
            networks: state.networks.len(),
            clients: state.clients.len(),
            waiting: state.questions.len() + state.aside.len(),
            evicted: state.evicted(),
        }
    }

    /// The parts of what is remembered and how large each is, for a person who asks; slow. What is of no use any more at event time
    /// `at` is swept out in the course of a day: of two equal memories that were swept at other times, digests at one time are equal.
    /// By default they are of everything.
    pub fn held(&self, at: Option<Timestamp>) -> Vec<Held> {
        self.state
            .held(at.map_or(i64::MIN, Timestamp::as_millisecond))
    }

    /// Everything remembered, in a versioned form: made at once, which takes seconds where there is much.
    pub fn snapshot(&self) -> Vec<u8> {
        self.state.saved().concat()
    }

    /// Begins a round of saving: the form of what is remembered now is made piece by piece, while events go on. One that is
    /// under way is given up.
    pub fn begin_round(&mut self) {
        self.state.begin_round();
    }

    /// Goes on with the round for about a millisecond. What is made of it until it is complete is, one behind the other, a form
    /// of what [`snapshot`](Self::snapshot) gives.
    pub fn go_on_with_round(&mut self) -> Made {
        self.state.go_on(limits::ROUND_PIECE_BYTES)
    }

    /// What the round under way stands for is not to be written any more.
    pub fn give_up_round(&mut self) {
        self.state.give_up_round();
    }

    /// Takes the memory of a snapshot; `false` when its form is not known, and then nothing has changed.
    #[must_use]
    pub fn restore(&mut self, snapshot: &[u8]) -> bool {
        let Some(state) = State::restored(snapshot) else {
            return false;
        };
        self.state = state;
        self.state.cap(&self.limits);
        true
    }

    fn event(&mut self, partition: u32, event: &Enriched, arrived: bool, out: &mut Vec<Found>) {
        let time = event.event.time.as_millisecond();
        self.counters.events += 1;
        let lateness = self.lateness_of.get(&partition);
        let lateness = lateness.copied().unwrap_or(self.lateness_ms);
        let late = self
            .state
            .time
            .watermark(partition)
            .is_some_and(|newest| time < newest.saturating_sub(lateness));
        self.state.time.event(partition, time, arrived);
        let id = Scope::of(&event.event).event(&event.event.event_id);
        let now = self.state.now();
        if !self.state.repeats.is_new(id, now) {
            self.counters.duplicates += 1;
            return;
        }
        self.counters.late += u64::from(late);
        let state = &mut self.state;
        let event = state.renamed.known_as(event, &state.resolve, time);
        let errors = &mut self.errors;
        if !stages::pass(state, &self.compiled, errors, (&event, late), out) {
            self.counters.duplicates += 1;
        }
    }

    fn own(&mut self, event: &OwnEvent) {
        // An attempt that timed out may have worked: from the first attempt on, what is refused is our doing.
        if matches!(
            event.kind,
            OwnEventKind::Attempted | OwnEventKind::Done | OwnEventKind::Verified
        ) {
            self.ended_by_us(event.action, &event.target, event.time);
        }
    }

    fn answer_questions(&mut self, out: &mut Vec<Found>) {
        keyed::settled(&mut self.state, &self.compiled, &mut self.errors, out);
        while let Some((cut, waiting)) = self.state.due() {
            match waiting {
                Waiting::Family(key) => {
                    lineage::ask(&mut self.state, &self.compiled, key, cut, false, out);
                }
                Waiting::User(key) => {
                    account::ask(&mut self.state, &self.compiled, key, cut, false, out);
                }
            }
        }
    }
}
