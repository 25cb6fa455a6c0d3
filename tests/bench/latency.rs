//! How long after a record can be read its finding is durable, the revocation is called and the mail is handed over.
//!
//! At half of what goes through at most, which is measured first, in the same run and the same way: the same traffic, of now,
//! written while it is read. All that is timed happens in this process and at its broker, the writing of the traffic too, so
//! that the cores are shared by more than the daemon. The bare consumer beside it tells what the broker and the machine take
//! of each time.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, ensure};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokenwarden::app::{Daemon, StartError};
use tokenwarden::model::{Severity, Timestamp};
use tokenwarden::store::{DetectionFilter, Page, Store};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::input::{Kind, Presentation, Traffic, address_of, client_of, user_of, write_record};
use crate::kafka::{self, PARTITIONS, PATIENCE};
use crate::listeners::{self, Mark, Marks};
use crate::table::{self, first, last, line, median, sorted};
use crate::world::World;

/// Between two thefts: revocations and mails are far below what their targets may be asked a second.
const THEFT_EVERY: Duration = Duration::from_millis(125);
/// Between the owner's use of a token and the thief's: three seconds, so that what was before the theft has settled.
const STOLEN_AFTER: u32 = 24;
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Findings that a look reads at a time, until it comes to one that it knows: each is parsed whole, which would take more of the
/// cores than what is measured.
const LOOK_AT: u32 = 2;
/// The writer wakes so often, and then writes what is due.
const SLICE: Duration = Duration::from_millis(5);
/// Networks that no table locates, of which each thief has one.
const ROAMING: u32 = 0xc612_0000;
/// Until the last mail is out.
const QUIET: Duration = Duration::from_mins(1);

pub(crate) fn run(broker: &str, events: u32) -> anyhow::Result<[Marks; 2]> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let most = runtime.block_on(most(broker, events))?;
    let half = most / 2.0;
    let (_, lanes) = runtime.block_on(on_a_topic(broker, events, Pace::Even(half)))?;
    let stolen: usize = lanes.iter().map(|it| it.count(Mark::Sent)).sum();
    line("")?;
    line(&format!(
        "latency: {half:.0} events/s, half of the most in this run ({most:.0}); {families} families, {stolen} thefts",
        families = families_of(events)
    ))?;
    for (marks, (_, what)) in lanes.iter().zip(WAYS) {
        line("")?;
        lane(marks, what)?;
    }
    Ok(lanes)
}

/// Events a second that go through while they are written.
async fn most(broker: &str, events: u32) -> anyhow::Result<f64> {
    Ok(on_a_topic(broker, events, Pace::Follow).await?.0)
}

/// So many that each is refreshed once: as often as they come here, more would be an attack.
fn families_of(events: u32) -> u32 {
    (events / 2).max(1)
}

/// How fast the traffic is written.
#[derive(Debug, Clone, Copy)]
enum Pace {
    /// As fast as it is read: so many records are ahead that the daemon never waits for one, and no more.
    Follow,
    /// So many events a second.
    Even(f64),
}

/// Half a second's of what is read at most.
const AHEAD: u32 = 25_000;

impl Pace {
    /// How many are to be written by now.
    fn due(self, begun: Instant, read: &AtomicU32) -> f64 {
        match self {
            Self::Follow => f64::from(read.load(Ordering::Relaxed) + AHEAD),
            Self::Even(rate) => begun.elapsed().as_secs_f64() * rate,
        }
    }
}

/// What the thief got, and how that is called.
const WAYS: [(Kind, &str); 2] = [
    (Kind::Honoured, "the server took the used token"),
    (Kind::Theft, "the server refused it"),
];

fn lane(marks: &Marks, what: &str) -> anyhow::Result<()> {
    line(&format!(
        "| {what}; from the record's sending | thefts | ms: median | p99 | most | median, of the first |"
    ))?;
    line("|---|---|---|---|---|---|")?;
    let from_sending = [
        ("a bare consumer has the record", Mark::Readable),
        ("the finding is durable", Mark::Durable),
        ("the revocation is called", Mark::Revoked),
        ("a mail is handed over", Mark::Mailed),
    ];
    let mut base = None;
    for (what, mark) in from_sending {
        let times = sorted(marks.between(Mark::Sent, mark).into_iter());
        row(what, &times, *base.get_or_insert(median(&times)))?;
    }
    let after_the_call = marks.between(Mark::Revoked, Mark::Mailed);
    row(
        "of this, from the call to the mail",
        &sorted(after_the_call.into_iter()),
        base.unwrap_or(1.0),
    )
}

fn row(what: &str, times: &[f64], base: f64) -> anyhow::Result<()> {
    ensure!(first(times).is_finite());
    line(&format!(
        "| {what} | {} | {:.1} | {:.1} | {:.1} | {:.2} |",
        times.len(),
        median(times),
        table::percentile(times, 99),
        last(times),
        median(times) / base.max(0.001),
    ))?;
    Ok(())
}

/// Events a second from the first written to the last committed, and the marks of the thefts among them.
async fn on_a_topic(broker: &str, events: u32, pace: Pace) -> anyhow::Result<(f64, [Marks; 2])> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let topic = format!("tokenwarden-latency-{}-{number}", std::process::id());
    kafka::make_topic(broker, &topic).await?;
    let measured = measure(broker, &topic, events, pace).await;
    kafka::delete_topic(broker, &topic).await;
    measured
}

async fn measure(
    broker: &str,
    topic: &str,
    events: u32,
    pace: Pace,
) -> anyhow::Result<(f64, [Marks; 2])> {
    let marks = Marks::default();
    let api = listeners::revocations(marks.clone()).await?;
    let mail = listeners::mails(marks.clone()).await?;
    let world = World::new()?;
    let config = world.config(&format!(
        "sources:\n  - name: bench\n    kafka: {{ brokers: [\"{broker}\"], topics: [{topic}], group: \"{topic}-daemon\" }}\n    \
         format: tokenwarden\n    start: earliest\n    warm_up: 0s\n\
         revokers: [{{ name: api, http: {{ actions: [revoke_family], method: POST, url: \"http://{api}/revoke/{{{{ target.user_id }}}}\" }} }}]\n\
         receivers:\n  - name: oncall\n    email: {{ to: [oncall@example.com], from: tokenwarden@example.com, \
         smtp: {{ host: 127.0.0.1, port: {port}, tls: none }} }}\n    digest: off\n    per_hour_max: 10000\n\
         response: {{ budget: {{ per_client: {MANY}, per_rule: {MANY}, per_tenant: {MANY}, global: {MANY}, per_10000_families: {MANY} }} }}\n\
         overrides: {{ reuse-storm: {{ mode: off }} }}\n\
         http: {{ ops: {{ listen: \"127.0.0.1:0\" }}, api: {{ listen: \"127.0.0.1:0\", token: bench-token-bench-token }} }}\n",
        port = mail.port(),
    ))?;
    let daemon = Daemon::start(config).await.map_err(|error| match error {
        StartError::Faults(faults) => anyhow!("{faults:?}"),
        StartError::Failed(error) => error,
    })?;
    // A group takes seconds to be joined, which is no latency of a daemon that runs.
    kafka::produce(broker, topic, FIRST, OTHERS..OTHERS + FIRST / 5)?;
    while kafka::committed(&daemon.store).await? < FIRST {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let looking = tokio::spawn(look(daemon.store.clone(), marks.clone()));
    let looking = AbortOnDropHandle::new(looking);
    let over = CancellationToken::new();
    let consumer = consumer(broker, topic)?;
    let listening = {
        let (marks, over) = (marks.clone(), over.clone());
        tokio::task::spawn_blocking(move || listen(&consumer, &marks, &over))
    };
    let read = Arc::new(AtomicU32::new(0));
    let begun = Instant::now();
    let writing = {
        let producer = kafka::client(broker).set("linger.ms", "1").create()?;
        let (topic, marks, read) = (topic.to_owned(), marks.clone(), Arc::clone(&read));
        tokio::task::spawn_blocking(move || {
            let due = || pace.due(begun, &read);
            write(&producer, &topic, events, due, &marks)
        })
    };
    while !writing.is_finished() {
        read.store(kafka::committed(&daemon.store).await?, Ordering::Relaxed);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let written = writing.await??;
    while kafka::committed(&daemon.store).await? < FIRST + written && begun.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let rate = f64::from(written) / begun.elapsed().as_secs_f64();
    let written_at = Instant::now();
    while marks.count(Mark::Mailed) < marks.count(Mark::Sent) && written_at.elapsed() < QUIET {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    over.cancel();
    listening.await??;
    drop(looking);
    daemon.stop().await?;
    for mark in [Mark::Readable, Mark::Durable, Mark::Revoked, Mark::Mailed] {
        let (count, sent) = (marks.count(mark), marks.count(Mark::Sent));
        ensure!(count == sent, "{mark:?}: {count} of {sent} thefts");
    }
    Ok((rate, WAYS.map(|(kind, _)| marks.of(kind))))
}

/// Records before those that are timed, of families that come no more: their tokens would be found used.
const FIRST: u32 = 1000;
const OTHERS: u32 = 100_000_000;
/// No budget is to hold what is measured.
const MANY: u32 = 10_000;

fn consumer(broker: &str, topic: &str) -> anyhow::Result<BaseConsumer> {
    let consumer: BaseConsumer = kafka::client(broker).create()?;
    consumer.assign(&kafka::all_partitions(topic)?)?;
    Ok(consumer)
}

/// Thefts have their user as the key of their record, and nothing else has one.
fn listen(consumer: &BaseConsumer, marks: &Marks, over: &CancellationToken) -> anyhow::Result<()> {
    while !over.is_cancelled() {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        if let Some(user) = message?.key() {
            marks.note(std::str::from_utf8(user)?, Mark::Readable);
        }
    }
    Ok(())
}

async fn look(store: Store, marks: Marks) {
    let grave = DetectionFilter {
        rule: Some("token-reuse".into()),
        severity_min: Some(Severity::Critical),
        ..DetectionFilter::default()
    };
    let mut next = None;
    loop {
        let page = Page {
            before: next.take(),
            limit: LOOK_AT,
        };
        if let Ok(found) = store.detections(&grave, page).await {
            let users = found.items.into_iter().filter_map(|it| it.user_id);
            let new = users.filter(|user| marks.is_new(user, Mark::Durable));
            if new.count() == LOOK_AT as usize {
                next = found.next;
            }
        }
        if next.is_none() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Writes what is due of the traffic, as of now, and a theft every so often; how many records that were.
fn write(
    producer: &BaseProducer,
    topic: &str,
    events: u32,
    due: impl Fn() -> f64,
    marks: &Marks,
) -> anyhow::Result<u32> {
    let (begun, families) = (Instant::now(), families_of(events));
    let mut traffic = Traffic::new(0..families, Timestamp::now());
    let (mut sent, mut of_thefts, mut stage) = (0_u32, 0_u32, 0_u32);
    while sent < events {
        let due = due().min(f64::from(events));
        while f64::from(sent) < due {
            let Some(next) = traffic.next() else {
                bail!("traffic has no end");
            };
            send(producer, topic, next, None)?;
            sent += 1;
        }
        // Every so often another family begins, the one of some turns ago is used, and one before that stolen.
        while THEFT_EVERY * stage <= begun.elapsed() {
            for (kind, turns) in [
                (Kind::Issue, 0),
                (Kind::Refresh, STOLEN_AFTER),
                (WAYS[stage as usize % 2].0, 2 * STOLEN_AFTER),
            ] {
                if let Some(turn) = stage.checked_sub(turns) {
                    let theft = Presentation {
                        time_ms: 0,
                        // Of a user with no other, beyond those of the traffic.
                        family: (families / 5 + 1 + turn) * 5,
                        generation: 0,
                        kind,
                    };
                    send(producer, topic, theft, Some(marks))?;
                    of_thefts += 1;
                }
            }
            stage += 1;
        }
        producer.poll(Duration::ZERO);
        std::thread::sleep(SLICE);
    }
    producer.flush(PATIENCE)?;
    Ok(sent + of_thefts)
}

fn send(
    producer: &BaseProducer,
    topic: &str,
    presentation: Presentation,
    marks: Option<&Marks>,
) -> anyhow::Result<()> {
    let now = Presentation {
        time_ms: Timestamp::now().as_millisecond(),
        ..presentation
    };
    let mut text = String::new();
    write_record(&now, &mut text)?;
    if marks.is_some() {
        // Thefts at one client, or from one network, would be one storm, and have one mail.
        let own = format!("client-of-{}", now.family);
        text = text.replacen(client_of(now.family), &own, 1);
    }
    let is_theft = WAYS.iter().any(|(kind, _)| *kind == now.kind);
    if marks.is_some() && is_theft {
        let own = Ipv4Addr::from(ROAMING + (now.family / 5 % 512) * 256 + 7);
        text = text.replacen(&address_of(&now).to_string(), &own.to_string(), 1);
    }
    let user = user_of(now.family);
    let mut record = BaseRecord::<str, str>::to(topic)
        .partition(i32::try_from(now.family % PARTITIONS)?)
        .payload(&text);
    if let Some(marks) = marks.filter(|_| is_theft) {
        marks.note_kind(&user, now.kind);
        marks.note(&user, Mark::Sent);
        record = record.key(&user);
    }
    kafka::hand_over(producer, record)
}
