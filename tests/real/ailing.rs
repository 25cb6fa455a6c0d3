//! Daemons in the states that alerts are about: one whose surroundings fail, one that falls behind, one that stands by alone.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use tokenwarden::model::Timestamp;
use tokenwarden::simulate::places::{LONDON_HOME, write_city_asn};

use crate::daemon::{Daemon, Home};
use crate::kills::database;
use crate::prometheus_server::free_address;
use crate::refreshes::{Family, lines};
use crate::stub_api::StubApi;

const DAY: Duration = Duration::from_hours(24);
/// How many statements on a store have to fail within ten minutes for an alert, and some more.
const STORE_ERRORS: f64 = 8.0;

/// A source, a revoker and a receiver at ports where nobody listens, a receiver that has had its one message, a revoker that is refused, one whose server does
/// nothing of what it answers, an old GeoIP file and none of the cities, a rule that fails, a configuration that cannot be loaded again, and things that were left undone for
/// a while.
const FAILING: &str = r#"mode: enforce
clients: { default: { type: public, rotation: enforced, reuse_grace: 30s } }
geoip: { asn: asn.mmdb }
rules: [RULES, odd.yaml]
response: { act_within: 10m, budget: { per_client: 2 } }
sources:
  - name: audit
    file: { path: events.jsonl, poll_every: 100ms }
    format: tokenwarden
    start: earliest
  - name: broken
    kafka: { brokers: ["127.0.0.1:1"], topics: [events], group: tokenwarden }
    format: tokenwarden
    lateness: 1s
revokers:
  - name: dead
    issuers: [a]
    http: { actions: [revoke_family], method: POST, url: "http://127.0.0.1:1/revoke" }
  - name: refusing
    issuers: [b]
    http: { actions: [revoke_family], method: POST, url: "API/refuse" }
  - name: forgetful
    issuers: [c]
    http: { actions: [revoke_family], method: POST, url: "API/forget" }
receivers:
  - name: oncall
    webhook: { url: "http://127.0.0.1:1/notify" }
  - name: full
    webhook: { url: "API/notify" }
    per_hour_max: 1
store: { url: "sqlite://tokenwarden.db", snapshot_every: 1h }
archive: { path: archive }
"#;

/// A rule whose condition has no answer where a token lives 300 s, with an exception that has ended.
const ODD: &str = r#"version: 1
rules:
  - name: odd
    description: Divides by what may be zero.
    severity: low
    detect: { threshold: { when: "100 / (event.access_token_ttl - 300) > 1", by: user_id, within: 1m, over: 0 } }
    exceptions:
      - { match: { client_id: web }, reason: none any more, owner: nobody, expires: 2026-01-31 }
"#;
/// The shipped rules as files.
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rules");

pub(crate) struct Failing {
    home: Home,
    pub(crate) daemon: Daemon,
    _api: StubApi,
}

impl Failing {
    pub(crate) async fn start() -> Self {
        let api = StubApi::start().await;
        let home = Home::new(&FAILING.replace("API", &api.url).replace("RULES", RULES));
        home.write("odd.yaml", ODD);
        let built = Timestamp::now() - 60 * DAY;
        write_city_asn(home.path(), &[LONDON_HOME], built).unwrap();
        leave_undone(&home).await;
        let mut daemon = home.start().await;
        daemon
            .wait("the surroundings are found faulty", async |daemon| {
                let faults = daemon.metric("tokenwarden_online_check_faults", "").await;
                (faults > 0.0).then_some(())
            })
            .await;
        // As when its file system is unmounted.
        std::fs::remove_dir_all(home.path().join("archive")).unwrap();
        home.configure("mode: enforced\n");
        assert!(!daemon.reload().await, "it is no mode");
        Self {
            home,
            daemon,
            _api: api,
        }
    }

    /// At a server that answers everything. Once a revocation was answered, they no longer all fail: this comes after that was seen.
    pub(crate) fn robbed_where_all_is_answered(&self) {
        // One login lives on although its end was answered; of another the end is seen, of a third nothing.
        for (name, client) in [("lives-on", "web"), ("ends", "app"), ("quiet", "pay")] {
            let family = Family {
                issuer: Some("c"),
                ..Family::new(name, client, "shop")
            };
            let later = match name {
                "lives-on" => vec![family.used_in(30)],
                "ends" => vec![family.refused_in(5)],
                _ => Vec::new(),
            };
            let events = family.stolen(1).into_iter().chain(later);
            self.home.append("events.jsonl", &lines(events));
        }
    }

    /// Tokens of both authorization servers are stolen, and nothing can be done about it; a rule cannot judge an event.
    pub(crate) fn robbed(&self) {
        let mut unanswerable = Family::new("short-lived", "web", "shop").honest();
        for event in &mut unanswerable {
            event["access_token_ttl"] = 300.into();
        }
        self.home.append("events.jsonl", &lines(unanswerable));
        for issuer in ["a", "b"] {
            let family = Family {
                issuer: Some(issuer),
                ..Family::new(format!("stolen-of-{issuer}"), "web", "shop")
            };
            self.home.append("events.jsonl", &lines(family.stolen(1)));
        }
        // One more than the client's budget bears: its breaker opens.
        for name in ["stolen-too", "stolen-as-well"] {
            let family = Family {
                issuer: Some("a"),
                ..Family::new(name, "web", "shop")
            };
            self.home.append("events.jsonl", &lines(family.stolen(1)));
        }
    }
}

/// A theft of an hour ago that waits for a person, one of now that waits for its revoker; and then a time goes by.
async fn leave_undone(home: &Home) {
    let stolen = |name: &str, ago| Family {
        issuer: Some("a"),
        ago,
        ..Family::new(name, "web", "shop")
    };
    home.append("events.jsonl", &lines(stolen("held", 3600).stolen(2)));
    home.append("events.jsonl", &lines(stolen("overdue", 0).stolen(3)));
    let mut daemon = home.start().await;
    daemon
        .wait("one waits, one is held", async |daemon| {
            let held = daemon.metric("tokenwarden_actions_held", "").await;
            let pending = "action=\"revoke_family\"";
            let pending = daemon.metric("tokenwarden_actions_pending", pending).await;
            (held > 0.0 && pending > 0.0).then_some(())
        })
        .await;
    daemon.stop().await;
    let mut store = open(&home.path().join("tokenwarden.db")).await;
    execute(
        &mut store,
        "UPDATE action SET created_at = created_at - 400000",
    )
    .await;
    // And an incident of the day before yesterday in which nothing is left to do.
    execute(
        &mut store,
        "INSERT INTO incident (id, issuer, state, severity, opened_at, updated_at, recorded_at, body)
         SELECT 'idle', issuer, 'open', severity, opened_at - 200000000, updated_at - 200000000, recorded_at - 200000000,
             replace(body, id, 'idle') FROM incident LIMIT 1",
    )
    .await;
    execute(
        &mut store,
        "UPDATE snapshot SET created_at = created_at - 7200000",
    )
    .await;
    // And the outbox leaves the canary where it is.
    execute(
        &mut store,
        "CREATE TRIGGER canary_stays BEFORE UPDATE OF queue ON canary WHEN new.queue = 'notifications' BEGIN SELECT RAISE(IGNORE); END",
    )
    .await;
}

/// A daemon with more to read than it can at once, and then with a store that somebody else has locked.
pub(crate) struct Lagging {
    home: Home,
    ops: String,
}

/// After it has caught up.
pub(crate) struct Lagged {
    pub(crate) daemon: Daemon,
    /// Its page while it was behind.
    pub(crate) behind: String,
    _home: Home,
}

impl Lagging {
    pub(crate) async fn new() -> Self {
        let ops = free_address().to_string();
        let home = Home::new("");
        let table = home.path().join("app.db");
        home.configure(&format!(
            "http: {{ ops: {{ listen: \"{ops}\" }}, api: {{ listen: 127.0.0.1:0 }} }}
mode: observe
clients: {{ default: {{ type: public, rotation: enforced }} }}
sources:
  - name: app
    sql:
      url: \"sqlite://{}\"
      layout: {{ table: {{ name: audit, cursor: {{ id: {{ column: id }} }}, json_column: payload }} }}
      poll_every: 100ms
    format: tokenwarden
    start: earliest
store: {{ url: \"sqlite://tokenwarden.db\" }}
",
            table.display()
        ));
        let mut table = open(&table).await;
        let sql = "CREATE TABLE audit (id INTEGER PRIMARY KEY, payload TEXT NOT NULL)";
        execute(&mut table, sql).await;
        write_rows(&mut table, 60_000).await;
        Self { home, ops }
    }

    pub(crate) fn target(&self) -> String {
        self.ops.clone()
    }

    /// Falls behind, catches up, is stopped and started, cannot store, and catches up again.
    pub(crate) async fn lags(self) -> Lagged {
        let mut daemon = self.home.start().await;
        caught_up(&mut daemon).await;
        daemon.stop().await;

        let mut daemon = self.home.start_ready().await;
        let mut store = open(&self.home.path().join("tokenwarden.db")).await;
        execute(&mut store, "BEGIN IMMEDIATE").await;
        let mut table = open(&self.home.path().join("app.db")).await;
        // More than may wait between the source and the store.
        write_rows(&mut table, 60_000).await;
        daemon
            .wait("the store has failed again and again", async |daemon| {
                let errors = daemon.metric("tokenwarden_store_errors_total", "").await;
                (errors >= STORE_ERRORS).then_some(())
            })
            .await;
        let behind = daemon.metrics().await;
        execute(&mut store, "ROLLBACK").await;
        caught_up(&mut daemon).await;
        Lagged {
            daemon,
            behind,
            _home: self.home,
        }
    }
}

async fn caught_up(daemon: &mut Daemon) {
    daemon
        .wait("it has caught up", async |daemon| {
            let judged = "tokenwarden_watermark_timestamp_seconds";
            let judged = daemon.metric(judged, "").await;
            let now = Timestamp::now().as_duration().as_secs_f64();
            (daemon.readiness().await.0 && judged > now - 60.0).then_some(())
        })
        .await;
}

/// Refreshes of one moment an hour ago: more than may wait for facts that excuse them, so that some are judged early.
async fn write_rows(table: &mut SqliteConnection, rows: u32) {
    let time = (Timestamp::now() - Duration::from_hours(1)).as_millisecond();
    let sql = format!(
        "WITH RECURSIVE row (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM row WHERE n < {rows})
         INSERT INTO audit (payload) SELECT json_object('event_id', '{time}-' || n, 'time', {time}, 'type', 'refresh',
             'outcome', 'success', 'user_id', 'u' || (n % 1000), 'client_id', 'web', 'family_id', 'f' || (n % 1000),
             'token_id', '{time}-' || n, 'new_token_id', '{time}-' || (n + 1000)) FROM row"
    );
    execute(table, &sql).await;
}

async fn open(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    let options = options.busy_timeout(Duration::from_secs(30));
    SqliteConnection::connect_with(&options).await.unwrap()
}

async fn execute(connection: &mut SqliteConnection, sql: &str) {
    let sql = sqlx::raw_sql(AssertSqlSafe(sql));
    connection.execute(sql).await.unwrap();
}

/// A daemon that stands by although nobody leads: the row says that somebody does, for a long time yet.
pub(crate) struct Waiting {
    _home: Home,
    pub(crate) daemon: Daemon,
}

impl Waiting {
    pub(crate) async fn start() -> Self {
        let store = database().await;
        let home = Home::new(&format!(
            "sources: [{{ name: audit, file: {{ path: events.jsonl }}, format: tokenwarden }}]
token_key: \"dG9rZW53YXJkZW4tdG9rZW53YXJkZW4tMzItYnl0ZXM=\"
store: {{ url: \"{store}\" }}
"
        ));
        home.write("events.jsonl", "");
        home.start_ready().await.stop().await;
        let mut connection = PgConnection::connect(&store).await.unwrap();
        let far_ahead =
            "UPDATE leader SET owner = 'nobody', process = '', expires_at = 9000000000000";
        connection.execute(far_ahead).await.unwrap();
        let daemon = home.start_ready().await;
        assert!(!daemon.leads().await);
        Self {
            _home: home,
            daemon,
        }
    }
}
