//! What was expected beside what came: every expectation has a detection of its own, and none is left over.

use super::{Expected, Got};

/// How the outcome differs from what was expected; passed when all are empty.
#[derive(Debug, Clone, Default)]
pub struct Difference {
    /// A rule fired as it should, but found something else.
    pub changed: Vec<(Expected, Got)>,
    pub missing: Vec<Expected>,
    pub unexpected: Vec<Got>,
}

impl Difference {
    pub fn is_none(&self) -> bool {
        self.changed.is_empty() && self.missing.is_empty() && self.unexpected.is_empty()
    }
}

pub(super) fn compare(expected: &[Expected], got: Vec<Got>) -> Difference {
    let held = assigned(expected, &got);
    let of_none = |i: &usize| !held.contains(&Some(*i));
    let mut missing: Vec<Expected> = (0..expected.len())
        .filter(of_none)
        .map(|i| expected[i].clone())
        .collect();
    let mut left = got.into_iter().zip(&held);
    let mut difference = Difference::default();
    for (got, _) in left.by_ref().filter(|(_, held)| held.is_none()) {
        match missing.iter().position(|it| it.rule == got.detection.rule) {
            Some(at) => difference.changed.push((missing.remove(at), got)),
            None => difference.unexpected.push(got),
        }
    }
    difference.missing = missing;
    difference
}

/// Which expectation each detection fulfils. One that says little may be met by several, so each in turn takes what it
/// can and those before it move aside: taking the first that fits would fail where another order passes.
fn assigned(expected: &[Expected], got: &[Got]) -> Vec<Option<usize>> {
    let mut held = vec![None; got.len()];
    for wanted in 0..expected.len() {
        let mut asked = vec![false; got.len()];
        take(wanted, expected, got, &mut held, &mut asked);
    }
    held
}

fn take(
    wanted: usize,
    expected: &[Expected],
    got: &[Got],
    held: &mut [Option<usize>],
    asked: &mut [bool],
) -> bool {
    for at in 0..got.len() {
        if asked[at] || !expected[wanted].is_met_by(&got[at]) {
            continue;
        }
        asked[at] = true;
        let free = match held[at] {
            None => true,
            Some(other) => take(other, expected, got, held, asked),
        };
        if free {
            held[at] = Some(wanted);
            return true;
        }
    }
    false
}
