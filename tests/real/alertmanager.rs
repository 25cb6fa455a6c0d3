//! A real Alertmanager takes the daemon's alerts, groups them, tells of them, and hears when the incidents have ended.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde_json::{Value, json};
use tokenwarden::actions::{Gravity, Revokers, Surroundings, notifier};
use tokenwarden::config::{AlertmanagerReceiver, HttpAuth, Receiver, ReceiverKind};
use tokenwarden::model::Timestamp;
use tokio::process::{Child, Command};

use crate::daemon::{Home, PATIENCE, http_client};
use crate::keycloak_realm::env;
use crate::prometheus_server::free_address;
use crate::stub_api::StubApi;
use crate::traffic::traffic;

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What it tells people, group by group.
type Told = Arc<Mutex<Vec<Value>>>;

/// Ended when dropped.
struct Alertmanager {
    url: String,
    folder: tempfile::TempDir,
    _child: Child,
    told: Told,
    serving: tokio::task::JoinHandle<()>,
}

impl Alertmanager {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (listening, told, serving) = receiver().await;
        let file = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "route: {{ receiver: people, group_by: [alertname], group_wait: 1s, group_interval: 2s, repeat_interval: 1h }}\n\
             receivers: [{{ name: people, webhook_configs: [{{ url: 'http://{listening}/', send_resolved: true }}] }}]\n"
        );
        fs::write(file("alertmanager.yaml"), config).unwrap();
        let address = free_address();
        let log = fs::File::create(file("log")).unwrap();
        let child = Command::new(env("TW_ALERTMANAGER"))
            .arg(format!("--config.file={}", file("alertmanager.yaml")))
            .arg(format!("--storage.path={}", file("data")))
            .arg(format!("--web.listen-address={address}"))
            // Else it opens a port for its gossip on all interfaces.
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let alertmanager = Self {
            url: format!("http://{address}"),
            folder,
            _child: child,
            told,
            serving,
        };
        let ready = format!("{}/-/ready", alertmanager.url);
        let http = http_client();
        alertmanager
            .until("it is ready", async || {
                matches!(http.get(&ready).send().await, Ok(answer) if answer.status().is_success())
            })
            .await;
        alertmanager
    }

    async fn until(&self, what: &str, reached: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !reached().await {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "in vain: {what}\n{log}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Incidents in the newest telling of this status.
    fn incidents(&self, status: &str) -> Vec<String> {
        let told = self.told.lock().unwrap();
        let group = told.iter().rev().find(|group| group["status"] == status);
        let alerts = group.and_then(|group| group["alerts"].as_array());
        let mut ids: Vec<String> = (alerts.into_iter().flatten())
            .filter(|alert| alert["status"] == status)
            .map(|alert| alert["labels"]["incident"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The person that it tells: records each group.
async fn receiver() -> (SocketAddr, Told, tokio::task::JoinHandle<()>) {
    async fn record(State(told): State<Told>, body: axum::body::Bytes) {
        told.lock()
            .unwrap()
            .push(serde_json::from_slice(&body).unwrap());
    }
    let told = Told::default();
    let router = Router::new()
        .route("/", post(record))
        .with_state(Arc::clone(&told));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, told, serving)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real servers: tests/run"]
async fn alerts_are_taken_grouped_and_resolved() {
    let alertmanager = Alertmanager::start().await;
    let stub = StubApi::start().await;
    let home = Home::new(&format!(
        "mode: enforce
clients: {{ default: {{ type: public, rotation: enforced }} }}
response: {{ act_within: 60d }}
sources:
  - name: auth
    file: {{ path: events.jsonl, poll_every: 100ms }}
    format: tokenwarden
    start: earliest
    lateness: 30h
revokers:
  - name: api
    http: {{ actions: [revoke_family], url: \"{}/revoke\" }}
receivers:
  - name: alerts
    alertmanager:
      url: {}
      source_url: \"https://warden.example.com/incidents/{{{{ incident.id }}}}\"
      lasts_at_least: 5s
store: {{ url: \"sqlite://tokenwarden.db\" }}
",
        stub.url, alertmanager.url
    ));
    home.write("events.jsonl", "");
    let daemon = home.start_ready().await;
    let traffic = traffic(100, 7);
    assert_eq!(traffic.robbed.len(), 2);
    let lines: Vec<&str> = traffic.records.iter().map(|(_, text)| &**text).collect();
    home.write("events.jsonl", &format!("{}\n", lines.join("\n")));

    alertmanager
        .until("both are told in one group", async || {
            alertmanager.incidents("firing").len() == 2
        })
        .await;
    let told = alertmanager.incidents("firing");
    let group = {
        let told = alertmanager.told.lock().unwrap();
        told.iter()
            .rev()
            .find(|it| it["status"] == "firing")
            .unwrap()
            .clone()
    };
    let alert = &group["alerts"][0];
    let labels = &alert["labels"];
    let label = |name: &str| labels[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (label("alertname"), label("severity")),
        ("TokenwardenIncident".into(), "critical".into())
    );
    assert_eq!(
        (label("state"), label("issuer")),
        ("answered".into(), "auth".into())
    );
    assert!(
        !labels.to_string().contains("user-"),
        "a label names a person: {labels}"
    );
    let summary = alert["annotations"]["summary"].as_str().unwrap();
    assert!(
        summary.starts_with("ENDED, UNVERIFIED: user user-"),
        "{summary}"
    );
    let source = alert["generatorURL"].as_str().unwrap();
    assert!(
        source.starts_with("https://warden.example.com/incidents/"),
        "{source}"
    );

    // What the API answered, the server's own events show.
    let ends = traffic.robbed.iter().map(|user| {
        let end = json!({
            "event_id": format!("end of {user}"), "time": Timestamp::now().to_string(), "type": "logout",
            "outcome": "success", "initiator": "system", "user_id": user,
        });
        format!("{end}\n")
    });
    home.append("events.jsonl", &ends.collect::<String>());
    alertmanager
        .until("both are resolved", async || {
            alertmanager.incidents("resolved") == told
        })
        .await;
    let active = format!("{}/api/v2/alerts?active=true", alertmanager.url);
    let active: Value = http_client()
        .get(active)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(active.as_array().unwrap().len(), 0, "{active:#}");
    daemon.stop().await;
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn the_online_check_asks_it_for_its_version() {
    let alertmanager = Alertmanager::start().await;
    let at = |url: &str| {
        let receiver = Receiver {
            name: "alerts".into(),
            limits: tokenwarden::config::TargetLimits::default(),
            kind: ReceiverKind::Alertmanager(AlertmanagerReceiver {
                urls: vec![url.into()],
                auth: HttpAuth::None,
                source_url: None,
                lasts_at_least: Duration::ZERO,
                timeout: Duration::from_secs(10),
                ca_file: None,
            }),
            digest_at: None,
            fallback: None,
            per_hour_max: None,
        };
        let surroundings = Surroundings {
            now: jiff::Timestamp::now,
            revokers: Revokers::default(),
        };
        notifier(&receiver, surroundings).unwrap()
    };
    let found = at(&alertmanager.url).inspect().await;
    assert_eq!(found[0].gravity, Gravity::Fine, "{found:?}");
    assert!(found[0].what.contains(" is Alertmanager 0."), "{found:?}");
    let wrong = at(&format!("{}/somewhere", alertmanager.url))
        .inspect()
        .await;
    assert_eq!(wrong[0].gravity, Gravity::Fault, "{wrong:?}");
}
