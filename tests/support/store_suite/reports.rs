//! What is read for people: lists, gauges, digests.

use tokenwarden::model::{
    ActionKind, ActionState, Bulletin, Commit, Decision, Detection, Digest, Evidence, News, Output,
    Reject, RejectReason, Severity,
};
use tokenwarden::store::{ActionFilter, DetectionFilter, FinishState, IncidentFilter, Page, Store};

use super::{
    ALL, action, actions, at, claim, detection, finish, lease, progress, released, revoke, state,
    theft,
};

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
        ..Commit::default()
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
    assert!(released(&store, "revoke u2", at(6)).await);
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
