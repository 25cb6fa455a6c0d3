//! The table of DESIGN's "Reuse: one table decides", once more: slow, obvious, and over the whole truth at once.
//!
//! Written from the table and not from the rules' code, so that a mistake in one shows in the other. It sees every event
//! of a family in order of event time and asks, at the settling time of each, what the table says of every token.

use std::collections::{BTreeMap, BTreeSet};

use tokenwarden::model::{
    Agent, Enriched, EventType, Initiator, Network, NetworkClass, Place, Prefix, Reason,
};

use super::world::{Happening, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    ClientFault,
    Suspected,
    Theft,
}

/// What must be said of a family: tokens and verdicts, over all moments.
pub(crate) type Sentence = BTreeSet<(String, Verdict)>;

const GRACE_MS: i64 = 30_000;
const LOST_ANSWER_MS: i64 = 30 * 60_000;
const SETTLE_MS: i64 = 2_000;
/// Rows of a real server stand up to so much out of order; a question reads only what is certain to have arrived.
const DISORDER_MS: i64 = 200;
const ALTERNATION_MS: i64 = 10 * 60_000;
const NEW_DEVICE_LOGIN_MS: i64 = 5 * 60_000;
const DAY_MS: i64 = 24 * 3_600_000;

/// One presentation, or the issue.
struct Shown<'a> {
    time: i64,
    accepted: bool,
    issue: bool,
    /// The refusal may be about a reuse, as far as its reason tells.
    may_be_reuse: bool,
    /// Refused as dead: expired, revoked, aftermath of something else.
    dead: bool,
    token: Option<String>,
    issued: Option<String>,
    event: &'a Enriched,
}

pub(crate) fn judge(world: &World, family: usize) -> Sentence {
    let all: Vec<Shown<'_>> = world
        .events
        .iter()
        .filter(|h| h.family == Some(family))
        .map(shown)
        .collect();
    let ends = ends(world, family, &all);
    let logins = logins(world, &all);
    let mut sentence = Sentence::new();
    for asked in &all {
        let waits: &[i64] = if asked.may_be_reuse {
            &[SETTLE_MS, SETTLE_MS + NEW_DEVICE_LOGIN_MS]
        } else {
            &[SETTLE_MS]
        };
        for wait in waits {
            let until = asked.time + wait - DISORDER_MS;
            let court = Court {
                known: all.iter().filter(|s| s.time <= until).collect(),
                ends: &ends,
                logins: &logins,
                until,
            };
            sentence.extend(court.verdicts());
        }
    }
    sentence
}

/// When the family's user logged in, in another session, and on which device.
fn logins(world: &World, all: &[Shown<'_>]) -> Vec<(i64, String)> {
    let user = all.iter().find_map(|s| s.event.event.user_id.as_deref());
    let session = all.iter().find_map(|s| s.event.event.session_id.as_deref());
    let of_user = world.events.iter().filter(|happening| {
        let event = &happening.event.event;
        event.kind == EventType::Issue
            && (session.is_none() || event.session_id.as_deref() != session)
            && event.succeeded()
            && user.is_some()
            && event.user_id.as_deref() == user
    });
    of_user
        .filter_map(|login| {
            Some((
                login.time(),
                login.event.event.device_id.as_deref()?.to_owned(),
            ))
        })
        .collect()
}

fn shown(happening: &Happening) -> Shown<'_> {
    let event = &happening.event.event;
    let accepted = event.succeeded();
    let reason = event.reason.unwrap_or(Reason::Other);
    Shown {
        time: happening.time(),
        accepted,
        issue: event.kind == EventType::Issue,
        may_be_reuse: !accepted
            && matches!(
                reason,
                Reason::Reuse | Reason::Other | Reason::UnknownToken | Reason::Revoked
            ),
        dead: matches!(
            reason,
            Reason::Expired
                | Reason::Revoked
                | Reason::UnknownToken
                | Reason::SessionEnded
                | Reason::UserDisabled
        ) && !accepted,
        token: event.token_id.as_deref().map(str::to_owned),
        issued: event.new_token_id.as_deref().map(str::to_owned),
        event: &happening.event,
    }
}

/// When people ended this family, its session or its user.
fn ends(world: &World, family: usize, all: &[Shown<'_>]) -> Vec<i64> {
    let of = |pick: fn(&Enriched) -> Option<String>| all.iter().find_map(|s| pick(s.event));
    let family_id = of(|e| e.event.family_id.as_deref().map(str::to_owned));
    let session = of(|e| e.event.session_id.as_deref().map(str::to_owned));
    let user = of(|e| e.event.user_id.as_deref().map(str::to_owned));
    let client = of(|e| e.event.client_id.as_deref().map(str::to_owned));
    let applies = |happening: &&Happening| {
        let event = &happening.event.event;
        let by_person = match event.kind {
            EventType::Logout | EventType::Revoke => {
                matches!(event.initiator, Some(Initiator::User | Initiator::Admin))
            }
            EventType::UserDisable => true,
            _ => false,
        };
        let same = |a: &Option<String>, b: Option<&str>| a.is_some() && a.as_deref() == b;
        // What a user lets one client do, taken back, ends nothing at another client.
        let elsewhere = event.kind == EventType::Revoke
            && event.client_id.is_some()
            && !same(&client, event.client_id.as_deref());
        let names_less = event.family_id.is_none() && event.session_id.is_none() && !elsewhere;
        by_person
            && (same(&family_id, event.family_id.as_deref())
                || same(&session, event.session_id.as_deref())
                || (names_less && same(&user, event.user_id.as_deref())))
    };
    let _ = family;
    world
        .events
        .iter()
        .filter(applies)
        .map(Happening::time)
        .collect()
}

/// What is known at one moment.
struct Court<'a> {
    known: Vec<&'a Shown<'a>>,
    ends: &'a [i64],
    logins: &'a [(i64, String)],
    until: i64,
}

/// One stands to another as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Own,
    Unknown,
    Foreign,
}

impl Court<'_> {
    /// The gravest verdict on each token.
    fn verdicts(&self) -> BTreeMap<String, Verdict> {
        let mut verdicts: BTreeMap<String, Verdict> = BTreeMap::new();
        for (i, shown) in self.known.iter().enumerate() {
            let Some(token) = &shown.token else { continue };
            let said = [
                self.other_hands(i),
                self.accepted_again(i),
                self.refused(i),
                self.fork(i),
            ];
            if let Some(gravest) = said.into_iter().flatten().max() {
                let before = verdicts.entry(token.clone()).or_insert(gravest);
                *before = (*before).max(gravest);
            }
        }
        verdicts
    }

    fn token(&self, i: usize) -> &str {
        self.known[i].token.as_deref().unwrap_or_default()
    }

    /// Accepted presentations of a token.
    fn uses(&self, token: &str) -> Vec<usize> {
        (0..self.known.len())
            .filter(|&i| self.known[i].accepted && self.known[i].token.as_deref() == Some(token))
            .collect()
    }

    fn successors(&self, token: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        for i in self.uses(token) {
            if let Some(issued) = &self.known[i].issued {
                found.insert(issued.as_str());
                found.extend(self.successors(issued));
            }
        }
        found
    }

    /// Live token, another client or another key.
    fn other_hands(&self, i: usize) -> Option<Verdict> {
        let shown = self.known[i];
        let first = self.known.iter().position(|s| s.accepted)?;
        let names_its_own = self
            .known
            .iter()
            .any(|s| s.accepted && (s.issued == shown.token || s.token == shown.token));
        if i == first || shown.issue || shown.dead || self.aftermath(i) || !names_its_own {
            return None;
        }
        let client = |i: usize| self.known[i].event.event.client_id.as_deref();
        let known = self.known_to(i);
        let keys: Vec<&str> = known
            .iter()
            .filter_map(|&k| self.known[k].event.event.key_thumbprint.as_deref())
            .collect();
        let key = shown.event.event.key_thumbprint.as_deref();
        let other_key = key.is_some_and(|key| !keys.is_empty() && !keys.contains(&key));
        (client(i) != client(first) || other_key).then_some(Verdict::Theft)
    }

    fn accepted_again(&self, i: usize) -> Option<Verdict> {
        let shown = self.known[i];
        let before: Vec<usize> = self
            .uses(self.token(i))
            .into_iter()
            .filter(|&u| u < i)
            .collect();
        let first = *before.first()?;
        if !shown.accepted {
            return None;
        }
        let age = shown.time - self.known[first].time;
        let successors = self.successors(self.token(i));
        let successor_used = (0..i).any(|u| {
            self.known[u].accepted
                && self.known[u]
                    .token
                    .as_deref()
                    .is_some_and(|t| successors.contains(t))
        });
        if self.generations_after(self.token(i), i) >= 2 || (age > GRACE_MS && successor_used) {
            return Some(Verdict::Theft);
        }
        let known = self.known_to(i);
        let stands = self.stands(i, &known);
        // Whoever moved and asks again from there is the one who used it, however far: a place alone proves nothing (S3).
        let moved = self.stands_but_for_place(i, &known, false) != Stands::Foreign;
        let own = stands == Stands::Own || (moved && self.one_context(first, i));
        match (stands, own, age <= LOST_ANSWER_MS) {
            (Stands::Foreign, false, _) => Some(Verdict::Theft),
            (_, true, true) => None,
            _ => Some(self.suspected(self.token(i))),
        }
    }

    fn generations_after(&self, token: &str, before: usize) -> usize {
        let uses = self.uses(token).into_iter().filter(|&u| u < before);
        uses.map(|u| {
            1 + self.known[u]
                .issued
                .as_deref()
                .map_or(0, |t| self.generations_after(t, before))
        })
        .max()
        .unwrap_or(0)
    }

    fn refused(&self, i: usize) -> Option<Verdict> {
        let shown = self.known[i];
        let token = self.token(i);
        let consumed = self
            .uses(token)
            .into_iter()
            .any(|u| self.known[u].time <= shown.time + SETTLE_MS);
        if !shown.may_be_reuse || self.aftermath(i) || !consumed {
            return None;
        }
        let successors = self.successors(token);
        let mut holders = vec![i];
        holders.extend(self.uses(token));
        holders.extend((0..self.known.len()).filter(|&u| {
            let other = self.known[u];
            other.accepted
                && (other.time - shown.time).abs() <= DAY_MS
                && other
                    .token
                    .as_deref()
                    .is_some_and(|t| successors.contains(t))
        }));
        let known = self.known_to(i);
        let stands: Vec<Stands> = holders.iter().map(|&h| self.stands(h, &known)).collect();
        if stands.iter().all(|s| *s == Stands::Own)
            || holders.iter().all(|&h| self.one_context(i, h))
        {
            return Some(Verdict::ClientFault);
        }
        if stands.contains(&Stands::Foreign) {
            let others = &stands[1..];
            if others.contains(&Stands::Foreign) || !self.is_another_device(i, &known) {
                return Some(Verdict::Theft);
            }
            return self.on_another_device(i);
        }
        Some(self.suspected(token))
    }

    /// Nothing but its device id sets it apart.
    fn is_another_device(&self, i: usize, known: &[usize]) -> bool {
        let me = self.known[i].event;
        let theirs = || known.iter().map(|&k| self.known[k].event);
        let is_keyed = theirs().any(|e| e.event.key_thumbprint.is_some());
        let prints: Vec<&str> = theirs().filter_map(|e| e.event.ja4.as_deref()).collect();
        let is_other_program = (me.event.ja4.as_deref())
            .is_some_and(|mine| !prints.is_empty() && !prints.contains(&mine));
        let is_new = me.event.device_id.is_some()
            && theirs().any(|e| e.event.device_id.is_some())
            && theirs().all(|e| e.event.device_id != me.event.device_id);
        let agents: Vec<&Agent> = theirs().filter_map(|e| e.agent.as_ref()).collect();
        let is_other_kind = me.agent.as_ref().is_some_and(|mine| {
            !agents.is_empty() && agents.iter().all(|a| mine.is_another_kind_than(a))
        });
        let is_there = me.network.as_ref().is_some_and(|mine| {
            theirs()
                .filter_map(|e| e.network.as_ref())
                .any(|theirs| !differ(mine, theirs))
        });
        is_new && !is_keyed && !is_other_program && !is_other_kind && is_there
    }

    /// Whoever has but a token cannot log in on its device; that may still come, or has been a little before.
    fn on_another_device(&self, i: usize) -> Option<Verdict> {
        let me = self.known[i];
        let device = |shown: &Shown<'_>| shown.event.event.device_id.clone();
        let logged_in_near = |time: i64| {
            self.logins.iter().any(|(at, there)| {
                Some(there.as_str()) == device(me).as_deref()
                    && *at <= self.until
                    && (at - time).abs() <= NEW_DEVICE_LOGIN_MS
            })
        };
        // Once it is known whose device it is, it stays his.
        let tried_there = self.known[..=i]
            .iter()
            .filter(|s| s.may_be_reuse && s.token == me.token && device(s) == device(me));
        if tried_there.map(|s| s.time).any(logged_in_near) {
            return Some(Verdict::Suspected);
        }
        (self.until >= me.time + NEW_DEVICE_LOGIN_MS).then_some(Verdict::Theft)
    }

    /// Two successors of one token, each presented later; told of the later.
    fn fork(&self, i: usize) -> Option<Verdict> {
        let first_use = |token: &str| self.uses(token).first().copied();
        if first_use(self.token(i)) != Some(i) {
            return None;
        }
        let mut worst = None;
        for issuing in (0..self.known.len())
            .filter(|&p| self.known[p].accepted && self.known[p].issued == self.known[i].token)
        {
            let Some(parent) = self.known[issuing].token.as_deref() else {
                continue;
            };
            for sibling in self.uses(parent) {
                let Some(other) = self.known[sibling].issued.as_deref().and_then(first_use) else {
                    continue;
                };
                if other >= i {
                    continue;
                }
                let verdict = match self.stands(i, &[other]) {
                    Stands::Own => None,
                    Stands::Unknown if self.one_context(other, i) => None,
                    Stands::Unknown => Some(self.suspected(parent)),
                    Stands::Foreign => Some(Verdict::Theft),
                };
                worst = worst.max(verdict);
            }
        }
        worst
    }

    /// Refused after a person had ended it, and it has not lived again since.
    fn aftermath(&self, i: usize) -> bool {
        let (time, born) = (self.known[i].time, self.known[0].time);
        self.ends.iter().any(|&end| {
            born <= end
                && end <= time
                && !self
                    .known
                    .iter()
                    .any(|s| s.accepted && end < s.time && s.time < time)
        })
    }

    /// The issue and accepted presentations of older tokens.
    fn known_to(&self, i: usize) -> Vec<usize> {
        let mut older: Vec<&str> = vec![self.token(i)];
        loop {
            let parents: Vec<&str> = self
                .known
                .iter()
                .filter(|s| s.accepted && s.issued.as_deref().is_some_and(|t| older.contains(&t)))
                .filter_map(|s| s.token.as_deref())
                .filter(|t| !older.contains(t))
                .collect();
            if parents.is_empty() {
                break;
            }
            older.extend(parents);
        }
        older.remove(0);
        (0..self.known.len())
            .filter(|&k| {
                let shown = self.known[k];
                shown.issue
                    || shown.accepted && shown.token.as_deref().is_some_and(|t| older.contains(&t))
            })
            .collect()
    }

    fn stands(&self, i: usize, known: &[usize]) -> Stands {
        let them: Vec<&Shown<'_>> = known.iter().map(|&k| self.known[k]).collect();
        self.stands_but_for_place(i, known, self.travelled(i, &them))
    }

    fn stands_but_for_place(&self, i: usize, known: &[usize], travelled: bool) -> Stands {
        let me = self.known[i].event;
        let them: Vec<&Shown<'_>> = known.iter().map(|&k| self.known[k]).collect();
        if them.is_empty() {
            return Stands::Unknown;
        }
        let keys: Vec<_> = them
            .iter()
            .filter_map(|s| s.event.event.key_thumbprint.as_ref())
            .collect();
        if let Some(key) = me
            .event
            .key_thumbprint
            .as_ref()
            .filter(|_| !keys.is_empty())
        {
            return if keys.contains(&key) {
                Stands::Own
            } else {
                Stands::Foreign
            };
        }
        let agents: Vec<&Agent> = them.iter().filter_map(|s| s.event.agent.as_ref()).collect();
        let other_kind = me.agent.as_ref().is_some_and(|mine| {
            !agents.is_empty() && agents.iter().all(|a| mine.is_another_kind_than(a))
        });
        let devices: Vec<_> = them
            .iter()
            .filter_map(|s| s.event.event.device_id.as_ref())
            .collect();
        if let Some(device) = me.event.device_id.as_ref().filter(|_| !devices.is_empty()) {
            return match (devices.contains(&device), other_kind || travelled) {
                (false, _) => Stands::Foreign,
                (true, true) => Stands::Unknown,
                (true, false) => Stands::Own,
            };
        }
        if other_kind || travelled {
            return Stands::Foreign;
        }
        let new_field = me.event.key_thumbprint.is_some()
            || me.event.device_id.is_some()
            || (me.agent.is_some() && agents.is_empty());
        let nothing = me.agent.is_none() && me.network.is_none();
        let network = me.network.as_ref().is_none_or(|mine| {
            them.iter()
                .filter_map(|s| s.event.network.as_ref())
                .any(|theirs| !differ(mine, theirs))
        });
        if new_field || nothing || !network {
            Stands::Unknown
        } else {
            Stands::Own
        }
    }

    /// Whether nobody can have come here in the time from where the family was.
    fn travelled(&self, i: usize, them: &[&Shown<'_>]) -> bool {
        let me = self.known[i];
        let Some(here) = located(me.event) else {
            return false;
        };
        // A network that the family has used is the family's, wherever GeoIP puts it.
        let used_before =
            |s: &&Shown<'_>| s.event.network.is_some() && !networks_differ(me.event, s.event);
        if them.iter().any(used_before) {
            return false;
        }
        let apart = |s: &Shown<'_>| (me.time - s.time).abs();
        let places: Vec<(&&Shown<'_>, &Place)> = them
            .iter()
            .filter(|s| apart(s) <= DAY_MS)
            .filter_map(|s| located(s.event).map(|p| (s, p)))
            .collect();
        let Some(nearest) = places.iter().map(|(s, _)| apart(s)).min() else {
            return false;
        };
        places
            .iter()
            .filter(|(s, _)| apart(s) <= nearest.max(3_600_000))
            .all(|(s, there)| too_fast(here, there, apart(s)))
    }

    fn one_context(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.known[a].event, self.known[b].event);
        let blank = |e: &Enriched| {
            e.agent.is_none()
                && e.network.is_none()
                && e.event.device_id.is_none()
                && e.event.key_thumbprint.is_none()
        };
        if blank(a) != blank(b) {
            return false;
        }
        let agree = |a: Option<&str>, b: Option<&str>| a.is_none() || b.is_none() || a == b;
        let same_kind = match (&a.agent, &b.agent) {
            (Some(a), Some(b)) => !a.is_another_kind_than(b),
            _ => true,
        };
        agree(
            a.event.key_thumbprint.as_deref(),
            b.event.key_thumbprint.as_deref(),
        ) && agree(a.event.device_id.as_deref(), b.event.device_id.as_deref())
            && same_kind
            && !networks_differ(a, b)
    }

    /// Suspicion, or theft where networks X, Y, X prove two holders of the token and its successors, or places do.
    fn suspected(&self, token: &str) -> Verdict {
        let successors = self.successors(token);
        let about: Vec<usize> = (0..self.known.len())
            .filter(|&i| self.known[i].event.network.is_some())
            .filter(|&i| self.token(i) == token || successors.contains(self.token(i)))
            .collect();
        for (n, &x) in about.iter().enumerate() {
            for (m, &y) in about.iter().enumerate().skip(n + 1) {
                let two = self.parted(token, x, y)
                    || self.parted(token, y, x)
                    || self.rented(token, x, y)
                    || self.rented(token, y, x);
                if two && self.cannot_be_one(x, y) {
                    return Verdict::Theft;
                }
                for &z in about.iter().skip(m + 1) {
                    let differ = |a: usize, b: usize| {
                        networks_differ(self.known[a].event, self.known[b].event)
                    };
                    let near = self.known[z].time - self.known[x].time <= ALTERNATION_MS;
                    let alternate = !differ(x, z) && differ(x, y) && differ(y, z);
                    let two = [x, z]
                        .into_iter()
                        .any(|outer| self.parted(token, outer, y) || self.parted(token, y, outer));
                    if near && alternate && two {
                        return Verdict::Theft;
                    }
                }
            }
        }
        Verdict::Suspected
    }

    /// Whether the places of two presentations are further apart than anybody travels.
    fn cannot_be_one(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.known[a], self.known[b]);
        let apart = (a.time - b.time).abs();
        let places = located(a.event).zip(located(b.event));
        networks_differ(a.event, b.event)
            && apart <= DAY_MS
            && places.is_some_and(|(here, there)| too_fast(here, there, apart))
    }

    /// Both present the disputed token: one from a rented server that the family never used, the other from anywhere else.
    fn rented(&self, token: &str, one: usize, other: usize) -> bool {
        let at_server = |i: usize| {
            let network = self.known[i].event.network.as_ref();
            network.is_some_and(Network::is_rented)
        };
        self.token(one) == token
            && self.token(other) == token
            && at_server(one)
            && !at_server(other)
            && self.stands(one, &self.known_to(one)) != Stands::Own
    }

    /// One presents a successor that was never given to the other's network, and the other's token is not of its line.
    fn parted(&self, token: &str, one: usize, other: usize) -> bool {
        let held = self.token(one);
        let theirs = self.token(other);
        let leading: Vec<usize> = self
            .uses(token)
            .into_iter()
            .filter(|&u| {
                self.known[u]
                    .issued
                    .as_deref()
                    .is_some_and(|t| t == held || self.successors(t).contains(held))
            })
            .collect();
        let given_there = leading
            .iter()
            .any(|&u| !networks_differ(self.known[u].event, self.known[other].event));
        let one_line = theirs != token
            && (theirs == held
                || self.successors(theirs).contains(held)
                || self.successors(held).contains(theirs));
        held != token && !leading.is_empty() && !given_there && !one_line
    }
}

fn located(event: &Enriched) -> Option<&Place> {
    let network = event.network.as_ref()?;
    let fixed = network.class != Some(NetworkClass::Mobile);
    event
        .place
        .as_ref()
        .filter(|_| network.locates_person() && fixed)
}

fn too_fast(here: &Place, there: &Place, apart_ms: i64) -> bool {
    let km = here.effective_distance_km(there).unwrap_or(0.0);
    let hours = (apart_ms.max(1000) as f64) / 3_600_000.0;
    km >= 500.0 && km / hours > 1000.0
}

fn networks_differ(a: &Enriched, b: &Enriched) -> bool {
    matches!((&a.network, &b.network), (Some(a), Some(b)) if differ(a, b))
}

fn differ(a: &Network, b: &Network) -> bool {
    if let (Some(a), Some(b)) = (a.asn, b.asn) {
        return a != b;
    }
    let same_version = matches!(
        (a.prefix, b.prefix),
        (Prefix::V4(_), Prefix::V4(_)) | (Prefix::V6(_), Prefix::V6(_))
    );
    same_version && a.prefix != b.prefix
}
