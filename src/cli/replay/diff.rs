//! What differs under other rules: every difference as a line of JSON, or counts per rule with a few examples as text.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::shown::{action_json, action_text, detection_json, detection_text};
use super::{Aside, Form};
use crate::app::replay::Replay;
use crate::app::replay::diff::{Compared, Listener, Pair};
use crate::model::{Action, Detection, Reject, Severity, Text};

/// Of each kind of difference and rule so many are shown as text; the rest is counted.
const EXAMPLES: u64 = 3;

/// Whether the other rules find something of severity low or above.
pub(super) fn print<'a>(
    replay: &Replay<'_>,
    other: &crate::rules::RuleSet,
    form: Form,
    out: &'a mut dyn Write,
    aside: Aside<'a>,
) -> anyhow::Result<bool> {
    let mut printer = Printer {
        form,
        out,
        aside,
        rules: BTreeMap::new(),
        actions: BTreeMap::new(),
        examples: BTreeMap::new(),
        fired: false,
    };
    let compared = replay.compare(other, &mut printer)?;
    let Printer {
        aside,
        out,
        rules,
        actions,
        examples,
        fired,
        ..
    } = printer;
    aside.finish()?;
    let told = Told {
        compared,
        rules,
        actions,
        examples,
    };
    match form {
        Form::Json => told.write_json(out)?,
        Form::Text => told.write_text(out)?,
    }
    out.flush().context("standard output cannot be written")?;
    Ok(fired)
}

struct Printer<'a> {
    form: Form,
    out: &'a mut dyn Write,
    aside: Aside<'a>,
    /// Detections, by rule.
    rules: BTreeMap<Text, Counts>,
    /// Actions, by kind and decision.
    actions: BTreeMap<String, Counts>,
    /// Text of the first differences, by what happens and rule.
    examples: BTreeMap<(What, Text), Vec<String>>,
    fired: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Appears,
    Disappears,
    Changes,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    before: u64,
    after: u64,
    appears: u64,
    disappears: u64,
    changes: u64,
    stays: u64,
}

impl What {
    const ALL: [Self; 3] = [Self::Appears, Self::Disappears, Self::Changes];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Appears => "appears",
            Self::Disappears => "disappears",
            Self::Changes => "changes",
        }
    }

    fn of<T>(pair: &Pair<'_, T>) -> Self {
        match pair {
            Pair::Before(_) => Self::Disappears,
            Pair::After(_) => Self::Appears,
            Pair::Both(..) => Self::Changes,
        }
    }
}

impl Counts {
    fn add(&mut self, change: Option<What>) {
        match change {
            None => self.stays += 1,
            Some(What::Appears) => self.appears += 1,
            Some(What::Disappears) => self.disappears += 1,
            Some(What::Changes) => self.changes += 1,
        }
    }

    fn changed(&self) -> u64 {
        self.appears + self.disappears + self.changes
    }

    fn json(&self) -> Value {
        json!({
            "before": self.before, "after": self.after, "appear": self.appears, "disappear": self.disappears,
            "change": self.changes, "stay": self.stays,
        })
    }
}

impl Listener for Printer<'_> {
    fn detection(&mut self, pair: Pair<'_, Detection>) -> anyhow::Result<()> {
        let shown = pair.shown();
        self.fired |= !matches!(pair, Pair::Before(_)) && shown.severity >= Severity::Low;
        let counts = self.rules.entry(shown.rule.clone()).or_default();
        counts.before += u64::from(!matches!(pair, Pair::After(_)));
        counts.after += u64::from(!matches!(pair, Pair::Before(_)));
        let change = (!pair.stays()).then(|| What::of(&pair));
        counts.add(change);
        let Some(what) = change else {
            return Ok(());
        };
        let severities = pair.other_severity();
        if self.form == Form::Json {
            let line = json!({
                "type": "diff", "change": what.as_str(), "what": "detection", "detection": detection_json(shown),
                "severity": severities.map(|(was, is)| json!({"before": was, "after": is})),
            });
            writeln!(self.out, "{line}")?;
            return Ok(());
        }
        self.example(what, &shown.rule, || {
            let was = severities.map(|(was, _)| format!(" (was {was})"));
            format!("{}{}", detection_text(shown), was.unwrap_or_default())
        });
        Ok(())
    }

    fn action(&mut self, pair: Pair<'_, Action>) -> anyhow::Result<()> {
        let (was, is) = match pair {
            Pair::Before(was) => (Some(was), None),
            Pair::After(is) => (None, Some(is)),
            Pair::Both(was, is) => (Some(was), Some(is)),
        };
        let change = (!pair.stays()).then(|| What::of(&pair));
        self.count_action(was, is, change);
        let Some(what) = change else {
            return Ok(());
        };
        let shown = pair.shown();
        if self.form == Form::Json {
            let line = json!({
                "type": "diff", "change": what.as_str(), "what": "action", "before": was.map(action_json),
                "after": is.map(action_json),
            });
            writeln!(self.out, "{line}")?;
            return Ok(());
        }
        self.example(what, &shown.rule, || {
            let decided = match (was, is) {
                (Some(was), Some(is)) if was.decision != is.decision => {
                    format!(", was {}", was.decision)
                }
                (Some(_), Some(_)) => ", another target".to_owned(),
                _ => String::new(),
            };
            let (time, rule) = (shown.event_time, &shown.rule);
            let what = action_text(shown);
            format!("{time:.0} {rule} {}{decided}", what.trim_start())
        });
        Ok(())
    }

    fn rejected(&mut self, reject: &Reject) -> anyhow::Result<()> {
        Ok(self.aside.rejected(reject)?)
    }

    fn progress(&mut self, bytes: u64, events: u64) {
        self.aside.progress(bytes, events);
    }
}

impl Printer<'_> {
    fn count_action(&mut self, was: Option<&Action>, is: Option<&Action>, change: Option<What>) {
        let name = |action: &Action| format!("{} {}", action.kind, action.decision);
        let (was, is) = (was.map(name), is.map(name));
        if let Some(was) = &was {
            self.actions.entry(was.clone()).or_default().before += 1;
        }
        if let Some(is) = &is {
            self.actions.entry(is.clone()).or_default().after += 1;
        }
        // What changes its decision is counted where it ends.
        if let Some(name) = is.or(was) {
            self.actions.entry(name).or_default().add(change);
        }
    }

    fn example(&mut self, what: What, rule: &Text, text: impl FnOnce() -> String) {
        let shown = self.examples.entry((what, rule.clone())).or_default();
        if (shown.len() as u64) < EXAMPLES {
            shown.push(text());
        }
    }
}

/// All that was counted.
struct Told {
    compared: Compared,
    rules: BTreeMap<Text, Counts>,
    actions: BTreeMap<String, Counts>,
    examples: BTreeMap<(What, Text), Vec<String>>,
}

impl Told {
    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        for (rule, counts) in &self.rules {
            let line = json!({"type": "diff_rule", "rule": rule, "detections": counts.json()});
            writeln!(out, "{line}")?;
        }
        for (name, counts) in &self.actions {
            let (kind, decision) = name.split_once(' ').unwrap_or((name, ""));
            let line = json!({
                "type": "diff_actions", "action": kind, "decision": decision, "actions": counts.json(),
            });
            writeln!(out, "{line}")?;
        }
        let summary = self.compared.after;
        let line = json!({
            "type": "diff_summary", "changed": self.changed(), "unchanged": self.rules.values().map(|it| it.stays).sum::<u64>(),
            "changed_actions": self.actions.values().map(Counts::changed).sum::<u64>(),
            "events": summary.events, "rejected": summary.rejected,
        });
        writeln!(out, "{line}")
    }

    fn changed(&self) -> u64 {
        self.rules.values().map(Counts::changed).sum()
    }

    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let rules = self.rules.iter().map(|(rule, counts)| (&**rule, counts));
        write_table("Detections", rules, out)?;
        let actions = self.actions.iter().map(|(name, counts)| (&**name, counts));
        write_table("Actions", actions, out)?;
        for what in What::ALL {
            self.write_examples(what, out)?;
        }
        writeln!(
            out,
            "{} events; detections: {} differ, {} stay",
            self.compared.after.events,
            self.changed(),
            self.rules.values().map(|it| it.stays).sum::<u64>()
        )
    }

    fn write_examples(&self, what: What, out: &mut dyn Write) -> io::Result<()> {
        let of_it = || self.examples.iter().filter(|((it, _), _)| *it == what);
        if of_it().next().is_some() {
            writeln!(
                out,
                "What {} (of each rule the first {EXAMPLES} lines):",
                what.as_str()
            )?;
            for line in of_it().flat_map(|(_, lines)| lines) {
                writeln!(out, "  {line}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

fn write_table<'a>(
    title: &str,
    rows: impl Iterator<Item = (&'a str, &'a Counts)>,
    out: &mut dyn Write,
) -> io::Result<()> {
    const WIDTH: usize = 36;
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return writeln!(out, "{title}: none on either side\n");
    }
    writeln!(
        out,
        "{title:<WIDTH$} {:>9} {:>9} {:>9} {:>10} {:>9}",
        "before", "after", "appear", "disappear", "change"
    )?;
    for (name, it) in rows {
        writeln!(
            out,
            "  {name:<34} {:>9} {:>9} {:>9} {:>10} {:>9}",
            it.before, it.after, it.appears, it.disappears, it.changes
        )?;
    }
    writeln!(out)
}
