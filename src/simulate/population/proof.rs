//! From when on an observer of the same events could prove a theft, and why some thefts cannot be proved.
//!
//! The observer reads what the source carries, knows the declared networks and clients, and assumes nothing else. A theft
//! is *provable* as soon as both holders have presented tokens of the family after the copy was made, and
//! - the source carries device ids and theirs differ, or
//! - the source carries user agents and they are different kinds of clients, or
//! - their networks locate them, and nobody travels that far in the time between, or
//! - the server rotates, and the networks alternate X, Y, X within ten minutes;
//!
//! or if the server has accepted a token whose successor had been used before, outside every grace period.
//!
//! Another network alone proves nothing: a lost answer that is asked for again from the train looks the same. Nor does
//! one holder alone: a new phone looks the same. This is a notion about events and contexts, not about any rule.

use crate::model::{Granularity, Place, Timestamp};

use super::context::Context;
use super::kinds::{Attack, kinds};
use super::server::{HOUR, MINUTE};
use super::settings::Source;
use super::truth::Sender;
use crate::simulate::places::Locality;

kinds! {
    /// What proves that two people hold tokens of one family.
    Proof {
        DeadTokenHonoured = "dead-token-honoured",
        Device = "device",
        ClientKind = "client-kind",
        Travel = "travel",
        Alternation = "alternation",
    }
}

kinds! {
    /// Why no observer could prove it.
    Unproved {
        /// Only one of the two presented anything after the copy was made.
        OneHolder = "one-holder",
        /// The family had ended before the stranger came.
        FamilyEnded = "family-ended",
        /// Both came, and look alike in every field that the source carries.
        Alike = "alike",
    }
}

/// Why an observer of this source could not tell a raid from its honest twin, if so.
///
/// A raid is seen by everybody as soon as it differs from its twin in what the source tells: other tokens each time, other
/// users each time, some ten times as many requests, a context that is not the victim's. Where refusals name no token
/// ([`Source::AddressOnly`]) one unknown token every twenty minutes from a rented server is what a forgotten job with one
/// dead token sends: there the two are alike.
/// Nor can the dead token of a victim, presented again and again at the victim's own operator, be told from a forgotten tab
/// there: a context that is not the victim's is `elsewhere`.
pub(super) const fn raid_unproved(
    attack: Attack,
    source: Source,
    elsewhere: bool,
) -> Option<Unproved> {
    match (attack, source) {
        (Attack::SlowBruteForce, Source::AddressOnly) => Some(Unproved::Alike),
        (Attack::LockOut, Source::AddressOnly) if !elsewhere => Some(Unproved::Alike),
        _ => None,
    }
}

/// What the server made of a presentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Accepted,
    /// Accepted, though consumed and its successor too, outside every grace period.
    HonouredDead,
    Refused,
}

/// Contexts of each holder that are remembered.
const SIGHTS_MAX: usize = 6;
const ALTERNATION_MS: i64 = 10 * MINUTE;
const SPEED_MAX_KM_PER_H: f64 = 1000.0;
const DISTANCE_MIN_KM: f64 = 500.0;
/// Two sightings further apart in time say nothing about speed.
const TRAVEL_MS_MAX: i64 = 24 * HOUR;

/// What has been seen of a stolen family since the copy was made.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct Evidence {
    sights: Vec<Sight>,
    pub proved: Option<(Timestamp, Proof)>,
    saw_owner: bool,
    saw_stranger: bool,
    /// By something else than the dispute over the stolen token, and before any stranger came: he never held a live token, and
    /// what he is refused is the aftermath of that end, which anybody with a dead token can bring about.
    was_ended_before: bool,
    /// Else one phone between two networks presents the same token from both.
    rotates: bool,
}

#[derive(Debug)]
struct Sight {
    sender: Sender,
    at: i64,
    context: Context,
}

impl Evidence {
    pub(super) fn new(was_ended_before: bool, rotates: bool) -> Self {
        Self {
            was_ended_before,
            rotates,
            ..Self::default()
        }
    }

    pub(super) fn see(
        &mut self,
        sender: Sender,
        at: i64,
        context: &Context,
        reply: Reply,
        source: Source,
    ) {
        self.saw_owner |= sender == Sender::Owner;
        self.saw_stranger |= sender == Sender::Stranger;
        // An operator has enabled the user again: what seemed over goes on.
        self.was_ended_before &= reply == Reply::Refused;
        if self.proved.is_some() || self.was_ended_before {
            return;
        }
        let sight = Sight {
            sender,
            at,
            context: context.clone(),
        };
        let proof = if reply == Reply::HonouredDead {
            Some(Proof::DeadTokenHonoured)
        } else {
            self.proof(&sight, source)
        };
        if let Some(proof) = proof {
            self.proved = Timestamp::from_millisecond(at)
                .ok()
                .map(|time| (time, proof));
            self.sights = Vec::new();
            return;
        }
        let of_sender = self
            .sights
            .iter()
            .filter(|sight| sight.sender == sender)
            .count();
        if of_sender >= SIGHTS_MAX
            && let Some(oldest) = self.sights.iter().position(|sight| sight.sender == sender)
        {
            self.sights.remove(oldest);
        }
        self.sights.push(sight);
    }

    fn proof(&self, new: &Sight, source: Source) -> Option<Proof> {
        let others = || {
            self.sights
                .iter()
                .filter(|sight| sight.sender != new.sender)
        };
        let find = |differ: &dyn Fn(&Sight) -> bool| others().any(differ);
        if source >= Source::Full && find(&|old| devices_differ(&old.context, &new.context)) {
            return Some(Proof::Device);
        }
        if source >= Source::NoDevice
            && find(&|old| old.context.agent.kind != new.context.agent.kind)
        {
            return Some(Proof::ClientKind);
        }
        if find(&|old| cannot_be_one(old, new)) {
            return Some(Proof::Travel);
        }
        self.alternates(new).then_some(Proof::Alternation)
    }

    /// The new one, the other holder before, and the first one again, each from another network than the one before.
    fn alternates(&self, new: &Sight) -> bool {
        let [.., first, second] = self.sights.as_slice() else {
            return false;
        };
        self.rotates
            && first.sender == new.sender
            && second.sender != new.sender
            && new.at - first.at <= ALTERNATION_MS
            && second.context.net.differs(new.context.net)
            && !first.context.net.differs(new.context.net)
    }

    /// The family ended before any stranger came.
    pub(super) fn ended(&mut self) {
        self.was_ended_before |= !self.saw_stranger;
    }

    pub(super) fn unproved(&self) -> Option<Unproved> {
        if self.proved.is_some() {
            return None;
        }
        Some(if self.was_ended_before {
            Unproved::FamilyEnded
        } else if self.saw_owner && self.saw_stranger {
            Unproved::Alike
        } else {
            Unproved::OneHolder
        })
    }
}

fn devices_differ(one: &Context, other: &Context) -> bool {
    matches!((&one.device, &other.device), (Some(one), Some(other)) if one != other)
}

fn cannot_be_one(old: &Sight, new: &Sight) -> bool {
    let apart = (new.at - old.at).abs();
    let (from, to) = (old.context.net, new.context.net);
    if from.hides_person || to.hides_person || apart > TRAVEL_MS_MAX || !from.differs(to) {
        return false;
    }
    let distance = place(&from.locality).effective_distance_km(&place(&to.locality));
    distance.is_some_and(|km| km >= DISTANCE_MIN_KM && km > SPEED_MAX_KM_PER_H * hours(apart))
}

/// Where GeoIP has a network.
pub(super) fn place(locality: &Locality) -> Place {
    Place {
        latitude: locality.latitude,
        longitude: locality.longitude,
        radius_km: locality.radius_km,
        granularity: Granularity::City,
        country: None,
        city: None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a day in milliseconds is far below 2^52"
)]
fn hours(ms: i64) -> f64 {
    ms.max(1000) as f64 / HOUR as f64
}

#[cfg(test)]
mod tests {
    use super::super::agents::{Agent, AgentKind};
    use super::super::map::{MAP, Net};
    use super::*;
    use Sender::{Owner, Stranger};

    fn context(net: &'static Net, kind: AgentKind, device: &str) -> Context {
        Context {
            net,
            address: net.address(1, 1),
            agent: Agent { kind, version: 0 },
            device: (!device.is_empty()).then(|| device.into()),
        }
    }

    fn proved(source: Source, sights: &[(Sender, i64, &Context)]) -> Option<Proof> {
        let mut evidence = Evidence::new(false, true);
        for (sender, at, context) in sights {
            evidence.see(*sender, *at, context, Reply::Accepted, source);
        }
        evidence.proved.map(|(_, proof)| proof)
    }

    #[test]
    fn a_field_proves_where_the_source_carries_it() {
        let home = &MAP.cities[0].cable;
        let owner = context(home, AgentKind::AppOnIphone, "a");
        let other_device = context(home, AgentKind::AppOnIphone, "b");
        let script = context(home, AgentKind::Script, "");
        let with = |source, thief| proved(source, &[(Owner, 0, &owner), (Stranger, MINUTE, thief)]);
        assert_eq!(with(Source::Full, &other_device), Some(Proof::Device));
        assert_eq!(with(Source::NoDevice, &other_device), None);
        assert_eq!(with(Source::NoDevice, &script), Some(Proof::ClientKind));
        assert_eq!(with(Source::AddressOnly, &script), None);
    }

    #[test]
    fn places_prove_where_nobody_travels_so_fast_and_a_vpn_is_no_place() {
        let owner = context(&MAP.cities[0].cable, AgentKind::AppOnIphone, "a");
        let tokyo = context(&MAP.cities[17].cable, AgentKind::AppOnIphone, "a");
        let vpn = context(&MAP.vpns[0], AgentKind::AppOnIphone, "a");
        let after = |ms, thief| proved(Source::Full, &[(Owner, 0, &owner), (Stranger, ms, thief)]);
        assert_eq!(after(HOUR, &tokyo), Some(Proof::Travel));
        assert_eq!(after(14 * HOUR, &tokyo), None);
        assert_eq!(after(MINUTE, &vpn), None);
    }

    #[test]
    fn another_network_proves_only_when_the_first_comes_again() {
        let owner = context(&MAP.cities[0].cable, AgentKind::AppOnIphone, "a");
        let near = context(&MAP.cities[0].fibre, AgentKind::AppOnIphone, "a");
        let both = [(Owner, 0, &owner), (Stranger, MINUTE, &near)];
        assert_eq!(proved(Source::AddressOnly, &both), None);
        let again = [both[0], both[1], (Owner, 9 * MINUTE, &owner)];
        assert_eq!(
            proved(Source::AddressOnly, &again),
            Some(Proof::Alternation)
        );
        let late = [both[0], both[1], (Owner, 11 * MINUTE, &owner)];
        assert_eq!(proved(Source::AddressOnly, &late), None);
    }

    #[test]
    fn what_is_not_proved_says_why() {
        let owner = context(&MAP.cities[0].cable, AgentKind::AppOnIphone, "a");
        let mut evidence = Evidence::default();
        evidence.see(Stranger, 0, &owner, Reply::Accepted, Source::Full);
        assert_eq!(evidence.unproved(), Some(Unproved::OneHolder));
        evidence.see(Owner, 1, &owner, Reply::Accepted, Source::Full);
        assert_eq!(evidence.unproved(), Some(Unproved::Alike));
        evidence.see(
            Stranger,
            2,
            &owner,
            Reply::HonouredDead,
            Source::AddressOnly,
        );
        assert_eq!(evidence.unproved(), None);
    }

    #[test]
    fn who_comes_after_the_end_holds_nothing_until_the_family_lives_again() {
        let owner = context(&MAP.cities[0].cable, AgentKind::AppOnIphone, "a");
        let tokyo = context(&MAP.cities[17].cable, AgentKind::AppOnIphone, "b");
        let mut evidence = Evidence::new(false, true);
        evidence.see(Owner, 0, &owner, Reply::Refused, Source::Full);
        evidence.ended();
        evidence.see(Stranger, MINUTE, &tokyo, Reply::Refused, Source::Full);
        evidence.see(Owner, 2 * MINUTE, &owner, Reply::Refused, Source::Full);
        assert_eq!(evidence.unproved(), Some(Unproved::FamilyEnded));
        evidence.see(Stranger, HOUR, &tokyo, Reply::Accepted, Source::Full);
        assert_eq!(evidence.unproved(), None);
    }
}
