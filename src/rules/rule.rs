//! A rule that has been read, checked and overridden: what the engine runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::exception::{Exception, Expiry};
use super::finding::Class;
use super::kinds::Detect;
use super::labels::Labels;
use super::suppress::Suppress;
use super::variants::Variants;
use crate::model::{ActionKind, Mode, Severity, Text, Timestamp};
use crate::yaml::{Fault, Place};

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
    /// What a person may have done besides, when a login was ended.
    pub offer: Vec<ActionKind>,
    pub runbook: Option<Text>,
    /// What kinds of fact its findings are, for the composite risk.
    pub classes: Vec<Class>,
    /// What a sure finding adds to the composite risk, from 0 to 1.
    pub risk: f64,
    pub labels: Labels,
    /// How often it acts about the same thing; without, every time.
    pub suppress: Option<Suppress>,
    /// Of its file and of the configuration.
    pub exceptions: Vec<Arc<Exception>>,
    /// What looks alike, and is recognised.
    pub not_fired_on: Vec<Text>,
    /// What looks the same, is honest, and is found all the same.
    pub false_positives: Vec<Text>,
    pub maturity: Maturity,
    /// The version of the shipped rules that introduced it.
    pub since: u32,
    /// It is newer than this `rules_version` of the configuration, which holds it back.
    pub pinned_at: Option<u32>,
    pub written: Written,
    /// What it is for some clients and tenants.
    pub variants: Variants,
}

/// Whether a rule has proved itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maturity {
    Stable,
    /// New: watch it before it is allowed to act.
    Incubating,
}

crate::model::names!(Maturity { Stable = "stable", Incubating = "incubating" });

/// Where a rule stands, and where each of its keys and parameters was set.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    pub place: Place,
    /// What is not here has its default.
    pub keys: BTreeMap<Text, (SetBy, Place)>,
}

/// Who set a value; the later in this list has the last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetBy {
    RuleFile,
    Override,
}

/// The rules in the order of their files, each name once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleSet {
    pub rules: Vec<Arc<Rule>>,
    /// The files that they come from, each with its SHA-256: by these one proves which rules were in force.
    pub files: Vec<(Text, Text)>,
    /// What is no fault but worth knowing.
    pub warnings: Vec<Fault>,
}

/// The version of the shipped rules. Raised with each release that brings new ones, which say `since` this version:
/// a pin (`rules_version`) keeps them from acting until somebody has looked at them.
///
/// 1: the first release. 2: the whole catalogue.
pub const RULES_VERSION: u32 = 2;

impl RuleSet {
    /// Holds every rule newer than the pin at `alert`.
    pub fn pinned(mut self, pin: Option<&(u32, Place)>) -> Result<Self, Vec<Fault>> {
        let Some((pin, place)) = pin else {
            return Ok(self);
        };
        if *pin > RULES_VERSION {
            let fault = place.fault(format!("there is no version {pin} of the rules"));
            return Err(vec![
                fault.with_hint(format!("this program brings version {RULES_VERSION}")),
            ]);
        }
        for rule in &mut self.rules {
            if rule.since > *pin {
                Arc::make_mut(rule).pin(*pin);
            }
        }
        Ok(self)
    }

    /// The longest that a question of any of them waits, in event time.
    pub fn settle_max(&self) -> Duration {
        let all = self.rules.iter().map(|rule| rule.settle_max());
        all.max().unwrap_or_default()
    }

    /// Rules that may find out only when it is too late to respond, each as a warning at its place.
    pub fn too_slow_to_respond(&self, act_within: Duration) -> Vec<Fault> {
        let too_slow = self
            .rules
            .iter()
            .filter(|rule| !rule.response.is_empty() && rule.settle_max() >= act_within);
        let warning = |rule: &Arc<Rule>| {
            let message = format!(
                "`{}` may wait {} s before it is sure, and what is older than {} s is not responded to (`response.act_within`)",
                rule.name,
                rule.settle_max().as_secs(),
                act_within.as_secs()
            );
            let fault = rule.written.place.fault(message);
            fault.with_hint(
                "shorten what it waits for (`rules show` lists it) or raise `response.act_within`",
            )
        };
        too_slow.map(warning).collect()
    }

    /// Exceptions that have ended or soon will, each with its rule and as a warning at its place.
    pub fn expiring(&self, now: Timestamp) -> Vec<(&Rule, Fault)> {
        let exceptions = self
            .rules
            .iter()
            .flat_map(|rule| rule.exceptions.iter().map(move |it| (&**rule, it)));
        exceptions
            .filter_map(|(rule, exception)| Some((rule, warning(rule, exception, now)?)))
            .collect()
    }
}

fn warning(rule: &Rule, exception: &Exception, now: Timestamp) -> Option<Fault> {
    let what = format!("the exception of `{}` for {}", rule.name, exception.matches);
    let Exception { owner, expires, .. } = exception;
    let message = match exception.expiry(now) {
        Expiry::Distant => return None,
        Expiry::Past => format!("{what} ended on {expires}: it is applied to nothing later"),
        Expiry::Near(0) => format!("{what} ends today"),
        Expiry::Near(1) => format!("{what} ends tomorrow"),
        Expiry::Near(days) => format!("{what} ends in {days} days, on {expires}"),
    };
    let hint = format!("ask {owner} whether it is still needed: set a new `expires` or remove it");
    Some(exception.place.fault(message).with_hint(hint))
}

impl Rule {
    /// The longest that a question of it or a variant waits, in event time.
    fn settle_max(&self) -> Duration {
        let all = std::iter::once(self).chain(self.variants.all().map(|rule| &**rule));
        let settles = all.map(|rule| rule.detect.stage().settle_max());
        settles.max().unwrap_or_default()
    }

    fn pin(&mut self, pin: u32) {
        self.mode = self.mode.min(Mode::Alert);
        self.pinned_at = Some(pin);
        self.variants.all_mut().for_each(|variant| variant.pin(pin));
    }
}
