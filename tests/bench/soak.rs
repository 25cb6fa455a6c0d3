//! Half of what goes through at most, for as long as asked, with everything on: is its memory flat, does it log no error,
//! and does it find what the same events give offline?
//!
//! The daemon is the program itself in a process of its own, so that its memory is nobody else's. It reads a real broker: a
//! population of the simulator lives there, with thefts whose truth is known, after a morning that it reads first;
//! and beside it a fixed number of families, each refreshed every few seconds, make up the load. Memory can only be flat once
//! everything that is bounded is full: until then it warms up, through two hours that are lived ten times as fast, and that does
//! not count. Nor does what goes through before tell what half load is: an event costs more where each family has its ninety-six
//! presentations.

mod clock;
mod crowd;
mod memory;
mod pace;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokenwarden::model::Timestamp;
use tokenwarden::simulate::places::write_city_asn;
use tokenwarden::simulate::population::{Settings, WORLD_CONFIG, localities};
use tokio_util::sync::CancellationToken;

use crate::daemon::{Daemon, Home};
use crate::kafka;
use crate::listeners::{self, Marks};
use crate::machine;
use crate::table::line;
use clock::{Clock, LIVED, LIVED_IN};
use crowd::{Crowd, Families};
use memory::Samples;
use pace::Pace;

const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// The writer wakes so often, and then writes what is due.
const SLICE: Duration = Duration::from_millis(5);
/// Of each family while it warms up, and half as often or less at half load: as often as its access tokens expire, and so often that
/// it comes in each minute that is lived, with more than what is remembered of a family at most (96 presentations).
const REFRESH_EVERY: Duration = Duration::from_secs(6);
/// What the population has lived before the daemon starts: attacks begin after its first quarter of a day.
const MORNING: Duration = Duration::from_hours(8);
/// After the last event: what settles has settled, also where a login is awaited for five minutes, and what was found is durable.
const QUIET: Duration = Duration::from_secs(330);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Each engine table keeps a little more than what lives, so that what is bounded is full within minutes and nothing that lives
/// is forgotten for want of room.
const ROOM_PERCENT: u32 = 125;
/// Families of one person of the population, at most of them.
const FAMILIES_EACH: u32 = 4;

/// How much, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// At half load, once it is warm.
    pub(crate) minutes: u32,
    /// Of the population.
    pub(crate) people: u32,
    /// That make up the load.
    pub(crate) families: u32,
}

pub(crate) fn run(broker: &str, plan: Plan) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let topic = format!("tokenwarden-soak-{}", std::process::id());
    runtime.block_on(kafka::make_topic(broker, &topic))?;
    let soaked = runtime.block_on(soak(broker, &topic, plan));
    runtime.block_on(kafka::delete_topic(broker, &topic));
    soaked
}

async fn soak(broker: &str, topic: &str, plan: Plan) -> anyhow::Result<()> {
    let families = plan.families;
    let pace = Arc::new(Pace::of(u64::from(families) / REFRESH_EVERY.as_secs()));
    let settings = Settings {
        users: plan.people,
        days: 1,
        attacks: 50,
        start: Timestamp::now() - MORNING,
        ..Settings::default()
    };
    line("")?;
    line(&format!(
        "soak: {families} families, {} people beside them, seed {}; {} min are lived in {} min at {} events/s, each family refreshed every {} s",
        plan.people,
        settings.seed,
        LIVED.as_secs() / 60,
        LIVED_IN.as_secs() / 60,
        pace.rate(),
        REFRESH_EVERY.as_secs(),
    ))?;
    let ended = Marks::default();
    let home = home(
        broker,
        topic,
        families + plan.people * FAMILIES_EACH,
        &settings,
        &ended,
    )
    .await?;
    let producer = kafka::client(broker).set("linger.ms", "5").create()?;
    let mut crowd = Crowd::new(settings.clone(), topic, ended.clone());
    let clock = Clock::start();
    crowd.send_until(&producer, clock.first())?;
    let daemon = home.start_ready().await;

    let over = CancellationToken::new();
    let writing = {
        let (over, pace, mut families) = (
            over.clone(),
            Arc::clone(&pace),
            Families::new(families, REFRESH_EVERY, topic, ended),
        );
        tokio::task::spawn_blocking(move || {
            let (mut since, mut due) = (Instant::now(), 0.0);
            while !over.is_cancelled() {
                due += pace.due_in(since.elapsed());
                since = Instant::now();
                let now = clock.now();
                families.send_until(&producer, due, now)?;
                crowd.send_until(&producer, now)?;
                std::thread::sleep(SLICE);
            }
            crowd.end(&producer)
        })
    };
    // Also when looking at it fails: the writer would fill the disk.
    let is_watched = over.drop_guard();
    let samples = watched(&daemon, &pace, plan.minutes).await;
    drop(is_watched);
    let told = writing.await??;
    let samples = samples?;
    samples.sum_up()?;
    all_is_read(&daemon, told.newest + QUIET, plan.minutes).await?;
    let found = daemon.list("detections").await;
    let log = daemon.log();
    let truth = verdict::Truth::of(&settings, &told, home.path())?;
    daemon.stop().await;

    let errors = logged(&log, "ERROR");
    line(&format!(
        "errors logged: {}; warnings: {}",
        errors.len(),
        logged(&log, "WARN").len()
    ))?;
    for error in errors.iter().take(10) {
        line(&format!("  {error}"))?;
    }
    by_rule(&found)?;
    let missed = truth.print(&found, clock.first())?;
    ensure!(errors.is_empty(), "errors were logged");
    ensure!(missed == 0, "{missed} thefts were missed");
    ensure!(samples.is_flat(), "memory is not flat");
    Ok(())
}

/// The world of the population as its operator declares it, and everything that a daemon may have.
async fn home(
    broker: &str,
    topic: &str,
    families: u32,
    settings: &Settings,
    ended: &Marks,
) -> anyhow::Result<Home> {
    let api = listeners::revocations(ended.clone()).await?;
    let mail = listeners::mails(ended.clone()).await?;
    let home = Home::new(&format!(
        "{WORLD_CONFIG}\
         sources:\n  - name: auth\n    kafka: {{ brokers: [\"{broker}\"], topics: [{topic}], group: \"{topic}-daemon\" }}\n    \
         format: tokenwarden\n    start: earliest\n    warm_up: 0s\n\
         revokers: [{{ name: api, http: {{ actions: [revoke_family], method: POST, url: \"http://{api}/revoke/{{{{ target.user_id }}}}\" }} }}]\n\
         receivers:\n  - name: oncall\n    email: {{ to: [oncall@example.com], from: tokenwarden@example.com, \
         smtp: {{ host: 127.0.0.1, port: {mail}, tls: none }} }}\n\
         archive: {{ path: archive }}\n\
         state: {{ families_max: {max}, users_max: {max} }}\n",
        mail = mail.port(),
        max = u64::from(families) * u64::from(ROOM_PERCENT) / 100,
    ));
    let geoip = home.path().join("geoip");
    std::fs::create_dir_all(&geoip)?;
    write_city_asn(&geoip, &localities(), settings.start)?;
    Ok(home)
}

/// Warms up, finds out what half load is, and takes samples at that.
async fn watched(daemon: &Daemon, pace: &Pace, minutes: u32) -> anyhow::Result<Samples> {
    sampled(daemon, LIVED_IN).await?;
    let most = pace::most(daemon, pace).await?;
    pace.set(u64::from(machine::in_whole(most / 2.0)));
    line("")?;
    line(&format!(
        "now that all is full: {most:.0} events/s at most, so {minutes} min at {} events/s",
        pace.rate()
    ))?;
    pace::caught_up(daemon, pace, LIVED_IN).await?;
    sampled(daemon, Duration::from_mins(minutes.into())).await
}

async fn sampled(daemon: &Daemon, time: Duration) -> anyhow::Result<Samples> {
    let mut samples = Samples::begin()?;
    let mut timer = tokio::time::interval(SAMPLE_EVERY);
    for _ in 0..(time.as_secs() / SAMPLE_EVERY.as_secs()).max(1) {
        timer.tick().await;
        let lag = daemon.metric("tokenwarden_source_lag_records", "").await;
        let bytes = daemon.resident_bytes().context("the daemon's memory")?;
        samples.add(bytes, lag)?;
    }
    Ok(samples)
}

/// What it could not keep up with it may read for as long as it was written.
async fn all_is_read(daemon: &Daemon, end: Timestamp, minutes: u32) -> anyhow::Result<()> {
    let begun = Instant::now();
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
    let end = end.as_second() as f64;
    loop {
        let lag = daemon.metric("tokenwarden_source_lag_records", "").await;
        let judged = daemon
            .metric("tokenwarden_watermark_timestamp_seconds", "")
            .await;
        if lag == 0.0 && judged >= end {
            return Ok(());
        }
        let is_patient = begun.elapsed() < Duration::from_mins(u64::from(minutes)).max(2 * QUIET);
        ensure!(is_patient, "it cannot keep up: {lag:.0} records behind");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn logged<'a>(log: &'a str, level: &str) -> Vec<&'a str> {
    let level = format!(" {level} ");
    log.lines().filter(|line| line.contains(&level)).collect()
}

/// What the load looks like to the rules.
fn by_rule(found: &[serde_json::Value]) -> anyhow::Result<()> {
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for detection in found {
        *rules
            .entry(detection["rule"].as_str().unwrap_or("?"))
            .or_default() += 1;
    }
    let rules = rules.iter().map(|(rule, count)| format!("{rule} {count}"));
    let rules: Vec<String> = rules.collect();
    line(&format!("findings by rule: {}", rules.join(", ")))?;
    Ok(())
}
