//! Grammar of expressions: words to a tree, by precedence climbing, with CEL's precedences.
//!
//! Our own and not a crate's: the one implementation of CEL that is maintained parses by generated recursive descent
//! that overflows the stack, and so ends the process, on a few dozen brackets or a chain of a few hundred additions.
//! Here the depth is counted at every step down and at every step up; tests compare with that crate where both can.

use super::Flaw;
use super::token::{Token, tokens};
use crate::model::limits::{EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX};

/// A part of an expression, and the byte at which to point at it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Syntax {
    pub at: usize,
    pub form: Form,
    /// Longest way down to a leaf; bounded, so that everybody may recurse over the tree.
    depth: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Form {
    Text(String),
    Integer(i64),
    Number(f64),
    Truth(bool),
    /// A name, or names joined by dots.
    Path(String),
    List(Vec<Syntax>),
    Call {
        target: Option<Box<Syntax>>,
        name: String,
        arguments: Vec<Syntax>,
    },
    Not(Box<Syntax>),
    Negative(Box<Syntax>),
    Binary(&'static str, Box<Syntax>, Box<Syntax>),
    /// A chain of `&&`: flat, so that a long one is not deep.
    All(Vec<Syntax>),
    /// A chain of `||`.
    Any(Vec<Syntax>),
    /// `condition ? this : that`
    Choice(Box<[Syntax; 3]>),
}

pub(super) fn parse(source: &str) -> Result<Syntax, Flaw> {
    if source.len() > EXPRESSION_BYTES_MAX {
        let message = format!("longer than {EXPRESSION_BYTES_MAX} bytes");
        return Err(Flaw::new(0, message).hint("make two rules of it"));
    }
    let mut parser = Parser {
        tokens: tokens(source)?,
        next: 0,
        depth: 0,
    };
    if parser.tokens.len() == 1 {
        let flaw = Flaw::new(0, "the expression is empty");
        return Err(flaw.hint("write a condition, such as event.type == \"refresh\""));
    }
    let syntax = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(syntax),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

/// Operators with two sides that bind left to right, from the loosest; `||` and `&&` are flat and stand above them.
const LEVELS: &[&[&str]] = &[
    &["==", "!=", "<", "<=", ">", ">=", "in"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens
            .get(self.next)
            .map_or(&Token::End, |(_, token)| token)
    }

    fn at(&self) -> usize {
        let last = self.tokens.last().map_or(0, |(at, _)| *at);
        self.tokens.get(self.next).map_or(last, |(at, _)| *at)
    }

    fn skip(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(next) if *next == sign);
        if found {
            self.next += 1;
        }
        found
    }

    fn unexpected(&self, expected: &str) -> Flaw {
        Flaw::new(
            self.at(),
            format!("expected {expected}, found {}", self.peek().shown()),
        )
    }

    /// Everything that is nested comes through here, so here the depth is counted.
    fn expression(&mut self) -> Result<Syntax, Flaw> {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH_MAX {
            return Err(too_deep(self.at()));
        }
        let syntax = self.choice();
        self.depth -= 1;
        syntax
    }

    fn choice(&mut self) -> Result<Syntax, Flaw> {
        let condition = self.chain("||", Form::Any, |parser| {
            parser.chain("&&", Form::All, |parser| parser.level(LEVELS))
        })?;
        let at = self.at();
        if !self.skip("?") {
            return Ok(condition);
        }
        let this = self.expression()?;
        if !self.skip(":") {
            return Err(self.unexpected("`:` and what holds otherwise"));
        }
        let that = self.expression()?;
        node(at, Form::Choice(Box::new([condition, this, that])))
    }

    fn chain(
        &mut self,
        sign: &str,
        form: fn(Vec<Syntax>) -> Form,
        mut term: impl FnMut(&mut Self) -> Result<Syntax, Flaw>,
    ) -> Result<Syntax, Flaw> {
        let first = term(self)?;
        let at = self.at();
        let mut terms = vec![first];
        while self.skip(sign) {
            terms.push(term(self)?);
        }
        match terms.pop() {
            Some(only) if terms.is_empty() => Ok(only),
            last => {
                terms.extend(last);
                node(at, form(terms))
            }
        }
    }

    fn level(&mut self, levels: &[&[&'static str]]) -> Result<Syntax, Flaw> {
        let Some((operators, tighter)) = levels.split_first() else {
            return self.unary();
        };
        let mut left = self.level(tighter)?;
        loop {
            let at = self.at();
            let Some(operator) = self.operator(operators) else {
                return Ok(left);
            };
            let right = self.level(tighter)?;
            left = node(at, Form::Binary(operator, Box::new(left), Box::new(right)))?;
        }
    }

    fn operator(&mut self, operators: &[&'static str]) -> Option<&'static str> {
        let written = match self.peek() {
            Token::Sign(sign) => *sign,
            Token::Name(name) if name == "in" => "in",
            _ => return None,
        };
        let found = operators
            .iter()
            .copied()
            .find(|operator| *operator == written);
        self.next += usize::from(found.is_some());
        found
    }

    /// Signs before a value are counted, not nested: two of them are one twice, so that the value is still checked.
    fn unary(&mut self) -> Result<Syntax, Flaw> {
        let at = self.at();
        let nots = self.count("!");
        if nots > 0 {
            let value = self.member()?;
            return twice_at_most(at, nots, value, Form::Not);
        }
        let minuses = self.count("-");
        if minuses % 2 == 1 {
            return self.negative(at);
        }
        let value = self.member()?;
        twice_at_most(at, minuses, value, Form::Negative)
    }

    fn count(&mut self, sign: &str) -> usize {
        let mut count = 0;
        while self.skip(sign) {
            count += 1;
        }
        count
    }

    fn negative(&mut self, at: usize) -> Result<Syntax, Flaw> {
        // The least integer exists only with its sign.
        if *self.peek() == Token::Integer(i64::MIN.unsigned_abs()) {
            self.next += 1;
            return node(at, Form::Integer(i64::MIN));
        }
        let value = self.member()?;
        node(
            at,
            match value.form {
                Form::Integer(number) => Form::Integer(-number),
                Form::Number(number) => Form::Number(-number),
                _ => Form::Negative(Box::new(value)),
            },
        )
    }

    /// A value and what is asked of it: `event.user_agent.startsWith("curl")`.
    fn member(&mut self) -> Result<Syntax, Flaw> {
        let mut value = self.primary()?;
        loop {
            let at = self.at();
            if self.skip("[") {
                return Err(Flaw::new(at, "nothing can be picked out of a value by `[`")
                    .hint("ask with `in` whether a list holds a value"));
            }
            if !self.skip(".") {
                return Ok(value);
            }
            let at = self.at();
            let Token::Name(name) = self.peek().clone() else {
                return Err(self.unexpected("the name of a field or function"));
            };
            self.next += 1;
            value = self.dotted(at, value, name)?;
        }
    }

    fn dotted(&mut self, at: usize, value: Syntax, name: String) -> Result<Syntax, Flaw> {
        if self.skip("(") {
            let arguments = self.list(")")?;
            let target = Some(Box::new(value));
            return node(
                at,
                Form::Call {
                    target,
                    name,
                    arguments,
                },
            );
        }
        match value.form {
            Form::Path(path) => node(value.at, Form::Path(format!("{path}.{name}"))),
            _ => Err(Flaw::new(at, format!("`{name}` is no function"))
                .hint("fields stand behind event, network, place, agent, client and facts")),
        }
    }

    fn primary(&mut self) -> Result<Syntax, Flaw> {
        let at = self.at();
        let token = self.peek().clone();
        let form = match token {
            Token::Text(text) => Form::Text(text),
            Token::Integer(number) => {
                let number = i64::try_from(number);
                Form::Integer(number.map_err(|_| Flaw::new(at, "this number is too great"))?)
            }
            Token::Number(number) => Form::Number(number),
            Token::Name(name) => return self.named(at, name),
            Token::Sign("(") => return self.bracket(at),
            Token::Sign("[") => {
                self.next += 1;
                Form::List(self.list("]")?)
            }
            _ => return Err(self.unexpected("a field, a value or a function")),
        };
        if !matches!(form, Form::List(_)) {
            self.next += 1;
        }
        node(at, form)
    }

    fn named(&mut self, at: usize, name: String) -> Result<Syntax, Flaw> {
        if name == "in" {
            return Err(self.unexpected("a field, a value or a function"));
        }
        self.next += 1;
        let form = match name.as_str() {
            "true" => Form::Truth(true),
            "false" => Form::Truth(false),
            "null" => {
                let flaw = Flaw::new(at, "there is no `null` here");
                return Err(flaw.hint("ask has(event.user_id) or !has(event.user_id)"));
            }
            _ if self.skip("(") => Form::Call {
                target: None,
                name,
                arguments: self.list(")")?,
            },
            _ => Form::Path(name),
        };
        node(at, form)
    }

    fn bracket(&mut self, opened: usize) -> Result<Syntax, Flaw> {
        self.next += 1;
        let inner = self.expression()?;
        if self.skip(")") {
            return Ok(inner);
        }
        match self.peek() {
            Token::End => Err(Flaw::new(opened, "this bracket is never closed")),
            _ => Err(self.unexpected("an operator or `)`")),
        }
    }

    /// What stands between brackets, the opening one being read; a comma may stand behind the last.
    fn list(&mut self, close: &'static str) -> Result<Vec<Syntax>, Flaw> {
        let opened = self.at();
        let mut items = Vec::new();
        while !self.skip(close) {
            if *self.peek() == Token::End {
                return Err(Flaw::new(opened, format!("`{close}` is missing")));
            }
            items.push(self.expression()?);
            if !self.skip(",") && !matches!(self.peek(), Token::Sign(sign) if *sign == close) {
                return Err(self.unexpected(&format!("`,` or `{close}`")));
            }
        }
        Ok(items)
    }
}

fn twice_at_most(
    at: usize,
    count: usize,
    value: Syntax,
    form: fn(Box<Syntax>) -> Form,
) -> Result<Syntax, Flaw> {
    let times = if count == 0 { 0 } else { 2 - count % 2 };
    (0..times).try_fold(value, |value, _| node(at, form(Box::new(value))))
}

/// A chain grows upwards, not by nesting: so the depth is looked at here too.
fn node(at: usize, form: Form) -> Result<Syntax, Flaw> {
    let depth = 1 + form.parts().map(|part| part.depth).max().unwrap_or(0);
    if depth > EXPRESSION_DEPTH_MAX {
        return Err(too_deep(at));
    }
    Ok(Syntax { at, form, depth })
}

impl Form {
    fn parts(&self) -> Box<dyn Iterator<Item = &Syntax> + '_> {
        match self {
            Self::Text(_) | Self::Integer(_) | Self::Number(_) | Self::Truth(_) | Self::Path(_) => {
                Box::new(std::iter::empty())
            }
            Self::List(parts) | Self::All(parts) | Self::Any(parts) => Box::new(parts.iter()),
            Self::Call {
                target, arguments, ..
            } => Box::new(target.as_deref().into_iter().chain(arguments)),
            Self::Not(part) | Self::Negative(part) => Box::new(std::iter::once(&**part)),
            Self::Binary(_, left, right) => Box::new([&**left, &**right].into_iter()),
            Self::Choice(parts) => Box::new(parts.iter()),
        }
    }
}

fn too_deep(at: usize) -> Flaw {
    Flaw::new(at, format!("nested more than {EXPRESSION_DEPTH_MAX} deep"))
        .hint("write it with fewer brackets, or as two rules")
}
