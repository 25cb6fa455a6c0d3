//! Why a kind judged as it did, for `explain`: values against thresholds, and the benign cause that it recognised.
//!
//! Kinds say it at their exits through a [`Trace`]. In ordinary work the trace is off and a note costs one comparison: its
//! sentence and values are made only when somebody listens.

use crate::model::Evidence;

/// Listens to the kinds, or not.
#[derive(Debug, Default)]
pub struct Trace {
    notes: Option<Vec<Note>>,
}

/// One thing that a kind looked at, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// A clause for a person: "the speed is below the limit".
    pub why: String,
    pub values: Evidence,
}

impl Trace {
    pub const fn off() -> Self {
        Self { notes: None }
    }

    pub const fn on() -> Self {
        Self {
            notes: Some(Vec::new()),
        }
    }

    pub const fn is_on(&self) -> bool {
        self.notes.is_some()
    }

    pub fn note(&mut self, say: impl FnOnce() -> (String, Evidence)) {
        if let Some(notes) = &mut self.notes {
            let (why, values) = say();
            notes.push(Note { why, values });
        }
    }

    /// What was said, in order.
    pub fn into_notes(self) -> Vec<Note> {
        self.notes.unwrap_or_default()
    }
}
