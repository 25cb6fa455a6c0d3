//! Rule tests as JUnit XML, the form that servers of continuous integration show.
//!
//! Written by hand: four elements, and what may stand in them is decided by [`escaped`] alone. Nothing says how long a
//! test took, so that the same tests give the same bytes.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use super::{Done, DoneSuite, text};

pub(super) fn write(done: &Done, out: &mut dyn Write) -> io::Result<()> {
    let tests = done.passed() + done.failed();
    let (rules, uncovered) = (rules(done), done.uncovered().count());
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(
        out,
        "<testsuites name=\"tokenwarden test\" tests=\"{}\" failures=\"{}\" errors=\"0\">",
        tests + rules,
        done.failed() + uncovered
    )?;
    for suite in done.suites.iter().filter(|suite| !suite.tests.is_empty()) {
        write_suite(suite, out)?;
    }
    if done.whole {
        write_coverage(done, rules, uncovered, out)?;
    }
    writeln!(out, "</testsuites>")
}

fn rules(done: &Done) -> usize {
    let judged = done.suites.iter().filter(|_| done.whole);
    judged.map(|suite| suite.coverage.len()).sum()
}

fn write_suite(suite: &DoneSuite, out: &mut dyn Write) -> io::Result<()> {
    let file = suite.file.display().to_string();
    open_suite(&file, suite.tests.len(), suite.failed(), out)?;
    for (test, difference) in &suite.tests {
        let mut lines = text::difference_lines(difference);
        if let (Some(fact), false) = (&test.benign, difference.is_none()) {
            lines.insert(0, format!("  benign: {fact}"));
        }
        let case = Case {
            name: &test.name,
            class: &file,
            file: &file,
            line: Some(test.line),
        };
        let failure = (!difference.is_none()).then_some(("another outcome than expected", lines));
        case.write(failure, out)?;
    }
    writeln!(out, "  </testsuite>")
}

/// Each rule is a case too: a rule that no test covers fails.
fn write_coverage(
    done: &Done,
    rules: usize,
    uncovered: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    open_suite("coverage", rules, uncovered, out)?;
    for suite in &done.suites {
        let file = suite.file.display().to_string();
        for it in &suite.coverage {
            let case = Case {
                name: &it.rule,
                class: "coverage",
                file: &file,
                line: None,
            };
            let counts = format!("{} hits, {} misses", it.hits, it.misses);
            case.write(it.lacks().map(|lacks| (lacks, vec![counts])), out)?;
        }
    }
    writeln!(out, "  </testsuite>")
}

fn open_suite(name: &str, tests: usize, failed: usize, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "  <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\">",
        escaped(name)
    )
}

struct Case<'a> {
    name: &'a str,
    class: &'a str,
    file: &'a str,
    line: Option<u32>,
}

impl Case<'_> {
    fn write(&self, failure: Option<(&str, Vec<String>)>, out: &mut dyn Write) -> io::Result<()> {
        write!(
            out,
            "    <testcase name=\"{}\" classname=\"{}\" file=\"{}\"",
            escaped(self.name),
            escaped(self.class),
            escaped(self.file)
        )?;
        if let Some(line) = self.line {
            write!(out, " line=\"{line}\"")?;
        }
        let Some((message, lines)) = failure else {
            return writeln!(out, "/>");
        };
        let message = escaped(message);
        writeln!(
            out,
            ">\n      <failure message=\"{message}\" type=\"failure\">"
        )?;
        for line in lines {
            writeln!(out, "{}", escaped(&line))?;
        }
        writeln!(out, "      </failure>\n    </testcase>")
    }
}

/// Fit for an attribute and for text. What XML 1.0 cannot carry even escaped becomes the replacement character.
fn escaped(text: &str) -> Cow<'_, str> {
    let plain = |c: char| !"<>&\"'".contains(c) && c >= ' ' && !is_forbidden(c);
    if text.chars().all(plain) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // A reader would turn them into blanks in an attribute.
            '\t' | '\n' | '\r' => {
                write!(escaped, "&#{};", u32::from(c)).expect("a String takes every write");
            }
            c if is_forbidden(c) => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped.into()
}

/// Outside the production `Char` of XML 1.0, or discouraged by it: the control characters and two non-characters.
fn is_forbidden(c: char) -> bool {
    (c.is_control() && !"\t\n\r".contains(c)) || matches!(c, '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn nothing_that_is_named_can_leave_its_element() {
        assert_eq!(escaped("two tabs, São Paulo"), "two tabs, São Paulo");
        assert_eq!(
            escaped("</failure><x a='b' c=\"d\">&amp;"),
            "&lt;/failure&gt;&lt;x a=&apos;b&apos; c=&quot;d&quot;&gt;&amp;amp;"
        );
        assert_eq!(escaped("]]>\t\r\n"), "]]&gt;&#9;&#13;&#10;");
        assert_eq!(
            escaped("\0\u{1b}[2J\u{7f}\u{85}\u{fffe}"),
            "\u{fffd}\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}"
        );
    }
}
