//! A change of the token key, through the daemon itself: a token stolen before it is recognised during and after it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tokenwarden::app::{Daemon, StartError};
use tokenwarden::config::Config;
use tokenwarden::decode::TokenKey;
use tokenwarden::model::{Detection, Severity, Timestamp};
use tokenwarden::store::{DetectionFilter, Page};

const PATIENCE: Duration = Duration::from_secs(60);
const FIRST: &str = "the first key of this store";
const SECOND: &str = "the second key of this store";

/// A folder with a followed file of events, two keys and a store.
struct Home {
    folder: tempfile::TempDir,
    /// Event time of the first event: so near to now that ticks release what was found.
    began: Timestamp,
}

impl Home {
    fn new() -> Self {
        let home = Self {
            folder: tempfile::tempdir().unwrap(),
            began: Timestamp::now() - Duration::from_secs(60),
        };
        home.write("first.key", FIRST);
        home.write("second.key", SECOND);
        home.write("third.key", "a key that this store has never seen");
        home.write("events.jsonl", "");
        home
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// One refresh with real tokens, as an application's own log would tell it.
    fn refresh(&self, second: u64, device: &str, token: &str, answer: Result<&str, &str>) {
        let mut event = json!({
            "event_id": format!("e{second}"), "time": (self.began + Duration::from_secs(second)).to_string(),
            "type": "refresh", "outcome": "success", "user_id": "alice", "client_id": "web",
            "device_id": device, "token_id": secret(token),
        });
        match answer {
            Ok(next) => event["new_token_id"] = secret(next).into(),
            Err(reason) => (event["outcome"], event["reason"]) = ("failure".into(), reason.into()),
        }
        let path = self.path().join("events.jsonl");
        let known = std::fs::read_to_string(&path).unwrap();
        self.write("events.jsonl", &format!("{known}{event}\n"));
    }

    fn configure(&self, keys: &str) {
        let text = format!(
            "mode: enforce\n{keys}\nclients: {{ default: {{ rotation: enforced }} }}\n\
             sources: [{{ name: app, file: {{ path: events.jsonl, poll_every: 20ms }}, format: tokenwarden, start: earliest }}]\n\
             store: {{ url: \"sqlite://{}\" }}\n",
            self.path().join("warden.db").display()
        );
        self.write("tokenwarden.yaml", &text);
    }

    async fn try_start(&self, keys: &str) -> Result<Daemon, String> {
        self.configure(keys);
        let config = Config::load(&self.path().join("tokenwarden.yaml")).unwrap();
        match Daemon::start(config).await {
            Ok(daemon) => Ok(daemon),
            Err(StartError::Failed(error)) => Err(format!("{error:#}")),
            Err(StartError::Faults(faults)) => panic!("{faults:?}"),
        }
    }

    async fn start(&self, keys: &str) -> Daemon {
        self.try_start(keys).await.unwrap()
    }

    /// Until the whole file has been committed.
    async fn wait_read(&self, daemon: &Daemon) {
        let length = std::fs::metadata(self.path().join("events.jsonl"))
            .unwrap()
            .len();
        let read = format!("\"offset\":{length},");
        wait("the file to be read", async || {
            let positions = daemon.store.positions().await.unwrap();
            positions.values().any(|it| it.0.contains(&read))
        })
        .await;
    }

    /// Until so many replays were found in all, oldest first.
    async fn wait_thefts(&self, daemon: &Daemon, count: usize) -> Vec<Detection> {
        wait("the theft to be found", async || {
            thefts(daemon).await.len() >= count
        })
        .await;
        thefts(daemon).await
    }
}

async fn thefts(daemon: &Daemon) -> Vec<Detection> {
    let filter = DetectionFilter {
        rule: Some("token-reuse".into()),
        severity_min: Some(Severity::Critical),
        ..DetectionFilter::default()
    };
    let page = Page {
        before: None,
        limit: 100,
    };
    let mut found = daemon.store.detections(&filter, page).await.unwrap().items;
    found.reverse();
    found
}

async fn wait(what: &str, done: impl AsyncFn() -> bool) {
    let since = Instant::now();
    while !done().await {
        assert!(since.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Opaque, and long enough that it is taken for a token wherever it stands.
fn secret(name: &str) -> String {
    format!("{name}{}", "x".repeat(200))
}

const ONLY_FIRST: &str = "token_key_file: first.key";
const BOTH: &str = "token_key_file: second.key\ntoken_key_previous_file: first.key";
const ONLY_SECOND: &str = "token_key_file: second.key";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_stolen_before_the_rotation_is_found_during_it_and_after() {
    let home = Home::new();
    home.refresh(0, "phone", "a", Ok("b"));
    home.refresh(10, "phone", "b", Ok("c"));
    let daemon = home.start(ONLY_FIRST).await;
    home.wait_read(&daemon).await;
    daemon.stop().await.unwrap();

    let daemon = home.start(BOTH).await;
    home.refresh(20, "phone", "c", Ok("d"));
    home.refresh(30, "thief", "b", Err("other"));
    let found = home.wait_thefts(&daemon, 1).await;
    let family = TokenKey::new(FIRST.as_bytes()).hash(&secret("a"));
    assert_eq!(found[0].family_id.as_ref(), Some(&family));
    assert_eq!(&*found[0].event_id, "e30");
    daemon.stop().await.unwrap();

    let daemon = home.start(ONLY_SECOND).await;
    home.refresh(40, "phone", "d", Ok("e"));
    home.refresh(50, "thief", "c", Err("other"));
    let found = home.wait_thefts(&daemon, 2).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[1].family_id.as_ref(), Some(&family));
    assert_eq!(&*found[1].event_id, "e50");
    daemon.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_key_of_the_store_and_its_successor_are_taken() {
    let home = Home::new();
    home.start(ONLY_FIRST).await.stop().await.unwrap();
    let refused = async |keys: &str| {
        let refused = home.try_start(keys).await.err();
        refused.unwrap_or_else(|| panic!("taken: {keys}"))
    };
    let why = refused(ONLY_SECOND).await;
    assert!(why.contains("another token key"), "{why}");
    let third = "token_key_file: second.key\ntoken_key_previous_file: third.key";
    refused(third).await;
    home.start(BOTH).await.stop().await.unwrap();
    refused(ONLY_FIRST).await;
    refused("token_key_file: third.key\ntoken_key_previous_file: first.key").await;
    let why = refused(third).await;
    assert!(why.contains("token_key_previous_file"), "{why}");
    let daemon = home.start(ONLY_SECOND).await;
    daemon.reload().await.unwrap();
    home.configure(BOTH);
    let why = daemon.reload().await.unwrap_err();
    assert!(why.contains("cannot be changed by a reload"), "{why}");
    daemon.stop().await.unwrap();
    // Over is over.
    refused(BOTH).await;
}
