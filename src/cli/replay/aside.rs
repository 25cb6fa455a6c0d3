//! What a replay says beside its output: a progress bar where somebody looks, and the records that were rejected.

use std::io::{self, Write};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::Stream;
use crate::model::{Reject, Text};

/// Rejected records shown one by one; the rest is counted.
const REJECTS_SHOWN: u64 = 10;

pub(in crate::cli) struct Aside<'a> {
    err: &'a mut dyn Write,
    bar: ProgressBar,
    rejects: u64,
}

impl<'a> Aside<'a> {
    /// Without a size, as of standard input, there is no telling how far it is, and no bar.
    pub(in crate::cli) fn new(bytes: u64, err: &'a mut dyn Stream) -> Self {
        let seen = err.is_terminal() && bytes > 0;
        Self {
            err,
            bar: if seen {
                bar(bytes)
            } else {
                ProgressBar::hidden()
            },
            rejects: 0,
        }
    }

    pub(in crate::cli) fn progress(&self, bytes: u64, events: u64) {
        self.bar.set_position(bytes);
        let seconds = self.bar.elapsed().as_secs().max(1);
        let rate = HumanCount(events / seconds);
        self.bar
            .set_message(format!("{} events, {rate}/s", HumanCount(events)));
    }

    pub(in crate::cli) fn rejected(&mut self, reject: &Reject) -> io::Result<()> {
        self.rejects += 1;
        if self.rejects > REJECTS_SHOWN {
            return Ok(());
        }
        let line = format!(
            "{}:{}: rejected ({}): {}",
            reject.partition, reject.place, reject.reason, reject.message
        );
        let err = &mut *self.err;
        self.bar.suspend(|| writeln!(err, "{line}"))
    }

    pub(in crate::cli) fn rule_errors(&mut self, errors: &[(Text, u64)]) -> io::Result<()> {
        let err = &mut *self.err;
        self.bar.suspend(|| {
            errors.iter().try_for_each(|(rule, count)| {
                writeln!(
                    err,
                    "rule {rule}: a condition had no answer for {count} events, which it left out; `explain` tells why"
                )
            })
        })
    }

    pub(in crate::cli) fn finish(self) -> io::Result<()> {
        self.bar.finish_and_clear();
        match self.rejects.checked_sub(REJECTS_SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => writeln!(self.err, "and {more} more records were rejected"),
        }
    }
}

fn bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:30} {percent}% {msg}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
