//! Which rules are blind on which source: what rules need, minus what the source's format and layout can carry and the
//! lookup tables add.
//!
//! As far as files alone can tell: records in our own format may carry everything, and whether a table has all columns
//! that its layout reads is asked by the online check.

use std::collections::BTreeMap;
use std::fmt;

use super::parts;
use crate::config::{Config, Source, SourceKind};
use crate::decode;
use crate::enrich::{GeoTable, Tables};
use crate::model::{Clue, Mode, Text};
use crate::rules::needs::Need;
use crate::rules::{Rule, RuleSet};
use crate::sources::sql;

/// A rule that cannot see something, and the sources on which it cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blind {
    pub rule: Text,
    pub need: Need,
    pub sources: Vec<Text>,
}

impl fmt::Display for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.rule, self.sources.join(", "))?;
        if let Some(what) = self.need.blind_to {
            write!(f, ", to {what}")?;
        }
        let missing: Vec<&str> = self.need.one_of.iter().map(|clue| clue.as_str()).collect();
        write!(f, ": no {}", missing.join(" or "))
    }
}

/// Every blindness of a rule that is on, in the order of the rules and of their needs.
pub fn blind(config: &Config, rules: &RuleSet, tables: &Tables) -> Vec<Blind> {
    let on = |rule: &&std::sync::Arc<Rule>| rule.mode.min(config.mode) != Mode::Off;
    let mut blind = Vec::new();
    for rule in rules.rules.iter().filter(on) {
        let mut unmet: BTreeMap<Need, Vec<Text>> = BTreeMap::new();
        for source in &config.sources {
            let clues = clues(source, tables);
            for need in unmet_needs(rule, &clues) {
                unmet.entry(need).or_default().push(source.name.clone());
            }
        }
        blind.extend(rule.detect.needs().into_iter().filter_map(|need| {
            Some(Blind {
                rule: rule.name.clone(),
                sources: unmet.remove(&need)?,
                need,
            })
        }));
    }
    blind
}

/// Whether a rule sees nothing anywhere because a lookup table is not there: a file may vanish while running.
pub(super) fn lacks_table(rule: &Rule, tables: &Tables) -> bool {
    let there = looked_up(tables);
    rule.detect.needs().iter().any(|need| {
        let lacks = |clue: &Clue| clue.is_looked_up() && !there.contains(clue);
        need.blind_to.is_none() && need.one_of.iter().all(lacks)
    })
}

/// A rule that sees nothing at all on a source has no parts to be told of.
pub(super) fn unmet_needs(rule: &Rule, clues: &[Clue]) -> Vec<Need> {
    let unmet = |need: &Need| !need.one_of.iter().any(|clue| clues.contains(clue));
    let unmet: Vec<Need> = rule.detect.needs().into_iter().filter(unmet).collect();
    let sees_nothing = unmet.iter().any(|need| need.blind_to.is_none());
    let of_weight = |need: &Need| !sees_nothing || need.blind_to.is_none();
    unmet.into_iter().filter(of_weight).collect()
}

fn clues(source: &Source, tables: &Tables) -> Vec<Clue> {
    let (format, mapping) = parts::format(&source.decode);
    let mut clues = decode::clues(format, mapping.as_ref());
    if let SourceKind::Sql(database) = &source.kind
        && let Some(carried) = sql::clues(&database.layout)
    {
        clues.retain(|clue| carried.contains(clue));
    }
    if clues.contains(&Clue::IpAddress) {
        clues.extend(looked_up(tables));
    }
    clues
}

pub(super) fn looked_up(tables: &Tables) -> Vec<Clue> {
    let missing = tables.blind();
    let known = [
        (GeoTable::City, Clue::City),
        (GeoTable::AnonymousIp, Clue::AnonymousIp),
    ];
    let there = known
        .into_iter()
        .filter(|(table, _)| !missing.contains(table));
    there.map(|(_, clue)| clue).collect()
}
