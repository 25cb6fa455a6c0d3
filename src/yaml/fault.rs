//! What is wrong in a file, where, and how to mend it.

use std::path::Path;
use std::sync::Arc;

use crate::model::limits::FAULTS_MAX;

/// A position in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// As it was named on the command line or found from there.
    pub file: Arc<Path>,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

impl Place {
    /// The beginning of a file: for what is wrong with the file as a whole.
    pub fn start_of(file: &Path) -> Self {
        Self {
            file: file.into(),
            line: 1,
            column: 1,
        }
    }

    /// A fault at this place.
    pub fn fault(&self, message: impl Into<String>) -> Fault {
        Fault {
            place: self.clone(),
            message: message.into(),
            hint: None,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// One thing that is wrong. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub place: Place,
    /// What is wrong and what was expected.
    pub message: String,
    /// How to mend it, where that can be told.
    pub hint: Option<String>,
}

impl Fault {
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Collects everything that is wrong, so that all of it is reported at once.
#[derive(Debug, Default)]
pub struct Faults {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Faults {
    /// The file cannot be used.
    pub fn push(&mut self, fault: Fault) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    /// The file can be used, but the operator should know.
    pub fn warn(&mut self, warning: Fault) {
        if self.warnings.len() < FAULTS_MAX {
            self.warnings.push(warning);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Faults so far: by this a reader sees whether a part of it had any.
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// In the order of the files.
    pub fn into_faults(mut self) -> Vec<Fault> {
        self.faults.sort_by(|a, b| a.place.cmp(&b.place));
        self.faults
    }

    /// What a caller gets: the value and the warnings, or every fault.
    pub fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<Fault>), Vec<Fault>> {
        match (value, self.into_parts()) {
            (Some(value), (faults, warnings)) if faults.is_empty() => Ok((value, warnings)),
            (_, (faults, _)) => Err(faults),
        }
    }

    /// The faults and the warnings, each in the order of the files.
    pub fn into_parts(mut self) -> (Vec<Fault>, Vec<Fault>) {
        self.warnings.sort_by(|a, b| a.place.cmp(&b.place));
        let warnings = std::mem::take(&mut self.warnings);
        (self.into_faults(), warnings)
    }
}

/// The known name that was probably meant, if one is near enough.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = name.chars().count();
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        // A third of the letters wrong is still a slip; more is another word.
        .filter(|(distance, _)| *distance <= letters.div_ceil(3).min(4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two names; a name that was only cut short (`grace` for `reuse_grace`) is near as well.
fn distance(name: &str, candidate: &str) -> usize {
    const PART_CHARS_MIN: usize = 4;
    let edits = strsim::damerau_levenshtein(name, candidate);
    let mut words = candidate.split(['_', '-', '.']);
    if name.len() >= PART_CHARS_MIN && words.any(|word| word == name) {
        return edits.min(1);
    }
    edits
}

/// `did you mean` the nearest name, else the list of all.
pub(super) fn hint_names(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["count", "window", "mode"];
        assert_eq!(nearest("cuont", known), Some("count"));
        assert_eq!(nearest("windows", known), Some("window"));
        assert_eq!(nearest("modus", known), Some("mode"));
        assert_eq!(nearest("COUNT", known), Some("count"));
        assert_eq!(nearest("grace", ["reuse_grace"]), Some("reuse_grace"));
        assert_eq!(nearest("threshold", known), None);
        assert_eq!(nearest("x", known), None);
    }
}
