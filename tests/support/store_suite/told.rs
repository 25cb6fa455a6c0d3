//! What receivers were told: messages of the hour, and what came in a summary instead.

use tokenwarden::model::{
    ActionKind, ActionState, Commit, Decision, Evidence, IncidentState, News, Phase, Stand, Text,
};
use tokenwarden::store::{
    AttemptResult, FinishState, Follow, FollowedRow, Known, LastTold, LeasedAction, Messages, Seen,
    Store,
};

use super::{action, at, end, finish, lease, state, theft};

pub(crate) async fn capped_is_summed_up_once(store: Store) {
    let mail: Text = "mail".into();
    let results = [
        ("u1", AttemptResult::Done),
        ("u2", AttemptResult::Retry),
        ("u3", AttemptResult::Capped),
        ("u4", AttemptResult::Capped),
    ];
    for (user, result) in results {
        let commit = Commit {
            output: theft(user),
            ..Commit::default()
        };
        store.commit(&commit, at(0)).await.unwrap();
        lease(&store, 1, "a").await;
        let id = format!("notify {user}").into();
        let names = [mail.clone()];
        let begun = store.begin_attempt(&id, "a", &names, None, at(1), at(31));
        let attempt = begun.await.unwrap()[0];
        store
            .end_attempt(&end(attempt, result), at(2))
            .await
            .unwrap();
        if result == AttemptResult::Capped {
            let leased = LeasedAction {
                action: action(&id, ActionKind::Notify, user, Decision::Execute),
                lease: "a".into(),
                attempts: 1,
                ready_since: at(0),
                approved: false,
            };
            let settled = store.settled(&leased).await.unwrap();
            assert_eq!((settled.len(), settled[0].result), (1, result));
        }
    }
    let messages = |since: i64| store.messages(&mail, at(since), at(since + 3600));
    let expected = |sent, held_back| Messages { sent, held_back };
    assert_eq!(messages(0).await.unwrap(), expected(1, 2));
    assert_eq!(messages(1).await.unwrap(), expected(0, 2), "an hour later");
    let earlier = store.messages(&mail, at(-7201), at(-3601)).await.unwrap();
    assert_eq!(
        earlier.sent, 0,
        "the clock was set back by more than an hour since"
    );
    let other = store
        .messages(&"chat".into(), at(0), at(3600))
        .await
        .unwrap();
    assert_eq!(other, expected(0, 0));

    let made = store.sum_up_capped(&mail, Some(1), at(10)).await.unwrap();
    let bulletin = made.unwrap();
    let News::More(more) = &bulletin.news else {
        panic!("{bulletin:?}");
    };
    assert_eq!((more.incidents_total, more.incidents.len()), (2, 2));
    assert_eq!((bulletin.since, bulletin.until), (at(1), at(10)));
    assert_eq!(state(&store, &bulletin.id).await, ActionState::Ready);
    assert_eq!(messages(0).await.unwrap(), expected(1, 0));
    let again = store.sum_up_capped(&mail, Some(1), at(11)).await.unwrap();
    assert_eq!(again, None);
}

/// One theft, whose notification a receiver has taken with this to remember.
async fn told(store: &Store, user: &str, memo: &str, seconds: i64) {
    let id = format!("notify {user}").into();
    let pager: Text = "pager".into();
    let names = [pager.clone()];
    let begun = store.begin_attempt(&id, "a", &names, None, at(seconds), at(seconds + 30));
    let attempt = begun.await.unwrap()[0];
    let follow = Follow {
        receiver: pager,
        incident_id: format!("incident of {user}").into(),
        memo: Evidence::new().with("key", memo),
        due: at(seconds + 10),
    };
    let end = end(attempt, AttemptResult::Done);
    store
        .end_attempt_and_follow(&end, &follow, at(seconds))
        .await
        .unwrap();
}

async fn due(store: &Store, seconds: i64) -> Vec<FollowedRow> {
    store
        .due_followed(&"pager".into(), at(seconds), at(seconds + 60), 10)
        .await
        .unwrap()
}

pub(crate) async fn followed_until_it_is_over(store: Store) {
    let commit = Commit {
        output: theft("u1"),
        ..Commit::default()
    };
    store.commit(&commit, at(0)).await.unwrap();
    assert_eq!(lease(&store, 1, "a").await, ["revoke u1", "notify u1"]);
    told(&store, "u1", "first", 1).await;
    assert_eq!(due(&store, 10).await, [], "not yet");
    let row = due(&store, 11).await.remove(0);
    assert_eq!(due(&store, 12).await, [], "somebody has it");
    let stand = |state, waiting, ended| Stand {
        state,
        waiting,
        ended,
        failed: 0,
    };
    assert_eq!(
        (row.phase, row.since, row.stand),
        (Phase::Open, at(1), Some(stand(IncidentState::Open, 1, 0)))
    );

    // Told anew in the meantime: what the old turn knows is no news.
    told(&store, "u1", "second", 20).await;
    let known = Known {
        phase: Phase::Resolved,
        since: at(21),
        sent: true,
        due: None,
    };
    store.followed(&row, known, at(21)).await.unwrap();
    store
        .finish(&finish("revoke u1", FinishState::Done), "a", at(22))
        .await
        .unwrap();
    let row = due(&store, 30).await.remove(0);
    let memo = |name: &str| Evidence::new().with("key", name);
    assert_eq!(
        (&row.memo, row.before.as_ref()),
        (&memo("second"), Some(&memo("first")))
    );
    assert_eq!(
        (row.told_at, row.sent_at, row.stand),
        (at(20), at(20), Some(stand(IncidentState::Contained, 0, 1)))
    );

    let known = Known {
        due: Some(at(40)),
        since: at(31),
        ..known
    };
    store.followed(&row, known, at(31)).await.unwrap();
    let row = due(&store, 40).await.remove(0);
    assert_eq!(
        (row.phase, row.since, row.sent_at),
        (Phase::Resolved, at(31), at(31))
    );
    assert_eq!(row.before, None, "its end was told");
    store
        .followed(&row, Known { due: None, ..known }, at(41))
        .await
        .unwrap();
    assert_eq!(due(&store, 9999).await, []);
}

pub(crate) async fn left_to_do_is_by_incident(store: Store) {
    for user in ["u1", "u2", "u3"] {
        let commit = Commit {
            output: theft(user),
            ..Commit::default()
        };
        store.commit(&commit, at(0)).await.unwrap();
    }
    lease(&store, 1, "a").await;
    let never = LastTold::default();
    assert_eq!(
        store.last_told("incident of u1").await.unwrap(),
        LastTold {
            pending: true,
            ..never
        }
    );
    told(&store, "u1", "m", 2).await;
    for (id, state, seconds) in [
        ("revoke u1", FinishState::Parked, 5),
        ("revoke u2", FinishState::Done, 6),
        ("revoke u3", FinishState::TooOld, 7),
    ] {
        store
            .finish(&finish(id, state), "a", at(seconds))
            .await
            .unwrap();
    }
    let told = store.last_told("incident of u1").await.unwrap();
    assert_eq!(
        told,
        LastTold {
            at: Some(at(2)),
            pending: false
        }
    );
    let left = store.left_to_do(at(0), 10, at(99)).await.unwrap();
    assert_eq!(
        left.len(),
        1,
        "what was done, and what a summary tells, is not left: {left:?}"
    );
    let one = &left[0];
    assert_eq!((&*one.incident_id, one.first), ("incident of u1", at(5)));
    for (time, has_failed) in [(0, true), (4, true), (5, false)] {
        let failed = store.failed_since("incident of u1", at(time)).await;
        assert_eq!(failed.unwrap(), has_failed, "since {time}");
    }
    assert_eq!(&*one.action.id, "revoke u1");
    assert!(
        store
            .left_to_do(at(1), 10, at(99))
            .await
            .unwrap()
            .is_empty(),
        "decided long ago"
    );

    let notice = action("again", ActionKind::Notify, "u1", Decision::Execute);
    assert!(store.put_notice(&notice, at(9)).await.unwrap());
    assert!(!store.put_notice(&notice, at(9)).await.unwrap());
    assert_eq!(state(&store, "again").await, ActionState::Ready);
}

/// A notice that was written before another one was put in has not told of it, whatever the clocks say.
pub(crate) async fn told_is_what_was_read(store: Store) {
    let commit = Commit {
        output: theft("u1"),
        ..Commit::default()
    };
    store.commit(&commit, at(0)).await.unwrap();
    lease(&store, 1, "a").await;
    let details = store.incident("incident of u1", 10).await.unwrap().unwrap();
    let graver = action("graver", ActionKind::Notify, "u1", Decision::Execute);
    assert!(store.put_notice(&graver, at(1)).await.unwrap());
    let (id, mail): (Text, Text) = ("notify u1".into(), "mail".into());
    for (seen, told) in [(details.seen, None), (seen_now(&store).await, Some(&id))] {
        let names = [mail.clone()];
        let begun = store.begin_attempt(&id, "a", &names, seen, at(2), at(31));
        let end = end(begun.await.unwrap()[0], AttemptResult::Done);
        store.end_attempt(&end, at(2)).await.unwrap();
        let said = store.told_since(&graver, &mail, at(1), true).await.unwrap();
        assert_eq!(said.as_ref(), told, "{seen:?}");
        let since = store.told_since(&graver, &mail, at(1), false);
        assert_eq!(since.await.unwrap().as_ref(), Some(&id));
    }
    let later = store.told_since(&graver, &mail, at(2), true).await.unwrap();
    assert_eq!(later, None, "told before that");
}

async fn seen_now(store: &Store) -> Option<Seen> {
    let details = store.incident("incident of u1", 10).await.unwrap();
    details.unwrap().seen
}
