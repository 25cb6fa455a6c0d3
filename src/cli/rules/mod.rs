//! `tokenwarden rules`: which rules there are, everything about one of them, and what there is to write others with.

mod fields;
mod list;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Exit, Terminal};
use crate::app::parts;
use crate::config::Config;
use crate::model::Mode;
use crate::rules::{self, Rule, RuleSet, SetBy};
use crate::yaml::Fault;

/// Tell which rules there are, everything about one of them, and what others can be written with
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Fields(fields::Arguments),
    List(list::Arguments),
    Show(show::Arguments),
}

/// Which rules are meant, and how they are told of.
#[derive(Debug, Args)]
struct Which {
    /// The configuration whose rules are meant; without one, those that come with the program
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    /// One object per line
    Json,
}

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    match &arguments.command {
        Command::Fields(arguments) => fields::run(arguments, terminal),
        Command::List(arguments) => list::run(arguments, terminal),
        Command::Show(arguments) => show::run(arguments, terminal),
    }
}

/// Rules, and what the configuration says about all of them.
struct Known {
    rules: RuleSet,
    /// The ceiling; absent without a configuration.
    mode: Option<Mode>,
}

impl Known {
    fn load(which: &Which) -> Result<Self, Vec<Fault>> {
        let Some(path) = &which.config else {
            let rules = rules::load(&[], &[])?;
            return Ok(Self { rules, mode: None });
        };
        let config = Config::load(path)?;
        Ok(Self {
            rules: parts::rule_set(&config, None)?,
            mode: Some(config.mode),
        })
    }

    /// The mode in force for a rule, and what made it so.
    fn mode(&self, rule: &Rule) -> (Mode, String) {
        if let Some(mode) = self.mode.filter(|mode| *mode < rule.mode) {
            return (mode, "mode of the configuration".to_owned());
        }
        let why = match rule.pinned_at {
            Some(pin) if rule.mode == Mode::Alert => {
                format!(
                    "since version {}, pinned at rules_version {pin}",
                    rule.since
                )
            }
            _ => set_by(rule, "mode"),
        };
        (rule.mode, why)
    }
}

/// Who set a key or parameter of a rule, and where.
fn set_by(rule: &Rule, key: &str) -> String {
    match rule.written.keys.get(key) {
        None => "default".to_owned(),
        Some((SetBy::RuleFile, _)) => "rule file".to_owned(),
        Some((SetBy::Override, place)) => format!("override at {place}"),
    }
}

/// What is done besides telling people, which follows from the severity.
fn response(rule: &Rule) -> String {
    let names: Vec<&str> = rule.response.iter().map(|kind| kind.as_str()).collect();
    if names.is_empty() {
        return "-".to_owned();
    }
    names.join(", ")
}
