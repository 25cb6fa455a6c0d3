//! A round of saving beside a state that goes on changing, in every way that a part can change.

use proptest::prelude::*;

use super::*;
use crate::engine::active::seen;
use crate::engine::key::Key;
use crate::engine::keyed::Thefts;
use crate::engine::state::{Ended, Members, Waiting};
use crate::engine::sweep::HORIZON_MS;
use crate::engine::table::SHARDS;
use crate::model::{Enriched, Event, EventType, Outcome, Timestamp};

/// What can happen to a state between two pieces of a round.
#[derive(Debug, Clone)]
enum Step {
    /// Entries of several tables come, or are touched.
    Touch(u16),
    Remove(u16),
    /// Old ones go: all, or those of a shard, as a sweep has it.
    Retain(i64),
    Sweep(usize),
    ChangeAll,
    Wait(i64, u16),
    Answer(i64),
    PutAside(i64, u16),
    AskAgain(i64),
    /// An event id, at an engine time that may turn the generations.
    Repeat(u16, i64),
    /// The round goes on by so many bytes.
    Walk(usize),
}

fn step() -> impl Strategy<Value = Step> {
    // Few keys, so that what happens meets what is there.
    let key = 0_u16..3000;
    let time = 0_i64..2000;
    prop_oneof![
        12 => key.clone().prop_map(Step::Touch),
        4 => key.clone().prop_map(Step::Remove),
        1 => time.clone().prop_map(Step::Retain),
        2 => (0_usize..4).prop_map(|quarter| Step::Sweep(quarter * SHARDS / 4)),
        1 => Just(Step::ChangeAll),
        4 => (time.clone(), key.clone()).prop_map(|(time, key)| Step::Wait(time, key)),
        2 => time.clone().prop_map(Step::Answer),
        2 => (time.clone(), 0_u16..50).prop_map(|(time, key)| Step::PutAside(time, key)),
        1 => time.prop_map(Step::AskAgain),
        6 => (key, prop_oneof![40 => Just(0), 1 => Just(1_i64 << 40)]).prop_map(|(key, now)| Step::Repeat(key, now)),
        6 => (1_usize..3000).prop_map(Step::Walk),
    ]
}

fn key_of(number: u16) -> u64 {
    // In four shards, so that these are full.
    (Key::new("test").with(&number.to_string()).hash() >> 2) & !(0x3f << 56)
        | u64::from(number % 4) << 62
}

fn event(number: u16) -> Box<Enriched> {
    let time = Timestamp::from_second(i64::from(number)).unwrap();
    let event = Event::new(
        format!("e{number}"),
        time,
        EventType::Login,
        Outcome::Success,
        "app",
    );
    Box::new(Enriched {
        event,
        network: None,
        place: None,
        agent: None,
    })
}

fn small() -> State {
    let mut state = State::new();
    // So few that entries are evicted.
    state.members.cap(SHARDS * 8);
    state
}

fn touch(state: &mut State, number: u16) {
    let (key, time) = (key_of(number), i64::from(number));
    let members = state.members.get_or_insert_with(key, Members::default);
    members.add(key ^ members.families.len() as u64, time);
    seen(&mut state.active, key % 100, time);
    if let Some(ended) = state.ended.get_mut(key) {
        ended.add(time + 1, true);
    } else if number.is_multiple_of(3) {
        let ended = state.ended.get_or_insert_with(key, Ended::default);
        ended.add(time, false);
    }
    let thefts = state.thefts.get_or_insert_with(key, Thefts::default);
    thefts.times.push(time);
}

fn apply(state: &mut State, step: &Step) {
    match *step {
        Step::Touch(number) => touch(state, number),
        Step::Remove(number) => {
            state.members.remove(key_of(number));
            state.ended.remove(key_of(number));
        }
        Step::Retain(time) => state.members.retain(|it| it.last_seen > time / 8),
        Step::Sweep(shard) => state.thefts.sweep(HORIZON_MS + 1000, shard),
        Step::ChangeAll => state.ended.for_each(|it| it.last_seen += 1),
        Step::Wait(time, number) => state.wait(time, Waiting::User(key_of(number))),
        Step::Answer(now) => {
            state.questions.take(now, 100, |(time, _)| *time);
        }
        Step::PutAside(time, number) => {
            let is_late = state.aside.len().is_multiple_of(2);
            let held = (event(number), is_late);
            state.aside.insert((time, key_of(number)), held);
        }
        Step::AskAgain(now) => {
            state.aside.take(now, 20, |(time, _)| *time);
        }
        Step::Repeat(number, now) => {
            state.repeats.is_new(key_of(number), now);
        }
        Step::Walk(_) => {}
    }
}

/// What a round's saved form brings back, in the form of a state that stands still.
fn again(pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let restored = State::restored(&pieces.concat()).expect("a saved form");
    restored.saved()
}

/// Goes on with the round; what it has made is put behind what it had.
fn go_on(state: &mut State, budget: usize, pieces: &mut Vec<Vec<u8>>) -> bool {
    let mut made = state.go_on(budget);
    pieces.append(&mut made.pieces);
    made.is_complete
}

fn finish(state: &mut State, mut pieces: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    while !go_on(state, 1000, &mut pieces) {}
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn a_round_gives_the_state_of_the_moment_at_which_it_began(
        before in proptest::collection::vec(step(), 0..1000),
        beside in proptest::collection::vec(step(), 0..1000),
    ) {
        let mut state = small();
        for step in &before {
            apply(&mut state, step);
        }
        let mut undisturbed = state.clone();
        let (mut moment, mut pieces) = (state.saved(), Vec::new());
        state.begin_round();
        for step in &beside {
            apply(&mut state, step);
            apply(&mut undisturbed, step);
            if let Step::Walk(budget) = step
                && go_on(&mut state, *budget, &mut pieces)
            {
                prop_assert!(again(&std::mem::take(&mut pieces)) == moment, "another state");
                moment = state.saved();
                state.begin_round();
            }
        }
        prop_assert!(again(&finish(&mut state, pieces)) == moment, "another state");
        prop_assert!(state.saved() == undisturbed.saved(), "changed by its being saved");
    }
}

#[test]
fn what_is_evicted_removed_or_swept_during_a_round_is_in_it() {
    let mut state = small();
    (0..40).for_each(|number| touch(&mut state, number));
    let moment = state.saved();
    let evicted = state.evicted();
    state.begin_round();
    (40..200).for_each(|number| touch(&mut state, number));
    assert!(state.evicted() > evicted);
    apply(&mut state, &Step::Remove(3));
    for shard in 0..SHARDS {
        state.thefts.sweep(i64::MAX, shard);
    }
    state.members.retain(|_| false);
    assert_eq!((state.members.len(), state.thefts.len()), (0, 0));
    assert!(again(&finish(&mut state, Vec::new())) == moment);
    assert!(state.saved() != moment);
}

#[test]
fn of_a_round_that_is_given_up_nothing_is_left() {
    let mut state = small();
    (0..40).for_each(|number| touch(&mut state, number));
    state.begin_round();
    assert!(!state.go_on(1).is_complete);
    state.give_up_round();
    assert_eq!(state.go_on(usize::MAX), Made::default());
    state.begin_round();
    let moment = state.saved();
    assert!(again(&finish(&mut state, Vec::new())) == moment);
}

#[test]
fn a_form_that_was_cut_off_or_changed_is_refused_or_gives_a_state() {
    let mut state = small();
    (0..60).for_each(|number| touch(&mut state, number));
    (0..9).for_each(|number| apply(&mut state, &Step::PutAside(0, number)));
    state.repeats.is_new(7, 0);
    let whole = state.saved().concat();
    for length in 0..whole.len() {
        assert!(State::restored(&whole[..length]).is_none(), "{length}");
    }
    for at in 0..whole.len() {
        for bit in [1, 0x80] {
            let mut damaged = whole.clone();
            damaged[at] ^= bit;
            // Whatever it says by now, it breaks nothing.
            if let Some(restored) = State::restored(&damaged) {
                assert!(State::restored(&restored.saved().concat()).is_some());
            }
        }
    }
}
