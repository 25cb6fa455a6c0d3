//! Digests and summaries from the store to the mail: the real loop, store and mail folder, with a clock that is driven.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenwarden::actions::{Notifier, Revokers, Surroundings, notifier};
use tokenwarden::app::parts;
use tokenwarden::app::replay::replay_key;
use tokenwarden::config::{
    Config, Decode, EmailReceiver, Format, MailTransport, Receiver, ReceiverKind, Secret,
    StoreConfig,
};
use tokenwarden::decode::Decoder;
use tokenwarden::delivery::{Delivery, Digests, Memory, Options, Performers};
use tokenwarden::enrich::Enricher;
use tokenwarden::model::{
    ActionKind, ActionState, Afterwards, By, Commit, Decision, Mode, Output, Resolution, Target,
    Timestamp,
};
use tokenwarden::pipeline::Worker;
use tokenwarden::store::{ActionFilter, IncidentFilter, OpenAs, Page, Store, Taken};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::store_suite::{self, theft};

const DAY_S: i64 = 86_400;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// What judges, and remembers what was seen afterwards: the daemon's own engine and policy.
struct Judge {
    enricher: Mutex<Enricher>,
    worker: Mutex<Worker>,
    decoder: Arc<dyn Decoder>,
}

impl Judge {
    fn new(folder: &Path) -> Arc<Self> {
        let file = folder.join("tokenwarden.yaml");
        let text = "mode: observe\nclients: { default: { rotation: enforced } }\n";
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        let rules = parts::rule_set(&config, None).unwrap();
        let (tables, _) = parts::tables(&config);
        let worker = Worker::new(parts::engine(&config, &rules), parts::policy(&config));
        let form = Decode {
            format: Format::Tokenwarden,
            own_accounts: vec![],
            timezone: None,
        };
        let decoder = parts::decoder(&form, &replay_key(), None).unwrap();
        Arc::new(Self {
            enricher: Mutex::new(Enricher::new(tables)),
            worker: Mutex::new(worker),
            decoder,
        })
    }

    fn judge(&self, events: &[Value]) -> Output {
        let mut output = Output::default();
        let mut worker = self.worker.lock().unwrap();
        let mut decoded = Vec::new();
        for event in events {
            let payload = event.to_string();
            self.decoder
                .decode(payload.as_bytes(), &"auth".into(), &mut decoded)
                .unwrap();
        }
        for event in decoded {
            let event = Box::new(self.enricher.lock().unwrap().enrich(event));
            worker.take_enriched(0, event, &mut output);
        }
        output
    }
}

impl Memory for Judge {
    fn afterwards(
        &self,
        families: Vec<(Target, Timestamp)>,
    ) -> BoxFuture<'_, Vec<Option<Afterwards>>> {
        let worker = self.worker.lock().unwrap();
        let seen = families
            .iter()
            .map(|(target, since)| worker.engine.afterwards(target, *since));
        Box::pin(std::future::ready(seen.collect()))
    }
}

/// A family whose first token comes back from a script elsewhere, accepted; `after` is what happens then.
fn stolen(user: &str, after: &[(&str, &str, bool)]) -> Vec<Value> {
    let (home, thief) = (
        (
            "192.0.2.10",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ),
        ("198.51.100.20", "curl/8.14.1"),
    );
    let mut events = Vec::new();
    let mut add = |token: Option<&str>, who: (&str, &str), success: bool| {
        let n = events.len();
        let minute = 5 * n;
        let mut event = json!({
            "event_id": format!("{user}-{n}"), "time": format!("2026-11-20T09:{minute:02}:00Z"),
            "type": if token.is_some() { "refresh" } else { "issue" },
            "outcome": if success { "success" } else { "failure" },
            "user_id": user, "client_id": "web", "family_id": format!("f-{user}"),
            "ip_address": who.0, "user_agent": who.1,
        });
        let members = event.as_object_mut().unwrap();
        if let Some(token) = token {
            members.insert("token_id".into(), format!("{user} {token}").into());
        }
        if success {
            members.insert("new_token_id".into(), format!("{user} t{n}").into());
        } else {
            members.insert("reason".into(), "revoked".into());
        }
        events.push(event);
    };
    add(None, home, true);
    add(Some("t0"), home, true);
    add(Some("t1"), home, true);
    add(Some("t0"), thief, true);
    for (token, who, success) in after {
        add(
            Some(token),
            if *who == "thief" { thief } else { home },
            *success,
        );
    }
    events
}

struct Bench {
    store: Store,
    folder: TempDir,
    clock: Arc<AtomicI64>,
    memory: Arc<dyn Memory>,
    running: Option<JoinHandle<()>>,
}

impl Bench {
    async fn new(now: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            url: Secret::new(format!("sqlite://{}/warden.db", folder.path().display())),
            connections_max: 1,
            snapshot_every: Duration::from_mins(1),
        };
        Self {
            store: Store::open(&config, OpenAs::Daemon).await.unwrap(),
            folder,
            clock: Arc::new(AtomicI64::new(time(now).as_second())),
            memory: Arc::new(()),
            running: None,
        }
    }

    fn mails(&self) -> PathBuf {
        self.folder.path().join("mails")
    }

    /// Starts the loop; mails go into the folder.
    fn start(&mut self, mails: &Path) {
        let receiver = Receiver {
            name: "oncall".into(),
            limits: tokenwarden::config::TargetLimits::default(),
            kind: ReceiverKind::Email(EmailReceiver {
                to: vec!["oncall@example.com".into()],
                from: "tokenwarden@example.com".into(),
                reply_to: None,
                transport: MailTransport::Folder(mails.into()),
                links: BTreeMap::new(),
            }),
            digest_at: Some(Duration::from_hours(7)),
            fallback: None,
            per_hour_max: None,
        };
        let surroundings = Surroundings {
            now: || time("2026-11-21T07:01:00Z"),
            revokers: Revokers::default(),
        };
        let email: Arc<dyn Notifier> = notifier(&receiver, surroundings).unwrap();
        let performers = Performers {
            notifiers: vec![email],
            act_within: Duration::from_mins(15),
            digests: Digests {
                mode: Mode::Observe,
                receivers: vec![("oncall".into(), receiver.digest_at.unwrap())],
            },
            ..Performers::default()
        };
        let clock = self.clock.clone();
        let mut options = Options::new("test", Duration::from_secs(5), || Timestamp::UNIX_EPOCH);
        options.look_every = Duration::from_millis(5);
        options.now =
            Arc::new(move || Timestamp::from_second(clock.load(Ordering::SeqCst)).unwrap());
        options.memory = Arc::clone(&self.memory);
        let (_, performers) = watch::channel(Arc::new(performers));
        let delivery = Delivery::new(self.store.clone(), performers, Arc::new(()), options);
        self.running = Some(tokio::spawn(delivery.run(CancellationToken::new())));
    }

    /// As a kill would.
    async fn crash(&mut self) {
        let running = self.running.take().unwrap();
        running.abort();
        assert!(running.await.is_err_and(|error| error.is_cancelled()));
    }

    fn set(&self, now: &str) {
        self.clock.store(time(now).as_second(), Ordering::SeqCst);
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.clock.load(Ordering::SeqCst)).unwrap()
    }

    async fn commit(&self, output: Output) {
        let commit = Commit {
            output,
            ..Commit::default()
        };
        self.store.commit(&commit, self.now()).await.unwrap();
    }

    /// How many actions are held, expired, done.
    async fn ended(&self) -> [usize; 3] {
        let page = Page {
            before: None,
            limit: 200,
        };
        let all = self.store.actions(&ActionFilter::default(), page).await;
        let items = all.unwrap().items;
        let ends = [ActionState::Held, ActionState::Expired, ActionState::Done];
        ends.map(|state| items.iter().filter(|record| record.state == state).count())
    }

    /// Waits for so many mails, and a little for one too many; in the order of their names.
    async fn read(&self, expected: usize) -> Vec<String> {
        let read = || -> Vec<String> {
            let Ok(files) = std::fs::read_dir(self.mails()) else {
                return vec![];
            };
            let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            paths.sort();
            let mails = paths
                .iter()
                .map(|path| std::fs::read_to_string(path).unwrap());
            mails
                .map(|mail| mail.replace("=\r\n", "").replace("\r\n", "\n"))
                .collect()
        };
        for _ in 0..24_000 {
            if read().len() >= expected {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
        let mails = read();
        assert_eq!(mails.len(), expected, "{mails:#?}");
        mails
    }

    async fn marked(&self) {
        for _ in 0..24_000 {
            if self.store.digests_made("oncall").await.unwrap().is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the first look leaves no mark");
    }
}

fn message_id(mail: &str) -> &str {
    let line = mail.lines().find(|line| line.starts_with("Message-ID: "));
    line.unwrap_or_else(|| panic!("no id in {mail}"))
}

#[tokio::test]
async fn a_day_of_observing_is_told_once_with_what_became_of_it() {
    let mut bench = Bench::new("2026-11-20T10:00:00Z").await;
    let judge = Judge::new(bench.folder.path());
    bench.memory = Arc::<Judge>::clone(&judge);
    let mails = bench.mails();
    bench.start(&mails);
    bench.marked().await;
    // The thief goes on; the server has closed it; nothing more is seen; the owner alone goes on.
    let mut events: Vec<Value> = [
        stolen("u1", &[("t3", "thief", true), ("t2", "home", true)]),
        stolen("u2", &[("t3", "thief", false)]),
        stolen("u3", &[]),
        stolen("u4", &[("t2", "home", true)]),
    ]
    .concat();
    events.sort_by_key(|event| event["time"].to_string());
    bench.commit(judge.judge(&events)).await;
    bench.set("2026-11-21T07:00:59Z");
    bench.read(0).await;
    bench.set("2026-11-21T07:01:00Z");
    let mail = bench.read(1).await.remove(0);
    for said in [
        "Message-ID: <digest-oncall-2026-11-21@example.com>",
        "Subject: [tokenwarden] digest 2026-11-21: 4 revocations would have been made",
        "2026-11-20 07:00:00 UTC to 2026-11-21 07:00:00 UTC, mode observe",
        "- web: 4 revocations (token-reuse 4)",
        "    1 used again from the thief's network",
        "    1 used again, from the owner's network alone",
        "    1 ended without us",
        "    1 not seen since",
        "`mode: alert`",
    ] {
        assert!(mail.contains(said), "{said}: {mail}");
    }
    assert!(!mail.contains("no longer remembered"), "{mail}");

    bench.crash().await;
    bench.start(&mails);
    bench.read(1).await;
    // Quiet days say nothing; the seventh says that all is well.
    for _ in 1..=6 {
        bench.clock.fetch_add(DAY_S, Ordering::SeqCst);
        bench.read(1).await;
    }
    bench.clock.fetch_add(DAY_S, Ordering::SeqCst);
    let sign = bench.read(2).await.remove(1);
    assert!(
        sign.contains("digest 2026-11-28: nothing was found"),
        "{sign}"
    );
    // From the 27th: the days before were looked at when they ended.
    assert!(
        sign.contains("2026-11-27 07:00:00 UTC to 2026-11-28"),
        "{sign}"
    );
}

/// Nobody is woken for what is not proved: the digest is where it is seen, until somebody has closed it.
#[tokio::test]
async fn what_was_listed_for_review_stands_in_the_digest_until_it_is_closed() {
    let mut bench = Bench::new("2026-11-20T10:00:00Z").await;
    let mails = bench.mails();
    bench.start(&mails);
    bench.marked().await;
    let mut incidents = Vec::new();
    // No boundary between the parts of a mail, which is drawn at random, has a full stop.
    for (user, decision) in [
        ("u.1", Decision::Execute),
        ("u.2", Decision::Execute),
        ("u.3", Decision::Observe),
    ] {
        let mut output = theft(user);
        output.actions.truncate(1);
        output.actions[0].decision = decision;
        output.actions[0].kind = ActionKind::Review;
        output.actions[0].event_time = bench.now();
        incidents.push(output.incidents[0].id.clone());
        bench.commit(output).await;
    }
    for _ in 0..24_000 {
        if bench.ended().await == [0, 0, 2] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let by = By {
        who: "bob".into(),
        why: "asked her".into(),
    };
    let closed = bench
        .store
        .close_incident(&incidents[1], Resolution::Benign, &by, bench.now())
        .await
        .unwrap();
    assert!(matches!(closed, Taken::Done(_)), "{closed:?}");

    bench.set("2026-11-21T07:01:00Z");
    let mail = bench.read(1).await.remove(0);
    let (_, listed) = mail.split_once("Listed for review").unwrap();
    for (user, is_open) in [("u.1", true), ("u.2", false), ("u.3", true)] {
        assert_eq!(listed.contains(user), is_open, "{user}: {mail}");
    }
    assert!(listed.contains("incidents close ID --as benign"), "{mail}");
    let queue = IncidentFilter {
        review: true,
        ..IncidentFilter::default()
    };
    let page = Page {
        before: None,
        limit: 10,
    };
    let listed = bench.store.incidents(&queue, page).await.unwrap();
    assert_eq!(listed.items.len(), 3);
}

/// What was made but not sent when the process died is sent after its next start, as the same mail.
#[tokio::test]
async fn a_digest_survives_a_kill_and_keeps_its_id() {
    let mut bench = Bench::new("2026-11-20T10:00:00Z").await;
    let (mails, nowhere) = (bench.mails(), bench.folder.path().join("a file"));
    std::fs::write(&nowhere, "").unwrap();
    bench.start(&nowhere);
    bench.marked().await;
    let mut output = theft("u1");
    for action in &mut output.actions {
        action.decision = Decision::Observe;
    }
    bench.commit(output).await;
    bench.set("2026-11-21T09:00:00Z");
    let id = "digest-oncall-2026-11-21";
    for _ in 0..24_000 {
        let record = bench.store.action(id).await.unwrap();
        if record.is_some_and(|record| record.outcome.is_some()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.crash().await;
    // A day later: that of the 22nd has nothing to tell, so the one mail is the one that was owed.
    bench.set("2026-11-21T10:00:00Z");
    bench.start(&mails);
    let mail = bench.read(1).await.remove(0);
    assert_eq!(message_id(&mail), format!("Message-ID: <{id}@example.com>"));
    let record = bench.store.action(id).await.unwrap().unwrap();
    assert!(record.attempts >= 2, "{record:?}");
    bench.set("2026-11-22T10:00:00Z");
    bench.read(1).await;
}

/// A first start over old data, an outage, a restored backup: everything is held, and one mail tells of it.
#[tokio::test]
async fn what_comes_too_late_is_held_and_summed_up_once() {
    // The thefts of the suite are of 2025.
    let mut bench = Bench::new("2026-11-20T10:00:00Z").await;
    let mails = bench.mails();
    bench.start(&mails);
    for n in 0..40 {
        bench.commit(theft(&format!("u{n:02}"))).await;
    }
    bench.read(0).await;
    bench.crash().await;
    bench.clock.fetch_add(29, Ordering::SeqCst);
    bench.start(&mails);
    bench.read(0).await;
    bench.clock.fetch_add(1, Ordering::SeqCst);
    let mail = bench.read(1).await.remove(0);
    for said in [
        "40 actions of 40 incidents are held: events older than 15 min",
        "WAITS FOR YOU",
        "40       end the login (revoke its token family)  web     token-reuse  2025-10-09 08:53:20 UTC",
        "... and 28 more incidents",
        "actions approve ID",
    ] {
        assert!(mail.contains(said), "{said}: {mail}");
    }
    // The mail is there a moment before the store knows of it.
    let mut ended = [0; 3];
    for _ in 0..600 {
        ended = bench.ended().await;
        if ended == [40, 40, 1] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ended, [40, 40, 1], "held, expired, and the summary itself");

    // What goes on coming is told an hour later, not at once, and again as one.
    bench.commit(theft("u40")).await;
    bench.commit(theft("u41")).await;
    bench.clock.fetch_add(1800, Ordering::SeqCst);
    bench.read(1).await;
    bench.clock.fetch_add(1800, Ordering::SeqCst);
    let mails = bench.read(2).await;
    assert!(
        mails[1].contains("2 actions of 2 incidents are held"),
        "{}",
        mails[1]
    );
}

/// Fresh ones are told as ever, each by itself.
#[tokio::test]
async fn what_is_fresh_is_told_at_once() {
    let mut bench = Bench::new("2026-11-20T10:00:00Z").await;
    bench
        .clock
        .store(store_suite::at(60).as_second(), Ordering::SeqCst);
    let mails = bench.mails();
    bench.start(&mails);
    bench.commit(theft("u1")).await;
    let mail = bench.read(1).await.remove(0);
    assert!(
        mail.contains("Message-ID: <notifyu1@example.com>"),
        "{mail}"
    );
}
