//! What is done for a while, and taken back: at its time, by a person, once, and whatever else has changed meanwhile.

use serde_json::Value;
use tokenwarden::actions::Revokers;
use tokenwarden::config::{Budget, DeclaredNetwork, Shared};
use tokenwarden::model::{Action, ActionKind, ActionState, Decision, NetworkClass};
use tokenwarden::store::Taken;

use crate::actions::measures::gateway;
use crate::actions::server::{Reply, Seen, Server, reply};
use crate::store_suite::{action, actions, at, by_alice};

use super::{Bench, a_while};

const HOUR: i64 = 3600;

async fn bench(answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> (Bench, Server) {
    let server = Server::start(answer).await;
    let bench = Bench::new(&[], &[]).await;
    let gateway = gateway(&server.url);
    bench.change(|performers| performers.revokers = Revokers::from_list(vec![gateway]));
    (bench, server)
}

fn block(id: &str) -> Action {
    let mut block = action(id, ActionKind::BlockIp, "u1", Decision::Execute);
    block.target.network = Some("198.51.100.0/24".into());
    block
}

fn asked(server: &Server) -> Vec<String> {
    let said = |seen: Seen| {
        let body: Value = serde_json::from_str(&seen.body).unwrap();
        let member = |name: &str| body[name].as_str().unwrap().to_owned();
        format!("{} {}", member("do"), member("id"))
    };
    server.seen().into_iter().map(said).collect()
}

#[tokio::test]
async fn a_block_is_taken_back_at_its_time_though_the_gateway_was_away_and_the_mode_is_lower() {
    let (mut bench, server) = bench(|_, n| reply(if n == 1 { 503 } else { 200 }, "")).await;
    bench.commit(&actions(vec![block("block")])).await;
    let record = bench.until_state("block", ActionState::Done).await;
    assert!(record.outcome.unwrap().contains("in force until"));
    bench.advance(HOUR - 1);
    a_while().await;
    assert_eq!(asked(&server), ["apply block"], "it holds");

    bench.crash().await;
    bench.change(|performers| {
        performers.performs_nothing = true;
        performers.budget = Budget {
            per_client: 1,
            ..Budget::default()
        };
    });
    bench.start("two");
    bench.advance(1);
    while asked(&server).len() < 2 {
        a_while().await;
    }
    bench.advance(HOUR / 60);
    bench.until_state("block-undo", ActionState::Done).await;
    assert_eq!(
        asked(&server),
        ["apply block", "undo block-undo", "undo block-undo"],
        "a try that failed is made again under the same id"
    );
    bench.advance(2 * HOUR);
    a_while().await;
    assert_eq!(asked(&server).len(), 3, "once");
}

#[tokio::test]
async fn a_person_takes_it_back_once_and_its_time_changes_nothing_then() {
    let (bench, server) = bench(|_, _| reply(200, "")).await;
    bench.commit(&actions(vec![block("block")])).await;
    bench.until_state("block", ActionState::Done).await;
    bench.advance(60);
    let by = by_alice();
    let undo = || bench.store.take_back("block", &by, at(60));
    assert_eq!(undo().await.unwrap(), Taken::Done(()));
    let record = bench.until_state("block-undo", ActionState::Done).await;
    assert_eq!(&*record.action.reason, "taken back by alice: seen");
    assert!(matches!(undo().await.unwrap(), Taken::Conflict(_)));
    bench.advance(2 * HOUR);
    a_while().await;
    assert_eq!(asked(&server), ["apply block", "undo block-undo"]);
}

/// Declared since it was decided, or approved by somebody who does not know.
#[tokio::test]
async fn a_network_that_many_share_is_not_blocked_whoever_asks() {
    let (bench, server) = bench(|_, _| reply(200, "")).await;
    let office = DeclaredNetwork {
        name: "office".into(),
        class: NetworkClass::Egress,
        cidrs: vec!["198.51.100.64/26".parse().unwrap()],
        asns: vec![],
    };
    bench.change(|performers| performers.shared = Shared::of(&[office]));
    bench.commit(&actions(vec![block("block")])).await;
    let record = bench.until_state("block", ActionState::Suppressed).await;
    assert!(
        record
            .outcome
            .unwrap()
            .contains("office is declared as egress")
    );
    assert!(asked(&server).is_empty());
}
