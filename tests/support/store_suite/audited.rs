//! The audit log: what it tells, and that forgetting and pruning leave it whole.

use std::time::Duration;

use tokenwarden::config::Retention;
use tokenwarden::model::{
    ActionKind, AuditKind, AuditNote, By, Commit, Decision, Incident, Output, Resolution, Severity,
    Subject,
};
use tokenwarden::store::audit::{AuditFilter, Entry, Verdict, lines};
use tokenwarden::store::{
    AttemptResult, Erasure, Finish, FinishState, IncidentFilter, Ruling, Store, StoreError, Taken,
};

use super::{ALL, action, actions, at, end, finish, incident, lease, theft};

/// All entries, oldest first.
async fn entries(store: &Store) -> Vec<Entry> {
    let mut walk = store.walk_audit().await.unwrap();
    let mut all = Vec::new();
    while let Some(page) = walk.next_page().await.unwrap() {
        all.extend(page);
    }
    all
}

async fn whole(store: &Store) -> Verdict {
    let verdict = store.verify_audit(&[]).await.unwrap();
    assert_eq!(verdict.broken, []);
    verdict
}

async fn commit_theft(store: &Store, user: &str, second: i64) {
    let commit = Commit {
        output: theft(user),
        ..Commit::default()
    };
    store.commit(&commit, at(second)).await.unwrap();
}

async fn whats(store: &Store) -> Vec<String> {
    let entries = entries(store).await;
    entries.into_iter().map(|entry| entry.what).collect()
}

pub(crate) async fn audit_tells_each_step_once(store: Store) {
    assert_eq!(whole(&store).await.entries, 0);
    commit_theft(&store, "u1", 0).await;
    commit_theft(&store, "u1", 1).await;
    assert_eq!(whats(&store).await, ["decision", "decision"], "O2");
    assert_eq!(lease(&store, 1, "a").await, ["revoke u1", "notify u1"]);
    let id = "revoke u1".into();
    let begun = store
        .begin_attempt(&id, "a", &["keycloak".into()], None, at(1), at(31))
        .await
        .unwrap();
    let done = Finish {
        ends: vec![end(begun[0], AttemptResult::Done)],
        ..finish("revoke u1", FinishState::Done)
    };
    store.finish(&done, "a", at(2)).await.unwrap();
    let lost = store.finish(&done, "a", at(3)).await;
    assert!(
        matches!(lost, Err(StoreError::LeaseLost { .. })),
        "{lost:?}"
    );
    assert_eq!(
        whats(&store).await,
        ["decision", "decision", "attempt", "outcome"],
        "what did not happen is not told"
    );
    let head = store.audit_head().await.unwrap();
    assert_eq!((whole(&store).await.head.head(), head.seq), (head, 4));

    let outcomes = AuditFilter {
        what: Some(AuditKind::Outcome),
        user_id: Some("u1".into()),
        since: Some(at(2)),
        until: Some(at(3)),
    };
    let listed = store.audit(&outcomes, ALL).await.unwrap().items;
    assert_eq!(listed.len(), 1);
    let outcome = &listed[0];
    assert_eq!(outcome.who, "tokenwarden");
    assert!(
        outcome.body.contains(r#""state":"done""#),
        "{}",
        outcome.body
    );
    assert!(
        !outcome.body.contains("u1"),
        "people are told apart: {}",
        outcome.body
    );
}

pub(crate) async fn audit_keeps_its_chain_when_a_user_is_erased(store: Store) {
    for user in ["alice@example.com", "bob@example.com"] {
        let mut output = theft(user);
        for action in &mut output.actions {
            action.decision = Decision::Observe;
        }
        // Somebody else's finding names both.
        output.detections[0].evidence = output.detections[0]
            .evidence
            .clone()
            .with("beside", "alice@example.com");
        let commit = Commit {
            output,
            ..Commit::default()
        };
        store.commit(&commit, at(0)).await.unwrap();
    }
    // One of many people, who was found first there.
    let storm = Incident {
        id: "storm".into(),
        subject: Subject::Client("events/-/web".into()),
        ..incident("alice@example.com", Severity::High)
    };
    let output = Output {
        incidents: vec![storm],
        ..Output::default()
    };
    let commit = Commit {
        output,
        ..Commit::default()
    };
    store.commit(&commit, at(0)).await.unwrap();
    let noted = store.audit_head().await.unwrap();
    let sent = [
        br#"{"sub":"alice@example.com"}"#.to_vec(),
        br#"{"sub":"malice@example.com"}"#.to_vec(),
    ];
    let hook = "hook".into();
    store.insert_inbox(&hook, sent.into(), at(0)).await.unwrap();

    let erased = store.erase("alice@example.com", "an operator", at(5)).await;
    let Erasure::Done(erased) = erased.unwrap() else {
        panic!("nothing is under way");
    };
    assert_eq!(
        (erased.detections, erased.incidents, erased.actions),
        (1, 1, 2)
    );
    assert_eq!((erased.records, erased.renamed, erased.audit), (1, 2, 2));
    let verdict = store.verify_audit(&[noted]).await.unwrap();
    assert_eq!((verdict.broken, verdict.emptied), (vec![], 2));

    let entries = entries(&store).await;
    let text: String = entries.iter().map(lines::entry).collect();
    assert!(!text.contains("alice"), "{text}");
    assert!(text.contains("bob@example.com") && text.contains("an operator"));
    let of_bob = store.detection("detection of bob@example.com").await;
    let of_bob = format!("{:?}", of_bob.unwrap().unwrap());
    assert!(
        of_bob.contains("(erased)") && !of_bob.contains("alice"),
        "{of_bob}"
    );
    let storm = store.incident("storm", 0).await.unwrap().unwrap().incident;
    assert_eq!(storm.user_id.as_deref(), Some("(erased)"));
    let of_alice = IncidentFilter {
        user_id: Some("alice@example.com".into()),
        ..IncidentFilter::default()
    };
    let of_alice = store.incidents(&of_alice, ALL).await.unwrap();
    assert_eq!(of_alice.items, []);
    let left = store.inbox_after(&"hook".into(), 0, 10).await.unwrap();
    assert_eq!(left.len(), 1, "malice is somebody else");

    let asked = store.to_forget().await.unwrap();
    assert_eq!(&*asked[0].person.user_id, "alice@example.com");
    assert_eq!(asked.len(), 1);
    store.forgotten(&asked, at(6)).await.unwrap();
    assert_eq!(
        store.to_forget().await.unwrap().len(),
        1,
        "no state was saved since"
    );
    let snapshot = tokenwarden::store::Snapshot {
        positions: [].into(),
        detections: None,
        format: 1,
        state: vec![vec![1]],
    };
    store.save_snapshot(&snapshot, at(7)).await.unwrap();
    store.forgotten(&[], at(8)).await.unwrap();
    assert!(store.to_forget().await.unwrap().is_empty());
}

pub(crate) async fn erase_waits_for_what_is_under_way(store: Store) {
    commit_theft(&store, "u1", 0).await;
    let before = entries(&store).await;
    assert_eq!(
        store.erase("u1", "an operator", at(1)).await.unwrap(),
        Erasure::UnderWay(2)
    );
    assert!(store.detection("detection of u1").await.unwrap().is_some());
    assert_eq!(entries(&store).await, before);
}

pub(crate) async fn audit_is_pruned_and_stays_whole(store: Store) {
    const DAY: i64 = 86_400;
    for (user, day) in [("u1", 0), ("u2", 1), ("u3", 30)] {
        let action = action(user, ActionKind::RevokeFamily, user, Decision::Observe);
        store
            .commit(&actions(vec![action]), at(day * DAY))
            .await
            .unwrap();
    }
    store
        .erase("u1", "an operator", at(30 * DAY))
        .await
        .unwrap();
    let noted = store.audit_head().await.unwrap();
    let retention = Retention {
        audit: Duration::from_hours(24 * 20),
        ..Retention::default()
    };
    let forget = async || {
        let removed = store.retention(&retention, &[].into(), at(31 * DAY)).await;
        removed.unwrap().audit
    };
    assert_eq!((forget().await, forget().await), (2, 0));
    let verdict = store.verify_audit(&[noted]).await.unwrap();
    assert_eq!(verdict.broken, []);
    assert_eq!((verdict.base.seq, verdict.entries), (2, 3));
    assert_eq!(whats(&store).await, ["decision", "erased", "pruned"]);
}

pub(crate) async fn audit_has_one_order_whoever_writes(store: Store) {
    let writers = (0..20).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let user = format!("u{n}");
            commit_theft(&store, &user, 0).await;
            let notes = [AuditNote::of_daemon(AuditKind::Started).because(&user)];
            store.record(&notes, at(1)).await.unwrap();
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(whole(&store).await.entries, 60);
}

pub(crate) async fn audit_tells_what_people_do(store: Store) {
    let by = By {
        who: "anna".into(),
        why: "looks like a theft".into(),
    };
    let held = action("a", ActionKind::RevokeFamily, "u1", Decision::Hold);
    store.commit(&actions(vec![held]), at(0)).await.unwrap();
    let approved = store.rule_on("a", Ruling::Approve, &by, at(1)).await;
    assert_eq!(approved.unwrap(), Taken::Done(()));
    // It can be done once: what did not happen is not told.
    store
        .rule_on("a", Ruling::Approve, &by, at(2))
        .await
        .unwrap();
    let entries = entries(&store).await;
    assert_eq!(entries.len(), 2);
    let told = &entries[1];
    assert_eq!((&*told.what, &*told.who), ("approved", "anna"));
    assert_eq!(told.user_id.as_deref(), Some("u1"));
    let personal = told.personal.as_deref().unwrap();
    assert!(personal.contains("looks like a theft"), "{personal}");

    let commit = Commit {
        output: Output {
            incidents: vec![incident("u2", Severity::High)],
            ..Output::default()
        },
        ..Commit::default()
    };
    store.commit(&commit, at(3)).await.unwrap();
    let id = "incident of u2";
    store.acknowledge(id, &by, at(4)).await.unwrap();
    let closed = store
        .close_incident(id, Resolution::Benign, &by, at(5))
        .await;
    assert!(matches!(closed, Ok(Taken::Done(_))), "{closed:?}");
    let of_u2 = AuditFilter {
        user_id: Some("u2".into()),
        ..AuditFilter::default()
    };
    let told = store.audit(&of_u2, ALL).await.unwrap().items;
    let told: Vec<&str> = told.iter().map(|entry| &*entry.what).collect();
    assert_eq!(told, ["closed", "acknowledged"]);
    whole(&store).await;
}
