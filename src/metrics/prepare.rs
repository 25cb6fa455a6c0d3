//! Exports every label set that is known at start as 0: a rate needs a beginning, and an alert must tell none from unknown.

use crate::model::{
    Action, ActionKind, BreakerReport, BreakerState, Decision, Mode, Outcome, Reason, RejectReason,
    Resolution, Severity, ShownBy, Text,
};

use super::{Metrics, Names, refreshes};

/// What is known at start, or after a reload, of the values that labels can have.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub sources: Vec<Text>,
    /// Those with an ingest endpoint.
    pub webhooks: Vec<Text>,
    pub rules: Vec<Text>,
    pub receivers: Vec<Text>,
    pub revokers: Vec<Text>,
    /// Parts that the online check asks.
    pub parts: Vec<Text>,
    pub names: Names,
}

/// How one attempt ended, as a label.
pub const ATTEMPT_OUTCOMES: &[&str] = &["done", "retry", "refused"];
/// How one message to a receiver ended; `capped`: it had too many, and a summary tells it.
pub const NOTIFICATION_OUTCOMES: &[&str] = &["done", "retry", "refused", "capped"];
/// The states in which an action is over, as a label.
pub const FINAL_STATES: &[&str] = &["done", "parked", "suppressed", "expired"];
/// What came of a revocation without effect, as a label.
pub const CONSEQUENCES: &[&str] = &["retried", "given_up"];
/// Why an action has to come again, as a label.
pub const PUT_OFF: &[&str] = &["circuit", "busy", "rate"];
/// What a request to the ingest listener was answered, as a label.
pub const INGEST_OUTCOMES: &[&str] = &[
    "accepted",
    "unauthorized",
    "too_large",
    "timed_out",
    "malformed",
    "unavailable",
];
/// The engine's tables, as a label.
pub const ENGINE_TABLES: &[&str] = &[
    "families", "tokens", "users", "networks", "clients", "waiting",
];

impl Metrics {
    /// Exports every label set that is known as 0, and leaves what has been counted as it is.
    pub fn prepare(&self, known: &Known) {
        for source in &known.sources {
            self.prepare_source(source);
        }
        for source in &known.webhooks {
            each(INGEST_OUTCOMES, |outcome| {
                self.ingest_requests_total
                    .with_label_values(&[&**source, outcome])
            });
        }
        for rule in &known.rules {
            each(Severity::ALL, |severity| {
                self.detections_total
                    .with_label_values(&[rule, severity.as_str()])
            });
            self.prepare_closed(rule);
            self.rule_blind.with_label_values(&[rule]);
            self.rule_errors_total.with_label_values(&[rule]);
            self.rule_exceptions_expiring.with_label_values(&[rule]);
        }
        for receiver in &known.receivers {
            each(NOTIFICATION_OUTCOMES, |outcome| {
                self.notifications_total
                    .with_label_values(&[&**receiver, outcome])
            });
            self.notification_last_success_timestamp_seconds
                .with_label_values(&[receiver]);
            self.prepare_target("receiver", receiver);
            self.prepare_attempts(receiver, ActionKind::Notify);
        }
        for revoker in &known.revokers {
            self.prepare_target("revoker", revoker);
            let deeds = ActionKind::ALL.iter().filter(|kind| kind.is_deed());
            deeds.for_each(|kind| self.prepare_attempts(revoker, *kind));
        }
        each(&known.parts, |part| {
            self.online_check_faults.with_label_values(&[part])
        });
        each(Severity::ALL, |severity| {
            self.incidents_opened_total
                .with_label_values(&[severity.as_str()]);
            self.incidents_open.with_label_values(&[severity.as_str()])
        });
        each(ENGINE_TABLES, |table| {
            self.engine_entries.with_label_values(&[table])
        });
        each(Mode::ALL, |mode| {
            self.mode_info.with_label_values(&[mode.as_str()])
        });
        self.refreshes_by_country_total
            .with_label_values(&[refreshes::UNKNOWN_COUNTRY]);
        self.build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        self.prepare_closed(Action::BY_HAND);
        self.prepare_actions();
        self.prepare_names(&known.names);
    }

    fn prepare_source(&self, source: &str) {
        self.source_up.with_label_values(&[source]);
        for counter in [
            &self.source_failures_total,
            &self.records_received_total,
            &self.records_read_again_total,
            &self.events_total,
        ] {
            counter.with_label_values(&[source]);
        }
        self.last_record_received_timestamp_seconds
            .with_label_values(&[source]);
        self.last_record_processed_timestamp_seconds
            .with_label_values(&[source]);
        each(RejectReason::ALL, |reason| {
            self.records_rejected_total
                .with_label_values(&[source, reason.as_str()])
        });
    }

    fn prepare_target(&self, kind: &str, target: &str) {
        self.delivery_circuit_open
            .with_label_values(&[kind, target]);
        each(PUT_OFF, |why| {
            self.delivery_put_off_total
                .with_label_values(&[kind, target, why])
        });
    }

    fn prepare_attempts(&self, target: &str, kind: ActionKind) {
        each(ATTEMPT_OUTCOMES, |outcome| {
            self.action_attempts_total
                .with_label_values(&[target, kind.as_str(), outcome])
        });
    }

    fn prepare_closed(&self, rule: &str) {
        each(Resolution::ALL, |resolution| {
            self.incidents_closed_total
                .with_label_values(&[rule, resolution.as_str()])
        });
    }

    fn prepare_actions(&self) {
        each(ShownBy::ALL, |by| {
            self.revocations_verified_total
                .with_label_values(&[by.as_str()])
        });
        each(CONSEQUENCES, |consequence| {
            self.revocations_without_effect_total
                .with_label_values(&[consequence])
        });
        for kind in ActionKind::ALL {
            let kind = kind.as_str();
            each(Decision::ALL, |decision| {
                self.decisions_total
                    .with_label_values(&[kind, decision.as_str()])
            });
            each(FINAL_STATES, |state| {
                self.actions_finished_total
                    .with_label_values(&[kind, state])
            });
            self.actions_pending.with_label_values(&[kind]);
            self.action_duration_seconds.with_label_values(&[kind]);
        }
    }

    fn prepare_names(&self, names: &Names) {
        for client in names.clients().all() {
            self.refresh_interval_seconds.with_label_values(&[client]);
            self.device_changes_total.with_label_values(&[client]);
            self.breakers_open.with_label_values(&[client]);
            for tenant in names.tenants().all() {
                each(Outcome::ALL, |outcome| {
                    self.refreshes_total
                        .with_label_values(&[client, tenant, outcome.as_str()])
                });
                each(Reason::ALL, |reason| {
                    self.refresh_failures_total.with_label_values(&[
                        client,
                        tenant,
                        reason.as_str(),
                    ])
                });
            }
        }
    }

    /// Shows how many breakers are open, by client.
    pub fn breakers(&self, names: &Names, breakers: &[BreakerReport]) {
        let mut open = vec![0; names.clients().all().len()];
        for breaker in breakers.iter().filter(|it| it.state == BreakerState::Open) {
            open[names.clients().index(Some(&breaker.client.client_id))] += 1;
        }
        for (client, open) in names.clients().all().iter().zip(open) {
            self.breakers_open.with_label_values(&[client]).set(open);
        }
    }

    /// Says which configuration and rules are in force, and forgets the ones before.
    pub fn configured(&self, sha256: &str, rule_files: &[(Text, Text)], mode: Mode) {
        self.config_info.reset();
        self.config_info.with_label_values(&[sha256]).set(1);
        self.rules_info.reset();
        for (file, sha256) in rule_files {
            self.rules_info.with_label_values(&[file, sha256]).set(1);
        }
        each(Mode::ALL, |each| {
            self.mode_info
                .with_label_values(&[each.as_str()])
                .set(i64::from(*each == mode));
        });
    }
}

fn each<T, R>(values: &[T], touch: impl Fn(&T) -> R) {
    for value in values {
        touch(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{registry, scrape};

    fn known() -> Known {
        Known {
            revokers: vec!["sso".into()],
            sources: vec!["audit".into()],
            webhooks: vec!["auth0".into()],
            rules: vec!["token-reuse".into()],
            receivers: vec!["on-call".into()],
            parts: vec!["store".into()],
            names: Names::new(["web".into()], ["acme".into()]),
        }
    }

    #[test]
    fn exports_what_is_known_at_start_as_zero() {
        let (registry, metrics) = registry().unwrap();
        metrics.prepare(&known());
        let text = scrape(&registry).unwrap();
        for line in [
            "tokenwarden_records_received_total{source=\"audit\"} 0",
            "tokenwarden_records_rejected_total{reason=\"not_utf8\",source=\"audit\"} 0",
            "tokenwarden_detections_total{rule=\"token-reuse\",severity=\"critical\"} 0",
            "tokenwarden_refresh_failures_total{client=\"other\",reason=\"reuse\",tenant=\"acme\"} 0",
            "tokenwarden_refreshes_total{client=\"web\",outcome=\"success\",tenant=\"other\"} 0",
            "tokenwarden_notifications_total{outcome=\"refused\",receiver=\"on-call\"} 0",
            "tokenwarden_decisions_total{action=\"revoke_family\",decision=\"hold\"} 0",
            "tokenwarden_containment_latency_seconds_count 0",
        ] {
            assert!(text.lines().any(|each| each == line), "no line {line}");
        }
        assert!(text.contains(
            "# HELP tokenwarden_records_received_total Records read for the first time.\n"
        ));
        assert!(text.contains("process_resident_memory_bytes "));
    }

    #[test]
    fn every_metric_has_a_sample_once_what_is_known_has_been_prepared() {
        let (registry, metrics) = registry().unwrap();
        metrics.prepare(&known());
        metrics.configured(
            "abc",
            &[("rules/a.yaml".into(), "def".into())],
            Mode::Observe,
        );
        let text = scrape(&registry).unwrap();
        let without: Vec<&str> = Metrics::DECLARED
            .iter()
            .map(|declared| declared.name)
            // Partitions and GeoIP databases show up with the first that is read, the store with the first page.
            .filter(|name| {
                !name.ends_with("source_lag_records")
                    && !name.ends_with("_leader")
                    && !name.ends_with("geoip_build_timestamp_seconds")
            })
            .filter(|name| !text.contains(&format!("# TYPE {name} ")))
            .collect();
        assert_eq!(without, Vec::<&str>::new());
    }

    #[test]
    fn another_configuration_replaces_the_one_before() {
        let (registry, metrics) = registry().unwrap();
        metrics.configured("first", &[], Mode::Observe);
        metrics.configured("second", &[], Mode::Enforce);
        let text = scrape(&registry).unwrap();
        assert!(
            text.contains("tokenwarden_config_info{sha256=\"second\"} 1")
                && !text.contains("first")
        );
        assert!(text.contains("tokenwarden_mode_info{mode=\"observe\"} 0"));
        assert!(text.contains("tokenwarden_mode_info{mode=\"enforce\"} 1"));
    }
}
