//! How many different names there were, in bounded memory: the smallest hashes of all that were seen.
//!
//! Exact up to [`KEPT`]; beyond, the largest of the smallest hashes tells how densely all lie, within some 6 %. Two of
//! these can be joined without counting anybody twice, which plain counters could not.

use xxhash_rust::xxh3::xxh3_64;

/// Hashes kept: 2 KB.
const KEPT: usize = 256;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Distinct {
    /// In order.
    smallest: Vec<u64>,
}

impl Distinct {
    pub(super) fn add(&mut self, name: &str) {
        self.insert(xxh3_64(name.as_bytes()));
    }

    /// Everybody who is in the other too.
    pub(super) fn join(&mut self, other: &Self) {
        for hash in &other.smallest {
            self.insert(*hash);
        }
    }

    /// Whether the number is counted and not estimated.
    pub(super) fn is_exact(&self) -> bool {
        self.smallest.len() < KEPT
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate within 6 % of a number far below 2^53"
    )]
    pub(super) fn count(&self) -> u64 {
        match self.smallest.last() {
            Some(largest) if !self.is_exact() => {
                let covered = *largest as f64 / u64::MAX as f64;
                ((KEPT - 1) as f64 / covered).round() as u64
            }
            _ => self.smallest.len() as u64,
        }
    }

    fn insert(&mut self, hash: u64) {
        if !self.is_exact() && self.smallest.last().is_some_and(|largest| hash >= *largest) {
            return;
        }
        if let Err(at) = self.smallest.binary_search(&hash) {
            self.smallest.insert(at, hash);
            self.smallest.truncate(KEPT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: std::ops::Range<u32>) -> Distinct {
        let mut distinct = Distinct::default();
        for _ in 0..2 {
            numbers
                .clone()
                .for_each(|n| distinct.add(&format!("user {n}")));
        }
        distinct
    }

    #[test]
    fn few_are_counted_and_many_estimated() {
        assert_eq!(of(0..0).count(), 0);
        assert_eq!(of(0..200).count(), 200);
        let many = of(0..50_000);
        assert!(!many.is_exact());
        assert!((43_000..57_000).contains(&many.count()), "{}", many.count());
    }

    #[test]
    fn joined_counts_nobody_twice() {
        let mut joined = of(0..3000);
        joined.join(&of(2000..5000));
        assert_eq!(joined, of(0..5000));
    }
}
