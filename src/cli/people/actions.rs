//! `actions`: what was done, what waits, and what a person decides about it.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::super::{Exit, Terminal};
use super::table::{Table, members};
use super::{Change, Daemon, Question, Show};

/// Look at actions, and decide about those that wait
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List actions, the newest first
    List(List),
    /// Show one, with all that would end
    Show(Show),
    /// Let a held or offered one go; it is looked at once more before it is performed
    Approve(Change),
    /// End a held or offered one undone
    Refuse(Change),
    /// Try one again that was given up
    Retry(Change),
    /// Take a measure (`block_ip`, `throttle`, `challenge` by a webhook) back before its time
    Undo(Change),
}

#[derive(Debug, Args)]
struct List {
    /// ready, leased, held, offered, done, parked, suppressed or expired
    #[arg(long)]
    state: Option<String>,
    /// `revoke_family`, `lock_user`, review, ...
    #[arg(long)]
    action: Option<String>,
    /// execute, observe, hold or suppress
    #[arg(long)]
    decision: Option<String>,
    #[arg(long)]
    rule: Option<String>,
    #[arg(long)]
    user: Option<String>,
    #[arg(long)]
    client: Option<String>,
    #[arg(long)]
    incident: Option<String>,
    /// How many at most
    #[arg(long, default_value = "50")]
    limit: String,
    /// Go on where the list before ended
    #[arg(long)]
    before: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

pub(in crate::cli) fn run(
    arguments: &Arguments,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<Exit> {
    let rule_on = |change: &Change, ruling: &str, terminal: &mut Terminal<'_>| {
        change.make(&["actions", &change.id, ruling], &[], terminal)
    };
    match &arguments.command {
        Command::List(list) => {
            let question = Question::get(&["actions"]).with(&[
                ("state", list.state.as_deref()),
                ("action", list.action.as_deref()),
                ("decision", list.decision.as_deref()),
                ("rule", list.rule.as_deref()),
                ("user_id", list.user.as_deref()),
                ("client_id", list.client.as_deref()),
                ("incident_id", list.incident.as_deref()),
                ("limit", Some(&list.limit)),
                ("before", list.before.as_deref()),
            ]);
            list.daemon.list(&question, "actions", terminal, table)
        }
        Command::Show(show) => {
            let question = Question::get(&["actions", &show.id]);
            show.daemon.show(&question, terminal, shown)
        }
        Command::Approve(change) => rule_on(change, "approve", terminal),
        Command::Refuse(change) => rule_on(change, "refuse", terminal),
        Command::Retry(change) => rule_on(change, "retry", terminal),
        Command::Undo(change) => rule_on(change, "undo", terminal),
    }
}

pub(super) fn table(items: &[Value]) -> Table {
    let columns = [
        ("ID", "/action/id"),
        ("ACTION", "/action/kind"),
        ("STATE", "/state"),
        ("USER", "/action/target/user_id"),
        ("CLIENT", "/action/target/client_id"),
        ("FAMILY", "/action/target/family_id"),
        ("RULE", "/action/rule"),
        ("WHY", "/action/reason"),
        ("OUTCOME", "/outcome"),
    ];
    Table::new(items, &columns)
}

fn shown(answer: &Value) -> String {
    let wanted = [
        ("action", "/action/id"),
        ("what", "/action/kind"),
        ("state", "/state"),
        ("decision", "/action/decision"),
        ("why", "/action/reason"),
        ("rule", "/action/rule"),
        ("issuer", "/action/target/issuer"),
        ("tenant", "/action/target/tenant"),
        ("user", "/action/target/user_id"),
        ("client", "/action/target/client_id"),
        ("family", "/action/target/family_id"),
        ("session", "/action/target/session_id"),
        ("network", "/action/target/network"),
        ("event", "/action/event_time"),
        ("incident", "/action/incident_id"),
        ("tries", "/attempts"),
        ("outcome", "/outcome"),
        ("ended", "/finished_at"),
    ];
    let text = members(&answer["action"], &wanted);
    match ends(answer["action"].pointer("/action/kind")) {
        Some(ends) => format!("{text}\n{ends}\n"),
        None => text,
    }
}

/// What else goes with it.
fn ends(kind: Option<&Value>) -> Option<&'static str> {
    Some(match kind?.as_str()? {
        "revoke_family" => {
            "Ends this token family; with Keycloak the whole browser session, in every client that shares it."
        }
        "revoke_user" => "Ends every session and offline session of the user, in every client.",
        "lock_user" => {
            "Disables the user, and ends every session and offline session: nobody logs in as this user until somebody enables it."
        }
        _ => return None,
    })
}
