//! A daemon with all that happens to a healthy one, while somebody looks: refreshes, refusals, thefts it ends, records
//! that are none, webhooks, another configuration.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::time::Duration;

use serde_json::Value;
use tokenwarden::model::{Reason, Timestamp};
use tokenwarden::simulate::places::{CHICAGO_HOME, LONDON_HOME, Locality, write_city_asn};

use crate::daemon::{Daemon, Home, http_client};
use crate::refreshes::{Family, lines};
use crate::stub_api::StubApi;

/// More than the budget of a client, and than an alert calls unusual.
const STOLEN_AT_ONCE: usize = 25;
const DAY: Duration = Duration::from_hours(24);
const ROUND_EVERY: Duration = Duration::from_millis(500);
/// The home of the honest, and where thieves sit.
const PLACES: [Locality; 2] = [
    Locality {
        network: "20.0.0.0/8",
        ..LONDON_HOME
    },
    Locality {
        network: "45.0.0.0/8",
        ..CHICAGO_HOME
    },
];

/// Configured by a reload only: from then on their names are labels.
const NAMED_LATER: [&str; 3] = [
    "  web: { rotation: enforced }\n",
    "tenants:\n",
    "  shop: { credential_change_revokes: true }\n",
];

const CONFIG: &str = r#"http: { ops: { listen: 127.0.0.1:0 }, api: { listen: 127.0.0.1:0 }, ingest: { listen: 127.0.0.1:0 } }
mode: enforce
clients:
  default: { type: public, rotation: enforced, reuse_grace: 30s }
  web: { rotation: enforced }
tenants:
  shop: { credential_change_revokes: true }
geoip: { city: city.mmdb, asn: asn.mmdb, anonymous_ip: anonymous-ip.mmdb }
sources:
  - name: audit
    file: { path: events.jsonl, poll_every: 100ms }
    format: tokenwarden
    start: latest
  - name: hook
    webhook: { bearer: letmein }
    format: tokenwarden
revokers:
  - name: api
    http: { actions: [revoke_family], method: POST, url: "API/revoke" }
receivers:
  - name: siem
    webhook: { url: "API/notify" }
store: { url: "sqlite://tokenwarden.db", snapshot_every: 5s }
archive: { path: archive }
state: { memory_max: 1TiB }
"#;

pub(crate) struct Healthy {
    home: Home,
    pub(crate) daemon: Daemon,
    ingest: String,
    http: reqwest::Client,
    round: usize,
    /// What it is to be loaded with again.
    config: String,
    _api: StubApi,
}

impl Healthy {
    pub(crate) async fn start() -> Self {
        let api = StubApi::start().await;
        let config = CONFIG.replace("API", &api.url);
        let without = NAMED_LATER.iter();
        let home =
            Home::new(&without.fold(config.clone(), |config, line| config.replace(line, "")));
        write_city_asn(home.path(), &PLACES, Timestamp::now() - 20 * DAY).unwrap();
        // From before its starting point: read to know them, and counted apart.
        let known = Family {
            ago: 3 * 3600,
            ..Family::new("known-before", "web", "shop")
        };
        home.write("events.jsonl", &lines(known.honest()));
        let mut daemon = home.start_ready().await;
        Self {
            home,
            ingest: format!("{}/ingest/hook", daemon.listener("ingest").await),
            daemon,
            http: http_client(),
            round: 0,
            config,
            _api: api,
        }
    }

    /// Lets things happen until somebody has seen enough.
    pub(crate) async fn works_while(&mut self, seen: impl Future<Output = ()>) {
        tokio::pin!(seen);
        loop {
            self.happen().await;
            tokio::select! {
                () = &mut seen => return,
                () = tokio::time::sleep(ROUND_EVERY) => {}
            }
        }
    }

    async fn happen(&mut self) {
        let round = self.round;
        self.round += 1;
        if round == 1 {
            self.many_thefts();
        }
        if round == 4 {
            write_city_asn(self.home.path(), &PLACES, Timestamp::now()).unwrap();
        }
        if round == 2 {
            self.home.configure(&self.config);
            assert!(self.daemon.reload().await, "{}", self.daemon.log());
        }
        let known = |what: &str| Family::new(format!("{what}-{round}"), "web", "shop");
        let client = format!("app-{round}");
        let unknown = |what: &str| Family::new(format!("{what}-{round}"), &client, "elsewhere");
        let reason = Reason::ALL[round % Reason::ALL.len()];
        let late = Family {
            ago: 600,
            ..known("late")
        };
        let honest = known("known").honest();
        let twice = honest.clone();
        let mut text = lines(honest.into_iter().chain(twice));
        text += &lines(unknown("unknown").honest());
        text += &lines(known("refused").refused(reason));
        text += &lines(late.honest());
        // One theft in a second: the rule's budget is for as many as a test may need.
        if round.is_multiple_of(2) {
            text += &lines(unknown("stolen").stolen(100 + round));
        }
        text += "{\"event_id\": 7}\nno JSON at all\n";
        self.home.append("events.jsonl", &text);
        self.post(&known("posted").honest()).await;
    }

    /// What is beyond the budget is held.
    fn many_thefts(&self) {
        let families = (0..STOLEN_AT_ONCE).map(|number| {
            let name = format!("at-once-{number}");
            Family::new(name, "web", "shop").stolen(number)
        });
        self.home.append("events.jsonl", &lines(families.flatten()));
    }

    async fn post(&self, events: &[Value]) {
        let body = serde_json::to_string(events).unwrap();
        for (secret, body, expected) in [
            ("letmein", body.as_str(), 202),
            ("guessed", body.as_str(), 401),
            ("letmein", "{", 400),
        ] {
            let request = self.http.post(&self.ingest).bearer_auth(secret);
            let answer = request.body(body.to_owned()).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), expected);
        }
    }

    /// What was configured later is told by its name, and how old the files are that are used now.
    pub(crate) async fn assert_follows_changes(&mut self) {
        let named = "client=\"web\",outcome=\"success\",tenant=\"shop\"";
        let named = self
            .daemon
            .metric("tokenwarden_refreshes_total", named)
            .await;
        assert!(named > 0.0);
        let recent = (Timestamp::now() - DAY).as_duration().as_secs_f64();
        self.daemon
            .wait("the GeoIP files are read again", async |daemon| {
                let built = "tokenwarden_geoip_build_timestamp_seconds";
                let built = daemon.metric(built, "database=\"city\"").await;
                (built > recent).then_some(())
            })
            .await;
    }

    /// Who refreshes most is told to whoever may ask, and is no label.
    pub(crate) async fn assert_top_lists(&self) {
        for (by, expected) in [
            ("user", "user of "),
            ("ip", "20.1.2.10"),
            ("client", "web"),
            ("family", "family of "),
        ] {
            let list = self
                .daemon
                .api(&format!("/api/v1/top?by={by}&window=1h"))
                .await;
            let first = &list["top"][0];
            let name = first["name"].as_str().unwrap();
            assert!(name.starts_with(expected), "{by}: {list}");
            assert!(first["refreshes"].as_u64().unwrap() > 0, "{by}: {list}");
        }
    }
}
