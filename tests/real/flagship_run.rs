//! One daemon with a store of its own, killed or not, and what it leaves behind: in its store and at the API it calls.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tokenwarden::model::Timestamp;

use crate::daemon::{Daemon, Home};
use crate::stub_api::StubApi;
use crate::traffic::Traffic;

pub(crate) const RECEIVED: &str = "tokenwarden_records_received_total";
/// 32 bytes, as a store that several machines can use wants them.
const TOKEN_KEY: &str = "dG9rZW53YXJkZW4tdG9rZW53YXJkZW4tMzItYnl0ZXM=";
const READ_AGAIN: &str = "tokenwarden_records_read_again_total";

/// What a run has left in its store and at the API.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    /// (id, severity), of those that somebody is to be told about.
    incidents: BTreeSet<(String, String)>,
    /// (id, kind, decision, state); a revocation of a family that the server does not name is known by its user, since
    /// such a family is called after the first of its tokens that was seen.
    actions: BTreeSet<[String; 6]>,
    detections: BTreeSet<String>,
    revoked: BTreeSet<String>,
    notified: BTreeSet<String>,
    /// Users whose family was revoked, in order, one for each family.
    users: Vec<String>,
}

pub(crate) struct Run {
    pub(crate) home: Home,
    pub(crate) api: StubApi,
}

impl Run {
    /// `source` is the one entry of `sources:`, named `auth`; `store` more of the store's settings.
    pub(crate) async fn new(source: &str, store: &str) -> Self {
        Self::into(source, "sqlite://tokenwarden.db", store).await
    }

    /// The same into the store at this URL.
    pub(crate) async fn into(source: &str, store_url: &str, store: &str) -> Self {
        let api = StubApi::start().await;
        let home = Home::new(&format!(
            "mode: enforce
clients: {{ default: {{ type: public, rotation: enforced, reuse_grace: 30s }} }}
response: {{ act_within: 60d }}
sources:
  - name: auth
{source}
    format: tokenwarden
    start: earliest
revokers:
  - name: api
    http: {{ actions: [revoke_family], method: POST, url: \"{url}/revoke\" }}
receivers:
  - name: siem
    webhook: {{ url: \"{url}/notify\" }}
store: {{ url: \"{store_url}\"{store} }}
token_key_file: token.key
",
            url = api.url,
        ));
        home.write("token.key", TOKEN_KEY);
        Self { home, api }
    }

    /// Starts the daemon and kills it as soon as it has read so many records, new ones or again.
    pub(crate) async fn killed_after(&self, records: f64) {
        let mut daemon = self.home.start().await;
        daemon
            .wait("records are read", async |daemon| {
                let new = daemon.metric(RECEIVED, "source=\"auth\"").await;
                let again = daemon.metric(READ_AGAIN, "source=\"auth\"").await;
                (new + again >= records).then_some(())
            })
            .await;
        daemon.kill();
    }

    /// Lets the daemon come to the end of everything.
    pub(crate) async fn finished(&self, traffic: &Traffic) -> Outcome {
        let daemon = self.home.start_ready().await;
        self.finish(daemon, traffic).await
    }

    pub(crate) async fn finish(&self, mut daemon: Daemon, traffic: &Traffic) -> Outcome {
        self.come_to_the_end(&mut daemon, traffic).await;
        let outcome = self.outcome(&daemon).await;
        daemon.stop().await;
        outcome
    }

    /// Waits until everything is judged and done.
    pub(crate) async fn come_to_the_end(&self, daemon: &mut Daemon, traffic: &Traffic) {
        daemon
            .wait("every theft is answered", async |daemon| {
                let users = users_revoked(&daemon.list("actions").await);
                (users.len() >= traffic.robbed.len()).then_some(())
            })
            .await;
        // Time restored from before says nothing: a source tells the time of day once it has come to its end.
        let end = (traffic.newest + Duration::from_mins(1)).max(Timestamp::now());
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
        let end = end.as_second() as f64;
        daemon
            .wait("everything is judged", async |daemon| {
                let lag = daemon.metric("tokenwarden_source_lag_records", "").await;
                let judged = daemon
                    .metric("tokenwarden_watermark_timestamp_seconds", "")
                    .await;
                (lag == 0.0 && judged > end).then_some(())
            })
            .await;
        daemon
            .wait("everything is done", async |daemon| {
                let actions = daemon.list("actions").await;
                let is_open =
                    |record: &&Value| matches!(record["state"].as_str(), Some("ready" | "leased"));
                (actions.iter().find(is_open)).is_none().then_some(())
            })
            .await;
    }

    pub(crate) async fn outcome(&self, daemon: &Daemon) -> Outcome {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let incidents = daemon.list("incidents").await;
        let graver = incidents
            .iter()
            .filter(|incident| incident["severity"] != "info");
        let mut actions = daemon.list("actions").await;
        let all = daemon.list("detections").await;
        let (suspicions, detections): (Vec<_>, Vec<_>) =
            (all.iter()).partition(|it| is_suspicion(it) && is_proved(it, &all));
        let is_of_suspicions = |record: &Value| {
            let ids = record["action"]["detection_ids"].as_array().unwrap();
            let mut found = ids
                .iter()
                .map(|id| suspicions.iter().any(|it| it["id"] == *id));
            !ids.is_empty() && found.all(|is_suspicion| is_suspicion)
        };
        actions.retain(|record| !is_of_suspicions(record));
        Outcome {
            incidents: graver
                .map(|incident| (text(&incident["id"]), text(&incident["severity"])))
                .collect(),
            actions: actions
                .iter()
                .map(|record| {
                    let action = &record["action"];
                    let target = &action["target"];
                    let is_named =
                        (target["family_id"].as_str()).is_none_or(|id| id.starts_with("f-"));
                    let name = if is_named {
                        &action["id"]
                    } else {
                        &target["user_id"]
                    };
                    [
                        text(name),
                        text(&action["rule"]),
                        text(&action["reason"]),
                        text(&action["kind"]),
                        text(&action["decision"]),
                        text(&record["state"]),
                    ]
                })
                .collect(),
            detections: detections.iter().map(|found| text(&found["id"])).collect(),
            revoked: self.api.keys("/revoke").into_iter().collect(),
            users: users_revoked(&actions),
            notified: self.api.keys("/notify").into_iter().collect(),
        }
    }
}

impl Outcome {
    /// Every theft is answered once, and nobody else is.
    pub(crate) fn assert_right(&self, traffic: &Traffic) {
        for [id, _, _, kind, decision, state] in &self.actions {
            let expected = match kind.as_str() {
                "lock_user" => ("hold", "offered"),
                // The API answered, and no event that comes after shows the end.
                "revoke_family" => ("execute", "answered"),
                _ => ("execute", "done"),
            };
            assert_eq!((&**decision, &**state), expected, "{kind} {id}");
        }
        let users: BTreeSet<String> = self.users.iter().cloned().collect();
        assert_eq!(users, traffic.robbed);
        assert_eq!(self.users.len(), users.len(), "twice: {:?}", self.users);
        assert_eq!(self.revoked.len(), users.len());
        assert_eq!(self.notified.len(), users.len());
        assert!(
            self.detections.len() > users.len(),
            "oddities are recorded too"
        );
    }

    /// The same was done to the same, and nothing twice.
    pub(crate) fn assert_same_deeds(&self, expected: &Self) {
        assert_eq!(self.users, expected.users);
        assert_eq!(
            self.revoked.len(),
            expected.revoked.len(),
            "calls at the API"
        );
        differ("notified", &self.notified, &expected.notified);
    }

    pub(crate) fn assert_same(&self, expected: &Self) {
        differ("actions", &self.actions, &expected.actions);
        differ("incidents", &self.incidents, &expected.incidents);
        differ("detections", &self.detections, &expected.detections);
        self.assert_same_deeds(expected);
    }
}

fn is_suspicion(detection: &Value) -> bool {
    detection["evidence"]["verdict"] == "suspected"
}

/// Whether a theft is a suspicion first depends on how far apart two partitions are read: what comes hours late, as traffic
/// of yesterday that is written piece by piece does, has no settling time left in which the other record could still come.
/// One that is never proved is there whatever was read first.
fn is_proved(suspicion: &Value, all: &[Value]) -> bool {
    let is_of_it = |it: &&Value| {
        let same = |name: &str| it[name].is_string() && it[name] == suspicion[name];
        same("family_id") || same("user_id")
    };
    let verdicts = all
        .iter()
        .filter(is_of_it)
        .map(|it| &it["evidence"]["verdict"]);
    let mut others = verdicts.filter(|verdict| verdict.is_string());
    others.any(|verdict| verdict != "suspected")
}

fn users_revoked(actions: &[Value]) -> Vec<String> {
    let revocations = actions
        .iter()
        .map(|record| &record["action"])
        .filter(|action| action["kind"] == "revoke_family");
    let mut users: Vec<String> = revocations
        .map(|action| action["target"]["user_id"].as_str().unwrap().to_owned())
        .collect();
    users.sort();
    users
}

fn differ<T: Ord + std::fmt::Debug>(what: &str, one: &BTreeSet<T>, other: &BTreeSet<T>) {
    let more: Vec<&T> = one.difference(other).collect();
    let less: Vec<&T> = other.difference(one).collect();
    assert!(
        more.is_empty() && less.is_empty(),
        "{what}: only after kills {more:#?}, only undisturbed {less:#?}"
    );
}
