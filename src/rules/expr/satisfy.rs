//! Whether anything can make a condition true: the worlds that it tells apart are tried one by one.
//!
//! A world gives each field a value: none, one of those that it is compared with, or one beside them. What cannot be
//! tried that way (a pattern, a part of a text, two fields compared) is free to be true or false, as if nothing were
//! known of it. So "cannot be true" is certain, and "can be" is not. Why not sample events alone: none of them has the
//! user that the condition names.

use std::borrow::Cow;

use super::eval::{Row, Term, Truth};
use crate::model::limits::EXPRESSION_TRIALS_MAX;
use crate::rules::fields::{Field, Kind, Value};

/// Certain where it says no.
pub(super) fn can_be_true(truth: &Truth) -> bool {
    let mut worlds = Worlds::default();
    worlds.collect(truth);
    worlds
        .count()
        .is_none_or(|count| (0..count).any(|number| worlds.holds(truth, number)))
}

#[derive(Default)]
struct Worlds {
    /// The values that are tried; each field once.
    fields: Vec<(&'static Field, Vec<Option<Value<'static>>>)>,
    /// Conditions that are true or false as they please.
    free: u32,
    /// All conditions that are asked in each world.
    conditions: u64,
}

impl Worlds {
    /// `None` where there are too many to try.
    fn count(&self) -> Option<u64> {
        let free = 1_u64.checked_shl(self.free)?;
        self.fields
            .iter()
            .try_fold(free, |count, (_, values)| {
                count.checked_mul(values.len() as u64)
            })
            .filter(|count| count.saturating_mul(self.conditions) <= EXPRESSION_TRIALS_MAX)
    }

    fn holds(&self, truth: &Truth, number: u64) -> bool {
        let free = 1_u64 << self.free.min(63);
        let mut world = World {
            worlds: self,
            fields: number / free,
            free: number % free,
        };
        world.of(truth) == Some(true)
    }

    /// Notes every value that the condition tells from others.
    fn collect(&mut self, truth: &Truth) {
        match truth {
            Truth::Known(_) => {}
            Truth::Not(truth) => self.collect(truth),
            Truth::All(truths) | Truth::Any(truths) => {
                for truth in truths {
                    self.collect(truth);
                }
            }
            Truth::Choice(parts) => {
                for part in parts.iter() {
                    self.collect(part);
                }
            }
            atom if is_tried(atom) => {
                self.conditions += 1;
                let values = values_of(atom);
                atom.visit_fields(&mut |field| self.note(field, &values));
            }
            _ => {
                self.conditions += 1;
                self.free += 1;
            }
        }
    }

    fn note(&mut self, field: &'static Field, values: &[&Value<'static>]) {
        let known = self
            .fields
            .iter()
            .position(|(known, _)| known.name == field.name);
        let index = known.unwrap_or_else(|| {
            self.fields.push((field, first_values(field)));
            self.fields.len() - 1
        });
        let Some((_, tried)) = self.fields.get_mut(index) else {
            return;
        };
        for value in values.iter().flat_map(|value| with_neighbours(value)) {
            let value = Some(value);
            // A name that the field never has is no world.
            if field.kind.names().is_empty() && !tried.contains(&value) {
                tried.push(value);
            }
        }
    }
}

/// Conditions whose fields have few values, or that compare one field with values that are written.
fn is_tried(atom: &Truth) -> bool {
    match atom {
        Truth::Field(_)
        | Truth::Has(_)
        | Truth::Compare(_, Term::Field(_), Term::Value(_))
        | Truth::Compare(_, Term::Value(_), Term::Field(_) | Term::Value(_))
        | Truth::Among(Term::Field(_) | Term::Value(_), _) => true,
        _ => {
            let mut few = true;
            atom.visit_fields(&mut |field| {
                few &= matches!(field.kind, Kind::Choice(_) | Kind::Truth);
            });
            few
        }
    }
}

fn values_of(atom: &Truth) -> Vec<&Value<'static>> {
    match atom {
        Truth::Compare(_, Term::Field(_), Term::Value(value))
        | Truth::Compare(_, Term::Value(value), Term::Field(_)) => vec![value],
        Truth::Among(Term::Field(_), values) => values.iter().collect(),
        _ => Vec::new(),
    }
}

/// What every field of a kind is tried with; of texts and addresses one that nobody compares with.
fn first_values(field: &Field) -> Vec<Option<Value<'static>>> {
    let other = match field.kind {
        Kind::Choice(names) => {
            let named = names
                .iter()
                .map(|name| Some(Value::Text(Cow::Borrowed(*name))));
            return std::iter::once(None).chain(named).collect();
        }
        Kind::Truth => return vec![None, Some(Value::Truth(false)), Some(Value::Truth(true))],
        Kind::Text => Value::Text(Cow::Borrowed("\u{0}another")),
        Kind::Integer => Value::Integer(0),
        Kind::Number => Value::Number(0.5),
        Kind::Address => Value::Address([192, 0, 2, 254].into()),
        Kind::Prefix => Value::Prefix(crate::model::Prefix::V4([192, 0, 2])),
        Kind::Time => Value::Time(crate::model::Timestamp::UNIX_EPOCH),
    };
    vec![None, Some(other)]
}

/// A value and those just beside it: between them an order changes its answer.
fn with_neighbours(value: &Value<'static>) -> Vec<Value<'static>> {
    let second = jiff::SignedDuration::from_secs(1);
    let beside = match value {
        Value::Integer(number) => {
            [number.checked_sub(1), number.checked_add(1)].map(|number| number.map(Value::Integer))
        }
        Value::Number(number) => {
            [number.next_down(), number.next_up()].map(|number| Some(Value::Number(number)))
        }
        Value::Time(time) => [time.checked_sub(second), time.checked_add(second)]
            .map(|time| time.ok().map(Value::Time)),
        _ => [None, None],
    };
    beside
        .into_iter()
        .flatten()
        .chain([value.clone()])
        .collect()
}

struct World<'a> {
    worlds: &'a Worlds,
    /// Which value each field has: digits of a number, each in the base of how many values are tried.
    fields: u64,
    /// One bit for each free condition, used up from the right in the order in which they stand.
    free: u64,
}

impl World<'_> {
    /// Looks at every part, also where the answer is known: the free ones are counted by their order.
    fn of(&mut self, truth: &Truth) -> Option<bool> {
        match truth {
            Truth::Known(truth) => Some(*truth),
            Truth::Not(truth) => self.of(truth).map(|truth| !truth),
            Truth::All(truths) => self.chain(truths, false),
            Truth::Any(truths) => self.chain(truths, true),
            Truth::Choice(parts) => {
                let [condition, this, that] = &**parts;
                let (condition, this, that) = (self.of(condition), self.of(this), self.of(that));
                if condition? { this } else { that }
            }
            atom if is_tried(atom) => atom.of(self).ok().flatten(),
            _ => {
                let truth = self.free & 1 == 1;
                self.free >>= 1;
                Some(truth)
            }
        }
    }

    fn chain(&mut self, truths: &[Truth], deciding: bool) -> Option<bool> {
        let answers: Vec<Option<bool>> = truths.iter().map(|truth| self.of(truth)).collect();
        if answers.contains(&Some(deciding)) {
            return Some(deciding);
        }
        (!answers.contains(&None)).then_some(!deciding)
    }
}

impl Row for World<'_> {
    fn read(&self, field: &'static Field) -> Option<Value<'_>> {
        let mut rest = self.fields;
        for (known, values) in &self.worlds.fields {
            let base = values.len() as u64;
            if known.name == field.name {
                let index = usize::try_from(rest % base).ok()?;
                return values.get(index)?.as_ref().map(Value::borrowed);
            }
            rest /= base;
        }
        None
    }
}
