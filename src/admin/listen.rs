//! Opens a listener and serves a router on it, over plain HTTP or TLS, until told to stop.
//!
//! The number of connections is bounded: at the bound new ones wait in the system's queue. A TLS handshake that takes
//! too long gives its place back, or a few silent clients could take all places.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Connections of one listener at a time.
const CONNECTIONS_MAX: usize = 256;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long answers under way may still take after a stop was asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

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
        Ok(Self { name, tcp, tls })
    }

    /// The address with the port that was really given.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until cancelled; answers under way get a few seconds more.
    pub async fn serve(self, router: Router, cancel: CancellationToken) {
        let name = self.name;
        let connections = self.connections(cancel.clone());
        let stopped = cancel.clone();
        let serving = axum::serve(connections, router)
            .with_graceful_shutdown(async move { stopped.cancelled().await });
        let drained = async {
            cancel.cancelled().await;
            tokio::time::sleep(DRAIN_TIMEOUT).await;
        };
        tokio::select! {
            result = async { serving.await } => if let Err(error) = result {
                tracing::error!(listener = name, %error, "The listener {name} has stopped: {error}");
            },
            () = drained => tracing::warn!(listener = name, "Connections to {name} were cut off, as they did not end in time"),
        }
    }

    /// Accepts in a task of its own, so that a slow handshake holds nobody up.
    fn connections(self, cancel: CancellationToken) -> Connections {
        let (sender, receiver) = mpsc::channel(1);
        let local = self.tcp.local_addr();
        tokio::spawn(async move {
            cancel.run_until_cancelled(self.accept(sender)).await;
        });
        Connections { receiver, local }
    }

    async fn accept(self, connections: mpsc::Sender<(Connection, SocketAddr)>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match self.tcp.accept().await {
                Ok((stream, peer)) => {
                    let (connections, tls) = (connections.clone(), self.tls.clone());
                    tokio::spawn(async move {
                        if let Some(stream) = secured(stream, tls).await {
                            let connection = Connection {
                                stream,
                                _place: place,
                            };
                            // Nobody receives any more when the daemon stops; the connection closes, as it should.
                            drop(connections.send((connection, peer)).await);
                        }
                    });
                }
                // Out of file descriptors, or a connection that was gone already: neither ends the listener.
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "A connection to {} could not be accepted: {error}", self.name);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

async fn secured(stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Box<dyn Stream>> {
    match tls {
        None => Some(Box::new(stream)),
        Some(tls) => {
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await;
            Some(Box::new(handshake.ok()?.ok()?))
        }
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

/// What axum takes connections from.
struct Connections {
    receiver: mpsc::Receiver<(Connection, SocketAddr)>,
    local: io::Result<SocketAddr>,
}

impl axum::serve::Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.receiver.recv().await {
            Some(accepted) => accepted,
            // Stopped: graceful shutdown ends the wait.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local
            .as_ref()
            .copied()
            .map_err(|error| io::Error::new(error.kind(), error.to_string()))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that gives its place back when it is closed.
struct Connection {
    stream: Box<dyn Stream>,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
