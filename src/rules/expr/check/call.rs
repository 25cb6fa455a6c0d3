//! The functions of the language, in one visible table.

use ipnet::IpNet;
use jiff::tz::TimeZone;
use regex::{Regex, RegexBuilder};

use super::super::Flaw;
use super::super::eval::{Clock, Part, Term, Truth};
use super::super::parse::{Form, Syntax};
use super::{Checker, Typed, a};
use crate::model::Timestamp;
use crate::model::limits::{
    EXPRESSION_LIST_MAX, EXPRESSION_PATTERN_BYTES_MAX, EXPRESSION_PATTERN_MEMORY,
    EXPRESSION_PATTERNS_MAX,
};
use crate::rules::fields::{Kind, Value};
use crate::yaml::nearest;

/// A function: how it is called, whether the answer is true or false, what it is for.
pub struct Function {
    pub name: &'static str,
    pub usage: &'static str,
    is_question: bool,
}

/// Every function there is.
pub fn functions() -> &'static [Function] {
    FUNCTIONS
}

macro_rules! functions {
    ($($answer:ident $name:literal: $usage:literal;)+) => {
        const FUNCTIONS: &[Function] = &[$(
            Function { name: $name, is_question: functions!(@ $answer), usage: $usage },
        )+];
    };
    (@ truth) => { true };
    (@ value) => { false };
}

functions! {
    truth "has": "has(event.user_agent)";
    truth "startsWith": "event.user_agent.startsWith(\"curl/\")";
    truth "endsWith": "event.user_id.endsWith(\"@example.org\")";
    truth "contains": "event.user_agent.contains(\"Headless\")";
    truth "matches": "event.user_agent.matches(r\"^curl/\\d\")";
    truth "cidr": "cidr(\"203.0.113.0/24\", event.ip_address)";
    truth "exists": "[\"curl\", \"wget\"].exists(tool, event.user_agent.contains(tool))";
    truth "all": "[\"a\", \"b\"].all(part, event.user_agent.contains(part))";
    value "split": "\"admin\" in event.scope.split(\" \")";
    value "size": "size(event.user_agent)";
    value "lowerAscii": "event.user_agent.lowerAscii()";
    value "timestamp": "timestamp(\"2026-01-31T08:00:00Z\")";
    value "getHours": "event.time.getHours() or event.time.getHours(\"Europe/Berlin\")";
    value "getMinutes": "event.time.getMinutes() or event.time.getMinutes(\"Europe/Berlin\")";
    value "getDayOfWeek": "event.time.getDayOfWeek(), 0 is Sunday";
}

/// Whether a function answers true or false.
pub(super) fn is_question(name: &str) -> bool {
    FUNCTIONS
        .iter()
        .any(|known| known.name == name && known.is_question)
}

/// The call does not fit the function.
fn misused(at: usize, name: &str) -> Flaw {
    match FUNCTIONS.iter().find(|known| known.name == name) {
        Some(known) => Flaw::new(at, format!("`{name}` is not called like this"))
            .hint(format!("write {}", known.usage)),
        None => no_function(at, name),
    }
}

fn no_function(at: usize, name: &str) -> Flaw {
    let names = || FUNCTIONS.iter().map(|known| known.name);
    let flaw = Flaw::new(at, format!("there is no function `{name}`"));
    match nearest(name, names()).and_then(|near| FUNCTIONS.iter().find(|known| known.name == near))
    {
        Some(near) => flaw.hint(format!(
            "did you mean `{}`? write {}",
            near.name, near.usage
        )),
        None => flaw.hint(format!(
            "known here: {}",
            names().collect::<Vec<_>>().join(", ")
        )),
    }
}

impl Checker {
    /// A function that answers true or false.
    pub(super) fn question(
        &mut self,
        at: usize,
        target: Option<&Syntax>,
        name: &str,
        arguments: &[Syntax],
    ) -> Option<Truth> {
        match (name, target, arguments) {
            ("has", None, [field]) => self.has(field),
            ("startsWith", Some(text), [sought]) => self.part(Part::Start, text, sought),
            ("endsWith", Some(text), [sought]) => self.part(Part::End, text, sought),
            ("contains", Some(text), [sought]) => self.part(Part::Anywhere, text, sought),
            ("matches", Some(text), [pattern]) | ("matches", None, [text, pattern]) => {
                self.matches(text, pattern)
            }
            ("cidr", None, [network, address]) => self.cidr(network, address),
            ("exists", Some(list), [name, body]) => {
                self.written_out(list, name, body).map(Truth::Any)
            }
            ("all", Some(list), [name, body]) => self.written_out(list, name, body).map(Truth::All),
            _ => self.flaw(misused(at, name)),
        }
    }

    /// A function that answers a value.
    pub(super) fn value_of_call(
        &mut self,
        at: usize,
        target: Option<&Syntax>,
        name: &str,
        arguments: &[Syntax],
    ) -> Option<Typed> {
        match (name, target, arguments) {
            ("size", None, [text]) | ("size", Some(text), []) => {
                let text = self.text(text)?;
                Some((Term::Length(Box::new(text)), Kind::Integer))
            }
            ("lowerAscii", Some(text), []) => {
                let text = self.text(text)?;
                Some((Term::Lower(Box::new(text)), Kind::Text))
            }
            ("timestamp", None, [written]) => self.timestamp(written),
            ("getHours", Some(time), zone) => self.clock(at, name, Clock::Hours, time, zone),
            ("getMinutes", Some(time), zone) => self.clock(at, name, Clock::Minutes, time, zone),
            ("getDayOfWeek", Some(time), zone) => {
                self.clock(at, name, Clock::DayOfWeek, time, zone)
            }
            _ => self.flaw(misused(at, name)),
        }
    }

    fn has(&mut self, field: &Syntax) -> Option<Truth> {
        match &field.form {
            Form::Path(path) => self.field(field.at, path).map(Truth::Has),
            _ => self.flaw(
                Flaw::new(field.at, "has(...) asks for a field")
                    .hint("write has(event.user_agent)"),
            ),
        }
    }

    fn part(&mut self, part: Part, text: &Syntax, sought: &Syntax) -> Option<Truth> {
        let (text, sought) = (self.text(text), self.text(sought));
        Some(Truth::Part(part, text?, sought?))
    }

    /// Something whose value is a text.
    fn text(&mut self, syntax: &Syntax) -> Option<Term> {
        match self.term(syntax)? {
            (term, Kind::Text | Kind::Choice(_)) => Some(term),
            (_, kind) => {
                let flaw = Flaw::new(syntax.at, format!("expected a text, found {}", a(kind)));
                self.flaw(match kind {
                    Kind::Address | Kind::Prefix => {
                        flaw.hint("ask cidr(\"203.0.113.0/24\", event.ip_address) for a network")
                    }
                    _ => flaw,
                })
            }
        }
    }

    /// `word in text.split(" ")`: only so, since nothing else can be done with the parts.
    pub(super) fn word(
        &mut self,
        word: &Syntax,
        text: &Syntax,
        between: &[Syntax],
        at: usize,
    ) -> Option<Truth> {
        let (word, text) = (self.text(word), self.text(text));
        match between {
            [
                Syntax {
                    form: Form::Text(between),
                    ..
                },
            ] if !between.is_empty() => Some(Truth::Word(word?, text?, between.clone())),
            _ => self.flaw(misused(at, "split")),
        }
    }

    fn matches(&mut self, text: &Syntax, pattern: &Syntax) -> Option<Truth> {
        let text = self.text(text);
        let Some(written) = self.written(pattern) else {
            return self.flaw(Flaw::new(pattern.at, "a pattern must be written out"));
        };
        self.patterns += 1;
        if self.patterns > EXPRESSION_PATTERNS_MAX {
            let message = format!("more than {EXPRESSION_PATTERNS_MAX} patterns");
            return self.flaw(Flaw::new(pattern.at, message).hint("join them: \"curl|wget\""));
        }
        match read_pattern(&written) {
            Ok(pattern) => Some(Truth::Pattern(text?, pattern)),
            Err(why) => self.flaw(Flaw::new(pattern.at, why)),
        }
    }

    /// A text that stands there, or that stands in the list of an `exists` around it.
    fn written(&mut self, syntax: &Syntax) -> Option<String> {
        match &syntax.form {
            Form::Text(text) => Some(text.clone()),
            Form::Path(name) => {
                let bound = self.bound.iter().rev().find(|(bound, _)| bound == name);
                match &bound?.1.form {
                    Form::Text(text) => Some(text.clone()),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn cidr(&mut self, network: &Syntax, address: &Syntax) -> Option<Truth> {
        let place = address.at;
        let address = self.term(address);
        let Some(written) = self.written(network) else {
            return self.flaw(misused(network.at, "cidr"));
        };
        let Ok(parsed) = written.parse::<IpNet>() else {
            let message = format!("\"{}\" is not a network", written.escape_debug());
            return self.flaw(
                Flaw::new(network.at, message).hint("write 203.0.113.0/24 or 2001:db8::/32"),
            );
        };
        match address? {
            (term, Kind::Address) => Some(Truth::Within(parsed, term)),
            (_, kind) => self.flaw(
                Flaw::new(place, format!("expected an address, found {}", a(kind)))
                    .hint("write event.ip_address"),
            ),
        }
    }

    fn written_out(&mut self, list: &Syntax, name: &Syntax, body: &Syntax) -> Option<Vec<Truth>> {
        let Form::List(items) = &list.form else {
            return self.flaw(misused(list.at, "exists"));
        };
        let Form::Path(name) = &name.form else {
            return self.flaw(Flaw::new(
                name.at,
                "expected a name for the values of the list",
            ));
        };
        if items.len() > EXPRESSION_LIST_MAX {
            return self.flaw(Flaw::new(
                list.at,
                format!("a list of more than {EXPRESSION_LIST_MAX} values"),
            ));
        }
        let mut truths = Vec::new();
        for item in items {
            self.constant(item)?;
            self.bound.push((name.clone(), item.clone()));
            let truth = self.truth(body);
            self.bound.pop();
            truths.push(truth?);
        }
        Some(truths)
    }

    fn timestamp(&mut self, written: &Syntax) -> Option<Typed> {
        let time = match &written.form {
            Form::Text(text) => text.parse::<Timestamp>().ok(),
            _ => None,
        };
        match time {
            Some(time) => Some((Term::Value(Value::Time(time)), Kind::Time)),
            None => self.flaw(misused(written.at, "timestamp")),
        }
    }

    fn clock(
        &mut self,
        at: usize,
        name: &str,
        clock: Clock,
        time: &Syntax,
        zone: &[Syntax],
    ) -> Option<Typed> {
        let zone = match zone {
            [] => Some(TimeZone::UTC),
            [
                Syntax {
                    form: Form::Text(zone),
                    at,
                    ..
                },
            ] => match TimeZone::get(zone) {
                Ok(zone) => Some(zone),
                Err(_) => self.flaw(
                    Flaw::new(
                        *at,
                        format!("there is no time zone \"{}\"", zone.escape_debug()),
                    )
                    .hint("write Europe/Berlin or UTC"),
                ),
            },
            _ => self.flaw(misused(at, name)),
        };
        match self.term(time)? {
            (term, Kind::Time) => Some((Term::Clock(clock, zone?, Box::new(term)), Kind::Integer)),
            (_, kind) => self.flaw(
                Flaw::new(time.at, format!("expected a time, found {}", a(kind)))
                    .hint("write event.time"),
            ),
        }
    }
}

/// Linear in the text whatever the pattern, and small: a pattern as long as the limit may still be a large machine.
fn read_pattern(written: &str) -> Result<Regex, String> {
    if written.len() > EXPRESSION_PATTERN_BYTES_MAX {
        return Err(format!(
            "a pattern longer than {EXPRESSION_PATTERN_BYTES_MAX} bytes"
        ));
    }
    RegexBuilder::new(written)
        .size_limit(EXPRESSION_PATTERN_MEMORY)
        .dfa_size_limit(EXPRESSION_PATTERN_MEMORY)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                "this pattern is too large when its repetitions are written out".to_owned()
            }
            // The last line says what is wrong, those before it draw where.
            error => {
                let told = error.to_string();
                let last = told.lines().last().unwrap_or_default();
                let why = last.strip_prefix("error: ").unwrap_or(last);
                format!("this is not a pattern: {why}")
            }
        })
}
