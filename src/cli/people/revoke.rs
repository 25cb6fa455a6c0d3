//! `revoke`: ends one family, or all of a user, by hand: through the daemon, with its tries, its budget and its traces.

use clap::Args;
use serde_json::{Value, json};

use super::super::{Exit, Terminal};
use super::table::members;
use super::{Daemon, Question};

/// End a token family, or all of a user, by hand
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    whom: Whom,
    /// With --user: also lock the user out
    #[arg(long, conflicts_with = "family")]
    lock: bool,
    /// The source that it belongs to, where the daemon has several and has found nothing about it
    #[arg(long)]
    issuer: Option<String>,
    #[arg(long)]
    tenant: Option<String>,
    /// With --family: its session, which Keycloak needs and the daemon knows only of families that it found something about
    #[arg(long)]
    session: Option<String>,
    /// Why: stands beside your name
    #[arg(long)]
    note: String,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// The family to end
    #[arg(long)]
    family: Option<String>,
    /// The user whose sessions all end
    #[arg(long)]
    user: Option<String>,
}

pub(in crate::cli) fn run(
    arguments: &Arguments,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<Exit> {
    let mut body = json!({ "note": arguments.note, "lock": arguments.lock });
    for (name, value) in [
        ("family_id", &arguments.whom.family),
        ("user_id", &arguments.whom.user),
        ("issuer", &arguments.issuer),
        ("tenant", &arguments.tenant),
        ("session_id", &arguments.session),
    ] {
        if let Some(value) = value {
            body[name] = value.as_str().into();
        }
    }
    let question = Question::post(&["revocations"], body);
    arguments.daemon.show(&question, terminal, shown)
}

fn shown(answer: &Value) -> String {
    let wanted = [
        ("action", "/id"),
        ("what", "/kind"),
        ("user", "/target/user_id"),
        ("family", "/target/family_id"),
        ("session", "/target/session_id"),
    ];
    let text = members(&answer["action"], &wanted);
    let id = super::text_of(&answer["action"]["id"]);
    format!("{text}\nIt is on its way; what becomes of it: tokenwarden actions show {id}\n")
}
