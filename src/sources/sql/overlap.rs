//! Which rows of a table read by time have been read: everything before a moment, and single ids after it.
//!
//! A row's time is stamped before its transaction commits, so rows appear behind others that were read long ago. The
//! window is read again with every poll, and ids known from it are ignored. It reaches back by the overlap, and further
//! while a transaction is running that began earlier: then nothing is lost however long that takes. Pure.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::model::limits;

use super::session::Snapshot;

/// The time of a row that is known from before a restart and has not been met again.
const UNMET: i64 = i64::MAX;

/// The rows read so far: all from before `from_us`, and those seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(super) struct Window {
    /// Absent: the beginning of the table.
    from_us: Option<i64>,
    newest_us: Option<i64>,
    /// Time of each row by the hash of its id.
    seen: HashMap<u64, i64>,
    /// PostgreSQL: which transaction was the next, and when.
    history: VecDeque<(i64, i64)>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<i64>,
    seen: String,
}

impl From<Stored> for Window {
    fn from(stored: Stored) -> Self {
        Self {
            from_us: stored.from,
            seen: of_hashes(&stored.seen).map(|hash| (hash, UNMET)).collect(),
            ..Self::default()
        }
    }
}

impl From<Window> for Stored {
    fn from(window: Window) -> Self {
        Self {
            from: window.from_us,
            seen: hashes(window.seen.into_keys()),
        }
    }
}

impl Window {
    pub(super) fn starting(from_us: Option<i64>) -> Self {
        Self {
            from_us,
            ..Self::default()
        }
    }

    /// Rows from here on are to be read again.
    pub(super) fn begins_us(&self) -> Option<i64> {
        self.from_us
    }

    /// Takes a row in; `false` when it has been taken before. A bound on seconds or text gives rows of before the window too.
    pub(super) fn take(&mut self, id: &str, time_us: i64) -> bool {
        if self.from_us.is_some_and(|from| time_us < from) {
            return false;
        }
        self.newest_us = self.newest_us.max(Some(time_us));
        self.seen.insert(hash(id), time_us).is_none()
    }

    /// Whether the row has been taken.
    pub(super) fn covers(&self, id: &str, time_us: i64) -> bool {
        self.from_us.is_some_and(|from| time_us < from) || self.seen.contains_key(&hash(id))
    }

    /// Moves the window on after a page. Says how many rows at its old end will not be recognised any more.
    pub(super) fn settle(&mut self, now_us: i64, hold_us: Option<i64>, overlap_us: i64) -> u64 {
        // A row from the future (a broken clock) must not drag the window away from the present.
        let newest = self.newest_us.map(|newest| newest.min(now_us));
        if let (Some(newest), Some(hold)) = (newest, hold_us) {
            self.move_to(newest.min(hold).saturating_sub(overlap_us));
        }
        self.cut()
    }

    /// After the window was read from end to end: what was not met is gone from the table.
    pub(super) fn completed(&mut self) {
        self.seen.retain(|_, time_us| *time_us != UNMET);
    }

    /// When the oldest running transaction had certainly not begun yet, by the transaction ids of earlier snapshots.
    /// Absent until one of them tells.
    pub(super) fn hold_us(&mut self, snapshot: Snapshot) -> Option<i64> {
        match self.history.back_mut() {
            Some(last) if last.0 == snapshot.ceiling => last.1 = snapshot.now_us,
            _ => self.history.push_back((snapshot.ceiling, snapshot.now_us)),
        }
        while self
            .history
            .get(1)
            .is_some_and(|second| second.0 <= snapshot.floor)
        {
            self.history.pop_front();
        }
        if self.history.len() > limits::SQL_SNAPSHOTS_MAX {
            self.history.remove(1);
        }
        let (ceiling, time_us) = *self.history.front()?;
        (ceiling <= snapshot.floor).then_some(time_us)
    }

    fn move_to(&mut self, from_us: i64) {
        if self.from_us.is_none_or(|from| from < from_us) {
            self.from_us = Some(from_us);
            self.seen.retain(|_, time_us| *time_us >= from_us);
        }
    }

    fn cut(&mut self) -> u64 {
        let Some(excess) = self
            .seen
            .len()
            .checked_sub(limits::SQL_SEEN_MAX)
            .filter(|excess| *excess > 0)
        else {
            return 0;
        };
        let mut times: Vec<i64> = self.seen.values().copied().collect();
        times.sort_unstable();
        let before = self.seen.len();
        self.move_to(times[excess - 1].saturating_add(1));
        (before - self.seen.len()) as u64
    }
}

pub(super) fn hash(id: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(id.as_bytes())
}

/// 16 hexadecimal digits each, in order, so that the same set has one form.
pub(super) fn hashes(set: impl Iterator<Item = u64>) -> String {
    let mut set: Vec<u64> = set.collect();
    set.sort_unstable();
    let mut text = String::with_capacity(set.len() * 16);
    for hash in set {
        // Writing into a String cannot fail.
        write!(text, "{hash:016x}").unwrap_or_default();
    }
    text
}

pub(super) fn of_hashes(text: &str) -> impl Iterator<Item = u64> {
    let one = |digits| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    text.as_bytes().chunks(16).filter_map(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(floor: i64, ceiling: i64, now_us: i64) -> Snapshot {
        Snapshot {
            ceiling,
            floor,
            now_us,
        }
    }

    #[test]
    fn a_row_within_the_window_is_taken_once_even_after_a_restart() {
        let mut window = Window::starting(Some(0));
        assert!(window.take("a", 50));
        assert!(!window.take("a", 50));
        let text = serde_json::to_string(&window).unwrap();
        let mut restored: Window = serde_json::from_str(&text).unwrap();
        assert!(!restored.take("a", 50) && restored.take("b", 49));
    }

    #[test]
    fn the_window_waits_for_the_oldest_running_transaction() {
        let mut window = Window::starting(Some(0));
        window.take("a", 1000);
        let quiet = snapshot(10, 10, 1000);
        assert_eq!(window.hold_us(quiet), Some(1000));
        // Transaction 10 is running now, and later ones have come and gone.
        for now in [2000, 3000, 4000] {
            let busy = snapshot(10, 10 + now, now);
            window.take("later", now);
            let hold = window.hold_us(busy);
            assert_eq!(hold, Some(1000), "10 was still unused at 1000");
            window.settle(busy.now_us, hold, 100);
        }
        assert_eq!(window.begins_us(), Some(900));
        let over = snapshot(5000, 5000, 5000);
        let hold = window.hold_us(over);
        window.settle(over.now_us, hold, 100);
        assert_eq!(window.begins_us(), Some(3900));
    }

    #[test]
    fn a_row_from_the_future_does_not_move_the_window_past_the_present() {
        let mut window = Window::starting(Some(0));
        window.take("broken", i64::MAX / 2);
        window.settle(1000, Some(1000), 100);
        assert_eq!(window.begins_us(), Some(900));
        assert!(window.take("ordinary", 950) && !window.take("broken", i64::MAX / 2));
    }

    #[test]
    fn beyond_the_bound_the_old_end_is_cut_and_counted() {
        let mut window = Window::starting(Some(0));
        for n in 0..=limits::SQL_SEEN_MAX {
            window.take(&n.to_string(), 10 + i64::try_from(n).unwrap());
        }
        assert_eq!(window.settle(10, None, 100), 1);
        assert_eq!(window.begins_us(), Some(11));
        assert!(
            window.covers("0", 10),
            "what is before the window counts as read"
        );
    }
}
