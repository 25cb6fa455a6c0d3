//! Rules most of whose findings come from one client or one network: candidates for an exception.
//!
//! Grave findings are left out: a client most of whose families are stolen is no nuisance. So is a client that is as much
//! of the traffic as of the findings: an exception for it would switch the rule off.

use std::collections::BTreeMap;

use super::heavy::Heavy;
use crate::model::limits::SUMMARY_NAMES_MAX;
use crate::model::{Detection, Prefix, Severity, Text};

/// Fewer findings say nothing.
const DETECTIONS_MIN: u64 = 10;
/// Per cent of a rule's findings that one name must have.
const SHARE_MIN: u64 = 50;
/// ... and so many times its share of the traffic.
const OVER_TRAFFIC_MIN: u64 = 2;

#[derive(Default)]
pub(super) struct Nuisances {
    rules: BTreeMap<Text, OfRule>,
}

struct OfRule {
    detections: u64,
    clients: Heavy<Text, ()>,
    networks: Heavy<Prefix, ()>,
}

/// A rule that one name keeps busy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nuisance {
    pub rule: Text,
    pub who: Who,
    /// Of the rule's mild findings.
    pub detections: u64,
    pub of: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    Client(Text),
    Network(Prefix),
}

impl Nuisances {
    pub(super) fn add(&mut self, detection: &Detection) {
        if detection.severity >= Severity::High {
            return;
        }
        let of_rule = self
            .rules
            .entry(detection.rule.clone())
            .or_insert_with(|| OfRule {
                detections: 0,
                clients: Heavy::new(SUMMARY_NAMES_MAX),
                networks: Heavy::new(SUMMARY_NAMES_MAX),
            });
        of_rule.detections += 1;
        if let Some(client) = &detection.client_id {
            of_rule.clients.add(client);
        }
        if let Some(address) = detection.ip_address {
            of_rule.networks.add(&Prefix::of(address));
        }
    }

    /// `traffic` tells a name's refreshes, out of how many.
    pub(super) fn found(&self, traffic: impl Fn(&Who) -> (u64, u64)) -> Vec<Nuisance> {
        let mut found = Vec::new();
        for (rule, of_rule) in &self.rules {
            let clients = of_rule.clients.ranked().into_iter();
            let clients = clients.map(|(name, count, ())| (Who::Client(name.clone()), count));
            let networks = of_rule.networks.ranked().into_iter();
            let networks = networks.map(|(prefix, count, ())| (Who::Network(*prefix), count));
            let firsts = [clients.take(1).next(), networks.take(1).next()];
            for (who, detections) in firsts.into_iter().flatten() {
                if stands_out(detections, of_rule.detections, traffic(&who)) {
                    found.push(Nuisance {
                        rule: rule.clone(),
                        who,
                        detections,
                        of: of_rule.detections,
                    });
                }
            }
        }
        found
    }
}

fn stands_out(detections: u64, of: u64, (refreshes, of_refreshes): (u64, u64)) -> bool {
    let share = detections * 100 / of.max(1);
    let of_traffic = refreshes * 100 / of_refreshes.max(1);
    of >= DETECTIONS_MIN && share >= SHARE_MIN && share >= OVER_TRAFFIC_MIN * of_traffic
}

#[cfg(test)]
mod tests {
    use super::stands_out;

    #[test]
    fn only_who_is_more_of_the_findings_than_of_the_traffic_stands_out() {
        assert!(stands_out(90, 100, (1, 100)));
        assert!(!stands_out(90, 100, (80, 100)), "it is the traffic");
        assert!(!stands_out(40, 100, (1, 100)), "others are as busy");
        assert!(!stands_out(9, 9, (1, 100)), "too few to say");
    }
}
