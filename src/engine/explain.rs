//! Puts lineage findings into words and evidence: what happened, which branch is whose, and why.

use std::sync::Arc;

use super::family::Family;
use super::found::{Found, stable_id};
use super::lineage::place_name;
use crate::model::{Detection, Evidence, Severity, Subject, Text, Timestamp, Value};
use crate::rules::Rule;
use crate::rules::context::Context;
use crate::rules::kinds::device_change;
use crate::rules::kinds::reuse::{Finding, Verdict};
use crate::rules::ledger::Entry;

/// Presentations listed in the evidence; the rest of the ledger stays in the engine.
const TIMELINE_MAX: usize = 8;

pub(super) struct ReuseFound<'a> {
    pub(super) rule: &'a Arc<Rule>,
    pub(super) family: &'a Family,
    pub(super) finding: &'a Finding,
    pub(super) late: bool,
    pub(super) fault_repeats: usize,
}

impl ReuseFound<'_> {
    pub(super) fn describe(&self) -> Found {
        let Self {
            rule,
            family,
            finding,
            ..
        } = self;
        let completed = self.entry(finding.completed);
        let named = finding.thief.unwrap_or(finding.presented);
        let token = finding
            .token_hash
            .map_or_else(|| family.id.to_string(), |hash| hash.to_string());
        let scope = family.scope();
        // Of a lineage finding the token is named, never a derived family id. What may revoke is not the same finding
        // as what may not: the weaker one can be complete first.
        let weight = if finding.may_revoke {
            ""
        } else {
            "may not revoke"
        };
        let id = stable_id(&[
            &rule.name,
            scope.0,
            scope.1,
            finding.verdict.as_str(),
            weight,
            &token,
        ]);
        let thief = finding.thief.map(|i| family.ledger.context(self.entry(i)));
        Found {
            detection: Detection {
                severity: self.severity(),
                summary: self.summary().into(),
                evidence: self.evidence(),
                ip_address: family.ledger.context(self.entry(named)).ip_address,
                ..detection(rule, family, completed, id)
            },
            rule: Arc::clone(rule),
            grave: finding.verdict == Verdict::Theft,
            may_revoke: finding.may_revoke && finding.verdict == Verdict::Theft,
            late: self.late,
            foreign_network: thief.and_then(|c| c.network.as_ref()).map(|n| n.prefix),
        }
    }

    fn entry(&self, index: usize) -> &Entry {
        &self.family.ledger.entries()[index]
    }

    fn severity(&self) -> Severity {
        match self.finding.verdict {
            Verdict::Theft if self.finding.may_revoke => self.rule.severity,
            // The server may rotate or not: people should look, nothing should be cut off.
            Verdict::Theft => self.rule.severity.min(Severity::Medium),
            Verdict::Suspected => Severity::Low,
            Verdict::ClientFault if self.finding.repeats >= self.fault_repeats => Severity::Low,
            Verdict::ClientFault => Severity::Info,
        }
    }

    fn summary(&self) -> String {
        let presented = self.entry(self.finding.presented);
        let from = place_name(self.family.ledger.context(presented));
        let row = self.finding.row.as_str();
        let token = short(self.finding.token.as_deref().unwrap_or(&self.family.id));
        match (self.finding.verdict, self.finding.thief, self.finding.owner) {
            (Verdict::Theft, Some(thief), owner) => {
                let thief = place_name(self.family.ledger.context(self.entry(thief)));
                let owner = owner.map_or_else(String::new, |o| {
                    format!(
                        ", the owner is at {}",
                        place_name(self.family.ledger.context(self.entry(o)))
                    )
                });
                format!(
                    "Refresh token {token} stolen: {row}; the foreign holder is at {thief}{owner}"
                )
            }
            (Verdict::Theft, None, _) => {
                format!("Refresh token {token} stolen: {row}; presented from {from}")
            }
            (Verdict::Suspected, ..) => format!(
                "Refresh token {token} presented twice from {from}: {row}; not proved to be theft"
            ),
            (Verdict::ClientFault, ..) => {
                format!(
                    "The server refused its own client at {from}: refresh token {token} presented again, all in one context"
                )
            }
        }
    }

    fn evidence(&self) -> Evidence {
        let presented = self.entry(self.finding.presented);
        let ledger = &self.family.ledger;
        Evidence::new()
            .with("verdict", self.finding.verdict.as_str())
            .with("what", self.finding.row.as_str())
            .with("basis", self.finding.basis.as_str())
            .with_some("presented_token", self.finding.token.as_ref())
            .with("answer", presented.answer.as_str())
            .with("generation_gap", self.finding.gap)
            .with_some(
                "foreign_branch",
                self.finding
                    .thief
                    .map(|i| self.branch(ledger.context(self.entry(i)))),
            )
            .with_some(
                "own_branch",
                self.finding
                    .owner
                    .map(|i| self.branch(ledger.context(self.entry(i)))),
            )
            .with("timeline", self.timeline())
    }

    /// All that came from one context.
    fn branch(&self, context: &Context) -> Evidence {
        let ledger = &self.family.ledger;
        let theirs: Vec<&Entry> = ledger
            .entries()
            .iter()
            .filter(|e| ledger.context(e).same_as(context))
            .collect();
        let tokens: Vec<Value> = theirs
            .iter()
            .filter_map(|e| e.names()?.token.clone())
            .map(Value::Text)
            .collect();
        who(context)
            .with_some("first_seen", theirs.first().map(|e| instant(e.time)))
            .with_some("last_seen", theirs.last().map(|e| instant(e.time)))
            .with(
                "tokens",
                tokens
                    .into_iter()
                    .rev()
                    .take(TIMELINE_MAX)
                    .rev()
                    .collect::<Vec<_>>(),
            )
    }

    /// The presentations around the dispute, oldest first.
    fn timeline(&self) -> Vec<Value> {
        let ledger = &self.family.ledger;
        let until = self.finding.completed.max(self.finding.presented) + 1;
        let entries = &ledger.entries()[..until.min(ledger.entries().len())];
        entries[entries.len().saturating_sub(TIMELINE_MAX)..]
            .iter()
            .map(|entry| {
                let line = Evidence::new()
                    .with("time", instant(entry.time))
                    .with("answer", entry.answer.as_str())
                    .with_some("token", entry.token_name())
                    .with_some(
                        "issued",
                        entry.names().and_then(|names| names.issued.as_ref()),
                    )
                    .with_some("event_id", entry.event_id());
                Value::Map(Evidence([line.0, who(ledger.context(entry)).0].concat()))
            })
            .collect()
    }
}

pub(super) struct DeviceFound<'a> {
    pub(super) rule: &'a Arc<Rule>,
    pub(super) family: &'a Family,
    pub(super) finding: &'a device_change::Finding<'a>,
    pub(super) late: bool,
}

impl DeviceFound<'_> {
    pub(super) fn describe(&self) -> Found {
        let Self {
            rule,
            family,
            finding,
            late,
        } = self;
        let name = finding
            .entry
            .token_name()
            .unwrap_or_else(|| family.id.clone());
        let token = &*name;
        let scope = family.scope();
        let hash = finding
            .entry
            .token
            .map_or_else(|| family.id.to_string(), |hash| hash.to_string());
        let id = stable_id(&[&rule.name, scope.0, scope.1, &hash]);
        let what = if finding.fingerprint_only {
            "TLS fingerprint"
        } else {
            "kind of client"
        };
        let context = family.ledger.context(finding.entry);
        Found {
            detection: Detection {
                summary: format!(
                    "Another {what} in one family: {} after {}",
                    finding.to, finding.from
                )
                .into(),
                evidence: Evidence::new()
                    .with("from", finding.from.to_string())
                    .with("to", finding.to.to_string())
                    .with("fingerprint_only", finding.fingerprint_only)
                    .with("presented_token", token)
                    .with("presenter", who(context)),
                ip_address: context.ip_address,
                ..detection(rule, family, finding.entry, id)
            },
            rule: Arc::clone(rule),
            grave: true,
            may_revoke: false,
            late: *late,
            foreign_network: None,
        }
    }
}

fn detection(rule: &Arc<Rule>, family: &Family, completed: &Entry, id: Text) -> Detection {
    Detection {
        id,
        rule: rule.name.clone(),
        kind: rule.detect.kind().into(),
        severity: rule.severity,
        time: Timestamp::from_millisecond(completed.time).unwrap_or(Timestamp::UNIX_EPOCH),
        event_id: completed.event_id().cloned().unwrap_or_else(|| "".into()),
        subject: Subject::Family(family.id.clone()),
        issuer: family.issuer.clone(),
        tenant: family.tenant.clone(),
        user_id: family.user_id.clone(),
        client_id: family.client_id.clone(),
        family_id: Some(family.id.clone()),
        session_id: family.session_id.clone(),
        token_kind: family.token_kind,
        ip_address: None,
        summary: "".into(),
        evidence: Evidence::new(),
    }
}

fn who(context: &Context) -> Evidence {
    let network = context.network.as_ref();
    Evidence::new()
        .with_some("ip_address", context.ip_address.map(|ip| ip.to_string()))
        .with_some("network", network.map(|n| n.prefix.to_string()))
        .with_some("asn", network.and_then(|n| n.asn))
        .with_some(
            "organisation",
            network.and_then(|n| n.organisation.as_ref()),
        )
        .with_some("declared", network.and_then(|n| n.declared.as_ref()))
        .with_some("place", context.place.as_ref().map(|_| place_name(context)))
        .with_some("agent", context.agent.as_ref().map(ToString::to_string))
        .with_some("device_id", context.device_id.as_ref())
        .with_some("key_thumbprint", context.key_thumbprint.as_ref())
}

fn instant(millis: i64) -> String {
    Timestamp::from_millisecond(millis)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

fn short(token: &str) -> String {
    let head: String = token.chars().take(8).collect();
    if head.len() < token.len() {
        format!("{head}…")
    } else {
        head
    }
}
