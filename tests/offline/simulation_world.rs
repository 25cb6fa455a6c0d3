//! The simulated world by itself: what the demo claims must be true before a daemon is let loose on it.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Column, Connection, Row, SqliteConnection};
use tokenwarden::app::parts;
use tokenwarden::app::replay::{Listener, Replay, replay_key};
use tokenwarden::config::Config;
use tokenwarden::model::{
    Action, ActionKind, Decision, Detection, EventType, Output, Reject, Timestamp,
};
use tokenwarden::simulate::{
    Answer, App, Attack, AuthorizationServer, CLIENTS, Habit, Internet, Planted, Report, Scenario,
    Story, TruthLog, WEB, WORLD_CONFIG, places,
};
use tokio::sync::mpsc;

fn scenario(seed: u64) -> Scenario {
    Scenario {
        seed,
        beat: Duration::from_millis(60),
        // Nobody stops these thieves.
        overtime: 0,
        ordinary_people: 6,
        of_each_habit: 1,
        ..Scenario::default()
    }
}

/// Plays a day and gives what was told besides.
async fn play(server: &AuthorizationServer, seed: u64) -> (Report, Vec<Story>) {
    let (sender, mut stories) = mpsc::channel(1024);
    let report = scenario(seed).run(server, sender).await.unwrap();
    let mut told = Vec::new();
    while let Some(story) = stories.recv().await {
        told.push(story);
    }
    (report, told)
}

async fn audit_rows(file: &Path) -> Vec<sqlx::sqlite::SqliteRow> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("SELECT * FROM audit_events ORDER BY id")
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

/// Ends a family like a revoker does.
async fn end(server: &AuthorizationServer, path: &str, token: &str) -> u16 {
    drop(rustls::crypto::ring::default_provider().install_default());
    let url = format!("{}/admin/{path}", server.base_url());
    let request = reqwest::Client::new().delete(url).bearer_auth(token);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn nobody_but_the_owner_is_safe_without_a_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let server = AuthorizationServer::start(folder.path(), 7, CLIENTS)
        .await
        .unwrap();
    let (report, told) = play(&server, 7).await;
    let truth = server.truth().clone();

    let attacks: Vec<Attack> = report
        .planted
        .iter()
        .map(|planted| planted.attack)
        .collect();
    assert_eq!(attacks, Attack::ALL);
    for planted in &report.planted {
        assert!(planted.stolen_at < planted.provable_at);
        assert!(told.contains(&Story::Stolen {
            attack: planted.attack,
            user_id: planted.user_id.clone()
        }));
        let fate = Report::fate(planted, &truth);
        assert!(fate.family_id.starts_with("f-"), "{fate:?}");
        assert_eq!((fate.revoked_at, fate.refused_at), (None, None));
        let still_given = truth.count(|entry| {
            entry.actor.as_deref() == Some(planted.thief.as_str())
                && entry.accepted
                && entry.time > planted.provable_at
        });
        let expected = planted.attack != Attack::LateReplay;
        assert_eq!(
            still_given > 0,
            expected,
            "the server does not stop a thief who holds the newest token: {planted:?}"
        );
    }
    for habit in Habit::ODD {
        assert!(
            report.honest.iter().any(|honest| honest.habit == *habit),
            "{habit:?}"
        );
    }
    let users: BTreeSet<&str> = report
        .honest
        .iter()
        .map(|honest| honest.user_id.as_str())
        .collect();
    assert!(users.len() >= 15);
    assert!(report.honest_revoked(&truth).is_empty());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_audit_table_shows_what_a_server_knows_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = AuthorizationServer::start(folder.path(), 3, CLIENTS)
        .await
        .unwrap();
    play(&server, 3).await;
    let rows = audit_rows(server.audit_file()).await;
    let text = |row: &sqlx::sqlite::SqliteRow, column: &str| row.get::<Option<String>, _>(column);

    let kinds: BTreeSet<String> = rows.iter().filter_map(|row| text(row, "type")).collect();
    let expected = ["issue", "login", "refresh", "revoke"].map(str::to_owned);
    assert_eq!(kinds, BTreeSet::from(expected));
    assert!(
        rows.iter()
            .any(|row| text(row, "reason").as_deref() == Some("reuse"))
    );
    assert!(
        rows.iter()
            .any(|row| text(row, "reason").as_deref() == Some("revoked"))
    );
    assert!(rows.iter().any(|row| text(row, "device_id").is_some()));
    let ids: BTreeSet<String> = rows
        .iter()
        .filter_map(|row| text(row, "event_id"))
        .collect();
    assert_eq!(ids.len(), rows.len());
    for row in &rows {
        assert!(text(row, "ip_address").is_some() && text(row, "user_agent").is_some());
    }
    let file = std::fs::read(server.audit_file()).unwrap();
    let log = std::fs::read(server.audit_file().with_extension("db-wal")).unwrap_or_default();
    for secret in ["rt.", "thief", "owner: "] {
        let found = |bytes: &[u8]| {
            bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes())
        };
        assert!(!found(&file) && !found(&log), "{secret}");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_daemon_that_ends_the_right_families_is_credited() {
    let folder = tempfile::tempdir().unwrap();
    let server = AuthorizationServer::start(folder.path(), 11, CLIENTS)
        .await
        .unwrap();
    let (sender, untold) = mpsc::channel(1);
    drop(untold);
    let day = Scenario {
        beats: 45,
        overtime: 1000,
        ..scenario(11)
    };
    let truth = server.truth().clone();
    let omniscient = async {
        let mut ended = BTreeSet::new();
        // Bounded by the length of the day, which `select!` ends.
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let thief = truth.first(|entry| {
                let by_thief = entry
                    .actor
                    .as_deref()
                    .is_some_and(|actor| actor.starts_with("thief"));
                by_thief
                    && entry
                        .family_id
                        .as_ref()
                        .is_some_and(|family| !ended.contains(family))
            });
            let Some(family_id) = thief.and_then(|entry| entry.family_id) else {
                continue;
            };
            assert_eq!(
                end(
                    &server,
                    &format!("families/{family_id}"),
                    server.service_token()
                )
                .await,
                204
            );
            ended.insert(family_id);
        }
    };
    let report = tokio::select! {
        report = day.run(&server, sender) => report.unwrap(),
        () = omniscient => unreachable!("it never ends by itself"),
    };
    for planted in &report.planted {
        let fate = Report::fate(planted, &truth);
        assert!(
            fate.revoked_at.is_some() && fate.refused_at >= fate.revoked_at,
            "{planted:?} {fate:?}"
        );
        assert_eq!(fate.accepted_after, 0);
    }
    assert!(report.honest_revoked(&truth).is_empty());
    let wrongly = report.honest[0].clone();
    let family_id = truth.family_of(&wrongly.token_id).unwrap();
    assert_eq!(
        end(
            &server,
            &format!("families/{family_id}"),
            server.service_token()
        )
        .await,
        204
    );
    let revoked = report.honest_revoked(&truth);
    assert_eq!(
        revoked
            .iter()
            .map(|honest| &honest.token_id)
            .collect::<Vec<_>>(),
        [&wrongly.token_id]
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_admin_api_wants_its_token_and_is_idempotent() {
    let folder = tempfile::tempdir().unwrap();
    let server = AuthorizationServer::start(folder.path(), 5, CLIENTS)
        .await
        .unwrap();
    let app = App {
        internet: Internet::new(&server.base_url()).unwrap(),
        client_id: WEB,
        user_agent: "test/1".to_owned(),
        device_id: None,
        actor: "owner".to_owned(),
    };
    let from = "192.0.2.5".parse().unwrap();
    let token = app.log_in("anna", from).await.unwrap();
    let rows = audit_rows(server.audit_file()).await;
    let session: String = rows[0].get("session_id");
    let path = format!("sessions/{session}");

    assert_eq!(end(&server, &path, "wrong").await, 401);
    assert_eq!(
        end(&server, "sessions/none", server.service_token()).await,
        404
    );
    assert_eq!(
        end(&server, "families/none", server.service_token()).await,
        404
    );
    let Answer::Rotated(token) = app.refresh(&token, from).await.unwrap() else {
        panic!("refused")
    };
    for _ in 0..2 {
        assert_eq!(end(&server, &path, server.service_token()).await, 204);
    }
    assert_eq!(app.refresh(&token, from).await.unwrap(), Answer::Refused);
    let revokes = server
        .truth()
        .count(|entry| entry.kind == EventType::Revoke);
    assert_eq!(revokes, 1);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_seed_decides_who_is_robbed_from_where() {
    let (first, again, other) = tokio::join!(robbed(21), robbed(21), robbed(22));
    assert_eq!(first, again);
    assert_ne!(first, other);
}

/// Every address and user agent that presented a token of a stolen family.
async fn robbed(seed: u64) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let server = AuthorizationServer::start(folder.path(), seed, CLIENTS)
        .await
        .unwrap();
    let (report, _) = play(&server, seed).await;
    let truth = server.truth();
    let family_of = |planted: &Planted| truth.family_of(&planted.token_id).unwrap();
    let families: BTreeSet<String> = report.planted.iter().map(family_of).collect();
    let mut presenters = BTreeSet::new();
    for row in audit_rows(server.audit_file()).await {
        let family: Option<String> = row.get("family_id");
        if family.is_some_and(|family| families.contains(&family)) {
            presenters
                .insert(row.get::<String, _>("ip_address") + &row.get::<String, _>("user_agent"));
        }
    }
    server.stop().await.unwrap();
    presenters
}

/// The recorded day through the real decoder, rules and policy: what the demo's daemon must find.
#[tokio::test]
async fn the_rules_find_every_theft_and_leave_the_twins_alone() {
    for seed in seeds() {
        let folder = tempfile::tempdir().unwrap();
        let server = AuthorizationServer::start(folder.path(), seed, CLIENTS)
            .await
            .unwrap();
        let (report, _) = play(&server, seed).await;
        record(folder.path(), server.audit_file()).await;
        let found = replayed(folder.path());
        assert_eq!(found.rejected, Vec::<String>::new());

        let truth = server.truth();
        let robbed: BTreeSet<String> = report
            .planted
            .iter()
            .map(|planted| truth.family_of(&planted.token_id).unwrap())
            .collect();
        let revoked: BTreeSet<String> = found
            .executed(ActionKind::RevokeFamily)
            .filter_map(|action| action.target.family_id.as_ref().map(ToString::to_string))
            .collect();
        assert_eq!(
            revoked,
            robbed,
            "seed {seed}:\n{}",
            found.told(&report, truth)
        );
        let paged = found.executed(ActionKind::Notify).count();
        assert_eq!(
            paged,
            robbed.len(),
            "seed {seed}:\n{}",
            found.told(&report, truth)
        );
        server.stop().await.unwrap();
    }
}

/// A few, or as many as the environment asks for.
fn seeds() -> std::ops::Range<u64> {
    let wanted = std::env::var("TW_SEEDS")
        .ok()
        .and_then(|count| count.parse().ok());
    1..1 + wanted.unwrap_or(2)
}

/// Writes the audit table as JSON lines, GeoIP files and a configuration into the folder.
async fn record(folder: &Path, audit_file: &Path) {
    let mut lines = String::new();
    for row in audit_rows(audit_file).await {
        let mut object = serde_json::Map::new();
        for column in row.columns() {
            let name = column.name().to_owned();
            let text: Option<serde_json::Value> =
                match row.try_get::<Option<String>, _>(name.as_str()) {
                    Ok(text) => text.map(Into::into),
                    Err(_) => row.get::<Option<i64>, _>(name.as_str()).map(Into::into),
                };
            object.insert(name, text.into());
        }
        lines += &serde_json::Value::Object(object).to_string();
        lines.push('\n');
    }
    std::fs::write(folder.join("audit.jsonl"), lines).unwrap();
    places::write_city_asn(folder, places::WORLD, Timestamp::now()).unwrap();
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let config = format!("rules: [{}]\n{WORLD_CONFIG}", rules.display());
    std::fs::write(folder.join("tokenwarden.yaml"), config).unwrap();
}

fn replayed(folder: &Path) -> Found {
    let fail = |faults: Vec<tokenwarden::yaml::Fault>| -> String {
        faults.iter().map(|fault| format!("{fault}\n")).collect()
    };
    let config = Config::load(&folder.join("tokenwarden.yaml"))
        .map_err(fail)
        .unwrap();
    let rules = parts::rule_set(&config, None).map_err(fail).unwrap();
    let decoder = parts::named_decoder("tokenwarden", None, replay_key()).unwrap();
    let mut found = Found::default();
    let replay = Replay {
        config: &config,
        rules,
        files: vec![folder.join("audit.jsonl")],
        decoder,
        source: "demo".into(),
    };
    replay.run(&mut found).unwrap();
    found
}

#[derive(Default)]
struct Found {
    detections: Vec<Detection>,
    actions: Vec<Action>,
    rejected: Vec<String>,
}

impl Listener for Found {
    fn output(&mut self, output: &Output) -> anyhow::Result<()> {
        self.detections.extend(output.detections.iter().cloned());
        self.actions.extend(output.actions.iter().cloned());
        Ok(())
    }

    fn rejected(&mut self, reject: &Reject) -> anyhow::Result<()> {
        self.rejected.push(reject.message.to_string());
        Ok(())
    }

    fn progress(&mut self, _bytes: u64) {}
}

impl Found {
    fn executed(&self, kind: ActionKind) -> impl Iterator<Item = &Action> {
        self.actions
            .iter()
            .filter(move |action| action.kind == kind && action.decision == Decision::Execute)
    }

    /// For the person who reads a failure.
    fn told(&self, report: &Report, truth: &TruthLog) -> String {
        let mut lines = Vec::new();
        for planted in &report.planted {
            let family = truth.family_of(&planted.token_id);
            lines.push(format!(
                "planted {:?} {} {family:?}",
                planted.attack, planted.user_id
            ));
        }
        for honest in &report.honest {
            if honest.habit != Habit::Ordinary {
                let family = truth.family_of(&honest.token_id);
                lines.push(format!(
                    "honest {:?} {} {family:?}",
                    honest.habit, honest.user_id
                ));
            }
        }
        for detection in &self.detections {
            let (severity, family, user) =
                (detection.severity, &detection.family_id, &detection.user_id);
            lines.push(format!(
                "{severity} {} {user:?} {family:?}: {}",
                detection.rule, detection.summary
            ));
        }
        for action in &self.actions {
            let (user, family) = (&action.target.user_id, &action.target.family_id);
            lines.push(format!(
                "{} {} {user:?} {family:?}: {}",
                action.kind, action.decision, action.reason
            ));
        }
        lines.join("\n")
    }
}
