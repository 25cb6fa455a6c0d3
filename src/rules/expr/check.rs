//! The check: a tree against the table of fields. Names, kinds, possible values, all at once, each with its place.
//!
//! What comes out has its constants read: addresses, times, patterns, lists. `exists` and `all` are written out here.

mod call;

pub use call::functions;

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Flaw;
use super::eval::{Arithmetic, Comparison, Term, Truth};
use super::parse::{Form, Syntax};
use crate::model::Prefix;
use crate::model::limits::{EXPRESSION_LIST_MAX, EXPRESSION_NODES_MAX};
use crate::rules::fields::{Field, Kind, Value};

pub(super) fn check(syntax: &Syntax) -> Result<Truth, Vec<Flaw>> {
    let mut checker = Checker::default();
    let truth = checker.truth(syntax);
    match truth {
        Some(truth) if checker.flaws.is_empty() => Ok(truth),
        _ => Err(checker.flaws),
    }
}

#[derive(Default)]
struct Checker {
    flaws: Vec<Flaw>,
    /// Names that `exists` and `all` give to the value of their list that is being written out.
    bound: Vec<(String, Syntax)>,
    nodes: usize,
    patterns: usize,
}

/// A value and its kind.
type Typed = (Term, Kind);

impl Checker {
    /// Notes a flaw; the same one again, when a body is written out for another value, is left out.
    fn flaw<T>(&mut self, flaw: Flaw) -> Option<T> {
        if !self.flaws.contains(&flaw) {
            self.flaws.push(flaw);
        }
        None
    }

    /// Every part comes through here, so here the size is counted.
    fn enter(&mut self, syntax: &Syntax) -> Option<()> {
        self.nodes += 1;
        if self.nodes <= EXPRESSION_NODES_MAX {
            return Some(());
        }
        if self.nodes == EXPRESSION_NODES_MAX + 1 {
            let message = format!("more than {EXPRESSION_NODES_MAX} parts, with lists written out");
            return self.flaw(Flaw::new(syntax.at, message).hint("make two rules of it"));
        }
        None
    }

    fn truth(&mut self, syntax: &Syntax) -> Option<Truth> {
        self.enter(syntax)?;
        match &syntax.form {
            Form::Truth(truth) => Some(Truth::Known(*truth)),
            Form::All(parts) => self.truths(parts).map(Truth::All),
            Form::Any(parts) => self.truths(parts).map(Truth::Any),
            Form::Not(part) => Some(Truth::Not(Box::new(self.truth(part)?))),
            Form::Choice(parts) => {
                let [condition, this, that] = &**parts;
                let (condition, this, that) =
                    (self.truth(condition), self.truth(this), self.truth(that));
                Some(Truth::Choice(Box::new([condition?, this?, that?])))
            }
            Form::Binary("in", value, list) => self.among(value, list),
            Form::Binary(operator, left, right) if comparison(operator).is_some() => {
                self.compare(syntax.at, comparison(operator)?, left, right)
            }
            Form::Call {
                target,
                name,
                arguments,
            } if call::is_question(name) => {
                self.question(syntax.at, target.as_deref(), name, arguments)
            }
            _ => self.truth_of_value(syntax),
        }
    }

    fn truths(&mut self, parts: &[Syntax]) -> Option<Vec<Truth>> {
        // Every part is looked at, so that all flaws are told.
        let truths: Vec<Option<Truth>> = parts.iter().map(|part| self.truth(part)).collect();
        truths.into_iter().collect()
    }

    fn truth_of_value(&mut self, syntax: &Syntax) -> Option<Truth> {
        match self.term(syntax)? {
            (Term::Field(field), Kind::Truth) => Some(Truth::Field(field)),
            (Term::Truth(truth), _) => Some(*truth),
            (Term::Value(Value::Truth(truth)), _) => Some(Truth::Known(truth)),
            (_, kind) => self.flaw(
                Flaw::new(
                    syntax.at,
                    format!("expected something true or false, found {}", a(kind)),
                )
                .hint("compare it with a value, or ask has(...) whether there is one"),
            ),
        }
    }

    fn term(&mut self, syntax: &Syntax) -> Option<Typed> {
        self.enter(syntax)?;
        match &syntax.form {
            Form::Text(text) => {
                let text = Value::Text(Cow::Owned(text.clone()));
                Some((Term::Value(text), Kind::Text))
            }
            Form::Integer(number) => Some((Term::Value(Value::Integer(*number)), Kind::Integer)),
            Form::Number(number) => Some((Term::Value(Value::Number(*number)), Kind::Number)),
            Form::Truth(truth) => Some((Term::Value(Value::Truth(*truth)), Kind::Truth)),
            Form::Path(path) => self.path(syntax.at, path),
            Form::Negative(part) => self.negative(part),
            Form::Binary(operator, left, right) if arithmetic(operator).is_some() => {
                self.arithmetic(syntax.at, arithmetic(operator)?, left, right)
            }
            Form::Call {
                target,
                name,
                arguments,
            } if !call::is_question(name) => {
                self.value_of_call(syntax.at, target.as_deref(), name, arguments)
            }
            Form::List(_) => self.flaw(Flaw::new(
                syntax.at,
                "a list can stand only behind `in` or before `exists` and `all`",
            )),
            _ => {
                let truth = Box::new(self.truth(syntax)?);
                Some((Term::Truth(truth), Kind::Truth))
            }
        }
    }

    fn path(&mut self, at: usize, path: &str) -> Option<Typed> {
        let bound = self.bound.iter().rev().find(|(name, _)| name == path);
        if let Some((_, value)) = bound.cloned() {
            return self.term(&value);
        }
        self.field(at, path)
            .map(|field| (Term::Field(field), field.kind))
    }

    fn field(&mut self, at: usize, path: &str) -> Option<&'static Field> {
        match Field::named(path) {
            Some(field) => Some(field),
            None => self
                .flaw(Flaw::new(at, format!("there is no field `{path}`")).hint(Field::hint(path))),
        }
    }

    fn negative(&mut self, part: &Syntax) -> Option<Typed> {
        match self.term(part)? {
            (term, kind @ (Kind::Integer | Kind::Number)) => {
                Some((Term::Negative(Box::new(term)), kind))
            }
            (_, kind) => self.flaw(Flaw::new(
                part.at,
                format!("expected a number, found {}", a(kind)),
            )),
        }
    }

    fn arithmetic(
        &mut self,
        at: usize,
        operation: Arithmetic,
        left: &Syntax,
        right: &Syntax,
    ) -> Option<Typed> {
        let (left, right) = (self.term(left), self.term(right));
        let ((left, kind), (right, other)) = (left?, right?);
        let is_known = matches!(kind, Kind::Integer | Kind::Number) && kind == other;
        if !is_known || (kind == Kind::Number && matches!(operation, Arithmetic::Remainder)) {
            let message = format!("cannot be calculated with {} and {}", a(kind), a(other));
            let hint = "both must be integers, or both fractions: 2 is an integer, 2.0 is not";
            return self.flaw(Flaw::new(at, message).hint(hint));
        }
        Some((
            Term::Arithmetic(operation, Box::new(left), Box::new(right)),
            kind,
        ))
    }

    fn compare(
        &mut self,
        at: usize,
        comparison: Comparison,
        left: &Syntax,
        right: &Syntax,
    ) -> Option<Truth> {
        let places = (left.at, right.at);
        let (left, right) = (self.term(left), self.term(right));
        let (mut left, mut right) = (left?, right?);
        self.read_as(places.1, &mut right, &left)?;
        self.read_as(places.0, &mut left, &right)?;
        self.comparable(at, comparison, left.1, right.1)?;
        Some(Truth::Compare(comparison, left.0, right.0))
    }

    /// A written text beside an address, a network or a choice is one itself.
    fn read_as(&mut self, at: usize, typed: &mut Typed, beside: &Typed) -> Option<()> {
        let (Term::Value(Value::Text(text)), Kind::Text) = (&typed.0, typed.1) else {
            return Some(());
        };
        let kind = beside.1;
        let (value, kind) = match kind {
            Kind::Address => match text.parse::<IpAddr>() {
                Ok(address) => (Value::Address(address.to_canonical()), kind),
                Err(_) => return self.flaw(no_address(at, text)),
            },
            Kind::Prefix => match prefix(text) {
                Some(prefix) => (Value::Prefix(prefix), kind),
                None => return self.flaw(no_prefix(at, text)),
            },
            Kind::Choice(names) if !names.contains(&text.as_ref()) => {
                return self.flaw(no_choice(at, text, &beside.0, names));
            }
            _ => return Some(()),
        };
        *typed = (Term::Value(value), kind);
        Some(())
    }

    fn comparable(
        &mut self,
        at: usize,
        comparison: Comparison,
        left: Kind,
        right: Kind,
    ) -> Option<()> {
        let is_equality = matches!(comparison, Comparison::Equal | Comparison::Differs);
        let fits = match (left, right) {
            (Kind::Choice(left), Kind::Choice(right)) => {
                is_equality && left.iter().any(|name| right.contains(name))
            }
            (Kind::Text | Kind::Choice(_), Kind::Text | Kind::Choice(_)) => is_equality,
            (Kind::Integer | Kind::Number, Kind::Integer | Kind::Number)
            | (Kind::Time, Kind::Time) => true,
            _ => is_equality && left == right,
        };
        if fits {
            return Some(());
        }
        let how = if is_equality {
            "compared"
        } else {
            "put in order"
        };
        let flaw = Flaw::new(at, format!("{} and {} cannot be {how}", a(left), a(right)));
        self.flaw(match (left, right) {
            (Kind::Choice(left), Kind::Choice(right)) if is_equality => Flaw::new(
                at,
                format!(
                    "never equal: one of {} and one of {}",
                    left.join(", "),
                    right.join(", ")
                ),
            ),
            (Kind::Time, _) | (_, Kind::Time) => {
                flaw.hint("write timestamp(\"2026-01-31T08:00:00Z\"), or ask event.time.getHours()")
            }
            (Kind::Integer, Kind::Text) | (Kind::Text, Kind::Integer) => {
                flaw.hint("numbers stand without quotes")
            }
            _ => flaw,
        })
    }

    /// `value in [...]`, or `word in text.split(" ")`.
    fn among(&mut self, value: &Syntax, list: &Syntax) -> Option<Truth> {
        match &list.form {
            Form::List(items) => {
                let value = self.term(value);
                let value = value?;
                let items = self.values(list.at, items, &value)?;
                Some(Truth::Among(value.0, items))
            }
            Form::Call { target: Some(text), name, arguments } if name == "split" => {
                self.word(value, text, arguments, list.at)
            }
            _ => self.flaw(
                Flaw::new(list.at, "behind `in` stands a list")
                    .hint("write [\"a\", \"b\"], event.scope.split(\" \"), or cidr(\"203.0.113.0/24\", event.ip_address)"),
            ),
        }
    }

    /// Values of a list, each as the value beside `in` has its kind.
    fn values(
        &mut self,
        at: usize,
        items: &[Syntax],
        beside: &Typed,
    ) -> Option<Vec<Value<'static>>> {
        if items.len() > EXPRESSION_LIST_MAX {
            return self.flaw(Flaw::new(
                at,
                format!("a list of more than {EXPRESSION_LIST_MAX} values"),
            ));
        }
        let values: Vec<Option<Value<'static>>> =
            items.iter().map(|item| self.value(item, beside)).collect();
        values.into_iter().collect()
    }

    fn value(&mut self, item: &Syntax, beside: &Typed) -> Option<Value<'static>> {
        let mut typed = self.constant(item)?;
        self.read_as(item.at, &mut typed, beside)?;
        self.comparable(item.at, Comparison::Equal, beside.1, typed.1)?;
        match (typed.0, beside.1) {
            // Equality of a list is exact, so a number takes the kind of its neighbour.
            #[expect(clippy::cast_precision_loss, reason = "no coordinate is beyond 2^53")]
            (Term::Value(Value::Integer(number)), Kind::Number) => {
                Some(Value::Number(number as f64))
            }
            (Term::Value(value), _) => Some(value),
            _ => None,
        }
    }

    /// A written value; the parts of a list are not counted, only their number is. A name is none, also one that
    /// `exists` gave: it could stand for itself.
    fn constant(&mut self, item: &Syntax) -> Option<Typed> {
        let flaw = Flaw::new(item.at, "a list holds written values, no fields");
        if matches!(item.form, Form::Path(_)) {
            return self.flaw(flaw);
        }
        let nodes = self.nodes;
        let typed = self.term(item)?;
        self.nodes = nodes;
        match typed {
            (Term::Value(_), _) => Some(typed),
            _ => self.flaw(flaw),
        }
    }
}

/// A network as `network.prefix` has it.
fn prefix(text: &str) -> Option<Prefix> {
    let network: IpNet = text.parse().ok()?;
    let is_prefix = network.prefix_len() == if network.addr().is_ipv4() { 24 } else { 64 };
    let is_whole = network.trunc() == network;
    (is_prefix && is_whole).then(|| Prefix::of(network.addr()))
}

fn no_address(at: usize, text: &str) -> Flaw {
    let flaw = Flaw::new(at, format!("\"{}\" is not an address", text.escape_debug()));
    if text.contains('/') {
        let text = text.escape_debug();
        return flaw.hint(format!(
            "ask cidr(\"{text}\", event.ip_address) for a network"
        ));
    }
    flaw.hint("write it as 203.0.113.7 or 2001:db8::7")
}

fn no_prefix(at: usize, text: &str) -> Flaw {
    Flaw::new(
        at,
        format!("network.prefix is never \"{}\"", text.escape_debug()),
    )
    .hint("write a /24 or a /64: 203.0.113.0/24, 2001:db8:1:2::/64; ask cidr(...) for others")
}

fn no_choice(at: usize, text: &str, beside: &Term, names: &[&'static str]) -> Flaw {
    let subject = match beside {
        Term::Field(field) => field.name,
        _ => "this",
    };
    let flaw = Flaw::new(
        at,
        format!("{subject} is never \"{}\"", text.escape_debug()),
    );
    match crate::yaml::nearest(text, names.iter().copied()) {
        Some(near) => flaw.hint(format!(
            "did you mean \"{near}\"? it is one of {}",
            names.join(", ")
        )),
        None => flaw.hint(format!("it is one of {}", names.join(", "))),
    }
}

fn comparison(operator: &str) -> Option<Comparison> {
    Some(match operator {
        "==" => Comparison::Equal,
        "!=" => Comparison::Differs,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn arithmetic(operator: &str) -> Option<Arithmetic> {
    Some(match operator {
        "+" => Arithmetic::Add,
        "-" => Arithmetic::Subtract,
        "*" => Arithmetic::Multiply,
        "/" => Arithmetic::Divide,
        "%" => Arithmetic::Remainder,
        _ => return None,
    })
}

/// A kind with its article.
fn a(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "a text",
        Kind::Choice(_) => "a name out of a few",
        Kind::Integer => "an integer",
        Kind::Number => "a number with a fraction",
        Kind::Truth => "something true or false",
        Kind::Address => "an address",
        Kind::Prefix => "a network",
        Kind::Time => "a time",
    }
}
