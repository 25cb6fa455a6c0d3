//! The parts of the state, all seen alike: how they are counted, held, saved while events go on, and taken over.
//!
//! A round of saving stands for the moment at which it began. Until it is complete it lives beside the state and is no
//! part of it: whether one is under way never changes what is found.

use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};

use super::Held;
use super::blocks::{self, Block, Blocks};
use super::state::State;
use super::time::EngineTime;

/// One part of the state: a table, a queue, or the event ids.
pub(super) trait Part: Send {
    fn len(&self) -> usize;

    /// Forgotten before its time, for want of room.
    fn evicted(&self) -> u64 {
        0
    }

    /// From now on no larger than it is, but for a few entries; or as large as its bound again.
    fn hold(&mut self, _held: bool) {}

    /// Drops what is of no use any more, of one shard.
    fn sweep(&mut self, _now: i64, _shard: usize) {}

    /// Equal for equal entries, however they came about; of those that are of use at this event time.
    fn digest(&self, at: i64) -> u128;

    /// All of it at once; returns the bytes. The same entries give the same bytes.
    fn save(&self, blocks: &mut Blocks) -> usize;

    /// Begins a round: what there is now is going to be saved, as the part of this number. Another one is given up.
    fn begin(&mut self, number: u8);

    /// Saves as much of the round as a budget of bytes allows; returns what is left of it, more than nothing only when all is saved.
    fn walk(&mut self, budget: usize) -> usize;

    /// What the round has saved since this was asked for: whole blocks, and the last one when all is saved.
    fn take_closed(&mut self) -> Vec<Vec<u8>>;

    /// The round is over, complete or not.
    fn end(&mut self);

    /// Takes over what was saved, being empty itself; `false` where the blocks are not what they say.
    fn fill(&mut self, blocks: &[Block<'_>], evicted: u64) -> bool;
}

/// What is small, and stands in front of the parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Head {
    time: EngineTime,
    turned_at: i64,
    nothing_renamed: bool,
    swept: i64,
    nothing_performed: bool,
    /// Entries of each part, and what it has forgotten.
    parts: Vec<(u64, u64)>,
}

/// The round of saving that is under way: the head as it was when it began, until it is handed over, and the part that is being
/// walked.
#[derive(Debug, Clone)]
pub(super) struct Round {
    head: Option<Vec<u8>>,
    at: usize,
}

/// What was made of a saved form, to be put behind what was made of it before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Made {
    pub pieces: Vec<Vec<u8>>,
    /// There is no more of it.
    pub is_complete: bool,
}

/// The parts with their names for people, in the order in which they are saved: first those that much comes into, so that
/// what comes has soon not to be looked at any more.
macro_rules! parts {
    ($state:expr, $($borrow:tt)+) => {{
        let state = $state;
        [
            ("questions that wait", $($borrow)+ state.questions as _),
            ("events put aside", $($borrow)+ state.aside as _),
            ("event ids", $($borrow)+ state.repeats as _),
            ("tokens", $($borrow)+ state.resolve.tokens as _),
            ("tokens' families that are one", $($borrow)+ state.resolve.aliases as _),
            ("families", $($borrow)+ state.families as _),
            ("users", $($borrow)+ state.users as _),
            ("families of users and sessions", $($borrow)+ state.members as _),
            ("networks", $($borrow)+ state.networks as _),
            ("clients", $($borrow)+ state.clients as _),
            ("clients in use", $($borrow)+ state.active as _),
            ("ended", $($borrow)+ state.ended as _),
            ("keys of generic rules", $($borrow)+ state.keyed as _),
            ("risks", $($borrow)+ state.risks as _),
            ("reuses by client", $($borrow)+ state.reuses as _),
            ("thefts by user", $($borrow)+ state.thefts as _),
            ("tokens under an older key", $($borrow)+ state.renamed.links as _),
        ]
    }};
}

const PARTS: usize = 17;

impl State {
    fn parts(&self) -> [(&'static str, &dyn Part); PARTS] {
        parts!(self, &)
    }

    fn parts_mut(&mut self) -> [(&'static str, &mut dyn Part); PARTS] {
        parts!(self, &mut)
    }

    /// Whether no table may grow.
    pub(super) fn hold(&mut self, held: bool) {
        for (_, part) in self.parts_mut() {
            part.hold(held);
        }
    }

    pub(super) fn evicted(&self) -> u64 {
        self.parts().iter().map(|(_, part)| part.evicted()).sum()
    }

    /// Each part with its entries, the bytes of its saved form and its digest at this event time.
    pub(super) fn held(&self, at: i64) -> Vec<Held> {
        let held = |(what, part): (_, &dyn Part)| Held {
            what,
            entries: part.len(),
            bytes: part.save(&mut Blocks::new(0)),
            digest: part.digest(at),
        };
        self.parts().into_iter().map(held).collect()
    }

    /// The saved form, made at once.
    pub(super) fn saved(&self) -> Vec<Vec<u8>> {
        let mut pieces = vec![self.head()];
        for (number, (_, part)) in (0..).zip(self.parts()) {
            let mut blocks = Blocks::new(number);
            part.save(&mut blocks);
            pieces.extend(blocks.into_pieces());
        }
        pieces
    }

    /// Begins a round of saving; another one is given up.
    pub(super) fn begin_round(&mut self) {
        let head = self.head();
        for (number, (_, part)) in (0..).zip(self.parts_mut()) {
            part.begin(number);
        }
        self.round = Some(Round {
            head: Some(head),
            at: 0,
        });
    }

    /// Goes on with the round by about so many bytes. Nothing is made where none is under way.
    pub(super) fn go_on(&mut self, mut budget: usize) -> Made {
        let Some(mut round) = self.round.take() else {
            return Made::default();
        };
        for (_, part) in self.parts_mut().into_iter().skip(round.at) {
            budget = part.walk(budget);
            if budget == 0 {
                break;
            }
            round.at += 1;
        }
        let mut pieces: Vec<Vec<u8>> = round.head.take().into_iter().collect();
        let is_complete = round.at == PARTS;
        for (_, part) in self.parts_mut() {
            pieces.append(&mut part.take_closed());
            if is_complete {
                part.end();
            }
        }
        self.round = (!is_complete).then_some(round);
        Made {
            pieces,
            is_complete,
        }
    }

    /// What a round that is under way has saved is not wanted any more.
    pub(super) fn give_up_round(&mut self) {
        if self.round.take().is_some() {
            for (_, part) in self.parts_mut() {
                part.end();
            }
        }
    }

    /// The state of a saved form; `None` where that is not known, or not whole.
    pub(super) fn restored(bytes: &[u8]) -> Option<Self> {
        let (head, blocks) = blocks::parse::<Head>(bytes)?;
        let mut of_parts: [Vec<Block<'_>>; PARTS] = Default::default();
        for block in blocks {
            of_parts.get_mut(usize::from(block.part))?.push(block);
        }
        if head.parts.len() != PARTS {
            return None;
        }
        let mut state = Self::new();
        let filled = state.parts_mut().into_iter().zip(of_parts).zip(&head.parts);
        let mut tasks: Vec<Task<'_>> = filled
            .map(|(((_, part), blocks), (entries, evicted))| Task {
                part,
                blocks,
                entries: *entries,
                evicted: *evicted,
            })
            .collect();
        // The longest begin first.
        tasks.sort_by_key(Task::bytes);
        if !all_done(tasks) {
            return None;
        }
        state.time = head.time;
        state.repeats.turned_at = head.turned_at;
        state.renamed.unused = head.nothing_renamed;
        state.swept = head.swept;
        state.nothing_performed = head.nothing_performed;
        Some(state)
    }

    fn head(&self) -> Vec<u8> {
        let count = |(_, part): (_, &dyn Part)| (part.len() as u64, part.evicted());
        blocks::head(&Head {
            time: self.time.clone(),
            turned_at: self.repeats.turned_at,
            nothing_renamed: self.renamed.unused,
            swept: self.swept,
            nothing_performed: self.nothing_performed,
            parts: self.parts().into_iter().map(count).collect(),
        })
    }
}

/// A part that is to be taken over.
struct Task<'a> {
    part: &'a mut dyn Part,
    blocks: Vec<Block<'a>>,
    entries: u64,
    evicted: u64,
}

impl Task<'_> {
    fn bytes(&self) -> usize {
        self.blocks.iter().map(Block::bytes).sum()
    }

    /// `false` where it cannot be taken over.
    fn run(self) -> bool {
        self.part.fill(&self.blocks, self.evicted) && self.part.len() as u64 == self.entries
    }
}

/// On as many threads as there are cores: nothing is found meanwhile, and parts know nothing of each other.
fn all_done(tasks: Vec<Task<'_>>) -> bool {
    let threads = available_parallelism().map_or(1, usize::from);
    let left = Mutex::new(tasks);
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || std::iter::from_fn(next).all(Task::run);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(PARTS)).map(|_| scope.spawn(work)).collect();
        let mine = work();
        let joined = others.into_iter().map(|it| it.join().unwrap_or(false));
        joined.fold(mine, |all, done| all & done)
    })
}

#[cfg(test)]
mod tests;
