//! A daemon that may not lead any more begins nothing outside, and goes on with nothing.

use std::sync::Arc;
use std::time::Duration;

use tokenwarden::clock::Moment;
use tokenwarden::model::ActionState;
use tokio::sync::Semaphore;

use super::{Bench, Script, Step, a_while, done, until};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn nothing_is_begun_without_the_lead() {
    let revoker = Script::new("api", []);
    let bench = Bench::new(&[&revoker], &[]).await;
    bench.mandate.end();
    let id = bench.revoke("u1").await;
    a_while().await;
    assert!(revoker.calls().is_empty());
    assert_eq!(bench.record(&id).await.state, ActionState::Ready);
    bench.mandate.renew(Moment::now(), HOUR);
    bench.until_over(&id).await;
    assert_eq!(revoker.calls().len(), 1);
}

#[tokio::test]
async fn a_call_under_way_is_left_when_the_lead_is_lost_and_made_again_by_who_has_it() {
    let gate = Arc::new(Semaphore::new(0));
    let revoker = Script::new("api", [Step::Gate(Arc::clone(&gate)), done()]);
    let mut bench = Bench::new(&[&revoker], &[]).await;
    bench.timeout = HOUR;
    bench.crash().await;
    bench.start("one");
    let id = bench.revoke("u1").await;
    until("it is under way", async || revoker.calls().len() == 1).await;
    bench.mandate.end();
    // It would be let through now, but nobody waits for it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    gate.add_permits(1);
    a_while().await;
    assert_eq!(bench.record(&id).await.state, ActionState::Leased);

    bench.crash().await;
    bench.mandate.renew(Moment::now(), HOUR);
    bench.start("two");
    a_while().await;
    assert_eq!(revoker.calls().len(), 1, "its lease has not run out");
    bench.advance(31);
    bench.until_over(&id).await;
    assert_eq!(revoker.calls().len(), 2);
}
