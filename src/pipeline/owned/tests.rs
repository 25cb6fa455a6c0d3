//! Which batches are taken, put aside or left out, by who owns their partition and what has been read before.

use super::*;
use crate::pipeline::prepare::{Item, What};

fn partition(name: &str) -> SourcePartition {
    SourcePartition {
        source: "s".into(),
        partition: name.into(),
    }
}

fn at(position: u32) -> Position {
    Position(position.to_string().into())
}

/// Records before `position`, each muted or not.
fn batch(name: &str, muted: &[bool], position: u32) -> Prepared {
    let item = |muted: &bool| Item {
        muted: *muted,
        bytes: 1,
        what: What::Canary(None),
    };
    Prepared {
        partition: partition(name),
        epoch: 1,
        position: at(position),
        tick: None,
        ended: false,
        arrived_at: None,
        records: muted.len(),
        muted: muted.iter().filter(|muted| **muted).count(),
        items: muted.iter().map(item).collect(),
    }
}

fn resumed(name: &str, from: u32, committed: u32) -> Claim {
    Claim {
        partition: partition(name),
        epoch: 1,
        start: StartAt::Resume {
            from: at(from),
            committed: at(committed),
            anew: false,
        },
    }
}

fn unread(part: Option<&str>) -> Unread {
    Unread {
        source: "s".into(),
        part: part.map(Into::into),
    }
}

fn known(names: &[&str]) -> Partitions {
    let restored = names.iter().map(|name| (partition(name), at(1)));
    Partitions::new(Arc::new(Standing::new(restored.collect(), true)))
}

#[test]
fn the_state_stands_for_what_is_not_claimed_yet_too() {
    let mut partitions = known(&["a", "b"]);
    partitions.claimed(resumed("a", 1, 8));
    let next = partitions.admit(batch("a", &[true], 8)).unwrap();
    partitions.applied(&next);
    let expected = BTreeMap::from([(partition("a"), at(8)), (partition("b"), at(1))]);
    assert_eq!(partitions.positions(), expected);
    assert!(!partitions.lost(&partition("a"), 1));
    assert_eq!(partitions.positions(), expected);
}

#[test]
fn nobody_goes_beyond_while_one_is_read_again() {
    let mut partitions = known(&["a", "b"]);
    partitions.claimed(resumed("a", 5, 8));
    partitions.claimed(resumed("b", 3, 3));
    assert!(partitions.admit(batch("b", &[false], 4)).is_none());
    let next = partitions.admit(batch("a", &[true, true], 7)).unwrap();
    assert!(next.again);
    assert!(partitions.applied(&next).is_none(), "8 stands");
    assert!(partitions.released().is_none());
    let next = partitions.admit(batch("a", &[true], 8)).unwrap();
    assert!(next.again);
    assert_eq!(partitions.applied(&next), None);
    let next = partitions.released().unwrap();
    assert_eq!(next.batch.partition, partition("b"));
    assert!(!next.again && partitions.released().is_none());
}

#[test]
fn a_batch_across_the_border_waits_and_keeps_what_was_judged_apart() {
    let mut partitions = known(&["a", "b"]);
    partitions.claimed(resumed("a", 5, 8));
    partitions.claimed(resumed("b", 1, 2));
    // What is new in b waits, and so does what is new in a; what was known of a does not.
    partitions.admit(batch("b", &[true], 2)).unwrap();
    assert!(partitions.admit(batch("b", &[false], 3)).is_none());
    let known = partitions.admit(batch("a", &[true, false], 9)).unwrap();
    assert!(known.again && known.batch.records == 1);
    assert_eq!(partitions.applied(&known), None);
    assert_eq!(partitions.positions()[&partition("a")], at(5));
    assert!(partitions.released().is_none(), "there may be more of it");
    assert!(partitions.admit(batch("a", &[false], 10)).is_none());
    let released: Vec<Next> = std::iter::from_fn(|| partitions.released()).collect();
    let positions: Vec<Position> = released.iter().map(|n| n.batch.position.clone()).collect();
    assert_eq!(positions, [at(3), at(9), at(10)]);
    assert!(released.iter().all(|next| !next.again));
}

#[test]
fn a_source_that_is_away_holds_nobody_back() {
    let mut partitions = known(&["a"]);
    partitions.claimed(resumed("a", 5, 8));
    let other = SourcePartition {
        source: "other".into(),
        partition: "x".into(),
    };
    let mut live = batch("x", &[false], 1);
    live.partition = other;
    assert!(partitions.admit(live).is_none());
    assert_eq!(partitions.left_out(&[unread(None)]), [partition("a")]);
    assert!(partitions.released().is_some());
}

#[test]
fn a_part_that_cannot_be_read_leaves_the_others_in() {
    let mut partitions = known(&[]);
    for name in ["events", "events/3", "events/30", "more/3"] {
        partitions.claimed(resumed(name, 1, 1));
    }
    let mut left_out = |part| partitions.left_out(&[unread(Some(part))]);
    assert_eq!(left_out("events/3"), [partition("events/3")]);
    let of_topic = ["events", "events/3", "events/30"].map(partition);
    assert_eq!(left_out("events"), of_topic);
}

#[test]
fn a_position_waits_until_a_saved_state_knows_the_partition() {
    let mut partitions = known(&[]);
    let pinned = partitions.admit(batch("a", &[], 5)).unwrap();
    assert_eq!(partitions.applied(&pinned), Some(at(5)));
    assert!(!partitions.needs_saving());
    let first = partitions.admit(batch("a", &[false], 6)).unwrap();
    assert_eq!(partitions.applied(&first), None);
    assert!(partitions.needs_saving());
    let waited = partitions.saved(&[partition("a")]);
    assert_eq!(waited, [(partition("a"), 1, at(6))]);
    let next = partitions.admit(batch("a", &[false], 7)).unwrap();
    assert_eq!(partitions.applied(&next), Some(at(7)));
}

#[test]
fn a_former_owners_batch_is_dropped_also_when_it_waited() {
    let mut partitions = known(&["a", "b"]);
    partitions.claimed(resumed("a", 5, 8));
    partitions.claimed(resumed("b", 3, 3));
    assert!(partitions.admit(batch("b", &[false], 4)).is_none());
    partitions.claimed(Claim {
        epoch: 2,
        ..resumed("b", 3, 3)
    });
    partitions.admit(batch("a", &[true], 8)).unwrap();
    assert!(partitions.released().is_none());
    assert!(partitions.admit(batch("b", &[false], 4)).is_none());
}

#[test]
fn what_another_owner_was_given_is_not_taken_up_again() {
    let mut partitions = known(&["a", "b"]);
    partitions.claimed(resumed("a", 5, 5));
    partitions.claimed(resumed("b", 3, 3));
    assert!(partitions.lost(&partition("a"), 1), "b is left");
    assert!(partitions.admit(batch("a", &[false], 6)).is_none());
    partitions.claimed(Claim {
        epoch: 3,
        ..resumed("a", 5, 5)
    });
    let mut ours = batch("a", &[false], 6);
    ours.epoch = 3;
    let next = partitions.admit(ours).unwrap();
    assert_eq!(partitions.applied(&next), Some(at(6)));
}

#[test]
fn who_only_stands_by_saves_nothing() {
    let mut partitions = known(&["a", "own"]);
    let mut own = batch("own", &[false], 6);
    own.partition.source = OWN_SOURCE.into();
    partitions.admit(own).unwrap();
    assert!(!partitions.is_reading());
    partitions.claimed(resumed("a", 5, 5));
    assert!(partitions.is_reading());
    let last = partitions.admit(ended("a", 5)).unwrap();
    partitions.applied(&last);
    assert!(!partitions.is_reading());
}

#[test]
fn what_was_done_is_heard_also_where_another_says_how_far() {
    let mut partitions = known(&["a"]);
    partitions.claimed(resumed("a", 5, 5));
    let mut own = batch("own", &[false], 6);
    own.partition.source = OWN_SOURCE.into();
    let next = partitions.admit(own.clone()).unwrap();
    partitions.applied(&next);
    assert!(partitions.lost(&own.partition, 1), "a is left");
    let next = partitions.admit(own).unwrap();
    assert_eq!(partitions.applied(&next), None);
    assert!(!partitions.needs_saving(), "its position waits for nothing");
}

#[test]
fn a_canary_waits_in_turn_and_leaves_no_trace() {
    let mut partitions = known(&["a"]);
    partitions.claimed(resumed("a", 5, 8));
    let mut canary = batch("canary", &[false], 0);
    canary.partition.source = CANARY_SOURCE.into();
    assert!(partitions.admit(canary).is_none(), "a is read again");
    partitions.admit(batch("a", &[true], 8)).unwrap();
    let next = partitions.released().unwrap();
    assert_eq!(&*next.batch.partition.source, CANARY_SOURCE);
    assert_eq!(partitions.applied(&next), None);
    assert!(!partitions.needs_saving());
    assert_eq!(partitions.positions().len(), 1);
    assert!(!partitions.lost(&partition("a"), 1), "nothing is left");
}

fn ended(name: &str, position: u32) -> Prepared {
    Prepared {
        ended: true,
        ..batch(name, &[], position)
    }
}

#[test]
fn a_partition_taken_away_while_it_is_read_again_holds_nobody_back() {
    let mut partitions = known(&["a", "b"]);
    partitions.claimed(resumed("a", 5, 8));
    partitions.claimed(resumed("b", 3, 3));
    assert!(partitions.admit(batch("b", &[false], 4)).is_none());
    let last = partitions.admit(ended("a", 6)).unwrap();
    let committed = partitions.applied(&last);
    assert_eq!(committed, None, "8 stands, for whoever comes next");
    assert!(partitions.released().is_some());
    assert!(partitions.saved(&[partition("a")]).is_empty());
    assert!(!partitions.is_reading_again());
}

#[test]
fn nothing_of_a_partition_comes_after_its_last_word() {
    let mut partitions = known(&["a", "b"]);
    partitions.claimed(resumed("a", 5, 8));
    partitions.claimed(resumed("b", 3, 3));
    let known = partitions.admit(batch("a", &[true, false], 9)).unwrap();
    partitions.applied(&known);
    assert!(partitions.admit(batch("b", &[false], 4)).is_none());
    let last = partitions.admit(ended("a", 9)).unwrap();
    partitions.applied(&last);
    let released: Vec<Next> = std::iter::from_fn(|| partitions.released()).collect();
    assert_eq!(released.len(), 1, "its next owner judges what was new");
    assert_eq!(released[0].batch.partition, partition("b"));
    assert_eq!(partitions.weight_held_back, Weight::default());
}

#[test]
fn what_is_left_out_while_it_is_read_again_is_read_again_when_it_comes_back() {
    let mut partitions = known(&["a"]);
    partitions.claimed(resumed("a", 5, 8));
    partitions.left_out(&[unread(None)]);
    assert!(!partitions.is_reading_again());
    let next = partitions.admit(batch("a", &[true], 6)).unwrap();
    assert!(next.again, "it was judged before");
    assert_eq!(partitions.applied(&next), None, "8 stands");
}

#[test]
fn ticks_that_wait_are_counted_too() {
    let mut partitions = known(&["a", "b"]);
    partitions.claimed(resumed("a", 5, 8));
    partitions.claimed(resumed("b", 3, 3));
    let tick = Prepared {
        tick: Some(crate::model::Timestamp::UNIX_EPOCH),
        ..batch("b", &[], 3)
    };
    for _ in 0..limits::RECORDS_HELD_BACK_MAX {
        assert!(partitions.admit(tick.clone()).is_none());
        assert!(partitions.released().is_none());
    }
    assert!(partitions.admit(tick).is_none());
    assert!(partitions.released().is_some());
}

#[test]
fn large_records_go_on_before_they_are_many() {
    let mut partitions = known(&["a", "b"]);
    partitions.claimed(resumed("a", 5, 8));
    partitions.claimed(resumed("b", 3, 3));
    let mut large = batch("b", &[false], 4);
    large.items[0].bytes = limits::RECORD_BYTES_MAX;
    let room = limits::BYTES_HELD_BACK_MAX / limits::RECORD_BYTES_MAX;
    for _ in 0..room {
        assert!(partitions.admit(large.clone()).is_none());
    }
    assert!(partitions.released().is_none());
    assert!(partitions.admit(large).is_none());
    assert!(partitions.released().is_some());
    assert!(partitions.released().is_none(), "no more than has to");
}
