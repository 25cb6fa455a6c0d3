//! What every store must do, whatever database is below it: run on SQLite by `tests/offline`, on PostgreSQL by `tests/real`.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::BTreeMap;
use std::time::Duration;

use tokenwarden::config::Retention;
use tokenwarden::model::{
    Action, ActionKind, ActionState, Bulletin, Claim, Commit, Decision, Detection, Digest,
    Evidence, Incident, IncidentState, Member, News, Output, OwnEvent, OwnEventKind, Position,
    Progress, Reject, RejectReason, Severity, SourcePartition, StartAt, Subject, Target, Timestamp,
};
use tokenwarden::store::{
    ActionFilter, AttemptEnd, AttemptId, AttemptResult, DetectionFilter, Finish, FinishState,
    IncidentFilter, Page, Queue, Snapshot, Store, StoreError,
};

/// Declares one test for each function of the suite; `$open` makes an empty store and what must outlive it.
macro_rules! store_suite {
    ($open:path $(, #[$meta:meta])*) => {
        store_suite!(@each $open, [$(#[$meta])*],
            first_claim_is_fresh, claim_resumes_from_the_snapshot, former_owner_is_fenced, fenced_commit_leaves_nothing,
            repeated_commit_changes_nothing, large_commit_is_whole, incident_grows, null_characters_are_survived,
            decision_gives_the_first_state, lease_is_exclusive_until_it_ends, one_of_a_lane_at_a_time, waiting_retry_does_not_block_its_lane,
            attempt_and_end_tell_the_engine, end_after_a_lost_lease_is_refused, receivers_done_are_remembered, final_action_wakes_the_notification, outcome_in_the_meantime_wakes_too,
            released_action_is_due_again, inbox_is_read_in_order, concurrent_own_events_leave_no_gap, snapshot_comes_back,
            two_snapshots_are_kept, token_key_is_remembered, lists_filter_and_page, gauges_count, digest_counts_by_client, digest_counts_the_rest, digest_is_made_once_a_day, held_for_age_is_summed_up_once, retention_removes_what_is_old,
            inbox_is_forgotten_source_by_source);
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
pub(crate) use store_suite;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_760_000_000 + seconds).unwrap()
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
        members: vec![],
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
    }
}

async fn state(store: &Store, id: &str) -> ActionState {
    store.action(id).await.unwrap().unwrap().state
}

pub(crate) const ALL: Page = Page {
    before: None,
    limit: 100,
};

pub(crate) async fn first_claim_is_fresh(store: Store) {
    let claims = store
        .claim(
            &[partition("1"), partition("0")],
            "a",
            &BTreeMap::new(),
            at(0),
        )
        .await
        .unwrap();
    let starts: Vec<_> = claims
        .iter()
        .map(|claim| {
            (
                claim.partition.partition.as_ref(),
                claim.epoch,
                &claim.start,
            )
        })
        .collect();
    assert_eq!(
        starts,
        [("0", 1, &StartAt::Fresh), ("1", 1, &StartAt::Fresh)]
    );
}

pub(crate) async fn claim_resumes_from_the_snapshot(store: Store) {
    let first = claim(&store, "a").await;
    let commit = Commit {
        positions: vec![progress(&first, "5"), progress(&first, "9")],
        ..Commit::default()
    };
    store.commit(&commit, at(1)).await.unwrap();

    let without = claim(&store, "a").await;
    let committed = Position("9".into());
    assert_eq!(
        without.start,
        StartAt::Resume {
            from: committed.clone(),
            committed: committed.clone()
        }
    );
    let restored = BTreeMap::from([(partition("0"), Position("4".into()))]);
    let with = store
        .claim(&[partition("0")], "a", &restored, at(2))
        .await
        .unwrap();
    assert_eq!(
        with[0].start,
        StartAt::Resume {
            from: Position("4".into()),
            committed
        }
    );
    assert_eq!(with[0].epoch, 3);
}

pub(crate) async fn former_owner_is_fenced(store: Store) {
    let old = claim(&store, "a").await;
    let new = claim(&store, "b").await;
    let stale = Commit {
        positions: vec![progress(&old, "7")],
        ..Commit::default()
    };
    let refused = store.commit(&stale, at(1)).await;
    assert!(
        matches!(refused, Err(StoreError::Fenced { ref partition, ref owner }) if &*partition.partition == "0" && &**owner == "b"),
        "{refused:?}"
    );
    let fresh = Commit {
        positions: vec![progress(&new, "7")],
        ..Commit::default()
    };
    store.commit(&fresh, at(1)).await.unwrap();
}

pub(crate) async fn fenced_commit_leaves_nothing(store: Store) {
    let old = claim(&store, "a").await;
    let other = store
        .claim(&[partition("00")], "a", &BTreeMap::new(), at(0))
        .await
        .unwrap();
    claim(&store, "b").await;
    let commit = Commit {
        positions: vec![progress(&other[0], "3"), progress(&old, "7")],
        output: theft("u1"),
        ..Commit::default()
    };
    assert!(store.commit(&commit, at(1)).await.is_err());
    assert_eq!(store.positions().await.unwrap(), BTreeMap::new());
    assert!(
        store
            .detections(&DetectionFilter::default(), ALL)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(lease(&store, 1, "a").await.is_empty());
}

pub(crate) async fn repeated_commit_changes_nothing(store: Store) {
    let owner = claim(&store, "a").await;
    let commit = Commit {
        positions: vec![progress(&owner, "7")],
        output: theft("u1"),
        ..Commit::default()
    };
    let first = store.commit(&commit, at(1)).await.unwrap();
    assert_eq!((first.detections_new, first.actions_new), (1, 2));
    assert_eq!(lease(&store, 1, "a").await.len(), 2);
    store
        .finish(&finish("revoke u1", FinishState::Done), "a", at(2))
        .await
        .unwrap();

    let again = store.commit(&commit, at(3)).await.unwrap();
    assert_eq!((again.detections_new, again.actions_new), (0, 0));
    assert_eq!(state(&store, "revoke u1").await, ActionState::Done);
    let found = store.incident("incident of u1", 10).await.unwrap().unwrap();
    assert_eq!((found.detections.len(), found.actions.len()), (1, 2));
}

pub(crate) async fn large_commit_is_whole(store: Store) {
    let users: Vec<String> = (0..1063).map(|n| format!("u{n}")).collect();
    let mut output = Output::default();
    for user in &users {
        let one = theft(user);
        output.detections.extend(one.detections);
        output.incidents.extend(one.incidents);
        output.actions.extend(one.actions);
    }
    let reject = Reject {
        source: "events".into(),
        partition: "0".into(),
        place: "42".into(),
        reason: RejectReason::Syntax,
        message: "expected a JSON object".into(),
        payload: "{".into(),
    };
    let commit = Commit {
        positions: vec![],
        output,
        rejects: vec![reject; 60],
        ..Commit::default()
    };
    let report = store.commit(&commit, at(1)).await.unwrap();
    assert_eq!((report.detections_new, report.actions_new), (1063, 2126));
    for user in ["u0", "u49", "u50", "u1062"] {
        let found = store
            .incident(&format!("incident of {user}"), 10)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            found.detections[0],
            detection(&format!("detection of {user}"), user, Severity::Critical)
        );
    }
}

pub(crate) async fn incident_grows(store: Store) {
    store
        .commit(
            &Commit {
                output: theft("u1"),
                ..Commit::default()
            },
            at(1),
        )
        .await
        .unwrap();
    let grown = Incident {
        state: IncidentState::Contained,
        detections: 2,
        ..incident("u1", Severity::Critical)
    };
    let output = Output {
        detections: vec![detection("another", "u1", Severity::Low)],
        incidents: vec![grown.clone()],
        members: vec![Member {
            incident_id: grown.id.clone(),
            detection_id: "another".into(),
        }],
        ..Output::default()
    };
    store
        .commit(
            &Commit {
                output,
                ..Commit::default()
            },
            at(2),
        )
        .await
        .unwrap();
    let found = store.incident(&grown.id, 10).await.unwrap().unwrap();
    assert_eq!(found.incident, grown);
    assert_eq!(found.detections.len(), 2);
    let contained = IncidentFilter {
        state: Some(IncidentState::Contained),
        ..IncidentFilter::default()
    };
    assert_eq!(
        store.incidents(&contained, ALL).await.unwrap().items,
        [grown]
    );
}

/// A client chooses its user agent, and a provider's user id may be anything; PostgreSQL's text takes no U+0000.
pub(crate) async fn null_characters_are_survived(store: Store) {
    let mut output = theft("u\0one");
    output.detections[0].summary = "\0".into();
    let reject = Reject {
        source: "events".into(),
        partition: "0".into(),
        place: "\0".into(),
        reason: RejectReason::Syntax,
        message: "\0".into(),
        payload: "\0".into(),
    };
    store
        .commit(
            &Commit {
                output,
                rejects: vec![reject],
                ..Commit::default()
            },
            at(1),
        )
        .await
        .unwrap();
    let found = store
        .detections(&DetectionFilter::default(), ALL)
        .await
        .unwrap();
    assert_eq!(found.items[0].summary.as_ref(), "\0");
}

pub(crate) async fn decision_gives_the_first_state(store: Store) {
    let all = Decision::ALL.iter().map(|decision| {
        action(
            decision.as_str(),
            ActionKind::RevokeFamily,
            decision.as_str(),
            *decision,
        )
    });
    store.commit(&actions(all.collect()), at(0)).await.unwrap();
    let mut states = Vec::new();
    for decision in Decision::ALL {
        states.push(state(&store, decision.as_str()).await);
    }
    assert_eq!(
        states,
        [
            ActionState::Ready,
            ActionState::Suppressed,
            ActionState::Held,
            ActionState::Suppressed
        ]
    );
    assert_eq!(
        lease(&store, 1, "a").await,
        ["execute"],
        "O4: observe performs nothing"
    );
}

pub(crate) async fn lease_is_exclusive_until_it_ends(store: Store) {
    revoke(&store, &["u1"]).await;
    assert_eq!(
        store.next_due(Queue::Revocations).await.unwrap(),
        Some(at(0))
    );
    assert_eq!(lease(&store, 1, "a").await, ["revoke u1"]);
    assert_eq!(
        store.next_due(Queue::Revocations).await.unwrap(),
        Some(at(31))
    );
    assert!(lease(&store, 30, "b").await.is_empty());
    store
        .renew_lease(&"revoke u1".into(), "a", at(50))
        .await
        .unwrap();
    assert!(lease(&store, 31, "b").await.is_empty());
    assert_eq!(lease(&store, 50, "b").await, ["revoke u1"]);
    let late = store.renew_lease(&"revoke u1".into(), "a", at(90)).await;
    assert!(
        matches!(late, Err(StoreError::LeaseLost { .. })),
        "{late:?}"
    );
}

pub(crate) async fn one_of_a_lane_at_a_time(store: Store) {
    let same_user = [
        action("first", ActionKind::RevokeFamily, "u1", Decision::Execute),
        action("second", ActionKind::RevokeUser, "u1", Decision::Execute),
        action("other", ActionKind::RevokeFamily, "u2", Decision::Execute),
    ];
    store
        .commit(&actions(same_user.into()), at(0))
        .await
        .unwrap();
    assert_eq!(lease(&store, 1, "a").await, ["first", "other"]);
    assert!(lease(&store, 2, "b").await.is_empty());
    store
        .finish(&finish("first", FinishState::Done), "a", at(3))
        .await
        .unwrap();
    assert_eq!(lease(&store, 4, "b").await, ["second"]);
}

pub(crate) async fn waiting_retry_does_not_block_its_lane(store: Store) {
    let same_user = [
        action("first", ActionKind::RevokeFamily, "u1", Decision::Execute),
        action("second", ActionKind::RevokeUser, "u1", Decision::Execute),
    ];
    store
        .commit(&actions(same_user.into()), at(0))
        .await
        .unwrap();
    lease(&store, 1, "a").await;
    store
        .finish(&finish("first", FinishState::RetryAt(at(60))), "a", at(2))
        .await
        .unwrap();
    assert_eq!(lease(&store, 3, "a").await, ["second"]);
    assert_eq!(
        lease(&store, 60, "a").await,
        ["first"],
        "due again, and the older one"
    );
}

pub(crate) async fn attempt_and_end_tell_the_engine(store: Store) {
    revoke(&store, &["u1"]).await;
    let leased = store
        .lease_due(Queue::Revocations, at(1), "a", at(31), 10)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(
        (leased.attempts, leased.approved, leased.ready_since),
        (0, false, at(0))
    );
    let id = leased.action.id.clone();
    let attempted = own_event(OwnEventKind::Attempted, &leased.action);
    for expected in [1, 1] {
        let attempts = store
            .begin_attempt(
                &id,
                "a",
                &["keycloak".into()],
                Some(&attempted),
                at(1),
                at(31),
            )
            .await
            .unwrap();
        assert_eq!(attempts.len(), 1);
        assert_eq!(
            store.own_events_after(0, 10).await.unwrap().len(),
            expected,
            "only the first attempt is told"
        );
        store
            .end_attempt(&end(attempts[0], AttemptResult::Retry), at(2))
            .await
            .unwrap();
    }
    let attempt = store
        .begin_attempt(
            &id,
            "a",
            &["keycloak".into()],
            Some(&attempted),
            at(1),
            at(31),
        )
        .await
        .unwrap()[0];
    let done = own_event(OwnEventKind::Done, &leased.action);
    let finish = Finish {
        ends: vec![end(attempt, AttemptResult::Done)],
        own_event: Some(done.clone()),
        ..finish(&id, FinishState::Done)
    };
    store.finish(&finish, "a", at(3)).await.unwrap();

    let told: Vec<OwnEvent> = store
        .own_events_after(0, 10)
        .await
        .unwrap()
        .iter()
        .map(|row| serde_json::from_slice(&row.payload).unwrap())
        .collect();
    assert_eq!(told, [attempted, done]);
    let record = store.action(&id).await.unwrap().unwrap();
    assert_eq!(
        (record.state, record.attempts, record.outcome.as_deref()),
        (ActionState::Done, 3, Some("answered"))
    );
    assert_eq!(record.finished_at, Some(at(3)));
    assert!(lease(&store, 100, "a").await.is_empty());
}

pub(crate) async fn end_after_a_lost_lease_is_refused(store: Store) {
    revoke(&store, &["u1"]).await;
    lease(&store, 1, "a").await;
    lease(&store, 40, "b").await;
    let late = Finish {
        own_event: Some(own_event(
            OwnEventKind::Done,
            &action("x", ActionKind::RevokeFamily, "u1", Decision::Execute),
        )),
        ..finish("revoke u1", FinishState::Parked)
    };
    let refused = store.finish(&late, "a", at(41)).await;
    assert!(
        matches!(refused, Err(StoreError::LeaseLost { .. })),
        "{refused:?}"
    );
    assert!(store.own_events_after(0, 10).await.unwrap().is_empty());
    store
        .finish(&finish("revoke u1", FinishState::Done), "b", at(42))
        .await
        .unwrap();
    assert_eq!(state(&store, "revoke u1").await, ActionState::Done);
}

pub(crate) async fn receivers_done_are_remembered(store: Store) {
    let id = "notify u1".into();
    store
        .commit(
            &Commit {
                output: theft("u1"),
                ..Commit::default()
            },
            at(0),
        )
        .await
        .unwrap();
    lease(&store, 1, "a").await;
    let attempts = store
        .begin_attempt(
            &id,
            "a",
            &["on-call".into(), "siem".into()],
            None,
            at(1),
            at(31),
        )
        .await
        .unwrap();
    store
        .end_attempt(&end(attempts[0], AttemptResult::Done), at(2))
        .await
        .unwrap();
    lease(&store, 40, "b").await;
    store
        .begin_attempt(&id, "b", &["siem".into()], None, at(40), at(70))
        .await
        .unwrap();
    let leased = store
        .lease_due(Queue::Notifications, at(80), "c", at(90), 1)
        .await
        .unwrap()
        .remove(0);
    let settled = store.settled(&leased).await.unwrap();
    let [settled] = &*settled else {
        panic!("{settled:?}")
    };
    assert_eq!(
        (&*settled.performer, settled.result),
        ("on-call", AttemptResult::Done)
    );
    assert_eq!(settled.detail, end(attempts[0], AttemptResult::Done).detail);
}

pub(crate) async fn final_action_wakes_the_notification(store: Store) {
    store
        .commit(
            &Commit {
                output: theft("u1"),
                ..Commit::default()
            },
            at(0),
        )
        .await
        .unwrap();
    store
        .lease_due(Queue::Revocations, at(1), "a", at(31), 1)
        .await
        .unwrap();
    let notify = store
        .lease_due(Queue::Notifications, at(1), "a", at(31), 1)
        .await
        .unwrap()
        .remove(0);
    assert!(store.outcome_pending("incident of u1").await.unwrap());
    store.await_outcome(&notify, at(16), at(1)).await.unwrap();
    assert!(lease(&store, 2, "a").await.is_empty());
    store
        .finish(&finish("revoke u1", FinishState::Done), "a", at(3))
        .await
        .unwrap();
    assert!(!store.outcome_pending("incident of u1").await.unwrap());
    assert_eq!(lease(&store, 3, "a").await, ["notify u1"]);
}

/// Between the look at the other actions and the decision to wait, the last of them may have ended.
pub(crate) async fn outcome_in_the_meantime_wakes_too(store: Store) {
    store
        .commit(
            &Commit {
                output: theft("u1"),
                ..Commit::default()
            },
            at(0),
        )
        .await
        .unwrap();
    store
        .lease_due(Queue::Revocations, at(1), "a", at(31), 1)
        .await
        .unwrap();
    let notify = store
        .lease_due(Queue::Notifications, at(1), "a", at(31), 1)
        .await
        .unwrap()
        .remove(0);
    store
        .finish(&finish("revoke u1", FinishState::Parked), "a", at(2))
        .await
        .unwrap();
    store.await_outcome(&notify, at(16), at(2)).await.unwrap();
    assert_eq!(lease(&store, 2, "a").await, ["notify u1"]);
}

pub(crate) async fn released_action_is_due_again(store: Store) {
    let held = action("held", ActionKind::RevokeFamily, "u1", Decision::Hold);
    store.commit(&actions(vec![held]), at(0)).await.unwrap();
    assert!(lease(&store, 1, "a").await.is_empty());
    assert!(store.release(&"held".into(), at(2)).await.unwrap());
    let leased = store
        .lease_due(Queue::Revocations, at(2), "a", at(30), 10)
        .await
        .unwrap();
    assert!(leased[0].approved);
    assert!(
        !store.release(&"held".into(), at(3)).await.unwrap(),
        "it is being performed"
    );
}

pub(crate) async fn inbox_is_read_in_order(store: Store) {
    let hook = "hook".into();
    store
        .insert_inbox(&hook, vec![b"1".to_vec(), b"\0\xff".to_vec()], at(0))
        .await
        .unwrap();
    store
        .insert_inbox(&"other".into(), vec![b"x".to_vec()], at(0))
        .await
        .unwrap();
    store
        .insert_inbox(&hook, vec![b"4".to_vec()], at(0))
        .await
        .unwrap();
    store.insert_inbox(&hook, vec![], at(0)).await.unwrap();
    let rows = store.inbox_after(&hook, 1, 10).await.unwrap();
    let rows: Vec<(i64, &[u8])> = rows
        .iter()
        .map(|row| (row.id, row.payload.as_slice()))
        .collect();
    assert_eq!(rows, [(2, b"\0\xff".as_slice()), (4, b"4".as_slice())]);
    assert_eq!(store.inbox_after(&hook, 0, 1).await.unwrap().len(), 1);
    assert_eq!(store.newest_inbox().await.unwrap(), 4);
}

/// A reader of `id > last` must never meet an id below one that it has seen.
pub(crate) async fn concurrent_own_events_leave_no_gap(store: Store) {
    let event = own_event(
        OwnEventKind::Done,
        &action("x", ActionKind::RevokeFamily, "u1", Decision::Execute),
    );
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (store, event) = (store.clone(), event.clone());
            tokio::spawn(async move {
                for _ in 0..25 {
                    store.record_own_event(&event).await.unwrap();
                }
            })
        })
        .collect();
    let mut seen = Vec::new();
    while seen.len() < 100 {
        let after = seen.last().copied().unwrap_or(0);
        seen.extend(
            store
                .own_events_after(after, 7)
                .await
                .unwrap()
                .iter()
                .map(|row| row.id),
        );
        if writers.iter().all(tokio::task::JoinHandle::is_finished)
            && after == store.newest_own_event().await.unwrap()
        {
            break;
        }
    }
    assert_eq!(seen, (1..=100).collect::<Vec<_>>());
}

fn snapshot(fill: u8) -> Snapshot {
    let positions = BTreeMap::from([(
        partition("0"),
        Position(format!("{{\"offset\":{fill}}}").into()),
    )]);
    Snapshot {
        positions,
        format: 3,
        state: vec![fill; 2 * 1024 * 1024 + 17],
    }
}

pub(crate) async fn snapshot_comes_back(store: Store) {
    assert_eq!(store.load_snapshot().await.unwrap(), None);
    let empty = Snapshot {
        positions: BTreeMap::new(),
        format: 1,
        state: vec![],
    };
    for each in [empty, snapshot(1), snapshot(2)] {
        store.save_snapshot(&each, at(0)).await.unwrap();
        assert!(store.load_snapshot().await.unwrap() == Some(each));
    }
}

pub(crate) async fn two_snapshots_are_kept(store: Store) {
    for fill in 1..=4 {
        store.save_snapshot(&snapshot(fill), at(0)).await.unwrap();
    }
    assert_eq!(store.snapshots_kept().await.unwrap(), 2);
}

pub(crate) async fn token_key_is_remembered(store: Store) {
    let check = async |now, before| {
        let checked = store.check_token_key(now, before).await;
        checked.map_err(|error| error.to_string())
    };
    check("one", None).await.unwrap();
    check("one", None).await.unwrap();
    let refused = check("two", None).await.unwrap_err();
    assert!(
        refused.contains("fingerprint one") && refused.contains("configured two"),
        "{refused}"
    );
    let refused = check("one", Some("zero")).await.unwrap_err();
    assert!(refused.contains("fingerprint zero"), "{refused}");
    check("two", Some("zero")).await.unwrap_err();
    // The rotation begins, and every restart within it is fine; a third key is not.
    check("two", Some("one")).await.unwrap();
    check("two", Some("one")).await.unwrap();
    check("two", Some("zero")).await.unwrap_err();
    check("three", Some("one")).await.unwrap_err();
    check("one", None).await.unwrap_err();
    // It is over, and the first key does not come back.
    check("two", None).await.unwrap();
    check("two", Some("one")).await.unwrap_err();
    check("one", None).await.unwrap_err();
    // The way back is a rotation like any other, and the next may begin before the last is over.
    check("one", Some("two")).await.unwrap();
    check("three", Some("one")).await.unwrap();
}

pub(crate) async fn lists_filter_and_page(store: Store) {
    for user in ["u1", "u2", "u3", "u4", "u5"] {
        store
            .commit(
                &Commit {
                    output: theft(user),
                    ..Commit::default()
                },
                at(1),
            )
            .await
            .unwrap();
    }
    let mut seen = Vec::new();
    let mut page = Page {
        before: None,
        limit: 2,
    };
    for _ in 0..3 {
        let listed = store
            .incidents(&IncidentFilter::default(), page)
            .await
            .unwrap();
        seen.extend(
            listed
                .items
                .iter()
                .map(|each| each.user_id.as_deref().unwrap().to_owned()),
        );
        page.before = listed.next;
    }
    assert_eq!(
        (seen, page.before),
        (
            ["u5", "u4", "u3", "u2", "u1"].map(String::from).to_vec(),
            None
        )
    );

    let filter = IncidentFilter {
        severity_min: Some(Severity::High),
        user_id: Some("u2".into()),
        ..IncidentFilter::default()
    };
    assert_eq!(store.incidents(&filter, ALL).await.unwrap().items.len(), 1);
    let later = IncidentFilter {
        since: Some(at(1)),
        ..IncidentFilter::default()
    };
    assert!(store.incidents(&later, ALL).await.unwrap().items.is_empty());
    let notify = ActionFilter {
        kind: Some(ActionKind::Notify),
        state: Some(ActionState::Ready),
        ..ActionFilter::default()
    };
    assert_eq!(store.actions(&notify, ALL).await.unwrap().items.len(), 5);
    let rule = DetectionFilter {
        rule: Some("token-reuse".into()),
        client_id: Some("web".into()),
        ..DetectionFilter::default()
    };
    assert_eq!(
        store
            .detections(
                &rule,
                Page {
                    before: None,
                    limit: 5
                }
            )
            .await
            .unwrap()
            .next,
        None
    );
    assert_eq!(
        store
            .detection("detection of u4")
            .await
            .unwrap()
            .unwrap()
            .user_id
            .as_deref(),
        Some("u4")
    );
    assert!(store.detection("none").await.unwrap().is_none());
}

pub(crate) async fn gauges_count(store: Store) {
    store
        .commit(
            &Commit {
                output: theft("u1"),
                ..Commit::default()
            },
            at(1),
        )
        .await
        .unwrap();
    store
        .commit(
            &Commit {
                output: theft("u2"),
                ..Commit::default()
            },
            at(5),
        )
        .await
        .unwrap();
    lease(&store, 6, "a").await;
    store
        .finish(&finish("revoke u1", FinishState::Parked), "a", at(7))
        .await
        .unwrap();
    store
        .finish(&finish("revoke u2", FinishState::Held), "a", at(7))
        .await
        .unwrap();
    let gauges = store.gauges().await.unwrap();
    assert_eq!(gauges.pending, [(ActionKind::Notify, 2)]);
    assert_eq!(
        (gauges.held, gauges.parked, gauges.oldest_pending),
        (1, 1, Some(at(1)))
    );
    assert_eq!(gauges.open_incidents, [(Severity::Critical, 2)]);
}

pub(crate) async fn digest_counts_by_client(store: Store) {
    let observed = ["u1", "u2"].map(|user| {
        action(
            &format!("revoke {user}"),
            ActionKind::RevokeFamily,
            user,
            Decision::Observe,
        )
    });
    store
        .commit(&actions(observed.into()), at(10))
        .await
        .unwrap();
    revoke(&store, &["u3"]).await;
    let digest = store.would_have_been(at(10), at(20)).await.unwrap();
    assert_eq!(digest.len(), 1);
    assert_eq!(
        (
            digest[0].client_id.as_deref(),
            digest[0].actions,
            digest[0].users
        ),
        (Some("web"), 2, 2)
    );
    assert!(
        store
            .would_have_been(at(11), at(20))
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn digest_counts_the_rest(store: Store) {
    let observed = ["u1", "u2"].map(|user| {
        let id = format!("revoke {user}");
        action(&id, ActionKind::RevokeFamily, user, Decision::Observe)
    });
    let doubt = |id: &str, verdict: &str| Detection {
        evidence: Evidence::new().with("verdict", verdict),
        ..detection(id, id, Severity::Low)
    };
    let output = Output {
        detections: vec![
            detection("detection of u1", "u1", Severity::Critical),
            doubt("d1", "suspected"),
            doubt("d2", "suspected"),
            doubt("d3", "client_fault"),
        ],
        actions: observed.into(),
        ..Output::default()
    };
    let reject = Reject {
        source: "events".into(),
        partition: "0".into(),
        place: "1".into(),
        reason: RejectReason::Syntax,
        message: "what".into(),
        payload: "{".into(),
    };
    let claim = claim(&store, "a").await;
    let commit = Commit {
        output,
        rejects: vec![reject],
        positions: vec![progress(&claim, "7")],
        fences: vec![],
    };
    store.commit(&commit, at(10)).await.unwrap();
    let held = action("hold u3", ActionKind::RevokeFamily, "u3", Decision::Hold);
    store.commit(&actions(vec![held]), at(12)).await.unwrap();
    revoke(&store, &["u4"]).await;
    lease(&store, 13, "a").await;
    store
        .finish(&finish("revoke u4", FinishState::Done), "a", at(14))
        .await
        .unwrap();

    let revoked = store.would_be_revoked(at(10), at(20), 10).await.unwrap();
    let found: Vec<_> = revoked
        .iter()
        .map(|(action, detection)| (&*action.id, detection.is_some()))
        .collect();
    assert_eq!(found, [("revoke u2", false), ("revoke u1", true)]);
    assert_eq!(
        store
            .would_be_revoked(at(10), at(20), 1)
            .await
            .unwrap()
            .len(),
        1
    );
    let rules = store.detections_by_rule(at(10), at(20)).await.unwrap();
    assert_eq!((rules.len(), rules[0].detections), (1, 4));
    assert_eq!(rules[0].gravest, Severity::Critical);
    let doubts = store.doubts(at(10), at(20), 100).await.unwrap();
    assert_eq!(
        (doubts.len(), doubts[0].suspected, doubts[0].client_faults),
        (1, 2, 1)
    );
    let performed = store.performed(at(10), at(20)).await.unwrap();
    assert_eq!((performed.len(), performed[0].actions), (1, 1));
    assert_eq!(performed[0].state, ActionState::Done);
    let waiting = store.waiting(at(11)).await.unwrap();
    assert_eq!(
        (waiting.len(), waiting[0].actions, waiting[0].new),
        (1, 1, 1)
    );
    assert_eq!(store.waiting(at(13)).await.unwrap()[0].new, 0);
    let rejected = store.rejected(at(10), at(20)).await.unwrap();
    assert_eq!((rejected.len(), rejected[0].records), (1, 1));
    let read = store.last_read().await.unwrap();
    assert_eq!((read.len(), read[0].at), (1, at(10)));

    for (since, until) in [(0, 10), (20, 30)] {
        let (since, until) = (at(since), at(until));
        assert!(
            store
                .would_be_revoked(since, until, 10)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(
            store
                .detections_by_rule(since, until)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(store.doubts(since, until, 10).await.unwrap().is_empty());
        assert!(store.performed(since, until).await.unwrap().is_empty());
        assert!(store.rejected(since, until).await.unwrap().is_empty());
    }
}

pub(crate) async fn digest_is_made_once_a_day(store: Store) {
    let digest = |day: i64| Bulletin {
        id: format!("digest-oncall-{day}").into(),
        receiver: Some("oncall".into()),
        since: at(day - 1),
        until: at(day),
        news: News::Digest(Digest::default()),
    };
    assert_eq!(store.digests_made("oncall").await.unwrap(), None);
    for (day, send, is_new) in [
        (1, false, true),
        (2, true, true),
        (2, true, false),
        (3, false, true),
    ] {
        assert_eq!(
            store.put_digest(&digest(day), send, at(day)).await.unwrap(),
            is_new,
            "{day}"
        );
    }
    let made = store.digests_made("oncall").await.unwrap().unwrap();
    assert_eq!((made.until, made.sent), (at(3), at(2)));
    assert_eq!(store.digests_made("other").await.unwrap(), None);
    assert_eq!(lease(&store, 10, "a").await, ["digest-oncall-2"]);
    let kept = store.bulletin("digest-oncall-2").await.unwrap();
    assert_eq!(kept, Some(digest(2)));
    assert_eq!(store.bulletin("incident of u1").await.unwrap(), None);
}

pub(crate) async fn held_for_age_is_summed_up_once(store: Store) {
    for user in ["u1", "u2"] {
        let commit = Commit {
            output: theft(user),
            ..Commit::default()
        };
        store.commit(&commit, at(0)).await.unwrap();
    }
    assert_eq!(store.held_untold().await.unwrap(), None);
    lease(&store, 1, "a").await;
    for (n, id) in ["revoke u1", "notify u1", "revoke u2", "notify u2"]
        .iter()
        .enumerate()
    {
        let now = at(2 + i64::try_from(n).unwrap());
        store
            .finish(&finish(id, FinishState::TooOld), "a", now)
            .await
            .unwrap();
    }
    // A person was quicker.
    assert!(store.release(&"revoke u2".into(), at(6)).await.unwrap());
    let untold = store.held_untold().await.unwrap().unwrap();
    assert_eq!(
        (untold.first, untold.last, untold.told),
        (at(2), at(5), None)
    );

    let id = "too-late-1".into();
    let bulletin = store.sum_up_held(&id, 900, at(10)).await.unwrap().unwrap();
    let News::TooLate(late) = &bulletin.news else {
        panic!("{bulletin:?}");
    };
    assert_eq!((late.held.len(), late.held[0].actions), (1, 1));
    assert_eq!((late.incidents_total, late.incidents.len()), (2, 2));
    assert_eq!((bulletin.since, bulletin.until), (at(0), at(10)));
    assert_eq!(store.bulletin(&id).await.unwrap().as_ref(), Some(&bulletin));
    for (id, expected) in [
        ("revoke u1", ActionState::Held),
        ("notify u1", ActionState::Expired),
        ("revoke u2", ActionState::Ready),
        ("notify u2", ActionState::Expired),
        ("too-late-1", ActionState::Ready),
    ] {
        assert_eq!(state(&store, id).await, expected, "{id}");
    }
    assert_eq!(store.held_untold().await.unwrap(), None);
    assert_eq!(
        store
            .sum_up_held(&"too-late-2".into(), 900, at(11))
            .await
            .unwrap(),
        None
    );
    assert_eq!(store.bulletin("too-late-2").await.unwrap(), None);
}

pub(crate) async fn retention_removes_what_is_old(store: Store) {
    const DAY: i64 = 86_400;
    let retention = Retention {
        detections: Duration::from_hours(240),
        rejects: Duration::from_hours(24),
        inbox: Duration::from_hours(24),
    };
    store
        .commit(
            &Commit {
                output: theft("old"),
                ..Commit::default()
            },
            at(0),
        )
        .await
        .unwrap();
    lease(&store, 1, "a").await;
    store
        .finish(&finish("revoke old", FinishState::Done), "a", at(2))
        .await
        .unwrap();
    store
        .commit(
            &Commit {
                output: theft("new"),
                ..Commit::default()
            },
            at(9 * DAY),
        )
        .await
        .unwrap();
    store
        .insert_inbox(
            &"hook".into(),
            vec![b"read".to_vec(), b"unread".to_vec()],
            at(0),
        )
        .await
        .unwrap();

    let read = [("hook".into(), 1)].into();
    let removed = store
        .retention(&retention, &read, at(11 * DAY))
        .await
        .unwrap();
    assert_eq!(
        (removed.incidents, removed.detections, removed.inbox),
        (1, 1, 1)
    );
    assert_eq!(
        removed.actions, 1,
        "the notification was never performed and stays"
    );
    assert!(
        store
            .incident("incident of old", 1)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        store
            .incident("incident of new", 1)
            .await
            .unwrap()
            .unwrap()
            .detections
            .len(),
        1
    );
    assert_eq!(
        store.inbox_after(&"hook".into(), 0, 10).await.unwrap()[0].payload,
        b"unread"
    );
}

pub(crate) async fn inbox_is_forgotten_source_by_source(store: Store) {
    const DAY: i64 = 86_400;
    let retention = Retention {
        inbox: Duration::from_hours(24),
        ..Retention::default()
    };
    for (source, day) in [
        ("busy", 0),
        ("quiet", 0),
        ("renamed", 0),
        ("busy", 0),
        ("renamed", 2),
        ("busy", 2),
    ] {
        let body = vec![source.as_bytes().to_vec()];
        store
            .insert_inbox(&source.into(), body, at(day * DAY))
            .await
            .unwrap();
    }
    // `busy` has read all of its records, `quiet` has read none yet, nobody reads `renamed` any more.
    let read = [("busy".into(), 6), ("quiet".into(), 0)].into();
    let removed = store
        .retention(&retention, &read, at(2 * DAY + 1))
        .await
        .unwrap();
    assert_eq!(removed.inbox, 3);
    for (source, left) in [("busy", vec![6]), ("quiet", vec![2]), ("renamed", vec![5])] {
        let rows = store.inbox_after(&source.into(), 0, 10).await.unwrap();
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        assert_eq!(ids, left, "{source}");
    }
}
