//! A rule that has been read, checked and overridden: what the engine runs.

use crate::model::{ActionKind, Mode, Severity, Text};

use super::finding::Class;
use super::kinds::Detect;

/// One compiled rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub name: Text,
    /// For people: shown in the mail.
    pub description: Text,
    /// Of its gravest finding; weaker findings of the rule are weaker by what the kind's page says.
    pub severity: Severity,
    /// A rule without a mode of its own is `enforce`; the ceilings of the configuration hold it back.
    pub mode: Mode,
    pub detect: Detect,
    /// What is to be done about its gravest finding; `notify` follows from the severity.
    pub response: Vec<ActionKind>,
    pub runbook: Option<Text>,
    /// What kinds of fact its findings are, for the composite risk.
    pub classes: Vec<Class>,
    /// What a sure finding adds to the composite risk, from 0 to 1.
    pub risk: f64,
}

/// The rules in the order of their files, each name once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleSet {
    pub rules: Vec<std::sync::Arc<Rule>>,
    /// The files that they come from, each with its SHA-256: by these one proves which rules were in force.
    pub files: Vec<(Text, Text)>,
}
