//! Storms: many families of one client, or seen from one foreign network, within ten minutes are one incident.
//!
//! A client release with a bug, a failing server or a leaked token dump looks like hundreds of thefts; the person on
//! call gets one page with a count, not hundreds. Each family keeps its own revocation, within the budget.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::model::Text;

const WINDOW_MS: i64 = 10 * 60 * 1000;
/// From this many families on, they are one storm.
const FAMILIES: usize = 4;
/// Families remembered of one client or network; a storm has begun long before.
const REMEMBERED_MAX: usize = 64;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Storms {
    /// By client or network: when which family was found.
    seen: BTreeMap<Text, VecDeque<(i64, Text)>>,
}

impl Storms {
    /// Files a family under a client or network; whether that is a storm now.
    pub(super) fn joins(&mut self, place: &Text, family: &Text, time: i64) -> bool {
        self.seen.retain(|_, families| {
            families.retain(|(at, _)| *at > time - WINDOW_MS);
            !families.is_empty()
        });
        let families = self.seen.entry(place.clone()).or_default();
        if !families.iter().any(|(_, known)| known == family) {
            families.push_back((time, family.clone()));
        }
        if families.len() > REMEMBERED_MAX {
            families.pop_front();
        }
        let position = families.iter().position(|(_, known)| known == family);
        families.len() >= FAMILIES && position.is_some_and(|at| at + 1 >= FAMILIES)
    }
}
