//! The ingest listener over real HTTP, with an inbox in memory.
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::FuturesUnordered;
use tokenwarden::config::{Secret, WebhookAuth, WebhookSource};
use tokenwarden::model::{Text, Timestamp, limits};
use tokenwarden::sources::{Inbox, SourceError, webhook};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Stores only while it has room; a closed gate keeps writers waiting.
struct MemoryInbox {
    rows: Mutex<Vec<(Text, String)>>,
    works: Mutex<bool>,
    gate: Semaphore,
}

impl Inbox for MemoryInbox {
    fn put<'a>(
        &'a self,
        source: &'a Text,
        records: Vec<Vec<u8>>,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        async move {
            let _pass = self.gate.acquire().await.unwrap();
            if !*self.works.lock().unwrap() {
                return Err(SourceError("disk full".into()));
            }
            let text = |record| (source.clone(), String::from_utf8(record).unwrap());
            self.rows
                .lock()
                .unwrap()
                .extend(records.into_iter().map(text));
            Ok(())
        }
        .boxed()
    }
}

struct Listener {
    address: std::net::SocketAddr,
    inbox: Arc<MemoryInbox>,
}

const BODY_MAX: usize = 1000;

impl Listener {
    async fn open() -> Self {
        let inbox = Arc::new(MemoryInbox {
            rows: Mutex::default(),
            works: Mutex::new(true),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        });
        let hook = WebhookSource {
            auth: WebhookAuth::Bearer(Secret::new("s3cret")),
            body_bytes_max: BODY_MAX,
        };
        let signed = WebhookSource {
            auth: WebhookAuth::Hmac {
                secret: Secret::new("key"),
                header: "x-signature".into(),
                timestamp_header: None,
                tolerance: Duration::from_mins(5),
            },
            body_bytes_max: BODY_MAX,
        };
        let sources = [("hook".into(), hook), ("signed".into(), signed)];
        let router = webhook::router(sources, inbox.clone(), Arc::new(()), Timestamp::now);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, inbox }
    }

    async fn post(&self, path: &str, secret: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        self.send(&request).await
    }

    async fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // A server that refuses a body unread may reset the connection after its answer.
        stream.read_to_string(&mut answer).await.ok();
        Answer(answer.to_ascii_lowercase())
    }

    fn stored(&self) -> Vec<String> {
        let rows = self.inbox.rows.lock().unwrap();
        rows.iter()
            .map(|(source, body)| format!("{source} {body}"))
            .collect()
    }
}

struct Answer(String);

impl Answer {
    fn status(&self) -> u16 {
        let status = self.0.split(' ').nth(1);
        status
            .and_then(|it| it.parse().ok())
            .unwrap_or_else(|| panic!("no answer: {:?}", self.0))
    }
}

#[tokio::test]
async fn takes_records_in_order_and_answers_after_they_are_stored() {
    let listener = Listener::open().await;
    let answer = listener
        .post("/ingest/hook", "s3cret", "{\"a\":1}\n{\"b\":2}")
        .await;
    assert_eq!(answer.status(), 202);
    assert!(answer.0.contains("{\"accepted\":2}"), "{}", answer.0);
    assert_eq!(listener.stored(), ["hook {\"a\":1}", "hook {\"b\":2}"]);
}

#[tokio::test]
async fn refuses_what_it_cannot_take_and_says_why() {
    let listener = Listener::open().await;
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(BODY_MAX));
    for (path, secret, body, status, why) in [
        ("/ingest/hook", "wrong", "{}", 401, "is wrong"),
        ("/ingest/other", "s3cret", "{}", 404, "no webhook source"),
        ("/metrics", "s3cret", "{}", 404, "only post /ingest/source"),
        ("/ingest/hook", "s3cret", "a=b", 400, "not json"),
        (
            "/ingest/hook",
            "s3cret",
            &large,
            413,
            "larger than 1000 bytes",
        ),
    ] {
        let answer = listener.post(path, secret, body).await;
        assert_eq!(answer.status(), status, "{}", answer.0);
        assert!(answer.0.contains(why), "{}", answer.0);
    }
    assert!(listener.stored().is_empty());
}

#[tokio::test]
async fn a_body_of_unknown_length_is_bounded_too() {
    let listener = Listener::open().await;
    let chunk = "x".repeat(600);
    let request = format!(
        "POST /ingest/hook HTTP/1.1\r\nhost: x\r\nauthorization: s3cret\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n258\r\n{chunk}\r\n258\r\n{chunk}\r\n0\r\n\r\n"
    );
    assert_eq!(listener.send(&request).await.status(), 413);
}

#[tokio::test]
async fn a_store_that_fails_makes_the_sender_come_again() {
    let listener = Listener::open().await;
    *listener.inbox.works.lock().unwrap() = false;
    let answer = listener.post("/ingest/hook", "s3cret", "{}").await;
    assert_eq!(answer.status(), 503);
    assert!(answer.0.contains("retry-after: 5"), "{}", answer.0);
    assert!(!answer.0.contains("disk full"), "{}", answer.0);
    *listener.inbox.works.lock().unwrap() = true;
    assert_eq!(
        listener.post("/ingest/hook", "s3cret", "{}").await.status(),
        202
    );
}

#[tokio::test]
async fn no_more_requests_at_once_than_memory_is_meant_for() {
    let listener = Listener::open().await;
    let gate = listener.inbox.gate.forget_permits(Semaphore::MAX_PERMITS);
    let mut requests: FuturesUnordered<_> = (0..=limits::WEBHOOK_REQUESTS_MAX)
        .map(|_| listener.post("/ingest/hook", "s3cret", "{}"))
        .collect();
    // One more than there are places, and the gate lets none of them through: the first answer is a refusal.
    let first = tokio::time::timeout(Duration::from_secs(30), requests.next());
    assert_eq!(first.await.unwrap().unwrap().status(), 503);
    listener.inbox.gate.add_permits(gate);
    while let Some(answer) = requests.next().await {
        assert_eq!(answer.status(), 202);
    }
}

/// A signature can only be checked with the whole body, so anybody can begin a request.
#[tokio::test]
async fn bodies_that_do_not_arrive_keep_nobody_out() {
    let listener = Listener::open().await;
    let mut slow = Vec::new();
    for _ in 0..2 * limits::WEBHOOK_REQUESTS_MAX {
        let mut stream = TcpStream::connect(listener.address).await.unwrap();
        let begun = "POST /ingest/signed HTTP/1.1\r\nhost: x\r\nx-signature: 00\r\ncontent-length: 900\r\nexpect: 100-continue\r\n\r\n";
        stream.write_all(begun.as_bytes()).await.unwrap();
        // Only once the body is being waited for is its sender told to go on.
        let mut told = [0; 12];
        stream.read_exact(&mut told).await.unwrap();
        assert_eq!(&told, b"HTTP/1.1 100");
        stream.write_all(b"{").await.unwrap();
        slow.push(stream);
    }
    let answer = listener.post("/ingest/hook", "s3cret", "{}").await;
    assert_eq!(answer.status(), 202, "{}", answer.0);
}

#[tokio::test]
async fn bodies_on_their_way_are_bounded_together() {
    let listener = Listener::open().await;
    let mut large = Vec::new();
    // Each but for its last byte: as many as memory is meant for fit, and the next is told to come again.
    let body = "x".repeat(BODY_MAX - 1);
    let begun = format!(
        "POST /ingest/signed HTTP/1.1\r\nhost: x\r\nx-signature: 00\r\ncontent-length: {BODY_MAX}\r\n\r\n{body}"
    );
    for _ in 0..2 * limits::WEBHOOK_REQUESTS_MAX {
        let mut stream = TcpStream::connect(listener.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        large.push(stream);
    }
    let mut refused: FuturesUnordered<_> = large
        .iter_mut()
        .map(|stream| async move {
            let mut start = [0; 12];
            stream.read_exact(&mut start).await.map(|_| start)
        })
        .collect();
    let first = tokio::time::timeout(Duration::from_secs(30), refused.next());
    assert_eq!(&first.await.unwrap().unwrap().unwrap(), b"HTTP/1.1 503");
}
