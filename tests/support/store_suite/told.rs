//! What receivers were told: messages of the hour, and what came in a summary instead.

use tokenwarden::model::{ActionKind, ActionState, Commit, Decision, News, Text};
use tokenwarden::store::{AttemptResult, LeasedAction, Messages, Store};

use super::{action, at, end, lease, state, theft};

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
    let messages = |since: i64| store.messages(&mail, at(since));
    let expected = |sent, held_back| Messages { sent, held_back };
    assert_eq!(messages(0).await.unwrap(), expected(1, 2));
    assert_eq!(messages(1).await.unwrap(), expected(0, 2), "an hour later");
    let other = store.messages(&"chat".into(), at(0)).await.unwrap();
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
