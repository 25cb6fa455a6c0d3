//! Leaf: logs, to standard error, as text for people or JSON for machines.
//!
//! What is logged is chosen in the configuration alone: the usual `RUST_LOG` is not read, as nothing of the environment
//! is. No log line holds a secret or stands for one event; what happens often is counted and said rarely ([`Rarely`]).

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Libraries that say at `info` what only their developers want to know.
const QUIET: &str =
    "sqlx=warn,hyper=warn,reqwest=warn,rustls=warn,librdkafka=error,rdkafka=error,lettre=warn";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Text,
    /// One object per line.
    Json,
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    pub format: LogFormat,
    /// `info`, or directives such as `info,tokenwarden::sources=debug`.
    pub level: String,
    /// For a terminal that wants it; text only.
    pub color: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(
        "log level `{level}`: {reason}; expected error, warn, info, debug or trace, or directives such as `info,tokenwarden::sources=debug`"
    )]
    Level { level: String, reason: String },
    #[error("logging has been set up already")]
    AlreadySet,
}

/// Sends the logs of this process to standard error. Once in a process.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    use tracing_subscriber::util::SubscriberInitExt as _;
    subscriber(settings, BoxMakeWriter::new(std::io::stderr))?
        .try_init()
        .map_err(|_| TelemetryError::AlreadySet)
}

type Subscriber = Box<dyn tracing::Subscriber + Send + Sync>;

fn subscriber(settings: &LogSettings, writer: BoxMakeWriter) -> Result<Subscriber, TelemetryError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&settings.level)?)
        // A line that cannot be written, on a full disk or to a collector that is gone, would be told of on standard error, which
        // is the log: that fails too, and a thread that cannot write there panics.
        .log_internal_errors(false)
        .with_writer(writer);
    Ok(match settings.format {
        LogFormat::Text => Box::new(builder.with_ansi(settings.color).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

/// The level asked for, after the quiet list: a directive for one of those libraries still wins.
fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(format!("{QUIET},{level}"))
        .map_err(|error| TelemetryError::Level {
            level: level.to_owned(),
            reason: error.to_string(),
        })
}

/// Lets one of many equal messages through per period, and counts the rest.
///
/// ```
/// # use std::time::Duration;
/// static REFUSED: tokenwarden::telemetry::Rarely = tokenwarden::telemetry::Rarely::every(Duration::from_secs(60));
/// if let Some(more) = REFUSED.admit() {
///     tracing::warn!(more, "The mail server refused a message; {more} more since this was last said");
/// }
/// ```
#[derive(Debug)]
pub struct Rarely {
    period: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl Rarely {
    pub const fn every(period: Duration) -> Self {
        Self {
            period,
            state: Mutex::new((None, 0)),
        }
    }

    /// Whether to speak now: how many messages were left out since the last time.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        // A panic elsewhere cannot leave two numbers in a state that matters.
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let (last, left_out) = *state;
        if last.is_some_and(|last| now.duration_since(last) < self.period) {
            state.1 += 1;
            return None;
        }
        *state = (Some(now), 0);
        Some(left_out)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let settings = LogSettings {
            format,
            level: level.to_owned(),
            color: false,
        };
        let subscriber = subscriber(&settings, BoxMakeWriter::new(move || writer.clone())).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(source = "audit", "Reading on from {}", 42);
            tracing::debug!("a detail");
            tracing::info!(target: "sqlx::query", "a statement");
        });
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn writes_json_lines_that_machines_can_read() {
        let text = logged(LogFormat::Json, "info");
        let line: serde_json::Value = serde_json::from_str(text.trim()).expect("one object");
        assert_eq!(line["message"], "Reading on from 42");
        assert_eq!(line["source"], "audit");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn says_what_the_level_asks_for_and_keeps_libraries_quiet() {
        let text = logged(LogFormat::Text, "info");
        assert!(text.contains("Reading on from 42") && text.contains("source=\"audit\""));
        assert!(!text.contains("a detail") && !text.contains("a statement"));
        let text = logged(LogFormat::Text, "debug,sqlx=info");
        assert!(text.contains("a detail") && text.contains("a statement"));
    }

    #[test]
    fn names_a_level_that_is_none() {
        let error = filter("loud=very").unwrap_err().to_string();
        assert!(
            error.contains("`loud=very`") && error.contains("expected error, warn"),
            "{error}"
        );
    }

    #[test]
    fn speaks_once_in_a_period_and_counts_the_rest() {
        let rarely = Rarely::every(Duration::from_mins(1));
        let start = Instant::now();
        assert_eq!(rarely.admit_at(start), Some(0));
        assert_eq!(rarely.admit_at(start + Duration::from_secs(1)), None);
        assert_eq!(rarely.admit_at(start + Duration::from_secs(59)), None);
        assert_eq!(rarely.admit_at(start + Duration::from_mins(1)), Some(2));
        assert_eq!(rarely.admit_at(start + Duration::from_secs(61)), None);
    }
}
