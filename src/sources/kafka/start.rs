//! Where a partition is read from: pure, from what the store says and what the broker still has.

use serde::{Deserialize, Serialize};

use crate::model::{Position, StartAt, limits};
use crate::sources::warm_up::Plan;

/// The position of a partition, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KafkaPosition {
    /// The next record to read.
    pub(super) offset: i64,
    /// During a warm-up: the first record that will be judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) judge_from: Option<i64>,
}

impl KafkaPosition {
    pub(super) fn after(plan: &Plan<i64>, next: i64) -> Position {
        let position = Self {
            offset: next,
            judge_from: plan.border_after(next),
        };
        // Two integers always have a JSON form.
        Position(serde_json::to_string(&position).unwrap_or_default().into())
    }

    fn parse(position: &Position) -> Result<Self, String> {
        serde_json::from_str(&position.0).map_err(|error| {
            format!(
                "the stored position `{}` is not one of a Kafka partition ({error})",
                position.0
            )
        })
    }
}

/// What the broker has of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) first: i64,
    pub(super) end: i64,
}

/// Where the configured `start` and `warm_up` lie in a partition that has never been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FreshStart {
    pub(super) read: i64,
    pub(super) judge: i64,
}

/// Where to read from and what to mute.
pub(super) fn plan(start: &StartAt, fresh: FreshStart, kept: Kept) -> Result<Plan<i64>, String> {
    match start {
        StartAt::Fresh => Ok(Plan::new(fresh.read, fresh.judge)),
        StartAt::Resume {
            from,
            committed,
            anew,
        } => {
            let earlier = anew.then_some(fresh.read);
            resume(from, committed, earlier, kept)
        }
    }
}

/// A state that stood by while another owner read on for days may stand before anything that the broker still has, or so
/// far back that reading again takes longer than anybody waits. What is left out then was judged by that owner.
fn resume(
    from: &Position,
    committed: &Position,
    earlier: Option<i64>,
    kept: Kept,
) -> Result<Plan<i64>, String> {
    let from = KafkaPosition::parse(from)?.offset;
    let from = earlier.map_or(from, |earlier| earlier.min(from));
    let committed = KafkaPosition::parse(committed)?;
    let judge_from = committed.judge_from.unwrap_or(committed.offset);
    let judge_from = judge_from.max(committed.offset);
    let earliest = kept
        .first
        .max(committed.offset - limits::KAFKA_READ_AGAIN_MAX);
    Ok(Plan {
        read_from: from.max(earliest.min(judge_from)),
        judge_from,
    })
}

/// The first and last of the records that were judged, and are missing in the memory from now on.
pub(super) fn left_out(start: &StartAt, plan: &Plan<i64>) -> Option<(i64, i64)> {
    let StartAt::Resume { from, .. } = start else {
        return None;
    };
    let from = KafkaPosition::parse(from).ok()?.offset;
    (from < plan.read_from).then_some((from, plan.read_from - 1))
}

/// Why reading cannot go on, if it cannot: never skipped silently. `next` is the first record that is to be judged.
pub(super) fn lost(next: i64, kept: Kept) -> Option<String> {
    if next < kept.first {
        return Some(format!(
            "the broker has deleted the records {next} to {} before they were read (retention); a person must decide to skip them",
            kept.first - 1
        ));
    }
    (next > kept.end).then(|| {
        format!(
            "the stored position {next} lies behind the end {} of the partition (was the topic deleted and made again?); a person must decide where to go on",
            kept.end
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Kept = Kept { first: 5, end: 50 };
    const FRESH: FreshStart = FreshStart {
        read: 20,
        judge: 50,
    };

    fn at(json: &str) -> Position {
        Position(json.into())
    }

    fn resumed(from: &str, committed: &str) -> Result<Plan<i64>, String> {
        plan(&start(from, committed, false), FRESH, KEPT)
    }

    fn start(from: &str, committed: &str, anew: bool) -> StartAt {
        StartAt::Resume {
            from: at(from),
            committed: at(committed),
            anew,
        }
    }

    #[test]
    fn a_fresh_partition_is_warmed_up() {
        let plan = plan(&StartAt::Fresh, FRESH, KEPT).unwrap();
        assert_eq!((plan.read_from, plan.judge_from), (20, 50));
    }

    #[test]
    fn a_resumed_one_mutes_what_was_judged() {
        let plan = resumed(r#"{"offset":10}"#, r#"{"offset":12}"#).unwrap();
        assert_eq!((plan.read_from, plan.judge_from), (10, 12));
    }

    #[test]
    fn where_nothing_is_remembered_the_warm_up_is_read_again_and_not_judged() {
        let anew = |from, committed| {
            let plan = plan(&start(from, committed, true), FRESH, KEPT).unwrap();
            (plan.read_from, plan.judge_from)
        };
        let (early, late) = (r#"{"offset":8}"#, r#"{"offset":40}"#);
        assert_eq!(anew(late, late), (20, 40));
        assert_eq!(anew(early, late), (8, 40), "it was away for longer");
    }

    #[test]
    fn a_restart_within_the_warm_up_goes_on_with_it() {
        let first = plan(&StartAt::Fresh, FRESH, KEPT).unwrap();
        let stored = KafkaPosition::after(&first, 30);
        assert_eq!(stored, at(r#"{"offset":30,"judge_from":50}"#));
        let plan = resumed(&stored.0, &stored.0).unwrap();
        assert_eq!((plan.read_from, plan.judge_from), (30, 50));
        assert_eq!(KafkaPosition::after(&plan, 50), at(r#"{"offset":50}"#));
    }

    #[test]
    fn what_retention_took_is_never_skipped_silently() {
        let reason = lost(2, KEPT).unwrap();
        insta::assert_snapshot!(reason, @"the broker has deleted the records 2 to 4 before they were read (retention); a person must decide to skip them");
    }

    #[test]
    fn what_retention_took_and_was_judged_is_no_loss() {
        let (from, committed) = (r#"{"offset":1}"#, r#"{"offset":12}"#);
        let plan = resumed(from, committed).unwrap();
        assert_eq!((plan.read_from, plan.judge_from), (5, 12));
        let start = start(from, committed, false);
        assert_eq!(left_out(&start, &plan), Some((1, 4)));
        let nothing_left = resumed(from, r#"{"offset":5}"#).unwrap();
        assert_eq!((nothing_left.read_from, nothing_left.judge_from), (5, 5));
    }

    #[test]
    fn what_retention_took_before_it_was_judged_is_lost() {
        let plan = resumed(r#"{"offset":1}"#, r#"{"offset":4}"#).unwrap();
        assert_eq!((plan.read_from, plan.judge_from), (4, 4));
        assert!(lost(plan.judge_from, KEPT).is_some());
    }

    #[test]
    fn a_week_of_others_is_not_read_again() {
        let week = limits::KAFKA_READ_AGAIN_MAX + 1000;
        let start = start(r#"{"offset":10}"#, &format!(r#"{{"offset":{week}}}"#), false);
        let plan = plan(&start, FRESH, Kept { first: 0, end: week }).unwrap();
        assert_eq!((plan.read_from, plan.judge_from), (1000, week));
    }

    #[test]
    fn an_end_that_has_been_reached_is_not_lost() {
        assert_eq!((lost(5, KEPT), lost(50, KEPT)), (None, None));
    }

    #[test]
    fn a_topic_made_again_is_noticed() {
        let reason = lost(51, KEPT).unwrap();
        assert!(reason.contains("behind the end 50"), "{reason}");
    }

    #[test]
    fn a_position_of_another_source_is_named() {
        let reason = resumed(r#"{"inode":1}"#, r#"{"offset":12}"#).unwrap_err();
        assert!(reason.contains(r#"`{"inode":1}`"#), "{reason}");
    }
}
