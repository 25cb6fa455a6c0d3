//! What a security team asks of a log before it lets anything be enforced: how many detections and pages a day, whose
//! families would be revoked, who stands out, which rules are blind, and what had better be declared first.
//!
//! Gathered in one pass in bounded memory; where a bound was reached, the figure says that it is one.

mod carried;
mod days;
mod distinct;
mod heavy;
mod nuisance;
mod shared;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;

use super::recent::Recent;
use super::{Ending, Listener, Replay, Summary};
use crate::app::parts;
use crate::model::limits::SUMMARY_NAMES_MAX;
use crate::model::{
    Action, ActionKind, Decision, Detection, Enriched, EventType, NetworkClass, Output, Prefix,
    Reject, Severity, Text, Timestamp,
};
use crate::rules::Exception;
use carried::Carried;
pub use carried::{Share, Unmet};
pub use days::Day;
use days::Days;
use distinct::Distinct;
use heavy::Heavy;
use nuisance::Nuisances;
pub use nuisance::{Nuisance, Who};
use shared::Shared;
pub use shared::{Advice, Declaration};

/// Families named as examples.
const EXAMPLES: usize = 5;

/// All that was gathered.
#[derive(Debug, Clone)]
pub struct Report {
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
    pub users: u64,
    pub users_exact: bool,
    /// Oldest first; without a date what was before those that are kept.
    pub days: Vec<(Option<Date>, Day)>,
    pub total: Day,
    pub actions: BTreeMap<(ActionKind, Decision), u64>,
    pub revocations: Revocations,
    /// Busiest first.
    pub clients: Vec<ClientRow>,
    pub networks: Vec<NetworkRow>,
    /// How much too low the refreshes of each client and of each network may be.
    pub missed_max: (u64, u64),
    pub shares: Vec<Share>,
    pub unmet: Vec<Unmet>,
    pub nuisances: Vec<Nuisance>,
    /// Exceptions that covered no finding, with their rules.
    pub unused: Vec<(Text, Arc<Exception>)>,
    pub declarations: Vec<Declaration>,
    /// Whether something of severity low or above was found.
    pub fired: bool,
}

/// Families that would be revoked: at once, after a person's consent, or with a higher mode.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    pub families: u64,
    pub executed: u64,
    pub held: u64,
    pub observed: u64,
    /// Most first.
    pub clients: Vec<(Text, u64)>,
    pub examples: Vec<Example>,
}

#[derive(Debug, Clone)]
pub struct Example {
    pub time: Timestamp,
    pub rule: Text,
    pub family_id: Option<Text>,
    pub user_id: Option<Text>,
    pub client_id: Option<Text>,
}

#[derive(Debug, Clone)]
pub struct ClientRow {
    pub client: Text,
    pub refreshes: u64,
    pub about: Traffic,
}

#[derive(Debug, Clone)]
pub struct NetworkRow {
    pub network: Prefix,
    pub refreshes: u64,
    pub users: u64,
    pub users_exact: bool,
    pub organisation: Option<Text>,
    pub class: Option<NetworkClass>,
    pub about: Traffic,
}

/// What else is known of a name in the traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub refused: u64,
    pub detections: u64,
    pub revocations: u64,
}

impl Replay<'_> {
    /// Replays and gathers; rejects and progress go to the listener, which hears nothing of the detections.
    pub fn figures(&self, listener: &mut dyn Listener) -> anyhow::Result<(Summary, Report)> {
        let mut gathering = Gathering {
            figures: Figures::new(),
            unused: Vec::new(),
            listener,
        };
        let summary = self.run(&mut gathering)?;
        let (figures, unused) = (gathering.figures, gathering.unused);
        let (tables, _) = parts::tables(self.config);
        let unmet = figures.carried.unmet(self.config, &self.rules, &tables);
        Ok((summary, figures.report(unmet, unused)))
    }
}

struct Gathering<'a> {
    figures: Figures,
    unused: Vec<(Text, Arc<Exception>)>,
    listener: &'a mut dyn Listener,
}

impl Listener for Gathering<'_> {
    fn output(&mut self, output: &Output) -> anyhow::Result<()> {
        self.figures.output(output);
        Ok(())
    }

    fn rejected(&mut self, reject: &Reject) -> anyhow::Result<()> {
        self.listener.rejected(reject)
    }

    fn progress(&mut self, bytes: u64) {
        self.listener.progress(bytes);
    }

    fn seen(&mut self, event: &Enriched) {
        self.figures.event(event);
        self.listener.seen(event);
    }

    fn ended(&mut self, ending: &Ending) -> anyhow::Result<()> {
        self.unused.clone_from(&ending.unused);
        self.listener.ended(ending)
    }
}

struct Figures {
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    refreshes: u64,
    users: Distinct,
    days: Days,
    actions: BTreeMap<(ActionKind, Decision), u64>,
    /// Incidents that somebody was or would be paged for.
    paged: Recent,
    /// Families that were or would be revoked.
    cut_off: Recent,
    revocations: Revocations,
    revoked_clients: Heavy<Text, ()>,
    clients: Heavy<Text, Traffic>,
    networks: Heavy<Prefix, OfNetwork>,
    carried: Carried,
    nuisances: Nuisances,
    shared: Shared,
    fired: bool,
}

#[derive(Debug, Clone, Default)]
struct OfNetwork {
    users: Distinct,
    organisation: Option<Text>,
    class: Option<NetworkClass>,
    about: Traffic,
}

impl Figures {
    fn new() -> Self {
        Self {
            first: None,
            last: None,
            refreshes: 0,
            users: Distinct::default(),
            days: Days::default(),
            actions: BTreeMap::new(),
            paged: Recent::default(),
            cut_off: Recent::default(),
            revocations: Revocations::default(),
            revoked_clients: Heavy::new(SUMMARY_NAMES_MAX),
            clients: Heavy::new(SUMMARY_NAMES_MAX),
            networks: Heavy::new(SUMMARY_NAMES_MAX),
            carried: Carried::default(),
            nuisances: Nuisances::default(),
            shared: Shared::new(),
            fired: false,
        }
    }

    fn event(&mut self, event: &Enriched) {
        let time = event.event.time;
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
        self.carried.add(event);
        if let Some(user) = &event.event.user_id {
            self.users.add(user);
        }
        if event.event.kind == EventType::Refresh {
            self.refresh(event);
        }
    }

    fn refresh(&mut self, event: &Enriched) {
        self.refreshes += 1;
        let refused = u64::from(!event.event.succeeded());
        if let Some(client) = &event.event.client_id {
            self.clients.add(client).refused += refused;
        }
        if let Some(address) = event.event.ip_address {
            let of_network = self.networks.add(&Prefix::of(address));
            of_network.about.refused += refused;
            if let Some(user) = &event.event.user_id {
                of_network.users.add(user);
            }
            if let (None, Some(network)) = (&of_network.organisation, &event.network) {
                of_network.organisation.clone_from(&network.organisation);
                of_network.class = network.class;
            }
        }
        self.shared.add(event);
    }

    fn output(&mut self, output: &Output) {
        for detection in &output.detections {
            self.detection(detection);
        }
        for action in &output.actions {
            *self
                .actions
                .entry((action.kind, action.decision))
                .or_default() += 1;
            if action.decision == Decision::Suppress {
                continue;
            }
            match action.kind {
                ActionKind::Notify if self.paged.is_new(&action.incident_id) => {
                    self.days.at(action.event_time).pages += 1;
                }
                ActionKind::RevokeFamily => self.revocation(action, output),
                _ => {}
            }
        }
    }

    fn detection(&mut self, detection: &Detection) {
        self.fired |= detection.severity >= Severity::Low;
        let day = self.days.at(detection.time);
        *day.detections.entry(detection.rule.clone()).or_default() += 1;
        self.nuisances.add(detection);
        let client = detection.client_id.as_ref();
        if let Some(about) = client.and_then(|client| self.clients.about(client)) {
            about.detections += 1;
        }
        let prefix = detection.ip_address.map(Prefix::of);
        if let Some(of_network) = prefix.and_then(|prefix| self.networks.about(&prefix)) {
            of_network.about.detections += 1;
        }
    }

    /// Each family once: what is only observed is asked for again and again.
    fn revocation(&mut self, action: &Action, output: &Output) {
        let target = &action.target;
        let family = target.family_id.as_ref().or(target.session_id.as_ref());
        let name = format!("{}\u{1f}{}", target.issuer, family.map_or("", |id| id));
        if !self.cut_off.is_new(&name.into()) {
            return;
        }
        self.days.at(action.event_time).revocations += 1;
        let revocations = &mut self.revocations;
        revocations.families += 1;
        match action.decision {
            Decision::Execute => revocations.executed += 1,
            Decision::Hold => revocations.held += 1,
            _ => revocations.observed += 1,
        }
        if revocations.examples.len() < EXAMPLES {
            revocations.examples.push(Example {
                time: action.event_time,
                rule: action.rule.clone(),
                family_id: target.family_id.clone(),
                user_id: target.user_id.clone(),
                client_id: target.client_id.clone(),
            });
        }
        if let Some(client) = &target.client_id {
            self.revoked_clients.add(client);
            if let Some(about) = self.clients.about(client) {
                about.revocations += 1;
            }
        }
        let mut caused = output.detections.iter();
        let cause = caused.find(|it| action.detection_ids.contains(&it.id));
        let prefix = cause.and_then(|it| it.ip_address).map(Prefix::of);
        if let Some(of_network) = prefix.and_then(|prefix| self.networks.about(&prefix)) {
            of_network.about.revocations += 1;
        }
    }

    fn report(self, unmet: Vec<Unmet>, unused: Vec<(Text, Arc<Exception>)>) -> Report {
        let nuisances = self
            .nuisances
            .found(|who| (self.traffic(who), self.refreshes));
        let clients = self.client_rows();
        let networks = self.network_rows();
        let days = self.days.into_rows();
        let mut total = Day::default();
        for (_, day) in &days {
            total.add(day);
        }
        let of_clients = self.revoked_clients.ranked().into_iter();
        Report {
            first: self.first,
            last: self.last,
            users: self.users.count(),
            users_exact: self.users.is_exact(),
            days,
            total,
            actions: self.actions,
            revocations: Revocations {
                clients: of_clients
                    .map(|(name, count, ())| (name.clone(), count))
                    .collect(),
                ..self.revocations
            },
            clients,
            networks,
            missed_max: (self.clients.missed_max(), self.networks.missed_max()),
            shares: self.carried.shares(),
            unmet,
            nuisances,
            unused,
            declarations: self.shared.declarations(),
            fired: self.fired,
        }
    }

    fn traffic(&self, who: &Who) -> u64 {
        match who {
            Who::Client(client) => self.clients.count(client),
            Who::Network(prefix) => self.networks.count(prefix),
        }
    }

    fn client_rows(&self) -> Vec<ClientRow> {
        let row = |(client, refreshes, about): (&Text, u64, &Traffic)| ClientRow {
            client: client.clone(),
            refreshes,
            about: *about,
        };
        self.clients.ranked().into_iter().map(row).collect()
    }

    fn network_rows(&self) -> Vec<NetworkRow> {
        let row = |(network, refreshes, it): (&Prefix, u64, &OfNetwork)| NetworkRow {
            network: *network,
            refreshes,
            users: it.users.count(),
            users_exact: it.users.is_exact(),
            organisation: it.organisation.clone(),
            class: it.class,
            about: it.about,
        };
        self.networks.ranked().into_iter().map(row).collect()
    }
}
