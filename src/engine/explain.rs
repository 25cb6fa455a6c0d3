//! Why each rule fired or did not: the rules are asked again about what is remembered, and this time they say why.
//!
//! Nothing is judged anew and nothing changes: the questions are those that were asked when the event had settled, over the
//! same memory. So an explanation can be had of whatever the engine still remembers.

use std::sync::Arc;

use super::account::User;
use super::family::Family;
use super::key::{Key, Scope};
use super::lineage::Facts;
use super::passing::Passing;
use super::{Engine, keyed, lineage, rate, risk};
use crate::model::{Enriched, Evidence, Mode, Subject, Text, limits};
use crate::rules::case::{
    At, FamilyCase, KeyedCase, KeyedKind, Login, Logins, UserCase, Who, millis,
};
use crate::rules::context::Context;
use crate::rules::kinds::velocity::Counts;
use crate::rules::kinds::{Stage, composite, velocity};
use crate::rules::ledger::Entry;
use crate::rules::trace::Note;
use crate::rules::words::{instant, who};
use crate::rules::{Finding, Rule, RuleSet, Trace};

/// What one rule says about one event.
#[derive(Debug, Clone)]
pub struct Explained {
    pub rule: Arc<Rule>,
    pub outcome: Outcome,
    /// What it looked at, in order: values against thresholds, and recognised benign causes.
    pub notes: Vec<Note>,
}

#[derive(Debug, Clone)]
pub enum Outcome {
    Fired(Vec<Finding>),
    Silent,
    /// Was not asked, and why.
    Unasked(&'static str),
}

/// One family as the engine remembers it.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilyStory {
    /// Whose it is.
    pub whose: Evidence,
    /// Presentations, oldest first: time, answer, tokens, and from where.
    pub timeline: Vec<Evidence>,
}

impl Engine {
    /// What every rule says about an event that has settled.
    pub fn explain(&self, rules: &RuleSet, event: &Enriched) -> Vec<Explained> {
        let rules = rules.rules.iter();
        rules.map(|rule| self.explain_rule(rule, event)).collect()
    }

    /// What is remembered of a family, by its id, or by any of its tokens.
    pub fn family_story(&self, id: &str) -> Option<FamilyStory> {
        let (_, family) = self
            .state
            .families
            .iter()
            .filter(|(_, family)| family.is_called(id))
            .min_by_key(|(key, family)| (family.first_seen, *key))?;
        Some(story(family))
    }

    /// The family of an event.
    pub fn family_of_event(&self, event: &Enriched) -> Option<FamilyStory> {
        self.family_of(event).ok().map(|(_, family)| story(family))
    }

    /// The id of that family.
    pub fn family_id(&self, event: &Enriched) -> Option<Text> {
        self.family_of(event)
            .ok()
            .map(|(_, family)| family.id.clone())
    }

    fn explain_rule(&self, rule: &Arc<Rule>, event: &Enriched) -> Explained {
        let mut trace = Trace::on();
        let (client_id, tenant) = (&event.event.client_id, &event.event.tenant);
        let rule = rule.of(client_id.as_deref(), tenant.as_deref());
        let outcome = match self.ask_again(rule, event, &mut trace) {
            Ok(findings) if findings.is_empty() => Outcome::Silent,
            Ok(findings) => Outcome::Fired(findings),
            Err(why) => Outcome::Unasked(why),
        };
        Explained {
            rule: Arc::clone(rule),
            outcome,
            notes: trace.into_notes(),
        }
    }

    /// What the rule finds; an error says why it is not asked.
    fn ask_again(
        &self,
        rule: &Rule,
        event: &Enriched,
        trace: &mut Trace,
    ) -> Result<Vec<Finding>, &'static str> {
        if rule.mode == Mode::Off {
            return Err("its mode is off");
        }
        if !self
            .compiled
            .applies(&rule.name, event.event.client_id.as_deref())
        {
            return Err("the client is exempt from it, or its mode is off");
        }
        let time = event.event.time.as_millisecond();
        match rule.detect.stage() {
            Stage::Family(kind) => {
                let (key, family) = self.family_of(event)?;
                let mut facts = Facts::of(&self.state, &self.compiled, family, key);
                // What was decided about this very event is no excuse for it.
                facts.ends.by_us.retain(|end| *end < time);
                let has_logged_in =
                    |login: &Login| lineage::has_logged_in(&self.state, family, login);
                let case = FamilyCase {
                    logins: Logins::by(&has_logged_in),
                    ..facts.case(family)
                };
                if !kind.concerns(&case) {
                    return Err("nothing in this family for it to judge");
                }
                let settle = if event.event.succeeded() {
                    kind.settle()
                } else {
                    kind.settle_max()
                };
                Ok(kind.judge(&case, at(event, settle), trace))
            }
            Stage::User(kind) => {
                let user = self.user_of(event)?;
                let case = UserCase {
                    sightings: &user.sightings,
                };
                Ok(kind.judge(&case, at(event, kind.settle()), trace))
            }
            Stage::Rate(velocity) => {
                let (counts, subject) = self.counts_of(velocity.by, event)?;
                let client = self
                    .compiled
                    .plan(event.event.client_id.as_deref(), None)
                    .client;
                let presenter = Arc::new(Context::of(event));
                let case = rate::case((counts, subject), client, &event.event, &presenter);
                Ok(velocity.judge(&case, time, trace))
            }
            Stage::Keyed(kind) => self.ask_keyed(rule, kind, event, trace),
            Stage::Storm(storm) => {
                let client = event
                    .event
                    .client_id
                    .as_deref()
                    .ok_or("the event names no client")?;
                let key = risk::reuses_key(rule, Scope::of(&event.event), client);
                let record = self.state.reuses.get(key);
                let record =
                    record.ok_or("none of its inputs has found anything at this client")?;
                let mut findings = storm.judge((&record.reuses, client), time, trace);
                findings.retain(|finding| finding.time == time);
                Ok(findings)
            }
            Stage::Risk(composite) => {
                let subject = match composite.by {
                    composite::By::Family => Subject::Family(self.family_of(event)?.1.id.clone()),
                    composite::By::User => Subject::User(self.user_of(event)?.id.clone()),
                };
                let record =
                    self.state
                        .risks
                        .get(risk::risk_key(rule, Scope::of(&event.event), &subject));
                let record =
                    record.ok_or("none of its inputs has found anything about the subject")?;
                let mut findings = composite.judge(&record.signals, time, trace);
                findings.retain(|finding| finding.time == time);
                Ok(findings)
            }
        }
    }

    /// A generic rule about an event that it has taken; else why it has not.
    fn ask_keyed(
        &self,
        rule: &Rule,
        kind: &dyn KeyedKind,
        event: &Enriched,
        trace: &mut Trace,
    ) -> Result<Vec<Finding>, &'static str> {
        let presenter = Arc::new(Context::of(event));
        let scope = Scope::of(&event.event);
        let passing = Passing::new(&self.compiled, (event, scope), &presenter, false);
        let sources = keyed::sources(&self.state);
        let facts = sources.all(&passing);
        let mut fulfilled = None;
        for (step, condition) in keyed::steps(kind) {
            match condition.matches(event, &facts) {
                Ok(true) => fulfilled = Some(step),
                Ok(false) => {}
                Err(error) => {
                    let values = || Evidence::new().with("condition", condition.source());
                    trace.note(|| (error.to_string(), values()));
                    return Err("its condition has no answer for this event");
                }
            }
        }
        let step = fulfilled.ok_or("the event is none of those that it counts")?;
        let key = keyed::memory_key(
            Key::new(&rule.name),
            kind.by(),
            (passing.event, passing.scope),
        );
        let key = key.ok_or("the event lacks what it counts by")?;
        let record = self.state.keyed.get(key);
        let record = record.ok_or("nothing is remembered of what it counts by")?;
        let case = KeyedCase {
            step,
            event,
            presenter: &presenter,
            party: &|| keyed::party_of(&sources, &passing),
            facts: &|| facts.clone(),
            thefts: &|| keyed::thefts_of(&self.state.thefts, &passing),
        };
        let judged = kind.judge(&record.memory, &case, trace);
        Ok(judged.into_iter().map(|(finding, _)| finding).collect())
    }

    fn family_of(&self, event: &Enriched) -> Result<(u64, &Family), &'static str> {
        let key = (self.state.resolve).known_family(&event.event, Scope::of(&event.event));
        let key = key.ok_or("no family is known for the event")?;
        let family = self.state.families.get(key);
        let family = family.ok_or("the family is no longer remembered")?;
        Ok((key, family))
    }

    fn user_of(&self, event: &Enriched) -> Result<&User, &'static str> {
        let named = event.event.user_id.clone();
        let of_family = || self.family_of(event).ok()?.1.user_id.clone();
        let id = named
            .or_else(of_family)
            .ok_or("no user is known for the event")?;
        let user = self.state.users.get(Scope::of(&event.event).user(&id));
        user.map(|user| &**user)
            .ok_or("nothing is remembered of the user")
    }

    fn counts_of<'a>(
        &'a self,
        by: velocity::By,
        event: &'a Enriched,
    ) -> Result<(&'a Counts, Who<'a>), &'static str> {
        let none = "nothing was counted for the subject";
        let state = &self.state;
        match by {
            velocity::By::Family => {
                let family = self.family_of(event)?.1;
                Ok((&family.counts, Who::Named(&family.id)))
            }
            velocity::By::User => {
                let user = self.user_of(event)?;
                Ok((&user.counts, Who::Named(&user.id)))
            }
            velocity::By::Network => {
                let network = event.network.as_ref().ok_or("the event names no address")?;
                let who = Who::Network(network.prefix);
                let key = rate::key_of(Scope::of(&event.event), who);
                Ok((&state.networks.get(key).ok_or(none)?.counts, who))
            }
            velocity::By::Client => {
                let client = event.event.client_id.as_deref();
                let who = Who::Named(client.ok_or("the event names no client")?);
                let key = rate::key_of(Scope::of(&event.event), who);
                Ok((&state.clients.get(key).ok_or(none)?.counts, who))
            }
        }
    }
}

fn story(family: &Family) -> FamilyStory {
    let whose = Evidence::new()
        .with("family_id", &family.id)
        .with("issuer", &family.issuer)
        .with_some("tenant", family.tenant.as_ref())
        .with_some("user_id", family.user_id.as_ref())
        .with_some("client_id", family.client_id.as_ref())
        .with_some("session_id", family.session_id.as_ref());
    let entries = family.ledger.entries();
    let line = |entry: &Entry| {
        let line = Evidence::new()
            .with("time", instant(entry.time))
            .with("answer", entry.answer.as_str())
            .with_some(
                "token",
                entry.token.map(|token| family.ledger.name_of(token)),
            )
            .with_some(
                "issued",
                entry.names().and_then(|names| names.issued.as_ref()),
            )
            .with_some("event_id", entry.event_id());
        Evidence([line.0, who(family.ledger.context(entry)).0].concat())
    };
    FamilyStory {
        whose,
        timeline: entries.iter().map(line).collect(),
    }
}

/// The question as it was asked when the event had settled.
fn at(event: &Enriched, settle: std::time::Duration) -> At {
    let time = event.event.time.as_millisecond();
    At {
        time,
        cut: time + millis(settle) - limits::DISORDER_MAX_MS,
    }
}
