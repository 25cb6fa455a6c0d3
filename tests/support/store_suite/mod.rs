//! What every store must do, whatever database is below it: run on SQLite by `tests/offline`, on PostgreSQL by `tests/real`.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod audited;
mod commits;
mod kept;
mod people;
mod queue;
mod reports;
mod told;
mod verified;

use std::collections::BTreeMap;

use tokenwarden::model::{
    Action, ActionKind, ActionState, By, Claim, Commit, Decision, Detection, Evidence, Incident,
    IncidentState, Output, OwnEvent, OwnEventKind, Position, Progress, Severity, SourcePartition,
    Subject, Target, Timestamp,
};
use tokenwarden::store::{
    AttemptEnd, AttemptId, AttemptResult, Finish, FinishState, Page, Queue, Ruling, Store, Taken,
};

/// Declares one test for each function of the suite; `$open` makes an empty store and what must outlive it.
macro_rules! store_suite {
    ($open:path $(, #[$meta:meta])*) => {
        store_suite!(@each $open, [$(#[$meta])*],
            first_claim_is_fresh, claim_resumes_from_the_snapshot, former_owner_is_fenced,
            fenced_commit_leaves_nothing, canary_passes_both_queues, repeated_commit_changes_nothing, large_commit_is_whole, incident_grows,
            null_characters_are_survived, decision_gives_the_first_state, lease_is_exclusive_until_it_ends,
            one_of_a_lane_at_a_time, waiting_retry_does_not_block_its_lane, attempt_and_end_tell_the_engine, budget_forgets_what_a_clock_ahead_began,
            end_after_a_lost_lease_is_refused, receivers_done_are_remembered, final_action_wakes_the_notification,
            outcome_in_the_meantime_wakes_too, released_action_is_due_again, lists_filter_and_page, gauges_count,
            digest_counts_by_client, digest_counts_the_rest, digest_is_made_once_a_day,
            held_for_age_is_summed_up_once, capped_is_summed_up_once, followed_until_it_is_over, left_to_do_is_by_incident, told_is_what_was_read, inbox_is_read_in_order, concurrent_own_events_leave_no_gap,
            snapshot_comes_back, two_snapshots_are_kept, found_since_a_snapshot_goes_by_order, token_key_is_remembered, retention_removes_what_is_old,
            inbox_is_forgotten_source_by_source, approved_action_goes_on, refused_action_ends,
            measure_is_taken_back_once, undecided_action_is_over_after_its_time, incident_is_taken_on_and_closed,
            incident_is_contained_until_there_is_more, idle_incident_is_found, silence_is_kept_until_it_ends,
            action_by_hand_goes_the_same_way, audit_tells_each_step_once, audit_tells_what_people_do,
            audit_keeps_its_chain_when_a_user_is_erased, audit_is_pruned_and_stays_whole,
            audit_has_one_order_whoever_writes, erase_waits_for_what_is_under_way,
            answered_is_done_when_shown, no_effect_is_retried_then_given_up, wider_revocation_settles_the_narrower);
    };
    (@each $open:path, $metas:tt, $($name:ident),+ $(,)?) => { $(store_suite!(@one $open, $metas, $name);)+ };
    (@one $open:path, [$(#[$meta:meta])*], $name:ident) => {
        #[tokio::test]
        $(#[$meta])*
        async fn $name() {
            let (store, _kept) = $open().await;
            $crate::store_suite::$name(store).await;
        }
    };
}
pub(crate) use audited::*;
pub(crate) use commits::*;
pub(crate) use kept::*;
pub(crate) use people::*;
pub(crate) use queue::*;
pub(crate) use reports::*;
pub(crate) use store_suite;
pub(crate) use told::*;
pub(crate) use verified::*;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_760_000_000 + seconds).unwrap()
}

pub(crate) fn by_alice() -> By {
    By {
        who: "alice".into(),
        why: "seen".into(),
    }
}

/// Whether a person could let an action go that is held or was given up.
pub(crate) async fn released(store: &Store, id: &str, now: Timestamp) -> bool {
    let mut taken = false;
    for ruling in [Ruling::Approve, Ruling::Retry] {
        let answer = store.rule_on(id, ruling, &by_alice(), now).await.unwrap();
        taken |= answer == Taken::Done(());
    }
    taken
}

pub(crate) fn partition(name: &str) -> SourcePartition {
    SourcePartition {
        source: "events".into(),
        partition: name.into(),
    }
}

pub(crate) fn target(user: &str) -> Target {
    Target {
        issuer: "events".into(),
        tenant: None,
        family_id: Some(format!("family of {user}").into()),
        user_id: Some(user.into()),
        client_id: Some("web".into()),
        session_id: None,
        token_kind: None,
        network: None,
    }
}

pub(crate) fn action(id: &str, kind: ActionKind, user: &str, decision: Decision) -> Action {
    Action {
        id: id.into(),
        kind,
        target: target(user),
        detection_ids: vec![format!("detection of {user}").into()],
        incident_id: format!("incident of {user}").into(),
        rule: "token-reuse".into(),
        decision,
        reason: "why not".into(),
        event_time: at(0),
        undoes: None,
    }
}

fn detection(id: &str, user: &str, severity: Severity) -> Detection {
    Detection {
        id: id.into(),
        rule: "token-reuse".into(),
        kind: "reuse".into(),
        severity,
        time: at(0),
        event_id: "e-7".into(),
        subject: Subject::User(user.into()),
        issuer: "events".into(),
        tenant: None,
        user_id: Some(user.into()),
        client_id: Some("web".into()),
        family_id: None,
        session_id: None,
        token_kind: None,
        ip_address: None,
        summary: "A consumed token was presented again".into(),
        evidence: Evidence::new().with("gap", 2_i64),
    }
}

pub(crate) fn incident(user: &str, severity: Severity) -> Incident {
    Incident {
        id: format!("incident of {user}").into(),
        issuer: "events".into(),
        tenant: None,
        subject: Subject::User(user.into()),
        episode: 0,
        state: IncidentState::Open,
        severity,
        opened_at: at(0),
        updated_at: at(0),
        user_id: Some(user.into()),
        client_id: Some("web".into()),
        detections: 1,
        summary: "A consumed token was presented again".into(),
        resolution: None,
        closed_at: None,
    }
}

/// All that one found theft gives: a detection, an incident, a revocation and a notification.
pub(crate) fn theft(user: &str) -> Output {
    Output {
        detections: vec![detection(
            &format!("detection of {user}"),
            user,
            Severity::Critical,
        )],
        incidents: vec![incident(user, Severity::Critical)],
        actions: vec![
            action(
                &format!("revoke {user}"),
                ActionKind::RevokeFamily,
                user,
                Decision::Execute,
            ),
            action(
                &format!("notify {user}"),
                ActionKind::Notify,
                user,
                Decision::Execute,
            ),
        ],
        ..Output::default()
    }
}

pub(crate) fn actions(actions: Vec<Action>) -> Commit {
    let output = Output {
        actions,
        ..Output::default()
    };
    Commit {
        output,
        ..Commit::default()
    }
}

fn progress(claim: &Claim, position: &str) -> Progress {
    Progress {
        partition: claim.partition.clone(),
        epoch: claim.epoch,
        position: Position(position.into()),
    }
}

async fn claim(store: &Store, owner: &str) -> Claim {
    let claims = store
        .claim(&[partition("0")], owner, &BTreeMap::new(), at(0))
        .await
        .unwrap();
    claims.into_iter().next().unwrap()
}

async fn revoke(store: &Store, users: &[&str]) {
    let revocations = users.iter().map(|user| {
        action(
            &format!("revoke {user}"),
            ActionKind::RevokeFamily,
            user,
            Decision::Execute,
        )
    });
    store
        .commit(&actions(revocations.collect()), at(0))
        .await
        .unwrap();
}

async fn lease(store: &Store, now: i64, owner: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for queue in [Queue::Revocations, Queue::Notifications] {
        let leased = store
            .lease_due(queue, at(now), owner, at(now + 30), 10)
            .await
            .unwrap();
        ids.extend(leased.into_iter().map(|each| each.action.id.to_string()));
    }
    ids
}

fn own_event(kind: OwnEventKind, action: &Action) -> OwnEvent {
    OwnEvent {
        time: at(1),
        kind,
        action_id: action.id.clone(),
        action: action.kind,
        target: action.target.clone(),
    }
}

fn end(attempt: AttemptId, result: AttemptResult) -> AttemptEnd {
    AttemptEnd {
        attempt,
        result,
        detail: "204 No Content".into(),
        evidence: Evidence::new(),
    }
}

fn finish(id: &str, state: FinishState) -> Finish {
    Finish {
        action_id: id.into(),
        state,
        outcome: "answered".into(),
        ends: vec![],
        own_event: None,
        undo_at: None,
    }
}

async fn state(store: &Store, id: &str) -> ActionState {
    store.action(id).await.unwrap().unwrap().state
}

pub(crate) const ALL: Page = Page {
    before: None,
    limit: 100,
};
