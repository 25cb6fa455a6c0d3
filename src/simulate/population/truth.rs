//! What really happened: what the simulated server and nobody else knows.
//!
//! Beside each event stands who sent it and why. Of families, those are listed that a stranger had a copy of or with
//! which the owner did something odd; every other family is honest and ordinary. A family is honest as long as no stranger
//! has presented one of its tokens.

use std::collections::{BTreeMap, HashMap};

use crate::model::{Event, Text, Timestamp};

use super::context::Context;
use super::kinds::{Attack, Oddity};
use super::proof::{Evidence, Proof, Reply, Unproved};
use super::server::App;
use super::settings::Source;

/// An event as the source tells it, and the truth beside it.
#[derive(Debug, Clone)]
pub struct Moment {
    pub event: Event,
    pub truth: Presented,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    pub sender: Sender,
    pub cause: Cause,
    /// Whose token it is, also where the event does not say.
    pub family: Option<FamilyKey>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The user, or a program of the user's.
    Owner,
    Stranger,
    /// Of the authorization server.
    Operator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Ordinary,
    Oddity(Oddity),
    Attack(Attack),
}

/// A family, by its user and its number among that user's families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FamilyKey {
    pub user: u32,
    pub number: u32,
}

/// A family that somebody robbed or that its owner did something odd with.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilyTruth {
    pub key: FamilyKey,
    pub family_id: Text,
    /// The first of its tokens that the log names: what identifies the family where events carry no family id.
    pub first_token: Text,
    pub user_id: Text,
    pub client_id: &'static str,
    pub attack: Option<Attack>,
    /// When the copy was made.
    pub stolen_at: Option<Timestamp>,
    /// When a stranger first presented one of its tokens: from then on the family is not honest.
    pub first_stranger: Option<Timestamp>,
    /// From when on any observer of this source could prove the theft, and by what.
    pub proved: Option<(Timestamp, Proof)>,
    /// Of a theft that nobody could prove.
    pub unproved: Option<Unproved>,
    pub oddities: Vec<Oddity>,
    /// When the server first accepted a token whose successor had been used, outside every grace period.
    pub dead_token_honoured: Option<Timestamp>,
}

impl FamilyTruth {
    pub fn is_honest(&self) -> bool {
        self.first_stranger.is_none()
    }
}

/// An attack that is not the theft of one token: guessing, stuffing, hoarding, locking out.
#[derive(Debug, Clone, PartialEq)]
pub struct Raid {
    pub attack: Attack,
    pub from: Timestamp,
    pub to: Timestamp,
    /// The one who suffers, where it is one.
    pub user_id: Option<Text>,
    pub addresses: Vec<Text>,
    /// At which clients it was tried.
    pub clients: Vec<&'static str>,
    pub events: u64,
    /// Why nobody who reads this source could tell it from its honest twin, where nobody could.
    pub unproved: Option<Unproved>,
}

/// Everything that is known at the end.
#[derive(Debug, Default)]
pub struct Truth {
    pub families: Vec<FamilyTruth>,
    pub raids: Vec<Raid>,
    /// How often each happened: of an oddity that is a habit, events; of any other, occasions.
    pub oddities: BTreeMap<Oddity, u64>,
    pub attacks: BTreeMap<Attack, u64>,
    pub events: u64,
    places: HashMap<FamilyKey, usize>,
    evidence: HashMap<FamilyKey, Evidence>,
}

/// Addresses that a raid names: as many as the largest one has.
const RAID_ADDRESSES_MAX: usize = 2048;

impl Truth {
    /// The truth about a family that is listed; `None` means honest and ordinary.
    pub fn family(&self, key: FamilyKey) -> Option<&FamilyTruth> {
        self.families.get(*self.places.get(&key)?)
    }

    /// The families that strangers had a copy of.
    pub fn thefts(&self) -> impl Iterator<Item = &FamilyTruth> {
        self.families
            .iter()
            .filter(|family| family.attack.is_some_and(Attack::is_theft))
    }

    pub(super) fn list(&mut self, family: FamilyTruth) {
        if !self.places.contains_key(&family.key) {
            self.places.insert(family.key, self.families.len());
            self.families.push(family);
        }
    }

    fn listed(&mut self, key: FamilyKey) -> Option<&mut FamilyTruth> {
        self.families.get_mut(*self.places.get(&key)?)
    }

    pub(super) fn odd(&mut self, key: FamilyKey, oddity: Oddity) {
        if let Some(family) = self.listed(key)
            && !family.oddities.contains(&oddity)
        {
            family.oddities.push(oddity);
        }
    }

    /// A copy of one of the family's tokens has been made. `ended`: the family no longer lives.
    pub(super) fn stolen(
        &mut self,
        key: FamilyKey,
        attack: Attack,
        at: i64,
        (ended, rotates): (bool, bool),
    ) {
        if let Some(family) = self.listed(key)
            && family.attack.is_none()
        {
            family.attack = Some(attack);
            family.stolen_at = Timestamp::from_millisecond(at).ok();
            let evidence = Evidence::new(ended, rotates);
            self.evidence.insert(key, evidence);
        }
    }

    /// A token of a listed family has been presented.
    pub(super) fn presented(
        &mut self,
        (key, sender): (FamilyKey, Sender),
        at: i64,
        context: &Context,
        reply: Reply,
        source: Source,
    ) {
        if let Some(evidence) = self.evidence.get_mut(&key) {
            evidence.see(sender, at, context, reply, source);
        }
        if let Some(family) = self.listed(key) {
            if reply == Reply::HonouredDead && family.dead_token_honoured.is_none() {
                family.dead_token_honoured = Timestamp::from_millisecond(at).ok();
            }
            if sender == Sender::Stranger && family.first_stranger.is_none() {
                family.first_stranger = Timestamp::from_millisecond(at).ok();
            }
        }
    }

    /// The family ended, and not by the dispute over a stolen token.
    pub(super) fn ended(&mut self, key: FamilyKey) {
        if let Some(evidence) = self.evidence.get_mut(&key) {
            evidence.ended();
        }
    }

    pub(super) fn happened(&mut self, oddity: Oddity) {
        *self.oddities.entry(oddity).or_default() += 1;
    }

    pub(super) fn attacked(&mut self, attack: Attack) {
        *self.attacks.entry(attack).or_default() += 1;
    }

    /// Begins the account of a raid; what is given back names it.
    pub(super) fn raid(
        &mut self,
        attack: Attack,
        at: i64,
        user_id: Option<Text>,
        unproved: Option<Unproved>,
    ) -> usize {
        let time = Timestamp::from_millisecond(at).unwrap_or_default();
        self.raids.push(Raid {
            attack,
            from: time,
            to: time,
            user_id,
            addresses: Vec::new(),
            clients: Vec::new(),
            events: 0,
            unproved,
        });
        self.raids.len() - 1
    }

    pub(super) fn raided(&mut self, raid: usize, at: i64, app: App, context: &Context) {
        if let Some(raid) = self.raids.get_mut(raid) {
            raid.to = Timestamp::from_millisecond(at).unwrap_or_default();
            raid.events += 1;
            let client = app.setting().client_id;
            if !raid.clients.contains(&client) {
                raid.clients.push(client);
            }
            let address = Text::from(context.address.to_string());
            if raid.addresses.len() < RAID_ADDRESSES_MAX && !raid.addresses.contains(&address) {
                raid.addresses.push(address);
            }
        }
    }

    /// The log has ended: what is proved by now is proved.
    pub(super) fn close(&mut self) {
        for (key, evidence) in self.evidence.drain() {
            let place = self.places.get(&key).copied();
            if let Some(family) = place.and_then(|place| self.families.get_mut(place)) {
                family.unproved = evidence.unproved();
                family.proved = evidence.proved;
            }
        }
    }
}
