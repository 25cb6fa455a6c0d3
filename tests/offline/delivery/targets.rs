//! Each revoker and receiver has limits and a circuit of its own: one that hangs or fails delays no other, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokenwarden::config::TargetLimits;
use tokenwarden::delivery::TargetKind;
use tokenwarden::model::{Action, ActionKind, ActionState, Commit, Decision, Text};
use tokenwarden::store::Queue;
use tokio::sync::Semaphore;

use crate::store_suite::{action, actions, at, theft};

use super::{Bench, Script, Step, a_while, retry, until};

/// A revocation at the authorization server of that name.
fn at_server(server: &str, n: usize) -> Action {
    let id = format!("{server} {n}");
    let mut action = action(&id, ActionKind::RevokeFamily, &id, Decision::Execute);
    action.target.issuer = server.into();
    action
}

/// The clock goes on only while nobody is called: what waits for a time must not become too old meanwhile.
async fn until_done(bench: &Bench, script: &Script, id: &str) {
    until(&format!("{id} is done"), async || {
        let due = bench.store.next_due(Queue::Revocations).await.unwrap();
        let is_idle = script.running.load(Ordering::SeqCst) == 0;
        if is_idle && due.is_some_and(|due| due > bench.now()) {
            bench.advance(1);
        }
        bench.record(id).await.state == ActionState::Done
    })
    .await;
}

fn limit(bench: &Bench, kind: TargetKind, name: &str, concurrency: u32, per_second: u32) {
    let limits = TargetLimits {
        concurrency,
        per_second,
    };
    bench.change(|performers| {
        performers.limits.insert((kind, Text::from(name)), limits);
    });
}

#[tokio::test]
async fn a_revoker_that_hangs_delays_no_other() {
    let closed = Arc::new(Semaphore::new(0));
    let gates = (0..20).map(|_| Step::Gate(Arc::clone(&closed)));
    let (slow, quick) = (Script::new("slow", gates), Script::new("quick", []));
    let bench = Bench::new(&[&slow, &quick], &[]).await;
    limit(&bench, TargetKind::Revoker, "slow", 4, 1000);
    let many = (0..20).map(|n| at_server("slow", n));
    bench.commit(&actions(many.collect())).await;
    until("the slow one has its hands full", async || {
        slow.calls().len() == 4
    })
    .await;
    bench.commit(&actions(vec![at_server("quick", 0)])).await;
    bench.until_state("quick 0", ActionState::Done).await;
    assert_eq!(slow.calls().len(), 4, "and no more than it may");

    closed.add_permits(100);
    for n in 0..20 {
        until_done(&bench, &slow, &format!("slow {n}")).await;
    }
    assert_eq!(slow.running_most.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_revoker_that_fails_is_left_alone_then_tried_by_one_also_over_a_restart() {
    let api = Script::new("api", (0..3).map(|_| retry(None)));
    let mut bench = Bench::new(&[&api], &[]).await;
    let some = |range: std::ops::Range<usize>| range.map(|n| at_server("api", n)).collect();
    bench.commit(&actions(some(0..3))).await;
    until("it is left alone", async || {
        let counts = bench.counts();
        counts.iter().any(|it| it == "circuit of revoker api: true")
    })
    .await;
    bench.commit(&actions(some(3..8))).await;
    until("the rest waits for it", async || {
        let outcome = bench.record("api 7").await.outcome.unwrap_or_default();
        outcome.starts_with("api is left alone until ")
    })
    .await;
    assert_eq!(api.calls().len(), 3);
    assert_eq!(bench.record("api 7").await.attempts, 0);

    bench.advance(4);
    a_while().await;
    assert_eq!(api.calls().len(), 3);
    bench.advance(1);
    until("it is tried, and answers", async || {
        let counts = bench.counts();
        counts
            .iter()
            .any(|it| it == "circuit of revoker api: false")
    })
    .await;
    bench.crash().await;
    bench.start("two");
    for n in 0..8 {
        until_done(&bench, &api, &format!("api {n}")).await;
    }
}

#[tokio::test]
async fn an_action_whose_target_never_comes_back_is_given_up_and_says_why() {
    let api = Script::new("api", (0..400).map(|_| retry(None)));
    let bench = Bench::new(&[&api], &[]).await;
    bench.change(|performers| performers.act_within = Duration::from_hours(9));
    let many = (0..4).map(|n| at_server("api", n));
    bench.commit(&actions(many.collect())).await;
    for n in 0..4 {
        let id = format!("api {n}");
        until(&format!("{id} is given up"), async || {
            bench.advance(3);
            bench.record(&id).await.state == ActionState::Parked
        })
        .await;
        let outcome = bench.record(&id).await.outcome.unwrap_or_default();
        assert!(outcome.contains("503"), "{outcome}");
    }
}

/// An incident of which people are only told.
fn notice(n: usize) -> Commit {
    let mut output = theft(&format!("u{n}"));
    output
        .actions
        .retain(|it| *it.id == *format!("notify u{n}"));
    Commit {
        output,
        ..Commit::default()
    }
}

#[tokio::test]
async fn a_receiver_that_fails_is_left_alone_and_the_others_hear_at_once() {
    let mails = Script::new("mails", (0..200).map(|_| retry(None)));
    let chat = Script::new("chat", []);
    let bench = Bench::new(&[], &[&mails, &chat]).await;
    for n in 0..12 {
        bench.commit(&notice(n)).await;
        until("chat is told", async || chat.calls().len() == n + 1).await;
    }
    let counts = bench.counts();
    assert!(
        counts
            .iter()
            .any(|it| it == "circuit of receiver mails: true"),
        "{counts:?}"
    );
    let asked = mails.calls().len();
    assert!(asked < 12, "{asked}");
    assert_eq!(chat.calls().len(), 12, "each once");
}

/// Its server is away for longer than an event may be old when it comes.
#[tokio::test]
async fn what_waited_for_its_receiver_is_told_one_by_one_all_the_same() {
    let mails = Script::new("mails", (0..30).map(|_| retry(None)));
    let bench = Bench::new(&[], &[&mails]).await;
    for n in 0..6 {
        bench.commit(&notice(n)).await;
    }
    for n in 0..6 {
        until("it is told", async || {
            bench.advance(10);
            bench.record(&format!("notify u{n}")).await.state == ActionState::Done
        })
        .await;
    }
    assert!(bench.now() > at(20 * 60), "{}", bench.now());
    assert_eq!(mails.bulletins.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn calls_are_spread_over_time() {
    let api = Script::new("api", []);
    let bench = Bench::new(&[&api], &[]).await;
    limit(&bench, TargetKind::Revoker, "api", 100, 5);
    let many = (0..12).map(|n| at_server("api", n));
    bench.commit(&actions(many.collect())).await;
    until("the first five", async || api.calls().len() == 5).await;
    a_while().await;
    assert_eq!(api.calls().len(), 5);
    bench.advance(1);
    until("five more", async || api.calls().len() == 10).await;
    bench.advance(1);
    until("the rest", async || api.calls().len() == 12).await;
}
