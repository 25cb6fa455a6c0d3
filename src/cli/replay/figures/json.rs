//! The figures as lines of JSON, by `type`, and at the end the same summary line that a replay has.

use std::io::{self, Write};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::app::replay::Summary;
use crate::app::replay::figures::{
    Advice, ClientRow, Day, Declaration, NetworkRow, Nuisance, Report, Traffic, Who,
};
use crate::cli::replay::shown::summary_line;
use crate::model::Text;
use crate::rules::Exception;

pub(super) fn write(summary: &Summary, report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for line in lines(report) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{}", summary_line(summary))
}

fn lines(report: &Report) -> Vec<Value> {
    let mut lines = vec![json!({
        "type": "period", "first": report.first.map(|time| time.to_string()), "last": report.last.map(|time| time.to_string()),
        "users": report.users, "users_exact": report.users_exact,
    })];
    for (date, day) in &report.days {
        let date = date.map(|date| date.to_string());
        lines.push(day_line("day", date.as_deref(), day));
    }
    lines.push(day_line("days", None, &report.total));
    for ((kind, decision), count) in &report.actions {
        lines
            .push(json!({"type": "actions", "action": kind, "decision": decision, "count": count}));
    }
    lines.push(revocations(report));
    lines.extend(report.clients.iter().map(client));
    lines.extend(report.networks.iter().map(network));
    let (clients, networks) = report.missed_max;
    lines.push(json!({"type": "missed_max", "client": clients, "network": networks}));
    for share in &report.shares {
        lines.push(json!({
            "type": "clue", "clue": share.clue.as_str(), "carried": share.carried, "presentations": share.presentations,
        }));
    }
    for unmet in &report.unmet {
        let clues: Vec<&str> = unmet.need.one_of.iter().map(|clue| clue.as_str()).collect();
        lines.push(json!({
            "type": "blind", "rule": unmet.rule, "to": unmet.need.blind_to, "one_of": clues,
        }));
    }
    lines.extend(report.nuisances.iter().map(nuisance));
    lines.extend(report.unused.iter().map(unused));
    lines.extend(report.declarations.iter().map(declaration));
    lines
}

fn day_line(kind: &str, date: Option<&str>, day: &Day) -> Value {
    json!({
        "type": kind, "date": date, "detections": day.detections, "pages": day.pages, "revocations": day.revocations,
    })
}

fn revocations(report: &Report) -> Value {
    let it = &report.revocations;
    let clients: Vec<Value> = it
        .clients
        .iter()
        .map(|(client, count)| json!({"client_id": client, "families": count}))
        .collect();
    let examples: Vec<Value> = it
        .examples
        .iter()
        .map(|example| {
            json!({
                "time": example.time.to_string(), "rule": example.rule, "family_id": example.family_id,
                "user_id": example.user_id, "client_id": example.client_id,
            })
        })
        .collect();
    json!({
        "type": "revocations", "families": it.families, "execute": it.executed, "hold": it.held, "observe": it.observed,
        "clients": clients, "examples": examples,
    })
}

fn client(row: &ClientRow) -> Value {
    let mut line = traffic(row.refreshes, &row.about);
    line["type"] = json!("client");
    line["client_id"] = json!(row.client);
    line
}

fn network(row: &NetworkRow) -> Value {
    let mut line = traffic(row.refreshes, &row.about);
    line["type"] = json!("network");
    line["network"] = json!(row.network.to_string());
    line["users"] = json!(row.users);
    line["users_exact"] = json!(row.users_exact);
    line["organisation"] = json!(row.organisation);
    line["class"] = json!(row.class);
    line
}

fn traffic(refreshes: u64, about: &Traffic) -> Value {
    json!({
        "refreshes": refreshes, "refused": about.refused, "detections": about.detections,
        "revocations": about.revocations,
    })
}

fn nuisance(it: &Nuisance) -> Value {
    let (client, network) = match &it.who {
        Who::Client(client) => (Some(client), None),
        Who::Network(network) => (None, Some(network.to_string())),
    };
    json!({
        "type": "exception", "rule": it.rule, "client_id": client, "network": network, "detections": it.detections,
        "of": it.of,
    })
}

fn unused((rule, it): &(Text, Arc<Exception>)) -> Value {
    json!({
        "type": "unused_exception", "rule": rule, "reason": it.reason, "owner": it.owner, "expires": it.expires.to_string(),
        "place": it.place.to_string(),
    })
}

fn declaration(it: &Declaration) -> Value {
    let (class, client) = match &it.advice {
        Advice::ForwardClients => (None, None),
        Advice::Backend(client) => (Some("backend"), Some(client)),
        Advice::Egress => (Some("egress"), None),
    };
    let addresses: Vec<String> = it.addresses.iter().map(ToString::to_string).collect();
    json!({
        "type": "declaration", "addresses": addresses, "count": it.count, "users": it.users, "users_exact": it.users_exact,
        "refreshes": it.refreshes, "organisation": it.organisation, "class": class, "client_id": client,
    })
}
