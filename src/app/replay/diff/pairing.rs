//! Finds the counterpart of what one side has among what the other has, for a while and a number.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_128;

use crate::model::limits::{DIFF_WAIT, DIFF_WAITING_MAX};
use crate::model::{Action, Detection, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Before,
    After,
}

/// By which two things are one: the first key that both have.
pub(super) trait Keyed {
    fn keys(&self) -> Vec<u128>;
}

impl Keyed for Detection {
    /// The id is a function of what happened: rule, subject, and token or bucket of time.
    fn keys(&self) -> Vec<u128> {
        vec![xxh3_128(self.id.as_bytes())]
    }
}

impl Keyed for Action {
    /// The same finding asks for the same kind of action; or the same is done to the same, whichever rule asks for it.
    fn keys(&self) -> Vec<u128> {
        let cause = self.detection_ids.first().map_or("", |id| id);
        let asked = format!("{}\u{1f}{cause}", self.kind.as_str());
        let done = format!("{}\u{1f}{}", self.decision.as_str(), self.id);
        vec![xxh3_128(asked.as_bytes()), xxh3_128(done.as_bytes())]
    }
}

pub(super) enum Paired<T> {
    Alone(Side, T),
    Both(T, T),
}

/// What waits for its counterpart, oldest first, and what has found it or never will.
pub(super) struct Pairing<T> {
    waiting: VecDeque<Option<Waiting<T>>>,
    /// Number of the first that waits.
    first: usize,
    /// Numbers of those that wait, by side and key.
    index: HashMap<(Side, u128), VecDeque<usize>>,
    done: Vec<Paired<T>>,
}

struct Waiting<T> {
    side: Side,
    since: Timestamp,
    keys: Vec<u128>,
    item: T,
}

impl<T> Default for Pairing<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            first: 0,
            index: HashMap::new(),
            done: Vec::new(),
        }
    }
}

impl<T: Keyed> Pairing<T> {
    pub(super) fn take(&mut self, side: Side, item: T, since: Timestamp) {
        let keys = item.keys();
        let other = match side {
            Side::Before => Side::After,
            Side::After => Side::Before,
        };
        let counterpart = keys
            .iter()
            .find_map(|key| self.index.get(&(other, *key))?.front().copied());
        if let Some(found) = counterpart.and_then(|number| self.remove(number)) {
            self.done.push(match side {
                Side::Before => Paired::Both(item, found.item),
                Side::After => Paired::Both(found.item, item),
            });
            return;
        }
        let number = self.first + self.waiting.len();
        for key in &keys {
            self.index
                .entry((side, *key))
                .or_default()
                .push_back(number);
        }
        self.waiting.push_back(Some(Waiting {
            side,
            since,
            keys,
            item,
        }));
    }

    /// Gives up on what has waited too long, and on the oldest of too many.
    pub(super) fn forget_before(&mut self, now: Timestamp) {
        let waited = |since: Timestamp| {
            Duration::try_from(now.duration_since(since)).unwrap_or_default() > DIFF_WAIT
        };
        while let Some(oldest) = self.waiting.front() {
            let excess = self.waiting.len() > DIFF_WAITING_MAX;
            if oldest
                .as_ref()
                .is_some_and(|it| !excess && !waited(it.since))
            {
                break;
            }
            self.give_up();
        }
    }

    pub(super) fn forget_all(&mut self) {
        while !self.waiting.is_empty() {
            self.give_up();
        }
    }

    pub(super) fn done(&mut self) -> std::vec::Drain<'_, Paired<T>> {
        self.done.drain(..)
    }

    fn give_up(&mut self) {
        if let Some(alone) = self.remove(self.first) {
            self.done.push(Paired::Alone(alone.side, alone.item));
        }
        if self.waiting.pop_front().is_some() {
            self.first += 1;
        }
    }

    /// Leaves a hole where it was, so that the numbers of the others stay.
    fn remove(&mut self, number: usize) -> Option<Waiting<T>> {
        let at = number.checked_sub(self.first)?;
        let found = self.waiting.get_mut(at)?.take()?;
        for key in &found.keys {
            let key = (found.side, *key);
            if let Some(numbers) = self.index.get_mut(&key) {
                // Nearly always the first: counterparts come in the same order.
                if numbers.front() == Some(&number) {
                    numbers.pop_front();
                } else {
                    numbers.retain(|it| *it != number);
                }
                if numbers.is_empty() {
                    self.index.remove(&key);
                }
            }
        }
        // What found its counterpart at once leaves nothing behind.
        while self.waiting.back().is_some_and(Option::is_none) {
            self.waiting.pop_back();
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Item(&'static [u128], &'static str);

    impl Keyed for Item {
        fn keys(&self) -> Vec<u128> {
            self.0.to_vec()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn told(pairing: &mut Pairing<Item>) -> Vec<String> {
        let text = |paired: Paired<Item>| match paired {
            Paired::Alone(side, item) => format!("{side:?} {}", item.1),
            Paired::Both(was, is) => format!("{} = {}", was.1, is.1),
        };
        pairing.done().map(text).collect()
    }

    #[test]
    fn the_first_common_key_joins_and_each_joins_once() {
        let mut pairing = Pairing::default();
        pairing.take(Side::Before, Item(&[1, 9], "a"), at(0));
        pairing.take(Side::Before, Item(&[1, 9], "a again"), at(0));
        pairing.take(Side::After, Item(&[2, 9], "x"), at(0));
        pairing.take(Side::After, Item(&[1, 8], "y"), at(0));
        pairing.take(Side::After, Item(&[1, 9], "z"), at(0));
        assert_eq!(told(&mut pairing), ["a = x", "a again = y"]);
        pairing.forget_all();
        assert_eq!(told(&mut pairing), ["After z"]);
        assert!(pairing.index.is_empty());
    }

    #[test]
    fn what_has_no_counterpart_is_told_after_a_while_or_when_too_many_wait() {
        let mut pairing = Pairing::default();
        let wait = i64::try_from(DIFF_WAIT.as_secs()).unwrap();
        pairing.take(Side::Before, Item(&[1], "a"), at(0));
        pairing.forget_before(at(wait));
        assert!(told(&mut pairing).is_empty());
        pairing.forget_before(at(wait + 1));
        assert_eq!(told(&mut pairing), ["Before a"]);
        for _ in 0..3 * DIFF_WAITING_MAX {
            pairing.take(Side::After, Item(&[1], "b"), at(0));
            pairing.forget_before(at(0));
        }
        assert_eq!(told(&mut pairing).len(), 2 * DIFF_WAITING_MAX);
        assert_eq!(pairing.waiting.len(), DIFF_WAITING_MAX);
    }
}
