//! What the listeners and the signals ask of the running daemon: metrics, readiness, top lists, reload.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use super::archive::Keeper;
use super::audited::{self, Refusals};
use super::blind;
use super::board::Board;
use super::key::{self, Keys};
use super::lead::Lead;
use super::loaded::Loaded;
use super::online::PartReport;
use super::restart;
use crate::admin::{self, Readiness};
use crate::clock;
use crate::config::Config;
use crate::delivery::{Performers, Withheld};
use crate::enrich::Tables;
use crate::metrics::top::{By, Top, TopList};
use crate::metrics::{self, Metrics, Registry};
use crate::model::{
    ActionKind, ActionState, AuditKind, AuditNote, BreakerReport, Mode, Severity, Text, Timestamp,
    limits,
};
use crate::pipeline::Control;
use crate::store::{Closed, Store};

pub(super) struct Controls {
    loaded: RwLock<Arc<Loaded>>,
    keys: Keys,
    metrics: Metrics,
    registry: Registry,
    pub(super) store: Store,
    top: Arc<Mutex<Top>>,
    pub(super) board: Arc<Board>,
    pub(super) control: mpsc::Sender<Control>,
    performers: watch::Sender<Arc<Performers>>,
    /// Revokers that must not act, as the online check found.
    pub(super) withheld: Withheld,
    pub(super) refusals: Refusals,
    pub(super) archive: Option<Keeper>,
    pub(super) lead: Arc<Lead>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
}

/// A scrape does not wait longer than this for the store.
const GAUGES_TIMEOUT: Duration = Duration::from_secs(2);

impl Controls {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, by the wiring; each is a part that it shares"
    )]
    pub(super) fn new(
        loaded: Loaded,
        keys: Keys,
        metrics: Metrics,
        registry: Registry,
        store: Store,
        top: Arc<Mutex<Top>>,
        board: Arc<Board>,
        control: mpsc::Sender<Control>,
        performers: watch::Sender<Arc<Performers>>,
        archive: Option<Keeper>,
        lead: Arc<Lead>,
    ) -> Self {
        let controls = Self {
            loaded: RwLock::new(Arc::new(loaded)),
            keys,
            metrics,
            registry,
            store,
            top,
            board,
            control,
            performers,
            withheld: Withheld::default(),
            refusals: Refusals::default(),
            archive,
            lead,
            reloading: tokio::sync::Mutex::new(()),
        };
        controls.describe();
        controls
    }

    pub(super) fn config(&self) -> Config {
        self.loaded().config.clone()
    }

    pub(super) fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn grace_period(&self) -> Duration {
        self.loaded().config.grace_period
    }

    /// Loads the configuration again: everything is made first, then everything is replaced; on any fault nothing is.
    pub(super) async fn load_again(&self, who: &str) -> Result<String, String> {
        let _one = self.reloading.lock().await;
        let loaded = match self.make_again() {
            Ok(loaded) => loaded,
            Err(faults) => return Err(self.not_loaded(who, faults).await),
        };
        let rules = loaded.rules.rules.len();
        if self.board.stands_by() {
            // Nothing runs yet that would have to take it, and the audit log is told of it at the take-over.
            self.put_in_force(loaded);
            return Ok(format!("loaded: {rules} rules, for when this daemon leads"));
        }
        let place = match self.place_for_reload().await {
            Ok(place) => place,
            Err(why) => return Err(self.not_loaded(who, why).await),
        };
        let note = audited::in_force(AuditKind::Reloaded, who, &loaded);
        if let Err(why) = audited::tell(&self.store, note).await {
            return Err(self.not_loaded(who, why).await);
        }
        place.send(Control::Reload(Box::new(loaded.reload())));
        self.put_in_force(loaded);
        tracing::info!(rules, "The configuration was loaded again");
        Ok(format!("loaded: {rules} rules"))
    }

    fn put_in_force(&self, loaded: Loaded) {
        self.performers.send_replace(Arc::clone(&loaded.performers));
        self.metrics.prepare(&loaded.known());
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        self.describe();
    }

    async fn not_loaded(&self, who: &str, faults: String) -> String {
        self.metrics.config_last_reload_successful.set(0);
        tracing::error!(%faults, "The configuration was not loaded; the former one stays in force");
        let note = AuditNote::of(AuditKind::ReloadRefused, who).because(&faults);
        if let Err(why) = audited::tell(&self.store, note).await {
            tracing::warn!("A refused reload is missing in the audit log: {why}");
        }
        faults
    }

    /// Asked for before anything is replaced: the engine takes nothing while the store is away.
    async fn place_for_reload(&self) -> Result<mpsc::Permit<'_, Control>, String> {
        match tokio::time::timeout(limits::RELOAD_WAIT_MAX, self.control.reserve()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err("the daemon is stopping".to_owned()),
            Err(_) => Err("the engine takes nothing at the moment, as when the store is away; load it again when it does".to_owned()),
        }
    }

    fn make_again(&self) -> Result<Loaded, String> {
        let listed = |faults: Vec<crate::yaml::Fault>| {
            faults
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        };
        let path = self.loaded().config.path.clone();
        let config = Config::load(&path).map_err(listed)?;
        let before = self.loaded();
        let whys = restart::needed_by(&before.config, &config);
        if !whys.is_empty() {
            let line = |why: &String| format!("{}: {why}", path.display());
            return Err(whys.iter().map(line).collect::<Vec<_>>().join("\n"));
        }
        // After the store's place, beside which a key of its own would be made.
        if !key::keys(&config).is_ok_and(|keys| keys == self.keys) {
            return Err(format!(
                "{}: the token keys cannot be changed by a reload; restart the daemon",
                path.display()
            ));
        }
        Loaded::new(config, &self.keys).map_err(listed)
    }

    /// The gauges that say which configuration is in force.
    fn describe(&self) {
        let loaded = self.loaded();
        let config = &loaded.config;
        self.metrics
            .configured(&config.sha256, &loaded.rules.files, config.mode);
        let memory_max = config.state.memory_max.unwrap_or(0);
        self.metrics
            .memory_max_bytes
            .set(i64::try_from(memory_max).unwrap_or(i64::MAX));
        self.metrics.config_last_reload_successful.set(1);
        self.metrics
            .config_last_reload_success_timestamp_seconds
            .set(clock::seconds(clock::now()));
        self.describe_tables(&loaded.tables);
        self.describe_exceptions();
    }

    /// Tells of exceptions that have ended or soon will, in the log and as a gauge.
    pub(super) fn describe_exceptions(&self) {
        let loaded = self.loaded();
        let expiring = loaded.rules.expiring(clock::now());
        for rule in &loaded.rules.rules {
            let of_rule = expiring.iter().filter(|(of, _)| of.name == rule.name);
            self.metrics
                .rule_exceptions_expiring
                .with_label_values(&[&rule.name])
                .set(i64::try_from(of_rule.count()).unwrap_or(i64::MAX));
        }
        for (_, warning) in expiring {
            tracing::warn!("{warning}");
        }
    }

    /// The gauges that say how old the GeoIP files in use are, and which rules see nothing without one.
    pub(super) fn describe_tables(&self, tables: &Tables) {
        self.metrics.geoip_build_timestamp_seconds.reset();
        for (table, built) in tables.built() {
            self.metrics
                .geoip_build_timestamp_seconds
                .with_label_values(&[table.as_str()])
                .set(built.as_secs_f64());
        }
        for rule in &self.loaded().rules.rules {
            let is_blind = blind::lacks_table(rule, tables);
            self.metrics
                .rule_blind
                .with_label_values(&[&rule.name])
                .set(i64::from(is_blind));
        }
    }

    /// Shows what the online check found. A part that is configured no more keeps no fault.
    pub(super) fn checked(&self, reports: &[PartReport], at: Timestamp) {
        self.metrics.online_check_faults.reset();
        for report in reports {
            self.metrics
                .online_check_faults
                .with_label_values(&[&report.part])
                .set(i64::try_from(report.faults()).unwrap_or(i64::MAX));
        }
        self.metrics
            .online_check_timestamp_seconds
            .set(clock::seconds(at));
    }

    /// Counts held and offered actions about which nobody has decided in time.
    pub(super) fn undecided(&self, over: &[(ActionKind, ActionState)]) {
        for (kind, state) in over {
            tracing::warn!("A {kind} waited for a person too long and is {state}");
            self.metrics
                .actions_finished_total
                .with_label_values(&[kind.as_str(), state.as_str()])
                .inc();
        }
    }

    async fn gauges(&self) {
        if let Some(archive) = &self.archive {
            archive.describe(&self.metrics);
        }
        let Ok(Ok(gauges)) = tokio::time::timeout(GAUGES_TIMEOUT, self.store.gauges()).await else {
            // What the store said last stays; `ready` tells that it does not answer.
            return;
        };
        let as_gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for kind in ActionKind::ALL {
            let pending = count_of(&gauges.pending, kind);
            self.metrics
                .actions_pending
                .with_label_values(&[kind.as_str()])
                .set(as_gauge(pending));
        }
        for severity in Severity::ALL {
            let open = count_of(&gauges.open_incidents, severity);
            self.metrics
                .incidents_open
                .with_label_values(&[severity.as_str()])
                .set(as_gauge(open));
        }
        let oldest = gauges.oldest_pending.map_or(0.0, clock::seconds);
        self.metrics
            .actions_oldest_pending_timestamp_seconds
            .set(oldest);
        self.metrics.actions_held.set(as_gauge(gauges.held));
        self.metrics.actions_parked.set(as_gauge(gauges.parked));
        let unverified = &self.metrics.revocations_unverified;
        unverified.set(as_gauge(gauges.unverified));
        let saved = gauges.last_snapshot.map_or(0.0, clock::seconds);
        self.metrics
            .snapshot_last_success_timestamp_seconds
            .set(saved);
    }
}

fn count_of<K: PartialEq>(counts: &[(K, u64)], key: &K) -> u64 {
    counts
        .iter()
        .find(|(known, _)| known == key)
        .map_or(0, |(_, count)| *count)
}

impl admin::Health for Controls {
    fn metrics(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move {
            // What is in the store is shown by the daemon that leads alone, or each alert about it would come twice.
            if !self.board.stands_by() {
                self.gauges().await;
            }
            self.lead.describe(&self.metrics);
            self.board.readiness();
            metrics::scrape(&self.registry)
                .map_err(|error| format!("the metrics cannot be written: {error}"))
        })
    }

    fn readiness(&self) -> Readiness {
        self.board.readiness()
    }

    fn leads(&self) -> bool {
        self.lead.mandate.holds()
    }

    fn notes(&self) -> Vec<String> {
        self.board.notes()
    }
}

impl admin::Control for Controls {
    fn reload(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(self.load_again("api"))
    }

    fn refused(&self, peer: Option<IpAddr>) {
        self.refusals.count(peer);
    }

    fn top(&self, by: By, window: Duration, limit: usize) -> TopList {
        self.top
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .list(by, window, limit)
    }

    fn breakers(&self) -> Vec<BreakerReport> {
        self.board.breakers()
    }

    fn mode(&self) -> Mode {
        self.loaded().config.mode
    }

    fn only_issuer(&self) -> Option<Text> {
        match &self.loaded().config.sources[..] {
            [only] => Some(only.name.clone()),
            _ => None,
        }
    }

    fn closed(&self, closed: &Closed) {
        self.metrics
            .incidents_closed_total
            .with_label_values(&[&*closed.rule, closed.resolution.as_str()])
            .inc();
    }
}
