//! `state:`.

use crate::model::limits::{ENTRIES_MAX, ENTRIES_MIN, MEMORY_MIN};
use crate::yaml::{Faults, Node};

use super::super::StateLimits;

pub(super) fn state(node: &Node, faults: &mut Faults) -> Option<StateLimits> {
    let usual = StateLimits::default();
    let mut map = node.mapping(faults)?;
    let limits = StateLimits {
        families_max: map.or("families_max", usual.families_max, faults, entries),
        users_max: map.or("users_max", usual.users_max, faults, entries),
        networks_max: map.or("networks_max", usual.networks_max, faults, entries),
        memory_max: map.optional("memory_max", faults, |node, faults| {
            node.size(MEMORY_MIN, faults)
        }),
    };
    map.finish(faults);
    Some(limits)
}

fn entries(node: &Node, faults: &mut Faults) -> Option<usize> {
    node.integer(ENTRIES_MIN..=ENTRIES_MAX, faults)
}
