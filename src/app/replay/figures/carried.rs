//! What the events of a log really carried, clue by clue: a rule whose clue never comes is blind, whatever the format could tell.

use crate::app::blind;
use crate::config::Config;
use crate::enrich::Tables;
use crate::model::{Clue, Enriched, EventType, Mode, Text};
use crate::rules::RuleSet;
use crate::rules::needs::Need;

/// Presentations of tokens, and how many of them carried each clue.
#[derive(Debug, Clone, Default)]
pub(super) struct Carried {
    presentations: u64,
    counts: [u64; Clue::ALL.len()],
}

/// One clue, and how many presentations carried it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub clue: Clue,
    pub carried: u64,
    pub presentations: u64,
}

/// A need of a rule that no event met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    pub rule: Text,
    pub need: Need,
}

impl Carried {
    pub(super) fn add(&mut self, event: &Enriched) {
        if !matches!(event.event.kind, EventType::Issue | EventType::Refresh) {
            return;
        }
        self.presentations += 1;
        for (count, clue) in self.counts.iter_mut().zip(Clue::ALL) {
            *count += u64::from(carries(event, *clue));
        }
    }

    pub(super) fn shares(&self) -> Vec<Share> {
        let share = |(clue, carried): (&Clue, &u64)| Share {
            clue: *clue,
            carried: *carried,
            presentations: self.presentations,
        };
        Clue::ALL.iter().zip(&self.counts).map(share).collect()
    }

    /// Of a log without presentations nothing can be told.
    pub(super) fn unmet(&self, config: &Config, rules: &RuleSet, tables: &Tables) -> Vec<Unmet> {
        if self.presentations == 0 {
            return Vec::new();
        }
        let there = blind::looked_up(tables);
        let came = |share: &Share| share.carried > 0;
        let clues: Vec<Clue> = self
            .shares()
            .into_iter()
            .filter(came)
            .map(|share| share.clue)
            .filter(|clue| !clue.is_looked_up() || there.contains(clue))
            .collect();
        let on =
            |rule: &&std::sync::Arc<crate::rules::Rule>| rule.mode.min(config.mode) != Mode::Off;
        let mut unmet = Vec::new();
        for rule in rules.rules.iter().filter(on) {
            unmet.extend(
                blind::unmet_needs(rule, &clues)
                    .into_iter()
                    .map(|need| Unmet {
                        rule: rule.name.clone(),
                        need,
                    }),
            );
        }
        unmet
    }
}

fn carries(enriched: &Enriched, clue: Clue) -> bool {
    let event = &enriched.event;
    match clue {
        Clue::Refusals => !event.succeeded(),
        Clue::TokenId => event.token_id.is_some() || event.new_token_id.is_some(),
        Clue::Generation => event.generation.is_some(),
        Clue::FamilyId => event.family_id.is_some(),
        Clue::SessionId => event.session_id.is_some(),
        Clue::UserId => event.user_id.is_some(),
        Clue::ClientId => event.client_id.is_some(),
        // Whether it is an exit is asked of a table, by address.
        Clue::IpAddress | Clue::AnonymousIp => event.ip_address.is_some(),
        Clue::UserAgent => event.user_agent.is_some(),
        Clue::DeviceId => event.device_id.is_some(),
        Clue::Ja4 => event.ja4.is_some(),
        Clue::KeyThumbprint => event.key_thumbprint.is_some(),
        Clue::Scope => event.scope.is_some(),
        Clue::City => enriched.place.is_some(),
    }
}
