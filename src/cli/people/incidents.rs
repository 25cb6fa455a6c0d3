//! `incidents`: what has been found, who has taken it on, and how it ended.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::super::{Exit, Terminal};
use super::table::{Table, members};
use super::{Change, Daemon, Question, Show};

/// Look at incidents, take them on, and close them
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List incidents, the newest first
    List(List),
    /// Show one with its detections and actions
    Show(Show),
    /// Take one on: nobody is reminded of it any more
    Ack(Change),
    /// Close one with your verdict
    Close(Close),
}

#[derive(Debug, Args)]
struct List {
    /// open, acknowledged, contained or closed
    #[arg(long)]
    state: Option<String>,
    /// This grave at least: info, low, medium, high or critical
    #[arg(long)]
    severity: Option<String>,
    #[arg(long)]
    user: Option<String>,
    #[arg(long)]
    client: Option<String>,
    #[arg(long)]
    tenant: Option<String>,
    /// Only those listed for review: not proved, a person decides
    #[arg(long)]
    review: bool,
    /// How many at most
    #[arg(long, default_value = "50")]
    limit: String,
    /// Go on where the list before ended
    #[arg(long)]
    before: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
struct Close {
    /// What it was
    #[arg(long = "as", value_enum)]
    verdict: Verdict,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Verdict {
    /// An attack that is over
    Contained,
    /// What it looks like, and nobody minds
    Benign,
    /// The rule was wrong: proposes the exception that would have prevented it
    #[value(name = "false_positive", alias = "false-positive")]
    FalsePositive,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Contained => "contained",
            Self::Benign => "benign",
            Self::FalsePositive => "false_positive",
        }
    }
}

pub(in crate::cli) fn run(
    arguments: &Arguments,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<Exit> {
    match &arguments.command {
        Command::List(list) => {
            let question = Question::get(&["incidents"]).with(&[
                ("state", list.state.as_deref()),
                ("severity", list.severity.as_deref()),
                ("user_id", list.user.as_deref()),
                ("client_id", list.client.as_deref()),
                ("tenant", list.tenant.as_deref()),
                ("review", list.review.then_some("true")),
                ("limit", Some(&list.limit)),
                ("before", list.before.as_deref()),
            ]);
            list.daemon.list(&question, "incidents", terminal, table)
        }
        Command::Show(show) => {
            let question = Question::get(&["incidents", &show.id]);
            show.daemon.show(&question, terminal, shown)
        }
        Command::Ack(change) => {
            change.make(&["incidents", &change.id, "acknowledge"], &[], terminal)
        }
        Command::Close(close) => {
            let verdict = [("as", close.verdict.as_str())];
            let path = ["incidents", &close.change.id, "close"];
            close.change.make(&path, &verdict, terminal)
        }
    }
}

fn table(items: &[Value]) -> Table {
    let columns = [
        ("ID", "/id"),
        ("STATE", "/state"),
        ("SEVERITY", "/severity"),
        ("LAST", "/updated_at"),
        ("USER", "/user_id"),
        ("CLIENT", "/client_id"),
        ("FOUND", "/detections"),
        ("WHAT", "/summary"),
    ];
    Table::new(items, &columns)
}

fn shown(answer: &Value) -> String {
    let text = members(
        &answer["incident"],
        &[
            ("incident", "/id"),
            ("state", "/state"),
            ("resolution", "/resolution"),
            ("severity", "/severity"),
            ("what", "/summary"),
            ("first", "/opened_at"),
            ("last", "/updated_at"),
            ("user", "/user_id"),
            ("client", "/client_id"),
            ("tenant", "/tenant"),
        ],
    );
    let list = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    let detections = [
        ("DETECTION", "/id"),
        ("SEVERITY", "/severity"),
        ("RULE", "/rule"),
        ("WHEN", "/time"),
        ("WHAT", "/summary"),
    ];
    let found = Table::new(&list("detections"), &detections);
    let done = super::actions::table(&list("actions"));
    format!("{text}\n{found}\n{done}")
}
