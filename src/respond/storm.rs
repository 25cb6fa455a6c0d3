//! Storms: many families of one client, or seen from one foreign network, within ten minutes are one incident.
//!
//! A client release with a bug, a failing server or a leaked token dump looks like hundreds of thefts; the person on
//! call gets one page with a count, not hundreds. Each family keeps its own revocation, within the budget.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::model::{Text, limits};

use super::ageing::Ageing;

const WINDOW_MS: i64 = 10 * 60 * 1000;
/// From this many families on, they are one storm.
const FAMILIES: usize = 4;
/// Families remembered of one client or network; a storm has begun long before.
const REMEMBERED_MAX: usize = 64;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Storms {
    /// By client or network: when which family was found.
    seen: Ageing<Text, VecDeque<(i64, Text)>>,
    evicted: u64,
}

impl Storms {
    /// Files a family under a client or network; whether that is a storm now.
    pub(super) fn joins(&mut self, place: &Text, family: &Text, time: i64) -> bool {
        let old = time.saturating_sub(WINDOW_MS);
        while self.seen.pop_until(old).is_some() {}
        let families = self.seen.touch(place, time, VecDeque::new);
        families.retain(|(at, _)| *at > old);
        if !families.iter().any(|(_, known)| known == family) {
            families.push_back((time, family.clone()));
        }
        if families.len() > REMEMBERED_MAX {
            families.pop_front();
        }
        let position = families.iter().position(|(_, known)| known == family);
        let joins = position.is_some_and(|at| at + 1 >= FAMILIES);
        while self.seen.len() > limits::STORM_PLACES_MAX {
            self.seen.pop_oldest();
            self.evicted += 1;
        }
        joins
    }

    /// Clients and networks forgotten before their time.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }
}
