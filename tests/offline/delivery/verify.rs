//! What was answered is watched: done when the events show it, tried again when the login lives on, and told.

use std::time::Duration;

use tokenwarden::model::{ActionKind, ActionState, Afterwards, NoEffect, ShownBy, Use};

use super::{Bench, Script, a_while, answered, at, until};

fn used(second: i64) -> impl FnOnce(&mut Afterwards) {
    move |seen: &mut Afterwards| {
        seen.lived_on = vec![Use {
            time: at(second),
            network: None,
        }];
    }
}

#[tokio::test]
async fn an_answer_is_done_when_the_events_show_the_end_and_not_before() {
    let api = Script::new("api", [answered()]);
    let bench = Bench::new(&[&api], &[]).await;
    let id = bench.revoke("u1").await;
    bench.until_state(&id, ActionState::Answered).await;
    // Under way when it was answered.
    bench.events.show(used(9));
    a_while().await;
    assert_eq!(bench.record(&id).await.state, ActionState::Answered);
    bench.events.show(|seen| seen.dead = true);
    let record = bench.until_state(&id, ActionState::Done).await;
    assert_eq!(record.verified.unwrap().by, ShownBy::Refusal);
    until("it is counted", async || {
        let counts = bench.counts();
        counts
            .last()
            .is_some_and(|it| it == "revoke_family verified by refusal")
    })
    .await;
    assert_eq!(api.calls().len(), 1);
}

#[tokio::test]
async fn an_answer_that_nothing_contradicts_for_a_day_stands() {
    let api = Script::new("api", [answered()]);
    let bench = Bench::new(&[&api], &[]).await;
    let id = bench.revoke("u1").await;
    bench.until_state(&id, ActionState::Answered).await;
    bench.advance(24 * 3600 - 1);
    a_while().await;
    assert_eq!(bench.record(&id).await.state, ActionState::Answered);
    bench.advance(1);
    let record = bench.until_state(&id, ActionState::Done).await;
    assert_eq!(record.verified.unwrap().by, ShownBy::Silence);
}

#[tokio::test]
async fn a_login_that_lives_on_is_ended_once_more_then_left_to_the_policy_also_over_a_restart() {
    let api = Script::new("api", []);
    let mut bench = Bench::new(&[&api], &[]).await;
    let id = bench.revoke("u1").await;
    // What was looked at by the revoker is watched all the same.
    bench.until_state(&id, ActionState::Done).await;
    bench.crash().await;
    bench.advance(60);
    bench.events.show(used(55));
    bench.start("two");
    until("the second try", async || api.calls().len() == 2).await;
    until("answered again", async || {
        let record = bench.record(&id).await;
        record.state == ActionState::Done && record.finished_at == Some(at(60))
    })
    .await;
    a_while().await;
    assert_eq!(
        bench.record(&id).await.state,
        ActionState::Done,
        "the use was before"
    );

    bench.advance(60);
    bench.events.show(used(119));
    let record = bench.until_state(&id, ActionState::Parked).await;
    let outcome = record.outcome.unwrap();
    assert!(
        outcome.starts_with("no effect: its login was used at "),
        "{outcome}"
    );
    let rows = bench.store.own_events_after(0, 100).await.unwrap();
    let told: NoEffect = serde_json::from_slice(&rows.last().unwrap().payload).unwrap();
    assert_eq!(told.no_effect.kind, ActionKind::RevokeFamily);
    a_while().await;
    assert_eq!(api.calls().len(), 2, "no third time");
    let counts = bench.counts();
    let no_effects: Vec<&String> = counts.iter().filter(|it| it.contains("without")).collect();
    assert_eq!(
        no_effects,
        ["without effect: retried", "without effect: given_up"]
    );
}

/// The age of the first finding is no reason to leave a login alive that was used just now.
#[tokio::test]
async fn what_lives_on_after_hours_is_still_ended() {
    let api = Script::new("api", []);
    let bench = Bench::new(&[&api], &[]).await;
    let id = bench.revoke("u1").await;
    bench.until_state(&id, ActionState::Done).await;
    bench.advance(i64::try_from(Duration::from_hours(5).as_secs()).unwrap());
    bench.events.show(used(5 * 3600 - 1));
    until("the second try", async || api.calls().len() == 2).await;
}
