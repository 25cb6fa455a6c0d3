//! The parameters of a kind, told once: the same list reads them from a rule file and describes them to people.
//!
//! A kind goes through its parameters with a [`Parameters`] at hand. [`Reader`] takes what is written in YAML and leaves the
//! rest at its default; [`Describer`] collects name, meaning, bounds and default for `rules show` and the JSON Schema. Why not
//! serde: it stops at the first fault and knows no place.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::Text;
use crate::yaml::{Faults, Map, Node};

/// Goes through the parameters of a kind, each with its name in rule files and one sentence for people.
pub trait Parameters {
    fn duration(&mut self, key: &'static str, about: &'static str, value: &mut Duration);
    fn count(
        &mut self,
        key: &'static str,
        about: &'static str,
        range: RangeInclusive<u32>,
        value: &mut u32,
    );
    fn number(
        &mut self,
        key: &'static str,
        about: &'static str,
        range: RangeInclusive<f64>,
        value: &mut f64,
    );
    fn flag(&mut self, key: &'static str, about: &'static str, value: &mut bool);
    /// One of a few names; the value is an index into them.
    fn choice(
        &mut self,
        key: &'static str,
        about: &'static str,
        names: &[&'static str],
        value: &mut usize,
    );
    fn texts(&mut self, key: &'static str, about: &'static str, value: &mut Vec<Text>);
}

/// Texts that one parameter may list.
const TEXTS_MAX: usize = 1000;

/// Reads parameters from the keys of a mapping; what is not written keeps its value.
pub(super) struct Reader<'m, 'n, 'f> {
    pub(super) map: &'m mut Map<'n>,
    pub(super) faults: &'f mut Faults,
}

impl<'n> Reader<'_, 'n, '_> {
    fn set<T>(
        &mut self,
        key: &'static str,
        value: &mut T,
        read: impl FnOnce(&'n Node, &mut Faults) -> Option<T>,
    ) {
        if let Some(written) = self.map.optional(key, self.faults, read) {
            *value = written;
        }
    }
}

impl Parameters for Reader<'_, '_, '_> {
    fn duration(&mut self, key: &'static str, _: &'static str, value: &mut Duration) {
        self.set(key, value, Node::duration_above_zero);
    }

    fn count(
        &mut self,
        key: &'static str,
        _: &'static str,
        range: RangeInclusive<u32>,
        value: &mut u32,
    ) {
        self.set(key, value, |node, faults| node.integer(range, faults));
    }

    fn number(
        &mut self,
        key: &'static str,
        _: &'static str,
        range: RangeInclusive<f64>,
        value: &mut f64,
    ) {
        self.set(key, value, |node, faults| node.number(range, faults));
    }

    fn flag(&mut self, key: &'static str, _: &'static str, value: &mut bool) {
        self.set(key, value, Node::boolean);
    }

    fn choice(
        &mut self,
        key: &'static str,
        _: &'static str,
        names: &[&'static str],
        value: &mut usize,
    ) {
        let options: Vec<(&str, usize)> = names.iter().copied().zip(0..).collect();
        self.set(key, value, |node, faults| node.one_of(&options, faults));
    }

    fn texts(&mut self, key: &'static str, _: &'static str, value: &mut Vec<Text>) {
        self.set(key, value, |node, faults| {
            let texts = node.list(faults, Node::text)?;
            if texts.len() > TEXTS_MAX {
                faults.push(node.fault(format!("lists more than {TEXTS_MAX}")));
                return None;
            }
            Some(texts)
        });
    }
}

/// What is to be known of one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub key: &'static str,
    pub about: &'static str,
    pub form: Form,
    /// As a rule file would write it.
    pub value: String,
}

/// What a parameter may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    Duration,
    Count(RangeInclusive<u32>),
    Number(RangeInclusive<f64>),
    Flag,
    Choice(Vec<&'static str>),
    Texts,
}

/// Collects the parameters of a kind with their present values.
#[derive(Debug, Default)]
pub struct Describer {
    pub parameters: Vec<Parameter>,
}

impl Describer {
    fn add(&mut self, key: &'static str, about: &'static str, form: Form, value: String) {
        self.parameters.push(Parameter {
            key,
            about,
            form,
            value,
        });
    }
}

impl Parameters for Describer {
    fn duration(&mut self, key: &'static str, about: &'static str, value: &mut Duration) {
        self.add(key, about, Form::Duration, written(*value));
    }

    fn count(
        &mut self,
        key: &'static str,
        about: &'static str,
        range: RangeInclusive<u32>,
        value: &mut u32,
    ) {
        self.add(key, about, Form::Count(range), value.to_string());
    }

    fn number(
        &mut self,
        key: &'static str,
        about: &'static str,
        range: RangeInclusive<f64>,
        value: &mut f64,
    ) {
        self.add(key, about, Form::Number(range), value.to_string());
    }

    fn flag(&mut self, key: &'static str, about: &'static str, value: &mut bool) {
        self.add(key, about, Form::Flag, value.to_string());
    }

    fn choice(
        &mut self,
        key: &'static str,
        about: &'static str,
        names: &[&'static str],
        value: &mut usize,
    ) {
        let chosen = names.get(*value).copied().unwrap_or_default().to_owned();
        self.add(key, about, Form::Choice(names.to_vec()), chosen);
    }

    fn texts(&mut self, key: &'static str, about: &'static str, value: &mut Vec<Text>) {
        self.add(key, about, Form::Texts, format!("[{}]", value.join(", ")));
    }
}

/// A duration as files write it: in the largest unit that leaves no rest.
pub(super) fn written(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ];
    let fitting = units.iter().find(|(_, unit)| millis.is_multiple_of(*unit));
    fitting.map_or_else(
        || format!("{millis}ms"),
        |(name, unit)| format!("{}{name}", millis / unit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for text in ["2s", "30m", "24h", "30d", "250ms", "90s"] {
            let duration = crate::yaml::parse_duration(text).unwrap();
            let again = crate::yaml::parse_duration(&written(duration)).unwrap();
            assert_eq!(duration, again, "{text}");
        }
        assert_eq!(written(Duration::from_hours(24)), "1d");
        assert_eq!(written(Duration::from_secs(90)), "90s");
    }
}
