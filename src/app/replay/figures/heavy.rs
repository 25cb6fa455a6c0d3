//! Who is frequent, in memory that does not grow with the number of names, with something kept about each.
//!
//! The summary of Misra and Gries, as in `metrics::top`, but over a whole log and with more than a count: counts may be
//! too low by a known amount, never too high, and whoever is frequent is among them.

use std::collections::HashMap;
use std::hash::Hash;

#[derive(Debug, Clone)]
pub(super) struct Heavy<K, V> {
    kept: HashMap<K, (u64, V)>,
    /// So many are kept for certain, twice as many at most.
    names_max: usize,
    missed_max: u64,
}

impl<K: Hash + Ord + Clone, V: Default> Heavy<K, V> {
    pub(super) fn new(names_max: usize) -> Self {
        Self {
            kept: HashMap::new(),
            names_max,
            missed_max: 0,
        }
    }

    /// Counts once, and gives what is kept about the name.
    pub(super) fn add(&mut self, name: &K) -> &mut V {
        if !self.kept.contains_key(name) && self.kept.len() >= 2 * self.names_max {
            self.forget_the_rare();
        }
        let (count, about) = self.kept.entry(name.clone()).or_default();
        *count += 1;
        about
    }

    /// What is kept about a name that is frequent, without counting.
    pub(super) fn about(&mut self, name: &K) -> Option<&mut V> {
        self.kept.get_mut(name).map(|(_, about)| about)
    }

    /// Most frequent first.
    pub(super) fn ranked(&self) -> Vec<(&K, u64, &V)> {
        let mut ranked: Vec<_> = self
            .kept
            .iter()
            .map(|(name, (count, about))| (name, *count, about))
            .collect();
        ranked.sort_by(|(a, more, _), (b, less, _)| less.cmp(more).then_with(|| a.cmp(b)));
        ranked
    }

    /// At least so often.
    pub(super) fn count(&self, name: &K) -> u64 {
        self.kept.get(name).map_or(0, |(count, _)| *count)
    }

    /// How much too low each count may be.
    pub(super) fn missed_max(&self) -> u64 {
        self.missed_max
    }

    fn forget_the_rare(&mut self) {
        let mut counts: Vec<u64> = self.kept.values().map(|(count, _)| *count).collect();
        let (_, first_too_many, _) = counts.select_nth_unstable_by(self.names_max, |a, b| b.cmp(a));
        let lowered = *first_too_many;
        self.kept.retain(|_, (count, _)| {
            *count = count.saturating_sub(lowered);
            *count > 0
        });
        self.missed_max += lowered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequent_stay_among_any_number_of_rare_names() {
        let mut heavy: Heavy<u32, u32> = Heavy::new(10);
        for turn in 0..20_000 {
            *heavy.add(&(turn + 1)) += 1;
            if turn % 5 == 0 {
                *heavy.add(&0) += 1;
            }
        }
        let ranked = heavy.ranked();
        assert_eq!(*ranked[0].0, 0);
        assert!(
            ranked[0].1 <= 4000 && ranked[0].1 + heavy.missed_max() >= 4000,
            "{ranked:?}"
        );
        assert!(heavy.kept.len() <= 20);
    }
}
