//! A detection, an action and the counts of a replay, as a line for people and as one for machines.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Form, clean};
use crate::app::replay::Summary;
use crate::model::{Action, Detection};

/// One line, in the form that was asked for.
pub(super) fn line(
    form: Form,
    out: &mut dyn Write,
    json: &Value,
    text: impl FnOnce() -> String,
) -> io::Result<()> {
    match form {
        Form::Json => writeln!(out, "{json}"),
        Form::Text => writeln!(out, "{}", text()),
    }
}

pub(super) fn detection_line(detection: &Detection) -> Value {
    let mut line = detection_json(detection);
    line["type"] = json!("detection");
    line
}

pub(super) fn detection_json(d: &Detection) -> Value {
    json!({
        "id": d.id, "rule": d.rule, "kind": d.kind, "severity": d.severity, "time": d.time.to_string(),
        "event_id": d.event_id, "issuer": d.issuer, "tenant": d.tenant, "user_id": d.user_id, "client_id": d.client_id,
        "family_id": d.family_id, "session_id": d.session_id, "ip_address": d.ip_address.map(|ip| ip.to_string()),
        "summary": d.summary, "evidence": d.evidence,
    })
}

pub(super) fn action_line(action: &Action) -> Value {
    let mut line = action_json(action);
    line["type"] = json!("action");
    line
}

pub(super) fn action_json(a: &Action) -> Value {
    let t = &a.target;
    json!({
        "id": a.id, "action": a.kind,
        "target": {"family_id": t.family_id, "user_id": t.user_id, "client_id": t.client_id, "session_id": t.session_id, "tenant": t.tenant},
        "detection_ids": a.detection_ids, "incident_id": a.incident_id, "rule": a.rule, "decision": a.decision, "reason": a.reason,
    })
}

pub(super) fn summary_line(s: &Summary) -> Value {
    let [execute, observe, hold, suppress] = s.actions;
    json!({
        "type": "summary", "events": s.events, "rejected": s.rejected, "duplicates": s.duplicates, "late": s.late,
        "detections": s.detections, "actions": {"execute": execute, "observe": observe, "hold": hold, "suppress": suppress},
    })
}

pub(super) fn detection_text(d: &Detection) -> String {
    let whom = d
        .user_id
        .as_ref()
        .or(d.family_id.as_ref())
        .or(d.client_id.as_ref())
        .map_or("-", |t| t);
    format!(
        "{} {:<8} {:<20} {} {}",
        d.time,
        d.severity.as_str(),
        d.rule,
        clean(whom),
        clean(&d.summary)
    )
}

pub(super) fn action_text(a: &Action) -> String {
    let whom = a
        .target
        .session_id
        .as_ref()
        .or(a.target.family_id.as_ref())
        .or(a.target.user_id.as_ref());
    format!(
        "  -> {:<14} {:<8} {} ({})",
        a.kind.as_str(),
        a.decision.as_str(),
        clean(whom.map_or("-", |t| t)),
        a.reason
    )
}

pub(super) fn summary_text(s: &Summary) -> String {
    let [execute, observe, hold, suppress] = s.actions;
    format!(
        "{} events ({} rejected, {} repeats, {} late): {} detections; actions: {execute} execute, {observe} observe, {hold} hold, {suppress} suppress",
        s.events, s.rejected, s.duplicates, s.late, s.detections
    )
}
