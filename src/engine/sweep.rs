//! What nobody has touched for long is swept out, one shard of one table after the other, so that nothing ever stands still for it.
//!
//! Which is swept when is a function of engine time alone: a day has a slot for each shard of each table. After a jump of
//! time each input sweeps one of the slots that were passed over, until all have had their turn.

use super::parts::Part;
use super::state::State;
use super::table::SHARDS;

/// What is older than this is swept out; tokens that live longer begin a new ledger when they wake.
pub(super) const HORIZON_MS: i64 = 90 * DAY_MS;
const DAY_MS: i64 = 24 * 3_600_000;
const TABLES: usize = 11;
#[expect(clippy::cast_possible_wrap, reason = "a few thousand")]
const SLOTS: i64 = (TABLES * SHARDS) as i64;
/// Some 30 s.
const SLOT_MS: i64 = DAY_MS / SLOTS;

impl State {
    pub(super) fn sweep(&mut self) {
        let now = self.now();
        let newest = slot_of(now);
        if now == i64::MAX || newest <= self.swept {
            return;
        }
        // A slot comes again every day; what was passed over before that is the same once more.
        self.swept = (self.swept + 1).max(newest - SLOTS + 1);
        let slot = usize::try_from(self.swept.rem_euclid(SLOTS)).unwrap_or_default();
        self.sweep_shard(slot / SHARDS, slot % SHARDS, now);
    }

    fn sweep_shard(&mut self, table: usize, shard: usize, now: i64) {
        let tables: [&mut dyn Part; TABLES] = [
            &mut self.families,
            &mut self.users,
            &mut self.networks,
            &mut self.clients,
            &mut self.active,
            &mut self.ended,
            &mut self.reuses,
            &mut self.risks,
            &mut self.thefts,
            &mut self.keyed,
            &mut self.members,
        ];
        if let Some(table) = tables.into_iter().nth(table) {
            table.sweep(now, shard);
        }
    }
}

/// Slots that have begun since 1970.
fn slot_of(time: i64) -> i64 {
    time.div_euclid(SLOT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::key::Key;
    use crate::engine::keyed::Thefts;
    use crate::engine::state::Ended;

    const HOUR_MS: i64 = 3_600_000;

    /// Entries of two tables, last touched at the beginning of time.
    fn old() -> State {
        let mut state = State::new();
        for number in 0..2000 {
            let key = Key::new("old").with(&number.to_string()).hash();
            let thefts = state.thefts.get_or_insert_with(key, Thefts::default);
            thefts.times.push(0);
            state.ended.get_or_insert_with(key, Ended::default);
        }
        state
    }

    fn left(state: &State) -> usize {
        state.thefts.len() + state.ended.len()
    }

    fn at(state: &mut State, time: i64) {
        state.time.tick(0, time);
        state.sweep();
    }

    #[test]
    fn what_is_old_goes_within_a_day_a_little_at_a_time() {
        let mut state = old();
        for time in (0..HORIZON_MS).step_by(10_000) {
            at(&mut state, time);
        }
        assert_eq!(left(&state), 4000, "none of it is older than the horizon");
        let mut most = 0;
        for time in (HORIZON_MS..=HORIZON_MS + DAY_MS).step_by(10_000) {
            let before = left(&state);
            at(&mut state, time);
            most = most.max(before - left(&state));
        }
        assert_eq!(left(&state), 0);
        assert!(most < 50, "{most} at once");
    }

    #[test]
    fn after_a_jump_each_input_sweeps_a_little_until_all_had_their_turn() {
        let mut state = old();
        at(&mut state, HOUR_MS);
        for turn in 0..SLOTS {
            assert!(turn > 100 || left(&state) > 0, "all at once");
            at(&mut state, 400 * DAY_MS);
        }
        assert_eq!(left(&state), 0);
    }

    #[test]
    fn what_is_touched_stays() {
        let mut state = old();
        let key = Key::new("old").with("7").hash();
        let touched = state.thefts.get_mut(key).unwrap();
        touched.times.push(5 * DAY_MS);
        for _ in 0..=SLOTS {
            at(&mut state, HORIZON_MS + 2 * DAY_MS);
        }
        assert_eq!(left(&state), 1);
        assert!(state.thefts.get(key).is_some());
    }
}
