//! Conditions in rules: a small safe expression language over one enriched event.
//!
//! The syntax is CEL's (`event.type == "refresh" && network.class == "hosting"`), and so is the meaning of whatever both
//! have; a test compares them. A source is cut into words (`token`), the words become a tree (`parse`), the tree is
//! checked against the table of fields and becomes something that can hardly fail (`check`, `eval`), and that is
//! asked whether anything at all can make it true (`satisfy`).
//!
//! **A missing value is unknown, never different.** Whatever is asked of it (`==`, `!=`, `in`, `startsWith`, ...) is
//! neither true nor false, `!` of that is unknown too, `&&` and `||` go on as far as the other sides decide, and a rule
//! matches only what is true. `has(event.user_agent)` asks whether there is a value. Why not false for every comparison:
//! then `!(event.device_id == "d1")` would be true of every event that names no device.
//!
//! **No loops.** `exists` and `all` over a written list are written out when the expression is read, so the cost of an
//! evaluation is the size of the expression: at most `limits::EXPRESSION_NODES_MAX` steps, each over one text of an event.

mod check;
mod eval;
mod parse;
pub(super) mod sample;
mod satisfy;
mod token;

pub use check::functions;

use std::sync::Arc;

use super::fields::{Facts, Field};
use crate::model::{Clue, Enriched, EventType, Outcome};

/// A condition that has been checked. Cheap to clone.
#[derive(Clone)]
pub struct Expression {
    compiled: Arc<Compiled>,
}

struct Compiled {
    source: String,
    truth: eval::Truth,
    fields: Vec<&'static Field>,
    can_match: bool,
    reads_facts: bool,
}

/// What is wrong with the source of an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Within the expression, from 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    pub message: String,
    pub hint: Option<String>,
}

/// Why an expression has no answer for an event. It counts as an error of its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    #[error("a number became too great")]
    Overflow,
    #[error("division by zero")]
    DivisionByZero,
    #[error("a text is too long to be searched for a pattern")]
    TextTooLong,
}

impl Expression {
    /// Reads and checks a source; every problem that can be told is told.
    pub fn compile(source: &str) -> Result<Self, Vec<Problem>> {
        let place = |flaws: Vec<Flaw>| flaws.into_iter().map(|flaw| flaw.within(source)).collect();
        let syntax = parse::parse(source).map_err(|flaw| place(vec![flaw]))?;
        let truth = check::check(&syntax).map_err(place)?;
        let expression = Self::new(source, truth);
        match expression.always_fails() {
            Some(error) => Err(place(vec![Flaw::new(0, format!("always fails: {error}"))])),
            None => Ok(expression),
        }
    }

    fn new(source: &str, truth: eval::Truth) -> Self {
        let mut fields: Vec<&'static Field> = Vec::new();
        truth.visit_fields(&mut |field| {
            if !fields.iter().any(|known| known.name == field.name) {
                fields.push(field);
            }
        });
        let can_match = satisfy::can_be_true(&truth);
        let reads_facts = fields.iter().any(|field| field.is_fact());
        let source = source.to_owned();
        Self {
            compiled: Arc::new(Compiled {
                source,
                truth,
                fields,
                can_match,
                reads_facts,
            }),
        }
    }

    /// The error, if there is one at each of the sample events.
    fn always_fails(&self) -> Option<RunError> {
        let samples = sample::samples();
        let mut errors = samples
            .iter()
            .map(|(event, facts)| self.matches(event, facts).err());
        let first = errors.next()??;
        errors.all(|error| error.is_some()).then_some(first)
    }

    /// Whether the event fulfils the condition. What hangs on a missing value is not fulfilled.
    pub fn matches(&self, event: &Enriched, facts: &Facts) -> Result<bool, RunError> {
        let row = eval::Seen { event, facts };
        Ok(self.compiled.truth.of(&row)? == Some(true))
    }

    /// Whether it reads what only the engine knows, and what may still change.
    pub fn reads_facts(&self) -> bool {
        self.compiled.reads_facts
    }

    /// Whether the event may come to fulfil the condition, given the facts so far: those that are true stay true, all
    /// others are open. An error is an answer that is still to be had.
    pub fn may_match(&self, event: &Enriched, so_far: &Facts) -> bool {
        let row = eval::Open { event, so_far };
        self.compiled.truth.of(&row) != Ok(Some(false))
    }

    /// The condition as it is for events of this type and outcome of one client; nothing where these rule it out.
    pub fn given(&self, kind: EventType, outcome: Outcome, of_client: &Facts) -> Option<Self> {
        let row = eval::Shape {
            kind,
            outcome,
            of_client,
        };
        let compiled = &self.compiled;
        (compiled.truth.of(&row) != Ok(Some(false))).then(|| Self {
            compiled: Arc::new(Compiled {
                source: compiled.source.clone(),
                truth: compiled.truth.given(&row),
                fields: compiled.fields.clone(),
                ..**compiled
            }),
        })
    }

    /// What it reads, in the order in which it is written.
    pub fn fields(&self) -> &[&'static Field] {
        &self.compiled.fields
    }

    /// What a source must carry so that all its fields can have values.
    pub fn clues(&self) -> impl Iterator<Item = Clue> + '_ {
        self.compiled.fields.iter().filter_map(|field| field.clue)
    }

    /// Whether some event could fulfil it. `true` where that cannot be told.
    pub fn can_match(&self) -> bool {
        self.compiled.can_match
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.compiled.source
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Expression({:?})", self.source())
    }
}

/// One expression is another if it is written the same.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Expression {}

/// A problem before its place is counted out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flaw {
    /// In bytes of the source.
    at: usize,
    message: String,
    hint: Option<String>,
}

impl Flaw {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn within(self, source: &str) -> Problem {
        let before = source.get(..self.at).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let count = |number: usize| u32::try_from(number + 1).unwrap_or(u32::MAX);
        Problem {
            line: count(before.matches('\n').count()),
            column: count(
                before.chars().count()
                    - before.get(..line_start).unwrap_or_default().chars().count(),
            ),
            message: self.message,
            hint: self.hint,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod haste {
    use std::time::{Duration, Instant};

    /// A bound that is missing takes for ever; one that is there may be tried on a busy machine.
    const SOON: Duration = Duration::from_mins(1);

    /// Fails where the work lingers.
    pub(super) fn soon<T>(work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        assert!(begun.elapsed() < SOON, "took {:?}", begun.elapsed());
        done
    }
}
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
