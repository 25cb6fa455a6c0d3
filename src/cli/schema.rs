//! `tokenwarden schema`: JSON Schema of the files that people write, for editors.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{Exit, Terminal, report};
use crate::{config, rules};

/// Print the JSON Schema (2020-12) of the configuration or of rule files, for editors
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Which files
    #[arg(value_enum)]
    of: Of,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Of {
    Config,
    Rules,
}

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let schema = match arguments.of {
        Of::Rules => rules::schema::of_rule_files(),
        Of::Config => match rules::load(&[], &[]) {
            Ok(shipped) => of_config(&shipped),
            Err(faults) => return report(&faults, terminal),
        },
    };
    writeln!(terminal.out, "{schema:#}")?;
    Ok(Exit::Success)
}

/// The configuration's own, with what may be said of each shipped rule.
fn of_config(shipped: &rules::RuleSet) -> Value {
    let mut schema = config::schema();
    schema["properties"]["overrides"] = rules::schema::of_overrides(shipped);
    if let Some(defs) = schema["$defs"].as_object_mut() {
        defs.extend(rules::schema::definitions());
    }
    schema
}
