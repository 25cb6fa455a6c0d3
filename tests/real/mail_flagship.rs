//! Mails through the daemon while the mail server is away or refuses a recipient: nothing is lost, others are served.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use serde_json::Value;

use crate::daemon::{Daemon, Home};
use crate::keycloak_realm::env;
use crate::mail::{mailbox, unique};
use crate::proxy::Proxy;
use crate::traffic::traffic;

fn smtp(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    let ca = env("TW_SMTP_CA");
    format!(
        "smtp: {{ host: {host}, port: {port}, tls: starttls, username: warden, password: pw, ca_file: \"{ca}\" }}"
    )
}

/// A daemon that reads `events.jsonl` and has these receivers.
fn home(receivers: &str) -> Home {
    let home = Home::new(&format!(
        "mode: alert
clients: {{ default: {{ type: public, rotation: enforced }} }}
response: {{ act_within: 60d }}
sources:
  - name: auth
    file: {{ path: events.jsonl, poll_every: 100ms }}
    format: tokenwarden
    start: earliest
    lateness: 30h
receivers:
{receivers}store: {{ url: \"sqlite://tokenwarden.db\" }}
"
    ));
    home.write("events.jsonl", "");
    home
}

fn receiver(name: &str, to: &[&str], transport: &str) -> String {
    let to: Vec<String> = to.iter().map(|to| format!("{to}@example.com")).collect();
    let to = to.join(", ");
    format!(
        "  - name: {name}\n    email: {{ to: [{to}], from: tokenwarden@example.com, {transport} }}\n    digest: off\n"
    )
}

/// One stolen token among fifty families.
fn one_theft(home: &Home) {
    let traffic = traffic(50, 7);
    assert_eq!(traffic.robbed.len(), 1);
    let lines: Vec<&str> = traffic.records.iter().map(|(_, text)| &**text).collect();
    home.write("events.jsonl", &format!("{}\n", lines.join("\n")));
}

async fn notice(daemon: &Daemon) -> Option<Value> {
    let actions = daemon.list("actions").await;
    actions
        .into_iter()
        .find(|record| record["action"]["kind"] == "notify")
}

async fn told(daemon: &mut Daemon) -> Value {
    daemon
        .wait("the notice is done", async |daemon| {
            notice(daemon)
                .await
                .filter(|record| record["state"] == "done")
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_mail_server_that_is_away_delays_its_own_mails_only() {
    let (away, there) = (unique("away"), unique("there"));
    let proxy = Proxy::before(&env("TW_SMTP")).await;
    proxy.cut();
    let home = home(&format!(
        "{}{}",
        receiver("away", &[&away], &smtp(&proxy.address)),
        receiver("there", &[&there], &smtp(&env("TW_SMTP")))
    ));
    let mut daemon = home.start_ready().await;
    one_theft(&home);
    mailbox(&there, 1).await;
    daemon
        .wait("the first failure is on record", async |daemon| {
            let failed = daemon
                .metric("tokenwarden_notifications_total", "outcome=\"retry\"")
                .await;
            (failed >= 2.0).then_some(())
        })
        .await;
    let waiting = notice(&daemon).await.unwrap();
    assert_ne!(waiting["state"], "done", "{waiting:#}");
    assert_eq!(mailbox(&away, 0).await.len(), 0);
    // A restart in the middle of the outage forgets neither who is still to be told nor who has been.
    daemon.kill();
    daemon = home.start_ready().await;
    proxy.mend();
    told(&mut daemon).await;
    mailbox(&away, 1).await;
    mailbox(&there, 1).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn a_refused_recipient_silences_nobody_and_is_told() {
    let (first, second) = (unique("first"), unique("second"));
    let home = home(&format!(
        "{}{}",
        receiver("team", &[&first, "bad"], &smtp(&env("TW_SMTP"))),
        receiver("other", &[&second], &smtp(&env("TW_SMTP")))
    ));
    let mut daemon = home.start_ready().await;
    one_theft(&home);
    mailbox(&first, 1).await;
    mailbox(&second, 1).await;
    let record = daemon
        .wait("an end", async |daemon| {
            let open =
                |record: &Value| matches!(record["state"].as_str(), Some("ready" | "leased"));
            notice(daemon).await.filter(|record| !open(record))
        })
        .await;
    let outcome = record["outcome"].as_str().unwrap();
    assert!(
        outcome.contains("bad@example.com") && outcome.contains("no such mailbox"),
        "{record:#}"
    );
    daemon.stop().await;
}
