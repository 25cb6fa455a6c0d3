//! Evaluation: a checked condition over one event, in three values: true, false, unknown.
//!
//! Kinds have been checked, so what does not fit is unknown here and not an error. No loop but over what is written.

use std::borrow::Cow;
use std::cmp::Ordering;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use regex::Regex;

use super::RunError;
use crate::model::limits::EXPRESSION_TEXT_BYTES_MAX;
use crate::model::{Enriched, EventType, Outcome};
use crate::rules::fields::{Facts, Field, Value};

/// `None` is unknown: a value that it hangs on is missing.
type Answer = Result<Option<bool>, RunError>;

/// Something that is true or not.
#[derive(Debug, Clone)]
pub(super) enum Truth {
    Known(bool),
    Field(&'static Field),
    Has(&'static Field),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
    Choice(Box<[Self; 3]>),
    Compare(Comparison, Term, Term),
    Among(Term, Vec<Value<'static>>),
    /// The first is one of the parts of the second.
    Word(Term, Term, String),
    Part(Part, Term, Term),
    Pattern(Term, Regex),
    Within(IpNet, Term),
}

/// Something that has a value.
#[derive(Debug, Clone)]
pub(super) enum Term {
    Value(Value<'static>),
    Field(&'static Field),
    Truth(Box<Truth>),
    Length(Box<Self>),
    Lower(Box<Self>),
    Negative(Box<Self>),
    Arithmetic(Arithmetic, Box<Self>, Box<Self>),
    Clock(Clock, TimeZone, Box<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Differs,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Start,
    End,
    Anywhere,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// What a clock on the wall would show.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clock {
    Hours,
    Minutes,
    DayOfWeek,
}

/// Where fields get their values from: an event, or a world that is thought of.
pub(super) trait Row {
    fn read(&self, field: &'static Field) -> Option<Value<'_>>;

    /// Whether the field has a value; `None` where that is still open.
    fn has(&self, field: &'static Field) -> Option<bool> {
        Some(self.read(field).is_some())
    }
}

/// An event with what the engine knows of it.
pub(super) struct Seen<'a> {
    pub event: &'a Enriched,
    pub facts: &'a Facts,
}

impl Row for Seen<'_> {
    fn read(&self, field: &'static Field) -> Option<Value<'_>> {
        field.read(self.event, self.facts)
    }
}

/// An event of which facts may still come: only those that are true already cannot change any more.
pub(super) struct Open<'a> {
    pub event: &'a Enriched,
    pub so_far: &'a Facts,
}

impl Row for Open<'_> {
    fn read(&self, field: &'static Field) -> Option<Value<'_>> {
        let value = field.read(self.event, self.so_far);
        value.filter(|value| !field.is_fact() || *value == Value::Truth(true))
    }

    fn has(&self, field: &'static Field) -> Option<bool> {
        let told = self.read(field).is_some();
        (told || !field.is_fact()).then_some(told)
    }
}

/// Any event of one type and outcome, and of a client of which the configuration says something: all else is open.
pub(super) struct Shape<'a> {
    pub kind: EventType,
    pub outcome: Outcome,
    pub of_client: &'a Facts,
}

impl Row for Shape<'_> {
    fn read(&self, field: &'static Field) -> Option<Value<'_>> {
        let name = match field.name {
            "event.type" => self.kind.as_str(),
            "event.outcome" => self.outcome.as_str(),
            _ => return field.read_of_client(self.of_client),
        };
        Some(Value::Text(Cow::Borrowed(name)))
    }

    fn has(&self, field: &'static Field) -> Option<bool> {
        self.read(field).map(|_| true)
    }
}

impl Truth {
    pub(super) fn of(&self, row: &impl Row) -> Answer {
        match self {
            Self::Known(truth) => Ok(Some(*truth)),
            Self::Field(field) => Ok(as_truth(row.read(field))),
            Self::Has(field) => Ok(row.has(field)),
            Self::Not(truth) => Ok(truth.of(row)?.map(|truth| !truth)),
            Self::All(truths) => decided_by(false, truths.iter().map(|truth| truth.of(row))),
            Self::Any(truths) => decided_by(true, truths.iter().map(|truth| truth.of(row))),
            Self::Choice(parts) => choice(parts, row),
            // What nearly every condition consists of, without a copy of the written value: asked of each event.
            Self::Compare(comparison, Term::Field(field), Term::Value(value)) => Ok(row
                .read(field)
                .and_then(|told| comparison.holds(&told, value))),
            Self::Among(Term::Field(field), values) => {
                Ok(row.read(field).map(|told| values.contains(&told)))
            }
            Self::Compare(comparison, left, right) => {
                let (left, right) = (left.of(row)?, right.of(row)?);
                Ok(left
                    .zip(right)
                    .and_then(|(left, right)| comparison.holds(&left, &right)))
            }
            Self::Among(term, values) => {
                let found = |value| values.contains(&value);
                Ok(term.of(row)?.map(found))
            }
            Self::Word(word, text, between) => {
                let among =
                    |word: &str, text: &str| text.split(between.as_str()).any(|part| part == word);
                Ok(texts(word.of(row)?, text.of(row)?, among))
            }
            Self::Part(part, text, sought) => {
                let holds = |text: &str, sought: &str| part.holds(text, sought);
                Ok(texts(text.of(row)?, sought.of(row)?, holds))
            }
            Self::Pattern(text, pattern) => match text.of(row)? {
                Some(Value::Text(text)) => searched(&text, pattern).map(Some),
                _ => Ok(None),
            },
            Self::Within(network, address) => Ok(match address.of(row)? {
                Some(Value::Address(address)) => Some(network.contains(&address)),
                _ => None,
            }),
        }
    }

    /// The same for rows that are like this one in what it tells: what that decides is not asked again.
    pub(super) fn given(&self, row: &impl Row) -> Self {
        if let Ok(Some(truth)) = self.of(row) {
            return Self::Known(truth);
        }
        let rest = |truths: &[Self], told: bool| {
            let rest = truths.iter().map(|truth| truth.given(row));
            rest.filter(|truth| !matches!(truth, Self::Known(known) if *known == told))
                .collect()
        };
        match self {
            Self::All(truths) => Self::All(rest(truths, true)),
            Self::Any(truths) => Self::Any(rest(truths, false)),
            other => other.clone(),
        }
    }

    /// Every field that it may read, as often as it stands there.
    pub(super) fn visit_fields(&self, visit: &mut impl FnMut(&'static Field)) {
        match self {
            Self::Known(_) => {}
            Self::Field(field) | Self::Has(field) => visit(field),
            Self::Not(truth) => truth.visit_fields(visit),
            Self::All(truths) | Self::Any(truths) => {
                for truth in truths {
                    truth.visit_fields(visit);
                }
            }
            Self::Choice(parts) => {
                for part in parts.iter() {
                    part.visit_fields(visit);
                }
            }
            Self::Compare(_, left, right)
            | Self::Word(left, right, _)
            | Self::Part(_, left, right) => {
                left.visit_fields(visit);
                right.visit_fields(visit);
            }
            Self::Among(term, _) | Self::Pattern(term, _) | Self::Within(_, term) => {
                term.visit_fields(visit);
            }
        }
    }
}

impl Term {
    fn of<'a>(&'a self, row: &'a impl Row) -> Result<Option<Value<'a>>, RunError> {
        Ok(match self {
            Self::Value(value) => Some(value.borrowed()),
            Self::Field(field) => row.read(field),
            Self::Truth(truth) => truth.of(row)?.map(Value::Truth),
            Self::Length(text) => match text.of(row)? {
                Some(Value::Text(text)) => length(&text),
                _ => None,
            },
            Self::Lower(text) => match text.of(row)? {
                Some(Value::Text(text)) => Some(Value::Text(Cow::Owned(text.to_ascii_lowercase()))),
                _ => None,
            },
            Self::Negative(term) => match term.of(row)? {
                Some(Value::Integer(number)) => Some(Value::Integer(
                    number.checked_neg().ok_or(RunError::Overflow)?,
                )),
                Some(Value::Number(number)) => Some(Value::Number(-number)),
                _ => None,
            },
            Self::Arithmetic(operation, left, right) => match (left.of(row)?, right.of(row)?) {
                (Some(left), Some(right)) => operation.of(&left, &right)?,
                _ => None,
            },
            Self::Clock(clock, zone, term) => match term.of(row)? {
                Some(Value::Time(time)) => {
                    Some(Value::Integer(clock.of(&time.to_zoned(zone.clone()))))
                }
                _ => None,
            },
        })
    }

    fn visit_fields(&self, visit: &mut impl FnMut(&'static Field)) {
        match self {
            Self::Value(_) => {}
            Self::Field(field) => visit(field),
            Self::Truth(truth) => truth.visit_fields(visit),
            Self::Length(term)
            | Self::Lower(term)
            | Self::Negative(term)
            | Self::Clock(_, _, term) => {
                term.visit_fields(visit);
            }
            Self::Arithmetic(_, left, right) => {
                left.visit_fields(visit);
                right.visit_fields(visit);
            }
        }
    }
}

/// `&&` is decided by a false, `||` by a true, whatever the others are; else an error counts more than an unknown.
fn decided_by(deciding: bool, answers: impl Iterator<Item = Answer>) -> Answer {
    let mut sum = Ok(Some(!deciding));
    for answer in answers {
        match answer {
            Ok(Some(truth)) if truth == deciding => return Ok(Some(deciding)),
            Ok(Some(_)) => {}
            Ok(None) => sum = sum.map(|_| None),
            Err(error) => sum = sum.and(Err(error)),
        }
    }
    sum
}

fn choice([condition, this, that]: &[Truth; 3], row: &impl Row) -> Answer {
    match condition.of(row)? {
        Some(true) => this.of(row),
        Some(false) => that.of(row),
        None => Ok(None),
    }
}

fn as_truth(value: Option<Value<'_>>) -> Option<bool> {
    match value? {
        Value::Truth(truth) => Some(truth),
        _ => None,
    }
}

fn texts(
    one: Option<Value<'_>>,
    other: Option<Value<'_>>,
    holds: impl Fn(&str, &str) -> bool,
) -> Option<bool> {
    match (one?, other?) {
        (Value::Text(one), Value::Text(other)) => Some(holds(&one, &other)),
        _ => None,
    }
}

fn searched(text: &str, pattern: &Regex) -> Result<bool, RunError> {
    if text.len() > EXPRESSION_TEXT_BYTES_MAX {
        return Err(RunError::TextTooLong);
    }
    Ok(pattern.is_match(text))
}

fn length(text: &str) -> Option<Value<'static>> {
    i64::try_from(text.chars().count()).ok().map(Value::Integer)
}

impl Comparison {
    /// `None` for kinds that do not go together; no such comparison passes the check.
    fn holds(self, left: &Value<'_>, right: &Value<'_>) -> Option<bool> {
        match self {
            Self::Equal => Some(equal(left, right)),
            Self::Differs => Some(!equal(left, right)),
            // No order with what is not a number: not even less.
            Self::Less => Some(order(left, right)?.is_some_and(Ordering::is_lt)),
            Self::LessOrEqual => Some(order(left, right)?.is_some_and(Ordering::is_le)),
            Self::Greater => Some(order(left, right)?.is_some_and(Ordering::is_gt)),
            Self::GreaterOrEqual => Some(order(left, right)?.is_some_and(Ordering::is_ge)),
        }
    }
}

fn equal(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Integer(_), Value::Number(_)) | (Value::Number(_), Value::Integer(_)) => {
            order(left, right) == Some(Some(Ordering::Equal))
        }
        _ => left == right,
    }
}

#[expect(
    clippy::option_option,
    reason = "the outer says whether the kinds have an order, the inner is that of the floating point"
)]
fn order(left: &Value<'_>, right: &Value<'_>) -> Option<Option<Ordering>> {
    Some(match (left, right) {
        (Value::Integer(left), Value::Integer(right)) => Some(left.cmp(right)),
        (Value::Time(left), Value::Time(right)) => Some(left.cmp(right)),
        _ => as_number(left)?.partial_cmp(&as_number(right)?),
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an integer beyond 2^53 next to a fraction: nobody counts so far"
)]
fn as_number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

impl Part {
    fn holds(self, text: &str, sought: &str) -> bool {
        match self {
            Self::Start => text.starts_with(sought),
            Self::End => text.ends_with(sought),
            Self::Anywhere => text.contains(sought),
        }
    }
}

impl Arithmetic {
    fn of(self, left: &Value<'_>, right: &Value<'_>) -> Result<Option<Value<'static>>, RunError> {
        match (left, right) {
            (Value::Integer(left), Value::Integer(right)) => self
                .of_integers(*left, *right)
                .map(|number| Some(Value::Integer(number))),
            (Value::Number(left), Value::Number(right)) => {
                Ok(Some(Value::Number(self.of_numbers(*left, *right))))
            }
            _ => Ok(None),
        }
    }

    fn of_integers(self, left: i64, right: i64) -> Result<i64, RunError> {
        let is_division = matches!(self, Self::Divide | Self::Remainder);
        if is_division && right == 0 {
            return Err(RunError::DivisionByZero);
        }
        let result = match self {
            Self::Add => left.checked_add(right),
            Self::Subtract => left.checked_sub(right),
            Self::Multiply => left.checked_mul(right),
            Self::Divide => left.checked_div(right),
            Self::Remainder => left.checked_rem(right),
        };
        result.ok_or(RunError::Overflow)
    }

    /// Floating point has an answer for everything, if only infinity.
    fn of_numbers(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Remainder => left % right,
        }
    }
}

impl Clock {
    fn of(self, time: &jiff::Zoned) -> i64 {
        i64::from(match self {
            Self::Hours => time.hour(),
            Self::Minutes => time.minute(),
            Self::DayOfWeek => time.weekday().to_sunday_zero_offset(),
        })
    }
}
