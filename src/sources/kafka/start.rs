//! Where a partition is read from: pure, from what the store says and what the broker still has.

use serde::{Deserialize, Serialize};

use crate::model::{Position, StartAt};
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
pub(super) fn plan(start: &StartAt, fresh: FreshStart) -> Result<Plan<i64>, String> {
    match start {
        StartAt::Fresh => Ok(Plan::new(fresh.read, fresh.judge)),
        StartAt::Resume { from, committed } => resume(from, committed),
    }
}

fn resume(from: &Position, committed: &Position) -> Result<Plan<i64>, String> {
    let from = KafkaPosition::parse(from)?;
    let committed = KafkaPosition::parse(committed)?;
    let judge_from = committed.judge_from.unwrap_or(committed.offset);
    Ok(Plan {
        read_from: from.offset,
        judge_from: judge_from.max(committed.offset),
    })
}

/// Why reading cannot go on at `next`, if it cannot: never skipped silently.
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
        let start = StartAt::Resume {
            from: at(from),
            committed: at(committed),
        };
        plan(&start, FRESH)
    }

    #[test]
    fn a_fresh_partition_is_warmed_up() {
        let plan = plan(&StartAt::Fresh, FRESH).unwrap();
        assert_eq!((plan.read_from, plan.judge_from), (20, 50));
    }

    #[test]
    fn a_resumed_one_mutes_what_was_judged() {
        let plan = resumed(r#"{"offset":10}"#, r#"{"offset":12}"#).unwrap();
        assert_eq!((plan.read_from, plan.judge_from), (10, 12));
    }

    #[test]
    fn a_restart_within_the_warm_up_goes_on_with_it() {
        let first = plan(&StartAt::Fresh, FRESH).unwrap();
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
