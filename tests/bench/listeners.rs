//! Stop watches at the far end: an API that revokes and a mail server that takes everything, each noting when it was asked.
//!
//! They stand for servers whose own time is none of ours; what they are asked is real HTTP and SMTP over loopback.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::input::Kind;

/// What happened to one theft, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mark {
    /// Its record was handed to the broker's client.
    Sent,
    /// A bare consumer had the record.
    Readable,
    /// The finding was in the store.
    Durable,
    /// The revocation call had arrived.
    Revoked,
    /// A mail about it had been handed over.
    Mailed,
}

/// The first of each, by the user whose token was stolen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks(
    Arc<Mutex<HashMap<(String, Mark), Instant>>>,
    Arc<Mutex<HashMap<String, Kind>>>,
);

impl Marks {
    pub(crate) fn note(&self, user: &str, mark: Mark) {
        self.is_new(user, mark);
    }

    /// Notes it, and tells whether it was not noted before.
    pub(crate) fn is_new(&self, user: &str, mark: Mark) -> bool {
        let now = Instant::now();
        let mut marks = self.0.lock().expect("marks");
        *marks.entry((user.to_owned(), mark)).or_insert(now) == now
    }

    pub(crate) fn note_kind(&self, user: &str, kind: Kind) {
        let mut kinds = self.1.lock().expect("kinds");
        kinds.insert(user.to_owned(), kind);
    }

    pub(crate) fn has(&self, user: &str, mark: Mark) -> bool {
        let marks = self.0.lock().expect("marks");
        marks.contains_key(&(user.to_owned(), mark))
    }

    /// Users who have the one and not the other.
    fn with_but_not(&self, one: Mark, other: Mark) -> Vec<String> {
        let marks = self.0.lock().expect("marks");
        let with = marks.keys().filter(|(_, it)| *it == one);
        let users = with.map(|(user, _)| user.clone());
        users
            .filter(|user| !marks.contains_key(&(user.clone(), other)))
            .collect()
    }

    /// Those of one kind of theft alone.
    pub(crate) fn of(&self, kind: Kind) -> Self {
        let kinds = self.1.lock().expect("kinds");
        let marks = self.0.lock().expect("marks");
        let those = marks
            .iter()
            .filter(|((user, _), _)| kinds.get(user) == Some(&kind));
        let those = those.map(|(key, at)| (key.clone(), *at)).collect();
        Self(Arc::new(Mutex::new(those)), Arc::clone(&self.1))
    }

    /// Milliseconds from one to the other, of every user who has both.
    pub(crate) fn between(&self, from: Mark, to: Mark) -> Vec<f64> {
        let marks = self.0.lock().expect("marks");
        let pairs = marks.iter().filter(|((_, mark), _)| *mark == from);
        pairs
            .filter_map(|((user, _), began)| {
                let ended = marks.get(&(user.clone(), to))?;
                Some(ended.duration_since(*began).as_secs_f64() * 1e3)
            })
            .collect()
    }

    /// Of the thefts that were sent on purpose: the traffic has some of its own.
    pub(crate) fn count(&self, mark: Mark) -> usize {
        let marks = self.0.lock().expect("marks");
        let sent = |user: &String| marks.contains_key(&(user.clone(), Mark::Sent));
        let with = marks.keys().filter(|(_, it)| *it == mark);
        with.filter(|(user, _)| sent(user)).count()
    }
}

/// `POST /revoke/USER`.
pub(crate) async fn revocations(marks: Marks) -> anyhow::Result<SocketAddr> {
    async fn revoke(State(marks): State<Marks>, Path(user): Path<String>) {
        marks.note(&user, Mark::Revoked);
    }
    let router = Router::new()
        .route("/revoke/{user}", post(revoke))
        .with_state(marks);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// Takes mails for anybody, and looks in them for users of whom there was none yet.
pub(crate) async fn mails(marks: Marks) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(session(stream, marks.clone()));
        }
    });
    Ok(address)
}

/// The few words of RFC 5321 that a client needs.
async fn session(stream: TcpStream, marks: Marks) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 bench\r\n").await?;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer = match line.trim_end().to_ascii_uppercase().as_str() {
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let mail = message(&mut stream).await?;
                let waiting = marks.with_but_not(Mark::Sent, Mark::Mailed);
                let concerned = waiting.iter().filter(|user| mail.contains(user.as_str()));
                concerned.for_each(|user| marks.note(user, Mark::Mailed));
                "250 taken"
            }
            "QUIT" => "221 bye",
            _ => "250 yes",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

/// Up to the single dot, with the soft line breaks of quoted-printable undone.
async fn message(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut mail = String::new();
    loop {
        if stream.read_line(&mut mail).await? == 0 || mail.ends_with("\r\n.\r\n") {
            return Ok(mail.replace("=\r\n", ""));
        }
    }
}
