//! The parameters of a kind, told once: the same list reads them from a rule file and describes them to people.
//!
//! A kind goes through its parameters with a [`Parameters`] at hand. `Reader` takes what is written in YAML and leaves the
//! rest at its default; [`Describer`] collects name, meaning, bounds and default for `rules show` and the JSON Schema. Why not
//! serde: it stops at the first fault and knows no place.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::expr::{Expression, Problem};
use super::fields::KeyField;
use crate::model::{Text, limits};
use crate::yaml::{Fault, Faults, Map, Node};

/// Goes through the parameters of a kind, each with its name in rule files and one sentence for people.
pub trait Parameters {
    fn duration(&mut self, key: &'static str, about: &'static str, value: &mut Duration);
    /// How long a judgement waits for facts that may still come.
    fn wait(&mut self, key: &'static str, about: &'static str, value: &mut Duration);
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
    /// A condition over events. There is none to fall back to: it must be written.
    fn condition(&mut self, key: &'static str, about: &'static str, value: &mut Option<Expression>);
    /// Fields whose values together are a key; likewise.
    fn key(&mut self, key: &'static str, about: &'static str, value: &mut Vec<KeyField>);
    /// One field.
    fn field(
        &mut self,
        key: &'static str,
        about: &'static str,
        presence: Presence,
        value: &mut Option<KeyField>,
    );
    /// Parameters under a key of their own; whether they are written.
    fn group(
        &mut self,
        key: &'static str,
        about: &'static str,
        of: &mut dyn FnMut(&mut dyn Parameters),
    ) -> bool;
    /// A list of such groups, of which there are `present`; how many there are afterwards.
    fn groups(
        &mut self,
        key: &'static str,
        about: &'static str,
        range: RangeInclusive<usize>,
        present: usize,
        each: &mut dyn FnMut(usize, &mut dyn Parameters),
    ) -> usize;

    /// What every kind has that waits before it judges.
    fn settle(&mut self, value: &mut Duration) {
        let about = "How long a question waits for facts that may still come.";
        self.wait("settle", about, value);
    }
}

/// Whether a parameter without a default must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Required,
    Optional,
}

/// Fields in one key; each makes it longer, and more than a few keep apart what belongs together.
const KEY_FIELDS_MAX: usize = 4;
/// Below the disorder of a source a question would not see its own event; above, nobody is told in time.
const WAITS: RangeInclusive<Duration> =
    Duration::from_millis(limits::DISORDER_MAX_MS.unsigned_abs())..=Duration::from_hours(1);
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

    fn wait(&mut self, key: &'static str, _: &'static str, value: &mut Duration) {
        self.set(key, value, |node, faults| {
            let wait = node.duration(faults)?;
            if WAITS.contains(&wait) {
                return Some(wait);
            }
            node.expected("a duration from 200ms to 1h", faults)
        });
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

    fn condition(&mut self, key: &'static str, _: &'static str, value: &mut Option<Expression>) {
        if value.is_none() {
            *value = self.map.required(key, self.faults, condition);
        } else {
            self.set(key, value, |node, faults| condition(node, faults).map(Some));
        }
    }

    fn key(&mut self, key: &'static str, _: &'static str, value: &mut Vec<KeyField>) {
        if value.is_empty() {
            let read = self.map.required(key, self.faults, key_fields);
            *value = read.unwrap_or_default();
        } else {
            self.set(key, value, key_fields);
        }
    }

    fn field(
        &mut self,
        key: &'static str,
        _: &'static str,
        presence: Presence,
        value: &mut Option<KeyField>,
    ) {
        if value.is_none() && presence == Presence::Required {
            *value = self.map.required(key, self.faults, key_field);
        } else {
            self.set(key, value, |node, faults| key_field(node, faults).map(Some));
        }
    }

    fn group(
        &mut self,
        key: &'static str,
        _: &'static str,
        of: &mut dyn FnMut(&mut dyn Parameters),
    ) -> bool {
        let Some(node) = self.map.get(key) else {
            return false;
        };
        read_group(node, self.faults, of);
        true
    }

    fn groups(
        &mut self,
        key: &'static str,
        _: &'static str,
        range: RangeInclusive<usize>,
        present: usize,
        each: &mut dyn FnMut(usize, &mut dyn Parameters),
    ) -> usize {
        let Some(node) = self.map.get(key) else {
            if !range.contains(&present) {
                self.faults
                    .push(self.map.fault(format!("`{key}` is missing")));
            }
            return present;
        };
        let items = node.items();
        if !range.contains(&items.len()) {
            let (from, to) = range.into_inner();
            self.faults
                .push(node.fault(format!("expected {from} to {to} of them")));
            return present;
        }
        for (number, item) in items.iter().enumerate() {
            read_group(item, self.faults, &mut |p| each(number, p));
        }
        items.len()
    }
}

fn read_group(node: &Node, faults: &mut Faults, of: &mut dyn FnMut(&mut dyn Parameters)) {
    if let Some(mut map) = node.mapping(faults) {
        of(&mut Reader {
            map: &mut map,
            faults,
        });
        map.finish(faults);
    }
}

/// A condition that nothing can fulfil is a slip, though none that stops anything.
fn condition(node: &Node, faults: &mut Faults) -> Option<Expression> {
    let source = node.text(faults)?;
    match Expression::compile(&source) {
        Ok(condition) => {
            if !condition.can_match() {
                let why = node.fault("no event can fulfil this condition");
                faults.warn(why.with_hint("look for two parts that exclude each other"));
            }
            Some(condition)
        }
        Err(problems) => {
            for problem in problems {
                faults.push(of_condition(node, &source, problem));
            }
            None
        }
    }
}

/// Where in the condition: quoting and folding in the file leave no column there that would be certain.
fn of_condition(node: &Node, source: &str, problem: Problem) -> Fault {
    let Problem {
        line,
        column,
        message,
        hint,
    } = problem;
    let at = |n: u32| usize::try_from(n).unwrap_or(usize::MAX).saturating_sub(1);
    let rest = source.lines().nth(at(line)).unwrap_or_default();
    let rest: String = rest.chars().skip(at(column)).take(24).collect();
    let at = if rest.is_empty() {
        format!("at the end of the condition, {line}:{column} in it")
    } else {
        format!("at `{rest}`, {line}:{column} in the condition")
    };
    let fault = node.fault(format!("{message} ({at})"));
    match hint {
        Some(hint) => fault.with_hint(hint),
        None => fault,
    }
}

fn key_fields(node: &Node, faults: &mut Faults) -> Option<Vec<KeyField>> {
    let fields = node.one_or_list(faults, key_field)?;
    if fields.is_empty() || fields.len() > KEY_FIELDS_MAX {
        faults.push(node.fault(format!("expected 1 to {KEY_FIELDS_MAX} fields")));
        return None;
    }
    Some(fields)
}

fn key_field(node: &Node, faults: &mut Faults) -> Option<KeyField> {
    let name = node.text(faults)?;
    KeyField::parse(&name)
        .map_err(|(why, hint)| faults.push(node.fault(why).with_hint(hint)))
        .ok()
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
    /// A condition in the expression language.
    Condition,
    /// A field, or a list of them where `many`.
    Field {
        many: bool,
    },
    /// Parameters under a key of their own.
    Group(Vec<Parameter>),
    /// A list of such groups, so many.
    Groups(RangeInclusive<usize>, Vec<Parameter>),
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

    fn wait(&mut self, key: &'static str, about: &'static str, value: &mut Duration) {
        self.duration(key, about, value);
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

    fn condition(
        &mut self,
        key: &'static str,
        about: &'static str,
        value: &mut Option<Expression>,
    ) {
        let source = value.as_ref().map_or("", Expression::source);
        // In one line, however it was folded in its file.
        let words: Vec<&str> = source.split_whitespace().collect();
        self.add(key, about, Form::Condition, words.join(" "));
    }

    fn key(&mut self, key: &'static str, about: &'static str, value: &mut Vec<KeyField>) {
        let names: Vec<&str> = value.iter().map(|field| field.name()).collect();
        let value = format!("[{}]", names.join(", "));
        self.add(key, about, Form::Field { many: true }, value);
    }

    fn field(
        &mut self,
        key: &'static str,
        about: &'static str,
        _: Presence,
        value: &mut Option<KeyField>,
    ) {
        let name = value.map_or("", KeyField::name).to_owned();
        self.add(key, about, Form::Field { many: false }, name);
    }

    fn group(
        &mut self,
        key: &'static str,
        about: &'static str,
        of: &mut dyn FnMut(&mut dyn Parameters),
    ) -> bool {
        let mut inner = Self::default();
        of(&mut inner);
        let value = inner.in_braces();
        self.add(key, about, Form::Group(inner.parameters), value);
        false
    }

    fn groups(
        &mut self,
        key: &'static str,
        about: &'static str,
        range: RangeInclusive<usize>,
        present: usize,
        each: &mut dyn FnMut(usize, &mut dyn Parameters),
    ) -> usize {
        let described = |number| {
            let mut inner = Self::default();
            each(number, &mut inner);
            inner
        };
        let mut all: Vec<Self> = (0..present.max(1)).map(described).collect();
        let values: Vec<String> = all.iter().map(Self::in_braces).collect();
        let first = all.swap_remove(0);
        let form = Form::Groups(range, first.parameters);
        self.add(key, about, form, format!("[{}]", values.join(", ")));
        present
    }
}

impl Describer {
    fn in_braces(&self) -> String {
        let written = |p: &Parameter| format!("{}: {}", p.key, p.value);
        let parameters: Vec<String> = self.parameters.iter().map(written).collect();
        format!("{{ {} }}", parameters.join(", "))
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
