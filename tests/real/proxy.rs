//! A TCP proxy before a real server, which can be cut, mended, and made silent: an outage for one test and nobody else.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    /// `localhost:PORT`, as the certificates say; `127.0.0.1:PORT` before Kafka.
    pub(crate) address: String,
    is_open: watch::Sender<bool>,
    /// How often it fell silent.
    silences: watch::Sender<u64>,
    served: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

/// What a broker says of itself, and what clients are to hear instead. Of the same length, so that nothing else changes.
#[derive(Clone)]
struct Rewrite {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Proxy {
    pub(crate) async fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self::serve(listener, format!("localhost:{port}"), server, None)
    }

    /// A broker tells its clients where it is, and they would go there: in its answers the port is replaced.
    pub(crate) async fn before_kafka(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (host, real) = server.rsplit_once(':').unwrap();
        let named = |port: u16| [host.as_bytes(), &u32::from(port).to_be_bytes()].concat();
        let rewrite = Rewrite {
            from: named(real.parse().unwrap()),
            to: named(port),
        };
        Self::serve(listener, format!("{host}:{port}"), server, Some(rewrite))
    }

    fn serve(
        listener: TcpListener,
        address: String,
        server: &str,
        rewrite: Option<Rewrite>,
    ) -> Self {
        let (is_open, opened) = watch::channel(true);
        let (silences, silenced) = watch::channel(0);
        let served = Arc::new(AtomicUsize::new(0));
        let (count, server) = (Arc::clone(&served), server.to_owned());
        let serving = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if !*opened.borrow() {
                    continue;
                }
                count.fetch_add(1, Ordering::Relaxed);
                let server = TcpStream::connect(&server).await.unwrap();
                let silenced = silenced.clone();
                tokio::spawn(relay(
                    client,
                    server,
                    opened.clone(),
                    silenced,
                    rewrite.clone(),
                ));
            }
        });
        Self {
            address,
            is_open,
            silences,
            served,
            serving,
        }
    }

    /// Ends every connection; new ones end at once.
    pub(crate) fn cut(&self) {
        self.is_open.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.is_open.send_replace(true);
    }

    /// As when the host vanishes and another takes its address: connections that there are stay open, and what is sent on them is
    /// swallowed; new ones work.
    pub(crate) fn silence(&self) {
        self.silences.send_modify(|silences| *silences += 1);
    }

    /// Connections so far.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn relay(
    client: TcpStream,
    server: TcpStream,
    mut opened: watch::Receiver<bool>,
    mut silenced: watch::Receiver<u64>,
    rewrite: Option<Rewrite>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let before = *silenced.borrow();
    let is_silent = tokio::select! {
        () = copy(&mut from_client, &mut to_server, None) => false,
        () = copy(&mut from_server, &mut to_client, rewrite) => false,
        _ = opened.wait_for(|is_open| !is_open) => false,
        silent = silenced.wait_for(|silences| *silences > before) => silent.is_ok(),
    };
    if is_silent {
        std::future::pending::<()>().await;
    }
}

async fn copy(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, rewrite: Option<Rewrite>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = &mut buffer[..length];
        if let Some(Rewrite { from, to }) = &rewrite {
            for at in 0..bytes.len().saturating_sub(from.len() - 1) {
                if bytes[at..].starts_with(from) {
                    bytes[at..at + to.len()].copy_from_slice(to);
                }
            }
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
