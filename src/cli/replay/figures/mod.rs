//! What to know of a log before anything is enforced: as tables of at most a hundred columns, or as lines of JSON.

mod json;
mod text;

use std::io::Write;

use anyhow::Context as _;

use super::{Aside, Form};
use crate::app::replay::{Ending, Listener, Replay};
use crate::model::{Enriched, Output, Reject};

/// Whether anything fired.
pub(super) fn print<'a>(
    replay: &Replay<'_>,
    form: Form,
    out: &'a mut dyn Write,
    aside: Aside<'a>,
) -> anyhow::Result<bool> {
    let mut beside = Beside { aside, events: 0 };
    let (summary, report) = replay.figures(&mut beside)?;
    beside.aside.finish()?;
    match form {
        Form::Text => text::write(replay.config.mode, &summary, &report, out)?,
        Form::Json => json::write(&summary, &report, out)?,
    }
    out.flush().context("standard output cannot be written")?;
    Ok(report.fired)
}

struct Beside<'a> {
    aside: Aside<'a>,
    events: u64,
}

impl Listener for Beside<'_> {
    /// Gathered, not shown.
    fn output(&mut self, _output: &Output) -> anyhow::Result<()> {
        Ok(())
    }

    fn rejected(&mut self, reject: &Reject) -> anyhow::Result<()> {
        Ok(self.aside.rejected(reject)?)
    }

    fn progress(&mut self, bytes: u64) {
        self.aside.progress(bytes, self.events);
    }

    fn seen(&mut self, _event: &Enriched) {
        self.events += 1;
    }

    fn ended(&mut self, ending: &Ending) -> anyhow::Result<()> {
        Ok(self.aside.rule_errors(&ending.rule_errors)?)
    }
}
