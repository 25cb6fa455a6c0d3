//! Opens a listener and serves a router on it, over plain HTTP or TLS, until told to stop.
//!
//! The number of connections is bounded: at the bound new ones wait in the system's queue. So nobody may hold a place by
//! doing nothing, and all of this comes before anybody is asked who he is: a handshake, the head of a request, and a
//! connection as a whole have their time, and one address beyond this machine has its share. An address of this machine
//! has no share, as it may be a proxy that speaks for everybody. `axum::serve` knows none of these bounds.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections of one listener at a time.
const CONNECTIONS_MAX: usize = 256;
/// Of these one address may have: twice the webhook requests that are handled at once, should it be a proxy after all.
const CONNECTIONS_OF_ONE_MAX: usize = 128;
/// How long answers under way may still take after a stop was asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const PATIENCE: Patience = Patience {
    handshake: Duration::from_secs(10),
    // Not what somebody asks again after, as every 10 s: a connection that is closed while the next request is under way is a
    // scrape that failed.
    head: Duration::from_secs(12),
    lifetime: Duration::from_mins(5),
    last_answer: Duration::from_mins(1),
};

/// How long a connection may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    handshake: Duration,
    /// From the opening, or the last answer, to the end of a request's head.
    head: Duration,
    /// Then no more requests are taken: who reads his answers byte by byte has had his time. The answer to the last request
    /// before says that it is the last.
    lifetime: Duration,
    /// Longer than a body may take to arrive and to be stored.
    last_answer: Duration,
}

/// Who asks, as far as the connection tells; stands in the extensions of each request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// PEM files of a certificate chain and its key.
#[derive(Debug, Clone)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address} for {name}: {error}")]
    Bind {
        name: &'static str,
        address: SocketAddr,
        error: io::Error,
    },
    #[error("{path}: {reason}")]
    Tls { path: PathBuf, reason: String },
}

/// An open listener. Opening and serving are two steps, so that a taken port is a fault of the start.
pub struct Listening {
    name: &'static str,
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    patience: Patience,
}

impl Listening {
    pub async fn open(
        name: &'static str,
        address: SocketAddr,
        tls: Option<&Tls>,
    ) -> Result<Self, ListenError> {
        let tls = tls.map(acceptor).transpose()?;
        let bind = |error| ListenError::Bind {
            name,
            address,
            error,
        };
        let tcp = TcpListener::bind(address).await.map_err(bind)?;
        Ok(Self {
            name,
            tcp,
            tls,
            patience: PATIENCE,
        })
    }

    /// The address with the port that was really given.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until cancelled; answers under way get a few seconds more.
    pub async fn serve(self, router: Router, cancel: CancellationToken) {
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        // When this is given up as a whole, no connection goes on alone.
        let cut_at_the_end = cut.clone().drop_guard();
        let host = Host {
            tls: self.tls.clone(),
            router,
            patience: self.patience,
            stop: cancel.clone(),
            cut,
        };
        cancel
            .run_until_cancelled(self.accept(&host, &connections))
            .await;
        connections.close();
        if timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
            tracing::warn!(
                listener = self.name,
                "Connections to {} were cut off, as they did not end in time",
                self.name
            );
        }
        drop(cut_at_the_end);
    }

    async fn accept(&self, host: &Host, connections: &TaskTracker) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let shares = Arc::new(Shares::default());
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match self.tcp.accept().await {
                // Beyond its share the connection is closed at once; waiting, it would keep others out of the queue.
                Ok((stream, peer)) => {
                    if let Some(share) = Shares::take(&shares, peer.ip()) {
                        let peer = peer.ip().to_canonical();
                        connections.spawn(host.clone().hold(stream, peer, (place, share)));
                    }
                }
                // Out of file descriptors, or a connection that was gone already: neither ends the listener.
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "A connection to {} could not be accepted: {error}", self.name);
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Host {
    tls: Option<TlsAcceptor>,
    router: Router,
    patience: Patience,
    /// No more requests.
    stop: CancellationToken,
    /// The end, whatever is under way.
    cut: CancellationToken,
}

impl Host {
    /// One connection from its opening to its end, when it gives its place back.
    async fn hold(self, stream: TcpStream, peer: IpAddr, place: (OwnedSemaphorePermit, Share)) {
        let talk = async {
            match &self.tls {
                None => self.talk(stream, peer).await,
                Some(tls) => {
                    let handshake = timeout(self.patience.handshake, tls.accept(stream)).await;
                    if let Ok(Ok(stream)) = handshake {
                        self.talk(stream, peer).await;
                    }
                }
            }
        };
        self.cut.run_until_cancelled(talk).await;
        drop(place);
    }

    async fn talk(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: IpAddr,
    ) {
        let router = TowerToHyperService::new(self.router.clone());
        let opened = Instant::now();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let answer = router.call(request);
            async move {
                let mut answer = answer.await?;
                if opened.elapsed() + self.patience.head >= self.patience.lifetime {
                    // Whoever would ask again over this connection is told in time that he cannot.
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(CONNECTION, close);
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience.head)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            // However it ended, there is nobody left to tell.
            _ = connection.as_mut() => return,
            () = self.stop.cancelled() => {}
            () = sleep(self.patience.lifetime) => {}
        }
        connection.as_mut().graceful_shutdown();
        timeout(self.patience.last_answer, connection).await.ok();
    }
}

/// How many places each address beyond this machine holds.
#[derive(Default)]
struct Shares(Mutex<HashMap<IpAddr, usize>>);

/// Gives its part back when dropped.
struct Share {
    of: Option<(Arc<Shares>, IpAddr)>,
}

impl Shares {
    fn take(shares: &Arc<Self>, peer: IpAddr) -> Option<Share> {
        let peer = peer.to_canonical();
        if peer.is_loopback() {
            return Some(Share { of: None });
        }
        let holder = holder(peer);
        let mut held = shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(holder).or_default();
        if *count >= CONNECTIONS_OF_ONE_MAX {
            return None;
        }
        *count += 1;
        Some(Share {
            of: Some((Arc::clone(shares), holder)),
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some((shares, holder)) = &self.of else {
            return;
        };
        let mut held = shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(holder);
            }
        }
    }
}

/// One machine may use every address of an IPv6 prefix.
fn holder(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => Ipv6Addr::from_bits((address.to_bits() >> 64) << 64).into(),
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, ListenError> {
    let fault = |path: &Path, reason: String| ListenError::Tls {
        path: path.to_owned(),
        reason,
    };
    let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| {
            fault(
                &tls.certificate,
                format!("not a certificate in PEM: {error}"),
            )
        })?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| fault(&tls.key, format!("not a private key in PEM: {error}")))?;
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| fault(&tls.certificate, error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const HURRY: Patience = Patience {
        handshake: Duration::from_millis(100),
        head: Duration::from_millis(100),
        lifetime: Duration::from_millis(500),
        last_answer: Duration::from_millis(100),
    };

    /// A listener, and what stops it.
    async fn listen(patience: Patience) -> (SocketAddr, tokio_util::sync::DropGuard) {
        let mut listening = Listening::open("test", "127.0.0.1:0".parse().unwrap(), None)
            .await
            .unwrap();
        listening.patience = patience;
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/never", get(std::future::pending::<()>));
        let (address, cancel) = (listening.address().unwrap(), CancellationToken::new());
        tokio::spawn(listening.serve(router, cancel.clone()));
        (address, cancel.drop_guard())
    }

    /// All that is said until the other side ends the connection, or far too late.
    async fn said(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut said = String::new();
        let end = timeout(Duration::from_mins(1), stream.read_to_string(&mut said));
        end.await.expect("an end").unwrap();
        said
    }

    #[tokio::test]
    async fn who_says_nothing_loses_his_place() {
        let (address, _stop) = listen(HURRY).await;
        said(address, "").await;
        said(address, "GET / HTTP/1.1\r\nHost: ").await;
        let after_an_answer = said(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(
            after_an_answer.starts_with("HTTP/1.1 200"),
            "{after_an_answer}"
        );
        assert_eq!(
            said(address, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await,
            ""
        );
    }

    #[tokio::test]
    async fn who_asks_again_and_again_is_told_which_answer_is_the_last() {
        // Longer than a busy machine keeps a test waiting.
        let (address, _stop) = listen(Patience {
            head: Duration::from_mins(1),
            lifetime: Duration::from_mins(1) + Duration::from_millis(500),
            ..HURRY
        })
        .await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut answers = 0;
        loop {
            let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            asked.await.unwrap();
            let (mut answer, mut part) = (String::new(), [0; 1024]);
            while !answer.ends_with("hello") {
                let read = stream.read(&mut part).await.unwrap();
                assert!(read > 0, "closed without a word after {answers} answers");
                answer.push_str(std::str::from_utf8(&part[..read]).unwrap());
            }
            answers += 1;
            if answer.contains("connection: close") {
                break;
            }
        }
        assert!(answers > 1);
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let shares = Arc::new(Shares::default());
        let take = |peer: &str| Shares::take(&shares, peer.parse().unwrap());
        let mut held: Vec<_> = (0..CONNECTIONS_OF_ONE_MAX)
            .map(|_| take("198.51.100.7").expect("a share"))
            .collect();
        assert!(take("198.51.100.7").is_none());
        assert!(take("::ffff:198.51.100.7").is_none());
        assert!(take("198.51.100.8").is_some());
        held.pop();
        assert!(take("198.51.100.7").is_some());
        drop(held);
        assert!(shares.0.lock().unwrap().is_empty());

        let prefix: Vec<_> = (0..CONNECTIONS_OF_ONE_MAX)
            .map(|at| take(&format!("2001:db8::{at:x}")).expect("a share"))
            .collect();
        assert!(take("2001:db8::ffff:1").is_none());
        assert!(take("2001:db8:0:1::1").is_some());
        drop(prefix);
        let proxy: Vec<_> = (0..=CONNECTIONS_OF_ONE_MAX)
            .map(|_| take("127.0.0.1"))
            .collect();
        assert!(proxy.iter().all(Option::is_some));
    }
}
