//! What the engine remembers, in one number: equal memories have equal digests, however they came about.
//!
//! It shows that nothing was lost or doubled over restarts: a daemon that was killed again and again remembers what one
//! remembers that nobody disturbed. Entries are hashed in their saved form and added up, because tables keep no order.
//! Left out is what differs between equal memories: the bounds of tables and what went at them, engine time (of a source
//! at its end it is the time of day), and with it when something was last swept out or turned. When what is of no use any more is swept
//! out hangs on that time, so one of two may still have it: digests at one time leave it out of both.

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

/// Of one value.
pub(super) fn of(value: &impl Serialize) -> u128 {
    // Plain data into memory: there is nothing that could fail but the allocator.
    xxh3_128(&postcard::to_stdvec(value).unwrap_or_default())
}

/// Of values in any order.
pub(super) fn of_all<T: Serialize>(values: impl Iterator<Item = T>) -> u128 {
    values.fold(0, |sum, value| sum.wrapping_add(of(&value)))
}

#[cfg(test)]
mod tests {
    use crate::engine::blocks::{self, Blocks};
    use crate::engine::parts::Part as _;
    use crate::engine::sweep::HORIZON_MS;
    use crate::engine::table::{SHARDS, Table};

    /// Spread over the shards, as hashes are.
    const fn key(time: i64) -> u64 {
        time.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn table(times: impl Iterator<Item = i64>) -> Table<i64> {
        let mut table = Table::new(100_000);
        for time in times {
            table.get_or_insert_with(key(time), || time);
        }
        assert_eq!(table.evicted(), 0);
        table
    }

    #[test]
    fn the_order_in_which_entries_came_and_bounds_are_no_part_of_it() {
        let (one, mut other) = (table(0..5_000), table((0..5_000).rev()));
        other.cap(1_000_000);
        let mut saved = Blocks::new(0);
        other.save(&mut saved);
        let saved = [vec![blocks::head(&0)], saved.into_pieces()]
            .concat()
            .concat();
        let (_, blocks) = blocks::parse::<i32>(&saved).unwrap();
        let mut restored = table(0..0);
        assert!(restored.fill(&blocks, 0));
        assert_eq!(one.digest(i64::MIN), other.digest(i64::MIN));
        assert_eq!(one.digest(i64::MIN), restored.digest(i64::MIN));
    }

    #[test]
    fn what_is_of_no_use_any_more_counts_until_it_is_asked_for_at_a_time() {
        let (all, mut swept) = (table(0..5_000), table(0..5_000));
        let at = HORIZON_MS + 1_000;
        (0..SHARDS / 2).for_each(|shard| swept.sweep(at, shard));
        assert_ne!(all.digest(i64::MIN), swept.digest(i64::MIN));
        assert_eq!(all.digest(at), swept.digest(at));
        assert_eq!(all.digest(at), table(1_000..5_000).digest(i64::MIN));
    }

    #[test]
    fn an_entry_more_less_or_other_is_seen() {
        let whole = table(0..5_000).digest(i64::MIN);
        assert_ne!(whole, table(0..4_999).digest(i64::MIN));
        assert_ne!(whole, table(0..5_001).digest(i64::MIN));
        let mut other = table(0..5_000);
        *other.get_mut(key(17)).unwrap() += 1;
        assert_ne!(whole, other.digest(i64::MIN));
        // What stands under one key is not the same under another.
        let (mut one, mut other) = (table(0..0), table(0..0));
        one.get_or_insert_with(1, || 5);
        other.get_or_insert_with(2, || 5);
        assert_ne!(one.digest(i64::MIN), other.digest(i64::MIN));
    }
}
