//! Who is told: by routes, in the place of others, and how often within an hour.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokenwarden::actions::Remark;
use tokenwarden::config::Config;
use tokenwarden::delivery::{Routes, RuleLabels};
use tokenwarden::model::{ActionState, Commit, Decision, News, Severity};

use crate::store_suite::{at, theft};

use super::{Bench, Script, Step, a_while, refused, retry, until};

/// Receivers and routes as a file has them; what the receivers are is scripted.
fn routes(text: &str) -> Routes {
    let file = "/nowhere/tokenwarden.yaml".as_ref();
    let config = Config::parse(text, file).unwrap_or_else(|faults| panic!("{faults:#?}"));
    Routes::new(&config.routes, &config.receivers, RuleLabels::new())
}

/// A webhook of this name, with these keys beside it.
fn receiver(name: &str, keys: &str) -> String {
    format!("  - {{ name: {name}, webhook: {{ url: https://example.com }}{keys} }}\n")
}

async fn commit(bench: &Bench, user: &str, severity: Severity) {
    let mut output = theft(user);
    output
        .actions
        .retain(|action| !action.kind.ends_something());
    output.incidents[0].severity = severity;
    let commit = Commit {
        output,
        ..Commit::default()
    };
    bench.commit(&commit).await;
}

async fn told(bench: &Bench, user: &str, severity: Severity) -> String {
    commit(bench, user, severity).await;
    let id = format!("notify {user}");
    let record = bench.until_state(&id, ActionState::Done).await;
    record.outcome.unwrap_or_default().to_string()
}

#[tokio::test]
async fn an_incident_goes_where_the_first_route_leads() {
    let (page, chat) = (Script::new("page", []), Script::new("chat", []));
    let bench = Bench::new(&[], &[&page, &chat]).await;
    let text = format!(
        "receivers:\n{}{}routes:\n  - {{ match: {{ severity_min: critical, rule: token-reuse, client_id: web }}, to: page }}\n  - to: [chat]\n",
        receiver("page", ""),
        receiver("chat", "")
    );
    bench.change(|performers| performers.routes = routes(&text));
    let outcome = told(&bench, "u1", Severity::Critical).await;
    assert_eq!(outcome, "told page (204 No Content)");
    let outcome = told(&bench, "u2", Severity::High).await;
    assert_eq!(outcome, "told chat (204 No Content)");
    assert_eq!(
        (page.calls(), chat.calls()),
        (vec!["notify u1".into()], vec!["notify u2".into()])
    );
}

#[tokio::test]
async fn who_refuses_is_stood_in_for_at_once_and_the_other_is_told_why() {
    let page = Script::new("page", [refused("400 invalid routing key")]);
    let (mail, chat) = (
        Script::new("mail", [refused("550")]),
        Script::new("chat", []),
    );
    let bench = Bench::new(&[], &[&page, &mail, &chat]).await;
    let text = format!(
        "receivers:\n{}{}{}routes: [{{ to: [page] }}]\n",
        receiver("page", ", fallback: mail"),
        receiver("mail", ", fallback: chat"),
        receiver("chat", "")
    );
    bench.change(|performers| performers.routes = routes(&text));
    let outcome = told(&bench, "u1", Severity::Critical).await;
    assert_eq!(
        outcome,
        "told chat (204 No Content), but refused by page (400 invalid routing key), mail (550)"
    );
    let remarks = |script: &Script| script.notifications.lock().unwrap()[0].remarks.clone();
    assert_eq!(remarks(&page), []);
    let in_place_of = |receiver: &str, why: &str| Remark::InPlaceOf {
        receiver: receiver.into(),
        why: why.into(),
    };
    assert_eq!(
        remarks(&mail),
        [in_place_of("page", "400 invalid routing key")]
    );
    assert_eq!(remarks(&chat), [in_place_of("mail", "550")]);
}

#[tokio::test]
async fn with_nobody_left_to_stand_in_a_person_must_know() {
    let page = Script::new("page", [refused("400")]);
    let mail = Script::new("mail", [refused("550")]);
    let bench = Bench::new(&[], &[&page, &mail]).await;
    let text = format!(
        "receivers:\n{}{}routes: [{{ to: page }}]\n",
        receiver("page", ", fallback: mail"),
        receiver("mail", ", fallback: page")
    );
    bench.change(|performers| performers.routes = routes(&text));
    commit(&bench, "u1", Severity::Critical).await;
    let record = bench.until_state("notify u1", ActionState::Parked).await;
    assert_eq!(
        record.outcome.as_deref(),
        Some("refused by page (400), mail (550)")
    );
}

#[tokio::test]
async fn who_does_not_answer_is_stood_in_for_after_minutes_and_asked_on() {
    let away = (0..200).map(|_| retry(Some(Duration::from_secs(30))));
    let page = Script::new("page", away.chain([Step::Hang]));
    let mail = Script::new("mail", []);
    let bench = Bench::new(&[], &[&page, &mail]).await;
    let text = format!(
        "receivers:\n{}{}routes: [{{ to: page }}]\n",
        receiver("page", ", fallback: mail"),
        receiver("mail", "")
    );
    bench.change(|performers| performers.routes = routes(&text));
    commit(&bench, "u1", Severity::Critical).await;
    until("the first try", async || {
        bench.record("notify u1").await.outcome.is_some()
    })
    .await;
    bench.advance(299);
    until("another try", async || page.calls().len() > 1).await;
    a_while().await;
    assert!(mail.calls().is_empty(), "not yet five minutes");
    until("the mail", async || {
        bench.advance_between_tries("notify u1", 10).await;
        !mail.calls().is_empty()
    })
    .await;
    let tries = page.calls().len();
    until("one more try", async || {
        bench.advance_between_tries("notify u1", 10).await;
        page.calls().len() > tries
    })
    .await;
    assert_eq!(mail.calls().len(), 1);
    let remarks = &mail.notifications.lock().unwrap()[0].remarks;
    assert!(
        matches!(&remarks[..], [Remark::InPlaceOf { .. }]),
        "{remarks:?}"
    );
}

/// Who was told in a summary only is reminded like the others of what is left to do.
#[tokio::test]
async fn what_a_summary_told_is_told_again_while_something_waits() {
    let mail = Script::new("mail", []);
    let bench = Bench::new(&[], &[&mail]).await;
    let text = format!("receivers:\n{}", receiver("mail", ", per_hour_max: 1"));
    bench.change(|performers| performers.routes = routes(&text));
    told(&bench, "u1", Severity::Critical).await;
    let mut output = theft("u2");
    output.actions[0].decision = Decision::Hold;
    let commit = Commit {
        output,
        ..Commit::default()
    };
    bench.commit(&commit).await;
    bench.until_state("notify u2", ActionState::Done).await;
    bench.advance(3601);
    until("the summary", async || {
        !mail.bulletins.lock().unwrap().is_empty()
    })
    .await;
    bench.until_noted().await;
    assert_eq!(mail.notifications.lock().unwrap().len(), 1);
    bench.advance(4 * 3600);
    until("the reminder", async || {
        mail.notifications.lock().unwrap().len() == 2
    })
    .await;
    let reminder = mail.notifications.lock().unwrap()[1].clone();
    assert!(reminder.remarks.contains(&Remark::Again));
}

/// A flood cannot hide a theft: of eight messages an hour two are kept for critical incidents.
#[tokio::test]
async fn beyond_the_limit_of_an_hour_one_summary_tells_the_rest() {
    let mail = Script::new("mail", []);
    let mut bench = Bench::new(&[], &[&mail]).await;
    let text = format!("receivers:\n{}", receiver("mail", ", per_hour_max: 8"));
    bench.change(|performers| performers.routes = routes(&text));
    for n in 0..6 {
        told(&bench, &format!("u{n}"), Severity::Medium).await;
    }
    let remarks = |nth: usize| mail.notifications.lock().unwrap()[nth].remarks.clone();
    assert_eq!(remarks(4), []);
    assert_eq!(remarks(5), [Remark::LastForNow { per_hour_max: 8 }]);

    for user in ["flood 1", "flood 2"] {
        let outcome = told(&bench, user, Severity::High).await;
        assert_eq!(outcome, "summed up for mail (told in a summary)");
    }
    let outcome = told(&bench, "victim", Severity::Critical).await;
    assert_eq!(outcome, "told mail (204 No Content)");
    assert_eq!(remarks(6), [Remark::HeldBack { incidents: 2 }]);
    assert!(
        bench
            .counts()
            .contains(&"notify by mail: Capped".to_owned())
    );
    a_while().await;
    assert!(mail.bulletins.lock().unwrap().is_empty(), "no room yet");

    bench.crash().await;
    bench.start("two");
    bench.advance(3601);
    until("the summary", async || {
        !mail.bulletins.lock().unwrap().is_empty()
    })
    .await;
    a_while().await;
    let bulletins = mail.bulletins.lock().unwrap().clone();
    let [bulletin] = &bulletins[..] else {
        panic!("one summary: {bulletins:?}");
    };
    let News::More(more) = &bulletin.news else {
        panic!("a summary of what was too much: {bulletin:?}");
    };
    assert_eq!(
        (
            more.incidents_total,
            more.incidents.len(),
            more.per_hour_max
        ),
        (2, 2, Some(8))
    );
    assert_eq!(
        (bulletin.until, bulletin.receiver.as_deref()),
        (at(bench.clock.load(Ordering::SeqCst)), Some("mail"))
    );
}
