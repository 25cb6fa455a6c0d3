//! Leaf: every metric of the daemon, in one block where the doc comment is the help text.
//!
//! Handles to counters are cheap to clone and to add to, but nothing here is touched once per event: the loops add up
//! per batch ([`Refreshes`] does so for what is counted by client), and publish what they have.
//!
//! No label ever holds a user, family, token, session or address. Clients and tenants appear by name when the
//! configuration names them, and as `other` when it does not ([`Names`]); rates by user and by address come from
//! [`top`] instead. Every label set that is known at start is exported as 0 ([`Metrics::prepare`]), so that a rate has
//! a beginning and an alert can tell "none" from "unknown".

#[macro_use]
mod declare;
mod names;
mod prepare;
mod refreshes;
pub mod top;

pub use declare::Declared;
pub use names::Names;
pub use prepare::{
    ATTEMPT_OUTCOMES, CONSEQUENCES, ENGINE_TABLES, FINAL_STATES, INGEST_OUTCOMES, Known,
    NOTIFICATION_OUTCOMES, PUT_OFF,
};
pub use refreshes::Refreshes;

pub use prometheus::Registry;
use prometheus::{Encoder as _, TextEncoder};

/// From a retry within a second to a token that slept for a month; dense around the lifetimes of access tokens.
const INTERVAL_S: &[f64] = &[
    1.0,
    10.0,
    60.0,
    240.0,
    300.0,
    600.0,
    900.0,
    1800.0,
    3600.0,
    14_400.0,
    86_400.0,
    604_800.0,
    2_592_000.0,
];
/// From one poll to the quarter of an hour after which nothing is done any more without being asked.
const LATENCY_S: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
];
/// One call of an API or a mail server.
const CALL_S: &[f64] = &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// One batch in the engine, or one transaction.
const WORK_S: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
];

metrics! {
    prefix "tokenwarden_";

    /// All metrics of the daemon.
    pub struct Metrics {
        // --- which program, which configuration ---

        /// Version of the running program, as a label; always 1.
        build_info: IntGaugeVec["version"],
        /// SHA-256 of the configuration file in force, as a label; always 1.
        config_info: IntGaugeVec["sha256"],
        /// SHA-256 of each rule file in force, as a label; always 1.
        rules_info: IntGaugeVec["file", "sha256"],
        /// The ceiling over every rule: 1 for the mode in force, 0 for the others.
        mode_info: IntGaugeVec["mode"],
        /// Whether the last attempt to load the configuration succeeded; after a failure the old one stays in force.
        config_last_reload_successful: IntGauge,
        /// Unix time at which a configuration was last loaded successfully.
        config_last_reload_success_timestamp_seconds: Gauge,
        /// Whether the daemon consumes and can store, or stands by, as /-/ready says.
        ready: IntGauge,
        /// Whether the daemon leads (1) or stands by (0). Of all daemons on one store, which the label tells from others, one leads.
        leader: IntGaugeVec["store"],

        // --- sources ---

        /// Whether reading from the source works.
        source_up: IntGaugeVec["source"],
        /// Times that reading from the source stopped working.
        source_failures_total: IntCounterVec["source"],
        /// Records known to be waiting in a partition of a source, where the source can tell.
        source_lag_records: IntGaugeVec["source", "partition"],
        /// Records read for the first time.
        records_received_total: IntCounterVec["source"],
        /// Records read again to rebuild state, after a start or before its starting point; they cause no output.
        records_read_again_total: IntCounterVec["source"],
        /// Events decoded from records read for the first time.
        events_total: IntCounterVec["source"],
        /// Records that could not be used, kept in the reject table.
        records_rejected_total: IntCounterVec["source", "reason"],
        /// Events ignored because they had been seen before.
        events_duplicate_total: IntCounter,
        /// Events later than the lateness of their source: kept as history, reviewed instead of acted on.
        events_late_total: IntCounter,
        /// Unix time at which the newest record arrived.
        last_record_received_timestamp_seconds: GaugeVec["source"],
        /// Unix time at which what came of a record was last stored.
        last_record_processed_timestamp_seconds: GaugeVec["source"],
        /// Event time up to which everything has been judged: the lowest of the sources.
        watermark_timestamp_seconds: Gauge,
        /// Requests to the ingest listener, by what they were answered.
        ingest_requests_total: IntCounterVec["source", "outcome"],

        // --- what people and apps do ---

        /// Uses of refresh tokens. Clients and tenants that the configuration does not name are `other`.
        refreshes_total: IntCounterVec["client", "tenant", "outcome"],
        /// Refused uses of refresh tokens, by the server's reason.
        refresh_failures_total: IntCounterVec["client", "tenant", "reason"],
        /// Seconds between two accepted refreshes of one session or family at one client.
        refresh_interval_seconds: HistogramVec["client"] in INTERVAL_S,
        /// Uses of refresh tokens by country of the address (ISO 3166-1 alpha-2; `unknown` without one).
        refreshes_by_country_total: IntCounterVec["country"],
        /// Accepted refreshes by another kind of device or application than the one before in the same session or family.
        device_changes_total: IntCounterVec["client"],

        // --- what the rules find ---

        /// Findings of the rules, by the severity of each.
        detections_total: IntCounterVec["rule", "severity"],
        /// Seconds from an event to its detections being stored.
        detection_latency_seconds: Histogram in LATENCY_S,
        /// Rules that lack what they need to see anything (1), such as a GeoIP file.
        rule_blind: IntGaugeVec["rule"],
        /// Events for which a condition of the rule had no answer (such as a division by zero), so that the rule left them out.
        rule_errors_total: IntCounterVec["rule"],
        /// Exceptions of a rule that have ended, or will within 14 days.
        rule_exceptions_expiring: IntGaugeVec["rule"],
        /// Incidents opened, by severity at that time.
        incidents_opened_total: IntCounterVec["severity"],
        /// Incidents that are open or acknowledged.
        incidents_open: IntGaugeVec["severity"],

        /// Incidents closed, by the rule of the gravest finding and how they ended; `lapsed` closed themselves without a verdict.
        incidents_closed_total: IntCounterVec["rule", "resolution"],

        // --- what is done about it ---

        /// Decisions of the response policy; `hold` waits for a person.
        decisions_total: IntCounterVec["action", "decision"],
        /// Attempts at actions, by the revoker or receiver that was asked and how each ended.
        action_attempts_total: IntCounterVec["target", "action", "outcome"],
        /// Seconds that an attempt at an action took.
        action_duration_seconds: HistogramVec["action"] in CALL_S,
        /// Actions that are over, by their last state.
        actions_finished_total: IntCounterVec["action", "state"],
        /// Actions to be performed now or after a pause.
        actions_pending: IntGaugeVec["action"],
        /// Unix time at which the oldest of the pending actions was decided; 0 when none is pending.
        actions_oldest_pending_timestamp_seconds: Gauge,
        /// Actions that wait for a person: budget used up, too old, or approval required.
        actions_held: IntGauge,
        /// Clients whose breaker is open, so that nothing is ended there without a person. Clients that the configuration does not name are `other`.
        breakers_open: IntGaugeVec["client"],
        /// Actions given up after the last attempt, until somebody retries them.
        actions_parked: IntGauge,
        /// Seconds from the event that proved a theft to the answer of the server that its login has ended.
        containment_latency_seconds: Histogram in LATENCY_S,
        /// Revocations shown to have taken effect, by what showed it; `silence`: nobody was seen using the login for a day.
        revocations_verified_total: IntCounterVec["by"],
        /// Logins used again after the server had answered that they were ended, by what came of it: the revocation was
        /// `retried`, or `given_up` after the second time.
        revocations_without_effect_total: IntCounterVec["consequence"],
        /// Revocations that were answered, of which nothing has shown yet that they took effect.
        revocations_unverified: IntGauge,
        /// Revokers and receivers that fail for one action after the other, and are left alone for a while (1).
        delivery_circuit_open: IntGaugeVec["kind", "target"],
        /// Actions that have to come again because their revoker or receiver may not be asked now: it fails (`circuit`), has as
        /// many calls as it may (`busy`), or was called as often as it may be (`rate`).
        delivery_put_off_total: IntCounterVec["kind", "target", "why"],
        /// Attempts to notify a receiver, by how each ended; `capped`: it had too many messages, and a summary tells it.
        notifications_total: IntCounterVec["receiver", "outcome"],
        /// Unix time at which a receiver was last notified successfully.
        notification_last_success_timestamp_seconds: GaugeVec["receiver"],

        // --- the machine inside ---

        /// Seconds that the engine took for one batch, which had been decoded by then.
        engine_batch_duration_seconds: Histogram in WORK_S,
        /// Entries that the engine remembers, by table.
        engine_entries: IntGaugeVec["table"],
        /// Entries forgotten because a table was full, and questions answered before their time because too many waited; each may be
        /// a detection that does not come.
        engine_evictions_total: IntCounter,
        /// Memory of the process in bytes beyond which the engine forgets the oldest for what comes (`state.memory_max`); 0 when none is set.
        memory_max_bytes: IntGauge,
        /// Seconds that one transaction of detections, actions and positions took.
        commit_duration_seconds: Histogram in WORK_S,
        /// Statements on the store that failed.
        store_errors_total: IntCounter,
        /// Unix time at which a canary last arrived: a record that the daemon sends itself every five minutes, on the way of all
        /// others from a source through the engine and a transaction to the outbox.
        canary_last_success_timestamp_seconds: Gauge,
        /// Seconds that a canary took from the source to the outbox.
        canary_duration_seconds: Histogram in LATENCY_S,
        /// Unix time at which the state was last saved.
        snapshot_last_success_timestamp_seconds: Gauge,
        /// Size of the state when it was last saved.
        snapshot_size_bytes: IntGauge,
        /// Events written to the archive.
        archive_events_total: IntCounter,
        /// Events that are missing in the archive, because it could not be written.
        archive_events_lost_total: IntCounter,
        /// Bytes written to the archive, compressed.
        archive_written_bytes_total: IntCounter,
        /// Size of the archive.
        archive_size_bytes: IntGauge,
        /// Whether the archive could not be written when it was last tried.
        archive_failing: IntGauge,
        /// Unix time at which a GeoIP database in use was built.
        geoip_build_timestamp_seconds: GaugeVec["database"],
        /// Faults that the hourly check of a source, store, mail server or API found.
        online_check_faults: IntGaugeVec["part"],
        /// Unix time of that check.
        online_check_timestamp_seconds: Gauge,
    }
}

/// A registry with the metrics of the process itself (memory, CPU, open files) and ours.
pub fn registry() -> Result<(Registry, Metrics), prometheus::Error> {
    let registry = Registry::new();
    registry.register(Box::new(
        prometheus::process_collector::ProcessCollector::for_self(),
    ))?;
    let metrics = Metrics::register(&registry)?;
    Ok((registry, metrics))
}

/// Content type of [`scrape`].
pub const SCRAPE_CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Everything in the registry as Prometheus text.
pub fn scrape(registry: &Registry) -> Result<String, prometheus::Error> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}
