//! The state of one family: its ledger, who it belongs to, and what has been said about it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::key::Scope;
use super::table::Aged;
use crate::model::{Event, EventType, Text, TokenKind};
use crate::rules::context::Context;
use crate::rules::kinds::scope_widening::Scopes;
use crate::rules::kinds::velocity::Counts;
use crate::rules::ledger::{Answer, Entry, Ledger, NewEntry, TokenHash};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Family {
    /// The id given by the server, else the family's first known token.
    pub(super) id: Text,
    named: bool,
    /// Event time of the event that gave the id.
    id_time: i64,
    pub(super) issuer: Text,
    pub(super) tenant: Option<Text>,
    pub(super) user_id: Option<Text>,
    pub(super) client_id: Option<Text>,
    pub(super) session_id: Option<Text>,
    pub(super) token_kind: Option<TokenKind>,
    pub(super) ledger: Ledger,
    pub(super) counts: Counts,
    /// The scopes that were granted and named.
    pub(super) scopes: Scopes,
    /// Lifetime of its access tokens in seconds, as its newest event told, and when that was.
    access_token_ttl: Option<(i64, u32)>,
    /// Hashes of the detections released.
    pub(super) released: Vec<u64>,
    pub(super) first_seen: i64,
    pub(super) last_seen: i64,
    /// Event time of the first issue or accepted refresh; without one it may be anybody's garbage.
    accepted_since: Option<i64>,
    /// Event time of the newest accepted refresh, for the time between refreshes.
    pub(super) refreshed_at: Option<i64>,
    /// Day of its newest accepted event.
    active_on: i64,
    /// Event time at which it was last listed with its user and session; absent where either is new.
    listed_at: Option<i64>,
    /// Its scope says that it outlives the browser session, whatever else the source tells of its kind.
    offline_access: bool,
}

/// A family that is used is listed again so often: well before what nobody touches is swept out.
const LISTED_FOR_MS: i64 = 30 * 24 * 3_600_000;
/// OpenID Connect Core, section 11.
const OFFLINE_ACCESS: &str = "offline_access";

impl Aged for Family {
    fn last_seen(&self) -> i64 {
        self.last_seen
    }

    fn provisional(&self) -> bool {
        self.accepted_since.is_none()
    }
}

impl Family {
    pub(super) fn new(event: &Event, time: i64) -> Self {
        Self {
            id: id_of(event),
            named: event.family_id.is_some(),
            id_time: time,
            issuer: event.issuer.clone(),
            tenant: event.tenant.clone(),
            user_id: None,
            client_id: None,
            session_id: None,
            token_kind: None,
            ledger: Ledger::default(),
            counts: Counts::default(),
            scopes: Scopes::default(),
            access_token_ttl: None,
            released: Vec::new(),
            first_seen: time,
            last_seen: time,
            accepted_since: None,
            refreshed_at: None,
            active_on: i64::MIN,
            listed_at: None,
            offline_access: false,
        }
    }

    pub(super) fn scope(&self) -> Scope {
        Scope::new(&self.issuer, self.tenant.as_deref())
    }

    /// Event time of the first issue or accepted refresh.
    pub(super) fn began(&self) -> Option<i64> {
        self.accepted_since
    }

    /// Whether its tokens hang on the browser session, as far as the source says.
    pub(super) fn kind(&self) -> Option<TokenKind> {
        let by_scope = self.offline_access.then_some(TokenKind::Offline);
        self.token_kind.or(by_scope)
    }

    /// Whether its user or its session does not know of it. What was only ever refused may be anybody's claim.
    pub(super) fn unlisted(&self) -> bool {
        let long_ago = |at: i64| self.last_seen.saturating_sub(at) > LISTED_FOR_MS;
        self.accepted_since.is_some() && self.listed_at.is_none_or(long_ago)
    }

    /// Whether an event is its first accepted one of a day.
    pub(super) fn is_active_anew(&mut self, event: &Event, day: i64) -> bool {
        let is_anew = event.succeeded() && day > self.active_on;
        if is_anew {
            self.active_on = day;
        }
        is_anew
    }

    pub(super) fn listed(&mut self) {
        self.listed_at = Some(self.last_seen);
    }

    /// Files the event; `false` when the ledger has it already.
    pub(super) fn add(
        &mut self,
        event: &Event,
        time: i64,
        used_before: bool,
        context: Arc<Context>,
    ) -> bool {
        self.believe(event, time);
        self.offline_access |= event.succeeded() && grants_offline_access(event);
        self.first_seen = self.first_seen.min(time);
        self.last_seen = self.last_seen.max(time);
        self.token_kind = self.token_kind.or(event.token_kind);
        let told = event.access_token_ttl.map(|ttl| (time, ttl));
        self.access_token_ttl = self.access_token_ttl.max(told);
        self.scopes.add(event);
        self.ledger.add(NewEntry {
            time,
            answer: answer_of(event),
            token: presented_of(event),
            issued: issued_of(event),
            generation: event.generation,
            latest_generation: event.latest_generation,
            client_id: event.client_id.clone(),
            event_id: event.event_id.clone(),
            used_before,
            context,
        })
    }

    /// Learns whose the family is. A refusal is the caller's word: what it claims stands only until the server has
    /// accepted something; then the earliest acceptance decides, and others fill gaps.
    fn believe(&mut self, event: &Event, time: i64) {
        if !event.succeeded() && self.accepted_since.is_some() {
            return;
        }
        let is_earlier = time < self.id_time && !self.is_told();
        if !self.named && (event.family_id.is_some() || is_earlier) {
            self.id = id_of(event);
            self.named = event.family_id.is_some();
            self.id_time = time;
        }
        if event.succeeded() && self.accepted_since.is_none() {
            self.disbelieve();
        }
        let earliest = event.succeeded() && self.accepted_since.is_none_or(|since| time <= since);
        if earliest {
            self.accepted_since = Some(time);
        }
        self.learn(
            [&event.user_id, &event.client_id, &event.session_id],
            earliest,
        );
    }

    /// Whose it is: user, client and session.
    fn learn(&mut self, [user, client, session]: [&Option<Text>; 3], replaces: bool) {
        let other_user = take(&mut self.user_id, user.as_ref(), replaces);
        take(&mut self.client_id, client.as_ref(), replaces);
        let other_session = take(&mut self.session_id, session.as_ref(), replaces);
        if other_user || other_session {
            self.listed_at = None;
        }
    }

    pub(super) fn access_token_ttl(&self) -> Option<Duration> {
        let (_, seconds) = self.access_token_ttl?;
        Some(Duration::from_secs(seconds.into()))
    }

    fn disbelieve(&mut self) {
        (self.user_id, self.client_id, self.session_id) = (None, None, None);
    }

    /// Whether somebody was told of it by its id: that stands until the server names it, or what was done to the family
    /// would be done once more under another name.
    const fn is_told(&self) -> bool {
        !self.released.is_empty()
    }

    /// Whether it is known by this id, or one of its tokens is.
    pub(super) fn is_called(&self, id: &str) -> bool {
        let token = TokenHash::of(id);
        let names = |entry: &Entry| entry.token == Some(token) || entry.issued == Some(token);
        *self.id == *id || self.ledger.entries().iter().any(names)
    }

    /// Whether the server had issued or accepted one of its tokens by then.
    pub(super) fn was_accepted_before(&self, time: i64) -> bool {
        self.accepted_since.is_some_and(|since| since < time)
    }

    /// Takes over what was filed under another key for the same family.
    pub(super) fn absorb(&mut self, other: Self) {
        let by_other = match (self.is_told(), other.is_told()) {
            (mine, theirs) if mine == theirs => other.id_time < self.id_time,
            (_, theirs) => theirs,
        };
        if !self.named && (other.named || by_other) {
            self.id = other.id;
            self.named = other.named;
            self.id_time = other.id_time;
        }
        self.ledger.absorb(other.ledger);
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.active_on = self.active_on.max(other.active_on);
        let (mine, theirs) = (self.accepted_since, other.accepted_since);
        if mine.is_none() && theirs.is_some() {
            self.disbelieve();
        }
        if mine.is_none() || theirs.is_some() {
            let earlier = theirs.is_some_and(|theirs| mine.is_none_or(|mine| theirs < mine));
            self.learn(
                [&other.user_id, &other.client_id, &other.session_id],
                earlier,
            );
        }
        self.accepted_since = [mine, theirs].into_iter().flatten().min();
        self.listed_at = None;
        self.offline_access |= other.offline_access;
        self.token_kind = self.token_kind.or(other.token_kind);
        self.scopes.absorb(other.scopes);
        self.access_token_ttl = self.access_token_ttl.max(other.access_token_ttl);
        self.refreshed_at = self.refreshed_at.max(other.refreshed_at);
        self.counts.absorb(&other.counts);
        self.released.extend(other.released);
    }
}

fn grants_offline_access(event: &Event) -> bool {
    let mut scope = event.scope.iter().flat_map(|scope| scope.split(' '));
    scope.any(|granted| granted == OFFLINE_ACCESS)
}

/// Whether it is another one now.
fn take(mine: &mut Option<Text>, theirs: Option<&Text>, replaces: bool) -> bool {
    let Some(theirs) = theirs.filter(|_| mine.is_none() || replaces) else {
        return false;
    };
    let is_another = mine.as_ref() != Some(theirs);
    if is_another {
        *mine = Some(theirs.clone());
    }
    is_another
}

fn id_of(event: &Event) -> Text {
    let first = [&event.family_id, &event.token_id, &event.new_token_id]
        .into_iter()
        .flatten()
        .next();
    first.cloned().unwrap_or_else(|| {
        let session = event.session_id.as_deref().unwrap_or("-");
        format!("{session}/{}", event.client_id.as_deref().unwrap_or("-")).into()
    })
}

/// The presented token, or a name made of its generation where the source counts generations instead.
fn presented_of(event: &Event) -> Option<Text> {
    if event.kind == EventType::Issue {
        return None;
    }
    event
        .token_id
        .clone()
        .or_else(|| event.generation.map(generation_name))
}

/// The token issued; one that the server hands back unchanged is no new one.
fn issued_of(event: &Event) -> Option<Text> {
    let issued = event.new_token_id.clone().or_else(|| next_of(event));
    issued.filter(|issued| Some(issued) != event.token_id.as_ref())
}

/// Where a source counts generations and names no tokens, a refresh of generation n issues n + 1.
fn next_of(event: &Event) -> Option<Text> {
    let counts = event.token_id.is_none() && event.succeeded();
    event.generation.filter(|_| counts).map(|generation| {
        let issued = if event.kind == EventType::Issue {
            generation
        } else {
            generation.saturating_add(1)
        };
        generation_name(issued)
    })
}

fn generation_name(generation: u64) -> Text {
    format!("generation {generation}").into()
}

fn answer_of(event: &Event) -> Answer {
    use crate::model::Reason;
    if event.succeeded() {
        return if event.kind == EventType::Issue {
            Answer::Issued
        } else {
            Answer::Accepted
        };
    }
    match event.reason {
        Some(Reason::Reuse) => Answer::RefusedReuse,
        // Servers that forget or mark consumed tokens say one of these of a replay; the ledger knows better.
        Some(Reason::UnknownToken | Reason::Revoked) => Answer::RefusedGone,
        Some(Reason::Other) | None => Answer::Refused,
        Some(Reason::Expired | Reason::SessionEnded | Reason::UserDisabled) => Answer::RefusedDead,
        Some(Reason::ClientMismatch | Reason::Policy | Reason::Binding) => Answer::RefusedOther,
    }
}
