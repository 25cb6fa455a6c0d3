//! Everything that a replay finds, as it comes about.

use std::io::Write;

use anyhow::Context as _;

use super::shown::{
    action_line, action_text, detection_line, detection_text, line, summary_line, summary_text,
};
use super::{Aside, Form};
use crate::app::replay::{Ending, Listener, Replay};
use crate::model::{Enriched, Output, Reject, Severity};

/// Whether something of severity low or above fired.
pub(super) fn print<'a>(
    replay: &Replay<'_>,
    form: Form,
    out: &'a mut dyn Write,
    aside: Aside<'a>,
) -> anyhow::Result<bool> {
    let mut printer = Printer {
        form,
        out,
        aside,
        events: 0,
        fired: false,
    };
    let summary = replay.run(&mut printer)?;
    printer.aside.finish()?;
    line(form, printer.out, &summary_line(&summary), || {
        summary_text(&summary)
    })?;
    printer
        .out
        .flush()
        .context("standard output cannot be written")?;
    Ok(printer.fired)
}

struct Printer<'a> {
    form: Form,
    out: &'a mut dyn Write,
    aside: Aside<'a>,
    events: u64,
    fired: bool,
}

impl Listener for Printer<'_> {
    fn output(&mut self, output: &Output) -> anyhow::Result<()> {
        for detection in &output.detections {
            self.fired |= detection.severity >= Severity::Low;
            line(self.form, self.out, &detection_line(detection), || {
                detection_text(detection)
            })?;
            for action in output
                .actions
                .iter()
                .filter(|a| a.detection_ids.first() == Some(&detection.id))
            {
                line(self.form, self.out, &action_line(action), || {
                    action_text(action)
                })?;
            }
        }
        Ok(())
    }

    fn rejected(&mut self, reject: &Reject) -> anyhow::Result<()> {
        Ok(self.aside.rejected(reject)?)
    }

    fn ended(&mut self, ending: &Ending) -> anyhow::Result<()> {
        Ok(self.aside.rule_errors(&ending.rule_errors)?)
    }

    fn progress(&mut self, bytes: u64) {
        self.aside.progress(bytes, self.events);
    }

    fn seen(&mut self, _event: &Enriched) {
        self.events += 1;
    }
}
