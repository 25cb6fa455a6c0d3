//! L2: the response policy: what is to be done about a finding, whether, and why. Pure; time is event time.
//!
//! Uses `engine`'s findings, `rules`, `model` and the plain values of `config::policy`.
//!
//! In: what the engine found. Out: detections, incidents, and actions, each with a decision and its reason. Rate, place
//! and network, alone or together, never revoke: whether a finding may revoke was decided by its kind and only narrows here.

mod ageing;
mod breaker;
mod budget;
mod incidents;
mod notices;
mod people;
mod proposal;
mod purse;
mod restraint;
mod step_up;
mod storm;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{Clients, Response, Shared, Tenants};
use crate::engine::Found;
use crate::model::{
    Action, ActionKind, BreakerReport, Decision, Member, Mode, Output, Severity, Subject, Text,
    Timestamp,
};
use crate::rules::{Exception, Rule};
use breaker::Breakers;
use budget::Spent;
use incidents::{Incidents, Open};
use notices::Notice;
use people::Silences;
use proposal::{has_target, propose, revokes, wanted, wants_notice};
use purse::{Payer, Purse, Wait, client_of};
use restraint::{Restraint, Windows};
use storm::Storms;

/// The policy: what the operator allows, and what has been decided so far.
#[derive(Debug, Clone)]
pub struct Policy {
    allowed: Allowed,
    state: State,
    /// Findings that each exception covered, by rule and place, since the start of this process or the last reload.
    excepted: BTreeMap<(Text, String), u64>,
}

/// What the configuration says about acting.
#[derive(Debug, Clone)]
pub struct Allowed {
    /// Ceiling over every rule.
    pub mode: Mode,
    pub clients: Clients,
    pub tenants: Tenants,
    pub response: Response,
    /// Networks that nobody blocks.
    pub shared: Shared,
    /// What some revoker is there for: nothing else is offered.
    pub performed: Vec<ActionKind>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct State {
    incidents: Incidents,
    /// Spent on revocations, and on what only gets in somebody's way.
    spent: Spent,
    spent_mildly: Spent,
    storms: Storms,
    #[serde(default)]
    windows: Windows,
    #[serde(default)]
    breakers: Breakers,
    #[serde(default)]
    silences: Silences,
}

/// The kind of rule whose findings open breakers.
const STORM: &str = "storm";
const STORM_BEGAN: &str = "a storm of reuse began there";

/// Sets the id of what is only observed apart, so that it takes nothing away from what is performed later.
const OBSERVED: &str = "observed";

impl Policy {
    pub fn new(allowed: Allowed) -> Self {
        Self {
            allowed,
            state: State::default(),
            excepted: BTreeMap::new(),
        }
    }

    /// Another configuration, same memory.
    pub fn replace(&mut self, allowed: Allowed) {
        self.allowed = allowed;
        self.excepted.clear();
    }

    /// Forgets a user, of whichever server. For whom a rule is silent goes with its window.
    pub fn forget(&mut self, user_id: &str) {
        let end = format!("/{user_id}");
        self.state.incidents.forget(user_id, &end);
        let person = name_of(&Subject::User(user_id.into()));
        self.state.storms.forget(&person);
        self.state.breakers.forget(&end);
        self.state.spent.forget_person(&end);
        self.state.spent_mildly.forget_person(&end);
        self.state.silences.forget(user_id);
    }

    /// How many findings of a rule the exception has covered: none for long, and it may be removed.
    pub fn excepted(&self, rule: &str, exception: &Exception) -> u64 {
        let key = (rule.into(), exception.place.to_string());
        self.excepted.get(&key).copied().unwrap_or(0)
    }

    pub fn snapshot(&self) -> Vec<u8> {
        // JSON: a subject names its kind, which the compact form of the engine's state cannot read back.
        serde_json::to_vec(&self.state).unwrap_or_default()
    }

    #[must_use]
    pub fn restore(&mut self, snapshot: &[u8]) -> bool {
        match serde_json::from_slice(snapshot) {
            Ok(state) => {
                self.state = state;
                true
            }
            Err(_) => false,
        }
    }

    /// What is known of closed incidents is not all there was: those begun from now on get this episode at least.
    pub fn begin_episodes_at(&mut self, episode: u32) {
        self.state.incidents.begin_episodes_at(episode);
    }

    /// Incidents, closed incidents, storms and suppressions that were forgotten before their time, because there were too many.
    pub const fn evicted(&self) -> u64 {
        let State {
            incidents,
            storms,
            windows,
            breakers,
            ..
        } = &self.state;
        incidents.evicted() + storms.evicted() + windows.evicted() + breakers.evicted()
    }

    /// The breakers that are not closed at an event time.
    pub fn breakers(&self, time: Timestamp) -> Vec<BreakerReport> {
        let limit = self.allowed.response.budget.per_client;
        self.state.breakers.report(limit, time.as_millisecond())
    }

    /// Decides about one finding and appends what comes of it.
    pub fn decide(&mut self, found: Found, out: &mut Output) {
        let mode = self.mode(&found);
        let restraint = self.restraint(&found, mode.0);
        let excepted = matches!(restraint, Some(Restraint::Excepted(_)));
        let storm = if excepted { None } else { self.storm(&found) };
        let storm_opened = restraint.is_none() && self.breaks(&found, mode.0);
        let Self { allowed, state, .. } = self;
        let severity = found.detection.severity;
        // What somebody answers for makes no incident graver.
        let weight = if excepted { Severity::Info } else { severity };
        let open = state.incidents.file(&found, storm, weight);
        let (mut wait, mut ended, mut held) = (Wait::default(), false, false);
        if storm_opened {
            wait.opened(STORM_BEGAN, &found);
        }
        for kind in wanted(&found)
            .into_iter()
            .filter(|kind| has_target(*kind, &found.detection.subject))
        {
            let variant = match &restraint {
                Some(restraint) => restraint.variant(),
                None if mode.0 < kind.needs() => OBSERVED,
                None => "",
            };
            let mut action = propose(kind, &found, open, variant);
            if !open.decide(&action.id) {
                continue;
            }
            if let Some(restraint) = &restraint {
                out.actions.push(restrained(action, restraint));
                continue;
            }
            // A flood of mild measures must not use up what revocations need.
            let mut purse = if revokes(kind) {
                Purse::of_revocations(&mut state.spent, &mut state.breakers)
            } else {
                Purse::of_the_rest(&mut state.spent_mildly)
            };
            (action.decision, action.reason) =
                decision(allowed, &mut purse, &action, mode, &found, &mut wait);
            ended |= revokes(kind) && action.decision == Decision::Execute;
            held |= revokes(kind) && action.decision == Decision::Hold;
            out.actions.push(action);
        }
        if ended {
            out.offers.extend(offers(open, &found, &allowed.performed));
        }
        out.actions.extend(match &restraint {
            Some(restraint) => no_notice(open, restraint, &found),
            None => match state.silences.covering(&found.detection) {
                Some(silence) => no_notice(open, &Restraint::Silenced(silence), &found),
                None => notice(open, mode, &wait, &found),
            },
        });
        let incident = open.incident.clone();
        if held {
            state.incidents.held(&found, &incident.subject);
        }
        out.members.push(Member {
            incident_id: incident.id.clone(),
            detection_id: found.detection.id.clone(),
        });
        out.incidents.retain(|known| known.id != incident.id);
        out.incidents.push(incident);
        out.detections.push(found.detection);
    }

    /// Whether a finding opens the breaker of its client: a storm of reuse, where something could be ended. The rule counts
    /// families; one account that attacks its own must not take the protection of the others away, so people are counted here.
    fn breaks(&mut self, found: &Found, mode: Mode) -> bool {
        let is_storm = found.rule.detect.kind() == STORM && !found.late;
        let Some(client) = client_of(found).filter(|_| is_storm && mode >= Mode::Enforce) else {
            return false;
        };
        let limit = self.allowed.response.budget.per_client;
        let time = found.detection.time.as_millisecond();
        let place = Subject::Client(client.client_id.clone());
        let place = name_of(&incidents::scoped(found, place));
        let many = (limit.div_ceil(2) as usize).min(storm::REMEMBERED_MAX);
        if self.state.storms.people(&place, time) < many {
            return false;
        }
        let breakers = &mut self.state.breakers;
        breakers.open(&client, STORM_BEGAN.into(), limit, time)
    }

    /// Why nothing is done about a finding, if so.
    fn restraint(&mut self, found: &Found, mode: Mode) -> Option<Restraint> {
        if let Some(exception) = restraint::exception(found) {
            let key = (found.rule.name.clone(), exception.place.to_string());
            *self.excepted.entry(key).or_default() += 1;
            return Some(Restraint::Excepted(exception.why().into()));
        }
        if !wants_notice(found) && wanted(found).is_empty() {
            return None;
        }
        self.state.windows.suppress(found, mode)
    }

    fn mode(&self, found: &Found) -> (Mode, &'static str) {
        let detection = &found.detection;
        let rule = (found.rule.mode, of_rule(&found.rule));
        self.mode_for(
            detection.client_id.as_deref(),
            detection.tenant.as_deref(),
            rule,
        )
    }

    /// The lowest mode of all that apply, with the name of what set it.
    fn mode_for(
        &self,
        client_id: Option<&str>,
        tenant: Option<&str>,
        (rule, of_rule): (Mode, &'static str),
    ) -> (Mode, &'static str) {
        let client = self.allowed.clients.get(client_id).mode;
        let tenant = self.allowed.tenants.get(tenant).mode;
        [
            (Some(self.allowed.mode), "the daemon"),
            (Some(rule), of_rule),
            (client, "the client"),
            (tenant, "the tenant"),
        ]
        .into_iter()
        .filter_map(|(mode, of)| mode.map(|mode| (mode, of)))
        .min_by_key(|(mode, _)| *mode)
        .unwrap_or((Mode::Observe, "the daemon"))
    }

    /// The storm that a finding belongs to, if many people of its client or from its network were found lately.
    fn storm(&mut self, found: &Found) -> Option<Subject> {
        let detection = &found.detection;
        let family = detection
            .family_id
            .as_ref()
            .filter(|_| wants_notice(found))?;
        let user = detection.user_id.clone().map(Subject::User);
        let person = name_of(&user.unwrap_or_else(|| Subject::Family(family.clone())));
        let time = detection.time.as_millisecond();
        let client = detection
            .client_id
            .as_ref()
            .map(|id| Subject::Client(id.clone()));
        let network = found
            .foreign_network
            .map(|n| Subject::Network(n.to_string().into()));
        let mut storm = None;
        for subject in [client, network].into_iter().flatten() {
            let subject = incidents::scoped(found, subject);
            if self.state.storms.joins(&name_of(&subject), &person, time) {
                storm = storm.or(Some(subject));
            }
        }
        storm
    }
}

fn of_rule(rule: &Rule) -> &'static str {
    match rule.pinned_at {
        Some(_) => "the rule, which is newer than rules_version,",
        None => "the rule",
    }
}

fn restrained(action: Action, restraint: &Restraint) -> Action {
    Action {
        decision: Decision::Suppress,
        reason: restraint.reason().clone(),
        ..action
    }
}

/// What a person may have done besides what was: no action waits for it, and it is withdrawn when nobody wants it.
fn offers(open: &mut Open, found: &Found, performed: &[ActionKind]) -> Vec<Action> {
    let mut offers = Vec::new();
    let whole_user = found.detection.user_id.is_some();
    let is_possible = |kind: &&ActionKind| whole_user && performed.contains(kind);
    for kind in found.rule.offer.iter().filter(is_possible) {
        let offer = propose(*kind, found, open, "offered");
        if open.decide(&offer.id) {
            let reason = "offered: a person decides".into();
            offers.push(Action { reason, ..offer });
        }
    }
    offers
}

/// The notice that would have been due, once an incident.
fn no_notice(open: &mut Open, restraint: &Restraint, found: &Found) -> Option<Action> {
    let action = propose(ActionKind::Notify, found, open, restraint.variant());
    let is_new = wants_notice(found) && open.decide(&action.id);
    is_new.then(|| restrained(action, restraint))
}

/// The notice that is due after a finding, if one is.
fn notice(open: &mut Open, (mode, of): (Mode, &str), wait: &Wait, found: &Found) -> Option<Action> {
    let detection = &found.detection;
    if !wants_notice(found) {
        return None;
    }
    let needs = ActionKind::Notify.needs();
    let time = detection.time.as_millisecond();
    let notice = open
        .notices
        .next(mode >= needs, detection.severity, wait.waits, time)?;
    let tells_more = matches!(notice, Notice::First | Notice::Graver(_));
    if tells_more && detection.severity == open.incident.severity {
        // Before it there may have been others that nobody was told of.
        open.incident.summary = detection.summary.clone();
    }
    let mut action = propose(ActionKind::Notify, found, open, &notice.variant());
    (action.decision, action.reason) = match notice {
        Notice::First | Notice::Graver(_) | Notice::Waiting(_) if wait.breaker.is_some() => {
            (Decision::Execute, wait.breaker.clone().unwrap_or_default())
        }
        Notice::Observed => (Decision::Observe, too_low(mode, of, ActionKind::Notify)),
        Notice::First => (
            Decision::Execute,
            proposal::reason_of(action.kind, found).into(),
        ),
        Notice::Graver(severity) => (
            Decision::Execute,
            format!("it has become {severity}").into(),
        ),
        Notice::Waiting(_) => (
            Decision::Execute,
            "a revocation has to wait: a person decides".into(),
        ),
    };
    Some(action)
}

fn decision(
    allowed: &Allowed,
    purse: &mut Purse<'_>,
    action: &Action,
    (mode, of): (Mode, &str),
    found: &Found,
    wait: &mut Wait,
) -> (Decision, Text) {
    let detection = &found.detection;
    if mode < action.kind.needs() {
        return (Decision::Observe, too_low(mode, of, action.kind));
    }
    let never = |user: &Text| allowed.response.never_act_on.contains(user);
    if detection.user_id.as_ref().is_some_and(never) {
        return (
            Decision::Suppress,
            "the user is on the list of those never to be acted on".into(),
        );
    }
    if let Some(why) = not_to_be_blocked(allowed, action, found) {
        return (Decision::Suppress, why);
    }
    let granted = (
        Decision::Execute,
        proposal::reason_of(action.kind, found).into(),
    );
    if action.kind == ActionKind::Review {
        return granted;
    }
    match purse.spend(allowed.response.budget, &Payer::of(found)) {
        Ok(()) => granted,
        Err(held) => {
            wait.because(&held, found);
            (Decision::Hold, held.why)
        }
    }
}

/// Why a network is not blocked, whatever was found: people who did nothing are behind it.
fn not_to_be_blocked(allowed: &Allowed, action: &Action, found: &Found) -> Option<Text> {
    let network = action.target.network.as_deref()?;
    let presenter = found.presenter.network.as_ref();
    let of_presenter = presenter.filter(|it| it.prefix.to_string() == *network);
    if of_presenter.is_some_and(|it| it.internal) {
        return Some("it is a network of one's own, which is never blocked".into());
    }
    let declared = of_presenter.and_then(|it| it.class);
    allowed.shared.why_not(network, declared)
}

fn too_low(mode: Mode, of: &str, kind: ActionKind) -> Text {
    format!("mode of {of} is {mode}, {kind} needs {}", kind.needs()).into()
}

/// One name for a subject, of whatever kind.
fn name_of(subject: &Subject) -> Text {
    let (kind, id) = subject.parts();
    format!("{kind} {id}").into()
}
