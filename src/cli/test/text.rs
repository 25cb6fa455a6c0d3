//! Rule tests for a person: a line each, differences member by member, the coverage of each rule at the end.

use std::io::{self, Write};

use super::{Done, DoneSuite};
use crate::app::rule_tests::{Difference, Expected, Got, Test};
use crate::cli::clean;

pub(super) fn write(done: &Done, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let paint = Paint { colour };
    for suite in done.suites.iter().filter(|suite| !suite.tests.is_empty()) {
        writeln!(out, "{}", suite.file.display())?;
        for (test, difference) in &suite.tests {
            write_test(suite, test, difference, &paint, out)?;
        }
    }
    writeln!(out, "\n{} passed, {} failed", done.passed(), done.failed())?;
    write_coverage(done, &paint, out)
}

fn write_test(
    suite: &DoneSuite,
    test: &Test,
    difference: &Difference,
    paint: &Paint,
    out: &mut dyn Write,
) -> io::Result<()> {
    let twin = test.twin_of.as_ref().map_or("", |_| "  twin: ");
    let name = clean(&test.name);
    if difference.is_none() {
        return writeln!(out, "  {}      {twin}{name}", paint.good("ok"));
    }
    writeln!(out, "  {}  {twin}{name}", paint.bad("FAILED"))?;
    writeln!(out, "          at {}:{}", suite.file.display(), test.line)?;
    if let Some(fact) = &test.benign {
        writeln!(out, "          benign: {}", clean(fact))?;
    }
    for line in difference_lines(difference) {
        let painted = match line.trim_start().get(..1) {
            Some("-") => paint.bad(&line),
            Some("+") => paint.good(&line),
            _ => line,
        };
        writeln!(out, "          {painted}")?;
    }
    Ok(())
}

/// `-` stands before what was expected, `+` before what came.
pub(super) fn difference_lines(difference: &Difference) -> Vec<String> {
    let mut lines = Vec::new();
    for (expected, got) in &difference.changed {
        changed(expected, got, &mut lines);
    }
    for expected in &difference.missing {
        lines.push(format!(
            "- expected, not found: {}",
            clean(&expected.written())
        ));
    }
    for got in &difference.unexpected {
        lines.push(format!("+ found, not expected: {}", clean(&got.written())));
        lines.push(format!("    {}", came(got)));
    }
    lines
}

fn changed(expected: &Expected, got: &Got, lines: &mut Vec<String>) {
    lines.push(format!(
        "  {} is another finding than expected:",
        expected.rule
    ));
    for member in expected.members(got) {
        let (name, expected, got) = (&member.name, clean(&member.expected), clean(&member.got));
        if member.met {
            lines.push(format!("    {name}: {got}"));
        } else {
            lines.push(format!("  - {name}: {expected}"));
            lines.push(format!("  + {name}: {got}"));
        }
    }
    lines.push(format!("    {}", came(got)));
}

fn came(got: &Got) -> String {
    let detection = &got.detection;
    clean(&format!(
        "at {}, event {}: {}",
        got.at(),
        detection.event_id,
        detection.summary
    ))
}

/// One line for a rule, those that lack something last, so that they are seen.
fn write_coverage(done: &Done, paint: &Paint, out: &mut dyn Write) -> io::Result<()> {
    if !done.whole {
        return writeln!(out, "coverage is not judged with --filter");
    }
    let all = || done.suites.iter().flat_map(|suite| &suite.coverage);
    let width = all().map(|it| it.rule.len()).max().unwrap_or(0);
    let uncovered: Vec<_> = done.uncovered().collect();
    writeln!(
        out,
        "coverage: {} of {} rules have a hit and a miss",
        all().count() - uncovered.len(),
        all().count()
    )?;
    for it in all().filter(|it| it.lacks().is_none()) {
        writeln!(
            out,
            "  {:<width$}  {:>3} hits  {:>3} misses",
            it.rule, it.hits, it.misses
        )?;
    }
    for (file, it, lacks) in uncovered {
        let line = format!(
            "{:<width$}  {:>3} hits  {:>3} misses  {lacks} ({})",
            it.rule,
            it.hits,
            it.misses,
            file.display()
        );
        writeln!(out, "  {}", paint.bad(&line))?;
    }
    Ok(())
}

struct Paint {
    colour: bool,
}

impl Paint {
    fn good(&self, text: &str) -> String {
        self.paint("32", text)
    }

    fn bad(&self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
