//! `composite_risk`: facts of different classes that together say more than each of them alone.
//!
//! Noisy-OR with decay: of each class of evidence only the strongest fact counts, with half its weight after each half-life,
//! and the risk is one minus the product of what the classes leave open. Ten refreshes from a hosting network are one fact,
//! a new network and a new kind of device are two. Why not a sum: it rewards repetition, and a sure fact could never
//! be enough. Source: detection-rules 7.7; noisy-OR is Pearl's (Probabilistic Reasoning in Intelligent Systems, 1988, 4.3.2).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::case::millis;
use super::super::context::Context;
use super::super::finding::{Ask, Class, Finding};
use super::super::needs::Need;
use super::super::parameters::Parameters;
use super::super::trace::Trace;
use super::super::words::{instant, span};
use super::Kind;
use crate::model::{Evidence, Severity, Text, Value};

/// Parameters of a composite-risk rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Composite {
    pub by: By,
    /// Rules whose findings count; no other rule changes the result.
    pub inputs: Vec<Text>,
    /// The risk from which people are told.
    pub alert: f64,
    /// The risk from which a family may be ended, given two classes of which one is more than place or rate.
    pub revoke: f64,
    /// After this time a fact of the class weighs half: lineage, binding, lifecycle, place, device, rate.
    pub half_life: [Duration; Class::ALL.len()],
}

/// Whose facts are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Family,
    User,
}

impl By {
    const ALL: &'static [Self] = &[Self::Family, Self::User];
    const NAMES: &'static [&'static str] = &["family", "user"];
}

const HALF_LIFE_KEYS: [&str; Class::ALL.len()] = [
    "half_life_lineage",
    "half_life_binding",
    "half_life_lifecycle",
    "half_life_place",
    "half_life_device",
    "half_life_rate",
];

impl Default for Composite {
    fn default() -> Self {
        Self {
            by: By::Family,
            inputs: Vec::new(),
            alert: 0.7,
            revoke: 0.9,
            half_life: [24, 72, 24, 24, 72, 1].map(Duration::from_hours),
        }
    }
}

impl Kind for Composite {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        let mut by = By::ALL.iter().position(|by| *by == self.by).unwrap_or(0);
        p.choice("by", "Whose facts are put together.", By::NAMES, &mut by);
        self.by = By::ALL.get(by).copied().unwrap_or(self.by);
        p.texts(
            "inputs",
            "Rules whose findings count, each with its `risk`.",
            &mut self.inputs,
        );
        p.number(
            "alert",
            "The risk from which people are told.",
            0.0..=1.0,
            &mut self.alert,
        );
        p.number(
            "revoke",
            "The risk from which a family may be ended, given two classes of which one is more than place or rate.",
            0.0..=1.0,
            &mut self.revoke,
        );
        for (key, value) in HALF_LIFE_KEYS.iter().zip(&mut self.half_life) {
            p.duration(
                key,
                "After this time a fact of this class weighs half.",
                value,
            );
        }
    }

    /// Its inputs have needs of their own.
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }
}

/// Facts remembered of one subject, in order of event time; bounded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Signals(Vec<Signal>);

/// One finding, as far as the risk reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Event time, milliseconds.
    pub time: i64,
    pub detection_id: Text,
    pub event_id: Text,
    pub rule: Text,
    /// Positions in `Class::ALL`.
    pub classes: Vec<u8>,
    /// From 0 to 1.
    pub weight: f64,
    pub ip_address: Option<IpAddr>,
}

/// Facts kept of one subject: far more than there are classes, so that a burst of one class pushes out none of another
/// that still weighs.
const SIGNALS_MAX: usize = 48;

impl Signals {
    /// Adds a fact; `false` when it is there.
    pub fn add(&mut self, signal: Signal) -> bool {
        if self.0.iter().any(|s| s.detection_id == signal.detection_id) {
            return false;
        }
        let order = |s: &Signal| (s.time, s.detection_id.clone());
        let at = self.0.partition_point(|s| order(s) < order(&signal));
        self.0.insert(at, signal);
        if self.0.len() > SIGNALS_MAX {
            let weakest = self.redundant().unwrap_or(0);
            self.0.remove(weakest);
        }
        true
    }

    /// The oldest fact of which a newer one of the same rule says as much.
    fn redundant(&self) -> Option<usize> {
        let again = |s: &Signal, later: &Signal| s.rule == later.rule && later.weight >= s.weight;
        (0..self.0.len()).find(|&i| self.0[i + 1..].iter().any(|later| again(&self.0[i], later)))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Signal> {
        self.0.iter()
    }
}

/// What each class gives at one moment, with the fact that gives it.
struct Sum<'a> {
    classes: [Option<(f64, &'a Signal)>; Class::ALL.len()],
}

impl Sum<'_> {
    fn risk(&self) -> f64 {
        let open: f64 = self
            .classes
            .iter()
            .flatten()
            .map(|(p, _)| 1.0 - p)
            .product();
        1.0 - open
    }

    fn present(&self) -> impl Iterator<Item = Class> {
        let classes = Class::ALL.iter().zip(&self.classes);
        classes.filter_map(|(class, p)| p.is_some().then_some(*class))
    }
}

/// Facts below this are noise of old ones.
const NOTHING: f64 = 0.01;

impl Composite {
    /// Judges the moments from `since` on at which the risk crosses a threshold.
    pub fn judge(&self, signals: &Signals, since: i64, trace: &mut Trace) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (i, signal) in signals.0.iter().enumerate() {
            if signal.time < since {
                continue;
            }
            let before = self.sum(&signals.0[..i], signal.time);
            let now = self.sum(&signals.0[..=i], signal.time);
            for level in [Level::Alert, Level::Revoke] {
                if self.reaches(level, &now) && !self.reaches(level, &before) {
                    findings.push(self.describe(level, signal, &now));
                } else if i + 1 == signals.0.len() && self.may_reach(level) {
                    // How it stood in the end; what stood on the way there is in the findings.
                    trace.note(|| (self.reason(level, &now).to_owned(), self.sums(level, &now)));
                }
            }
        }
        findings
    }

    fn sum<'a>(&self, signals: &'a [Signal], time: i64) -> Sum<'a> {
        let mut sum = Sum {
            classes: [None; Class::ALL.len()],
        };
        for signal in signals {
            for &class in &signal.classes {
                let Some(strongest) = sum.classes.get_mut(usize::from(class)) else {
                    continue;
                };
                let p = self.weight(signal, class, time);
                if p >= NOTHING && strongest.is_none_or(|(known, _)| p > known) {
                    *strongest = Some((p, signal));
                }
            }
        }
        sum
    }

    /// What is left of a fact after its age.
    #[expect(
        clippy::cast_precision_loss,
        reason = "ages are far below 2^52 milliseconds"
    )]
    fn weight(&self, signal: &Signal, class: u8, time: i64) -> f64 {
        let half_life = self
            .half_life
            .get(usize::from(class))
            .map_or(1.0, |d| millis(*d) as f64);
        let age = (time - signal.time).max(0) as f64;
        signal.weight * (-age / half_life).exp2()
    }

    const fn threshold(&self, level: Level) -> f64 {
        match level {
            Level::Alert => self.alert,
            Level::Revoke => self.revoke,
        }
    }

    /// Whether the facts are enough: two classes at least; and rate and place, alone or together, never end a family.
    fn reaches(&self, level: Level, sum: &Sum<'_>) -> bool {
        sum.risk() >= self.threshold(level)
            && sum.present().count() >= 2
            && (level == Level::Alert || self.may_end(sum))
    }

    /// No family is meant by what is known of a user, so that none can be ended.
    fn may_reach(&self, level: Level) -> bool {
        level == Level::Alert || self.by == By::Family
    }

    fn may_end(&self, sum: &Sum<'_>) -> bool {
        self.by == By::Family && sum.present().any(Class::may_revoke)
    }

    fn reason(&self, level: Level, sum: &Sum<'_>) -> &'static str {
        if sum.risk() < self.threshold(level) {
            "the risk is below the threshold"
        } else if sum.present().count() < 2 {
            "all facts are of one class: the rule that found them says what there is to say"
        } else if level == Level::Revoke && !self.may_end(sum) {
            "rate and place, alone or together, never end a family"
        } else {
            "the risk had crossed the threshold before and stays above it"
        }
    }

    fn values(&self, level: Level, sum: &Sum<'_>, time: i64) -> Evidence {
        let classes = Class::ALL.iter().zip(&sum.classes);
        let facts = classes.filter_map(|(class, strongest)| {
            let (p, signal) = (*strongest)?;
            let fact = Evidence::new()
                .with("class", class.as_str())
                .with("weight", hundredths(p))
                .with("rule", &signal.rule)
                .with("age", span(time - signal.time))
                .with("time", instant(signal.time))
                .with("detection_id", &signal.detection_id);
            Some(Value::Map(fact))
        });
        self.sums(level, sum)
            .with("facts", facts.collect::<Vec<_>>())
    }

    /// The risk against its threshold.
    fn sums(&self, level: Level, sum: &Sum<'_>) -> Evidence {
        Evidence::new()
            .with("level", level.as_str())
            .with("risk", hundredths(sum.risk()))
            .with("threshold", self.threshold(level))
    }

    fn describe(&self, level: Level, signal: &Signal, sum: &Sum<'_>) -> Finding {
        let ends = level == Level::Revoke;
        let facts = Class::ALL.iter().zip(&sum.classes);
        let signs = facts.filter_map(|(class, strongest)| {
            let (_, signal) = (*strongest)?;
            Some(format!("{} ({})", class.as_str(), signal.rule))
        });
        let signs: Vec<String> = signs.collect();
        let whom = match self.by {
            By::Family => "in one login",
            By::User => "about one user",
        };
        Finding {
            about: vec![
                level.as_str().to_owned(),
                (signal.time / DAY_MS).to_string(),
            ],
            time: signal.time,
            event_id: Some(signal.event_id.clone()),
            at_most: if ends {
                Severity::Critical
            } else {
                Severity::Medium
            },
            ask: if ends { Ask::Response } else { Ask::Review },
            may_revoke: ends,
            confidence: 0.0,
            presenter: Arc::new(Context {
                ip_address: signal.ip_address,
                ..Context::default()
            }),
            foreign_network: None,
            summary: format!(
                "Signs of theft {whom} add up to a risk of {:.2} (limit {}): {}",
                sum.risk(),
                self.threshold(level),
                signs.join(", "),
            ),
            evidence: self.values(level, sum, signal.time),
        }
    }
}

/// The two thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Alert,
    Revoke,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Revoke => "revoke",
        }
    }
}

/// A crossing is told once a day of event time at most.
const DAY_MS: i64 = 24 * 3_600_000;

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn signal(id: &str, hours: i64, class: Class, weight: f64) -> Signal {
        let position = Class::ALL.iter().position(|c| *c == class).unwrap();
        Signal {
            time: hours * HOUR,
            detection_id: id.into(),
            event_id: id.into(),
            rule: format!("rule-{}", class.as_str()).into(),
            classes: vec![u8::try_from(position).unwrap()],
            weight,
            ip_address: None,
        }
    }

    fn levels(signals: &[Signal]) -> Vec<String> {
        let mut all = Signals::default();
        for signal in signals {
            assert!(all.add(signal.clone()));
        }
        let found = Composite::default().judge(&all, i64::MIN, &mut Trace::off());
        found.iter().map(|f| f.about[0].clone()).collect()
    }

    #[test]
    fn the_same_class_twice_does_not_add_up() {
        let twice: Vec<Signal> = (0..20)
            .map(|n| signal(&n.to_string(), n, Class::Place, 0.6))
            .collect();
        assert_eq!(levels(&twice), Vec::<String>::new());
    }

    #[test]
    fn two_classes_together_alert_and_three_end_the_family() {
        let two = [
            signal("a", 0, Class::Place, 0.5),
            signal("b", 0, Class::Device, 0.7),
        ];
        assert_eq!(levels(&two), ["alert"]);
        let three = [&two[..], &[signal("c", 0, Class::Lineage, 0.4)]].concat();
        assert_eq!(levels(&three), ["alert", "revoke"]);
    }

    #[test]
    fn rate_and_place_never_end_a_family() {
        let sure = [
            signal("a", 0, Class::Place, 1.0),
            signal("b", 0, Class::Rate, 1.0),
        ];
        assert_eq!(levels(&sure), ["alert"]);
    }

    #[test]
    fn old_facts_fade() {
        let apart = [
            signal("a", 0, Class::Place, 0.5),
            signal("b", 48, Class::Device, 0.6),
        ];
        assert_eq!(levels(&apart), Vec::<String>::new());
    }

    #[test]
    fn it_is_told_when_it_crosses_and_not_while_it_stays() {
        let stays: Vec<Signal> = (0..10)
            .flat_map(|n| {
                [
                    signal(&format!("p{n}"), n, Class::Place, 0.5),
                    signal(&format!("d{n}"), n, Class::Device, 0.7),
                ]
            })
            .collect();
        assert_eq!(levels(&stays), ["alert"]);
    }

    #[test]
    fn the_order_of_arrival_does_not_matter_and_memory_is_bounded() {
        let mut forwards = Signals::default();
        let mut backwards = Signals::default();
        let count = i64::try_from(SIGNALS_MAX).unwrap();
        for n in 0..count {
            forwards.add(signal(&n.to_string(), n, Class::Rate, 0.3));
            let back = count - 1 - n;
            backwards.add(signal(&back.to_string(), back, Class::Rate, 0.3));
        }
        assert_eq!(forwards, backwards);
        forwards.add(signal("x", 100, Class::Device, 0.3));
        assert_eq!(forwards.iter().count(), SIGNALS_MAX);
    }
}
