//! Receivers that know incidents as states: what they hear after they were told, and for how long.

use std::time::Duration;

use tokenwarden::actions::Following;
use tokenwarden::model::{ActionState, Commit, Evidence, Phase, Severity};

use crate::store_suite::{incident, theft};

use super::{Bench, Script, a_while, raised, refused, retry, until};

async fn commit(bench: &Bench, severity: Severity) {
    let mut output = theft("u1");
    output.incidents[0].severity = severity;
    let commit = Commit {
        output,
        ..Commit::default()
    };
    bench.commit(&commit).await;
}

fn phases(script: &Script) -> Vec<Phase> {
    let followed = script.followed.lock().unwrap();
    followed.iter().map(|one| one.phase).collect()
}

#[tokio::test]
async fn a_page_ends_when_the_incident_is_contained() {
    let keycloak = Script::new("keycloak", [retry(Some(Duration::from_mins(2)))]);
    let pager = Script::following("pager", [raised("p")], Some(Following::default()));
    let bench = Bench::new(&[&keycloak], &[&pager]).await;
    commit(&bench, Severity::Critical).await;
    until("the failed try", async || {
        bench.record("revoke u1").await.outcome.is_some()
    })
    .await;
    bench.advance(15);
    bench.until_state("notify u1", ActionState::Done).await;
    bench.advance(30);
    a_while().await;
    assert_eq!(phases(&pager), [], "it goes on, and that is known");

    bench.advance(120);
    bench.until_state("revoke u1", ActionState::Done).await;
    bench.advance(10);
    until("the end", async || !phases(&pager).is_empty()).await;
    bench.advance(3600);
    a_while().await;
    assert_eq!(phases(&pager), [Phase::Resolved]);
    assert_eq!(
        pager.followed.lock().unwrap()[0].memo,
        Evidence::new().with("alert", "p")
    );
}

#[tokio::test]
async fn an_end_that_is_not_taken_is_told_again_and_survives_a_crash() {
    let keycloak = Script::new("keycloak", []);
    let steps = [raised("p"), retry(None), retry(None)];
    let pager = Script::following("pager", steps, Some(Following::default()));
    let mut bench = Bench::new(&[&keycloak], &[&pager]).await;
    commit(&bench, Severity::Critical).await;
    bench.until_state("notify u1", ActionState::Done).await;
    bench.advance(10);
    until("the first try", async || !phases(&pager).is_empty()).await;
    bench.crash().await;
    bench.start("two");
    until("all tries", async || {
        bench.advance(10);
        phases(&pager).len() == 3
    })
    .await;
    a_while().await;
    bench.advance(600);
    a_while().await;
    assert_eq!(phases(&pager), [Phase::Resolved; 3]);
}

#[tokio::test]
async fn an_alert_is_raised_again_until_it_has_ended_and_a_graver_one_replaces_it() {
    let pager = Script::following(
        "alerts",
        [raised("high")],
        Some(Following {
            again_every: Some(Duration::from_mins(1)),
            lasts_at_least: Duration::from_mins(10),
            ended_for: Duration::from_mins(5),
        }),
    );
    // Nobody revokes: the revocation fails, and the incident stays open.
    let bench = Bench::new(&[], &[&pager]).await;
    commit(&bench, Severity::High).await;
    bench.until_state("notify u1", ActionState::Done).await;
    for turn in 1..=3 {
        bench.advance(60);
        until("one more", async || phases(&pager).len() == turn).await;
    }
    assert_eq!(phases(&pager), [Phase::Open; 3]);

    pager.steps.lock().unwrap().push_back(raised("critical"));
    let mut graver = theft("u1");
    graver.incidents = vec![incident("u1", Severity::Critical)];
    graver
        .actions
        .retain(|action| !action.kind.ends_something());
    graver.actions[0].id = "notify u1 graver".into();
    let commit = Commit {
        output: graver,
        ..Commit::default()
    };
    bench.commit(&commit).await;
    bench
        .until_state("notify u1 graver", ActionState::Done)
        .await;
    bench.advance(10);
    until("the replaced one", async || phases(&pager).len() == 4).await;
    let last = pager.followed.lock().unwrap()[3].clone();
    let memo = |name: &str| Evidence::new().with("alert", name);
    assert_eq!(
        (last.memo, last.before),
        (memo("critical"), Some(memo("high")))
    );
    bench.advance(60);
    until("the next", async || phases(&pager).len() == 5).await;
    assert_eq!(pager.followed.lock().unwrap()[4].before, None, "ended once");
}

/// An endpoint that refuses what it is told is not asked for ever.
#[tokio::test]
async fn an_end_that_is_refused_is_given_up() {
    let keycloak = Script::new("keycloak", []);
    let steps = [raised("p"), refused("400 invalid key")];
    let pager = Script::following("pager", steps, Some(Following::default()));
    let bench = Bench::new(&[&keycloak], &[&pager]).await;
    commit(&bench, Severity::Critical).await;
    bench.until_state("notify u1", ActionState::Done).await;
    bench.advance(10);
    until("the refusal", async || !phases(&pager).is_empty()).await;
    bench.advance(3600);
    a_while().await;
    assert_eq!(phases(&pager).len(), 1);
}
