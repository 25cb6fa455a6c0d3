//! Words of an expression: its text cut into names, values and signs, each with its place.
//!
//! The signs and the escapes are those of CEL. What people bring from other languages (`=`, `and`, `'''`) is told apart
//! here, where it can still be named.

use super::Flaw;

/// One word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Of a field, a function, or `true`, `false`, `null` and `in`.
    Name(String),
    Text(String),
    /// Without its sign: the least integer has no positive twin.
    Integer(u64),
    Number(f64),
    Sign(&'static str),
    End,
}

impl Token {
    /// As it is named in a message.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Name(name) => format!("`{name}`"),
            Self::Text(text) => format!("the text \"{}\"", text.escape_debug()),
            Self::Integer(number) => format!("`{number}`"),
            Self::Number(number) => format!("`{number}`"),
            Self::Sign(sign) => format!("`{sign}`"),
            Self::End => "the end".to_owned(),
        }
    }
}

/// Longer signs first: `<=` is not `<` and `=`.
const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "-", "+", "*", "/", "%", "?", ":", ".", ",",
    "(", ")", "[", "]",
];

/// Signs and words that other languages use here.
const STRANGERS: &[(&str, &str)] = &[
    ("=", "write `==` to compare"),
    ("&", "write `&&` for and"),
    ("|", "write `||` for or"),
    (
        "~",
        "write `event.user_agent.matches(\"...\")` for a pattern",
    ),
    ("{", "there are no maps here"),
    (";", "an expression is one condition"),
];
const STRANGE_NAMES: &[(&str, &str)] = &[
    ("and", "write `&&`"),
    ("or", "write `||`"),
    ("not", "write `!`"),
    ("AND", "write `&&`"),
    ("OR", "write `||`"),
    ("NOT", "write `!`"),
    ("True", "write `true`"),
    ("False", "write `false`"),
];

/// All words of the source with the byte at which each begins; the last is `Token::End`.
pub(super) fn tokens(source: &str) -> Result<Vec<(usize, Token)>, Flaw> {
    let mut reader = Reader { source, at: 0 };
    let mut tokens = Vec::new();
    loop {
        reader.skip_blanks();
        let at = reader.at;
        let token = reader.next()?;
        let is_end = token == Token::End;
        tokens.push((at, token));
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Reader<'a> {
    source: &'a str,
    /// Always between two characters.
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Takes characters while they fit.
    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take(char::is_whitespace);
            if !self.rest().starts_with("//") {
                return;
            }
            self.take(|c| c != '\n');
        }
    }

    fn next(&mut self) -> Result<Token, Flaw> {
        match self.peek() {
            None => Ok(Token::End),
            Some('"' | '\'') => self.text(false).map(Token::Text),
            Some('r' | 'R') if self.rest().get(1..).is_some_and(opens_text) => {
                self.at += 1;
                self.text(true).map(Token::Text)
            }
            Some(c) if c.is_ascii_digit() => self.number(),
            Some(c) if c.is_alphabetic() || c == '_' => self.name(),
            Some(c) => self.sign(c),
        }
    }

    fn name(&mut self) -> Result<Token, Flaw> {
        let at = self.at;
        let name = self.take(|c| c.is_alphanumeric() || c == '_');
        match STRANGE_NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, hint)) => {
                Err(Flaw::new(at, format!("`{name}` is not known here")).hint(*hint))
            }
            None => Ok(Token::Name(name.to_owned())),
        }
    }

    fn sign(&mut self, first: char) -> Result<Token, Flaw> {
        let rest = self.rest();
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.at += sign.len();
            return Ok(Token::Sign(sign));
        }
        let flaw = Flaw::new(self.at, format!("unexpected `{}`", first.escape_debug()));
        let known = STRANGERS.iter().find(|(sign, _)| rest.starts_with(sign));
        Err(match known {
            Some((_, hint)) => flaw.hint(*hint),
            None => flaw,
        })
    }

    fn number(&mut self) -> Result<Token, Flaw> {
        let at = self.at;
        if let Some(hex) = self.rest().strip_prefix("0x") {
            self.at += 2;
            let digits = self.take(|c| c.is_ascii_alphanumeric());
            let value = u64::from_str_radix(digits, 16).ok();
            return value.map(Token::Integer).ok_or_else(|| bad_number(at, hex));
        }
        self.take(|c| c.is_ascii_digit());
        let is_fraction = self.fraction() | self.exponent();
        // Letters behind it belong to no number that there is.
        self.take(|c| c.is_alphanumeric() || c == '_');
        let written = self.source.get(at..self.at).unwrap_or_default();
        if is_fraction {
            let value = written.parse().ok().filter(|value: &f64| value.is_finite());
            return value
                .map(Token::Number)
                .ok_or_else(|| bad_number(at, written));
        }
        let value = written.parse().ok();
        value
            .map(Token::Integer)
            .ok_or_else(|| bad_number(at, written))
    }

    fn fraction(&mut self) -> bool {
        let has_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        if !self.rest().strip_prefix('.').is_some_and(has_digit) {
            return false;
        }
        self.at += 1;
        self.take(|c| c.is_ascii_digit());
        true
    }

    fn exponent(&mut self) -> bool {
        if !self.rest().starts_with(['e', 'E']) {
            return false;
        }
        self.at += 1;
        if self.rest().starts_with(['+', '-']) {
            self.at += 1;
        }
        self.take(|c| c.is_ascii_digit());
        true
    }

    /// A text in quotes; in a raw one a backslash is a backslash.
    fn text(&mut self, raw: bool) -> Result<String, Flaw> {
        let opened = self.at;
        let quote = self.peek().unwrap_or('"');
        let triple: String = [quote; 3].iter().collect();
        if self.rest().starts_with(&triple) {
            let flaw = Flaw::new(opened, "a text in triple quotes is not read here");
            return Err(flaw.hint("use one quote, and `\\n` for a new line"));
        }
        self.at += 1;
        let mut text = String::new();
        loop {
            text.push_str(self.take(|c| c != quote && c != '\n' && (raw || c != '\\')));
            match self.peek() {
                Some(c) if c == quote => {
                    self.at += 1;
                    return Ok(text);
                }
                Some('\\') => text.push(self.escape()?),
                _ => {
                    let flaw = Flaw::new(opened, "this text is never closed");
                    return Err(flaw.hint(format!("end it with {quote}")));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Flaw> {
        let at = self.at;
        self.at += 1;
        let Some(letter) = self.peek() else {
            return Err(Flaw::new(at, "a backslash at the end"));
        };
        self.at += letter.len_utf8();
        let plain = match letter {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'v' => '\x0b',
            '\\' | '"' | '\'' | '`' | '?' => letter,
            'x' | 'X' => return self.code(at, 2, 16),
            'u' => return self.code(at, 4, 16),
            'U' => return self.code(at, 8, 16),
            '0'..='3' => {
                self.at -= 1;
                return self.code(at, 3, 8);
            }
            _ => {
                let flaw = Flaw::new(at, format!("`\\{}` means nothing", letter.escape_debug()));
                return Err(flaw.hint("write `\\\\` for a backslash, or r\"...\" for a pattern"));
            }
        };
        Ok(plain)
    }

    /// A character by its number.
    fn code(&mut self, at: usize, digits: usize, radix: u32) -> Result<char, Flaw> {
        let written = self.rest().get(..digits).unwrap_or_default();
        self.at += written.len();
        let is_number = written.len() == digits && written.chars().all(|c| c.is_digit(radix));
        let number = u32::from_str_radix(written, radix).ok();
        number
            .filter(|_| is_number)
            .and_then(char::from_u32)
            .ok_or_else(|| Flaw::new(at, "this escape names no character"))
    }
}

fn opens_text(rest: &str) -> bool {
    rest.starts_with(['"', '\''])
}

fn bad_number(at: usize, written: &str) -> Flaw {
    let digits: String = written.chars().take(40).collect();
    Flaw::new(at, format!("`{digits}` is not a number"))
        .hint("write 3, -3, 0.5 or 1e6; integers go up to 9223372036854775807")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<Token> {
        let tokens = tokens(source).unwrap();
        tokens.into_iter().map(|(_, token)| token).collect()
    }

    fn flaw(source: &str) -> (usize, String) {
        let flaw = tokens(source).unwrap_err();
        (flaw.at, flaw.message)
    }

    #[test]
    fn texts_are_read_with_their_escapes() {
        let text = |source: &str| words(source).swap_remove(0);
        assert_eq!(text(r#""a\"b""#), Token::Text("a\"b".to_owned()));
        assert_eq!(
            text(r"'a\tb\x41\u00e9\101'"),
            Token::Text("a\tbAéA".to_owned())
        );
        assert_eq!(text(r#"r"\d+\.""#), Token::Text(r"\d+\.".to_owned()));
        assert_eq!(text("''"), Token::Text(String::new()));
        assert_eq!(flaw("a == 'x"), (5, "this text is never closed".to_owned()));
        assert_eq!(flaw("'x\ny'").0, 0);
        assert_eq!(flaw(r"'\d'"), (1, "`\\d` means nothing".to_owned()));
        assert_eq!(flaw(r"'\ud800'").1, "this escape names no character");
        assert_eq!(flaw(r"'\u00é'").1, "this escape names no character");
    }

    #[test]
    fn numbers_end_where_they_end() {
        assert_eq!(
            words("1 2.5 1e3 0x1F 3"),
            [
                Token::Integer(1),
                Token::Number(2.5),
                Token::Number(1000.0),
                Token::Integer(31),
                Token::Integer(3),
                Token::End
            ]
        );
        for bad in ["1u", "12abc", "99999999999999999999", "1e", "1e999", "0x"] {
            assert!(flaw(bad).1.ends_with("is not a number"), "{bad}");
        }
    }

    #[test]
    fn what_other_languages_write_is_named() {
        let hint = |source: &str| tokens(source).unwrap_err().hint.unwrap_or_default();
        assert_eq!(hint("a = b"), "write `==` to compare");
        assert_eq!(hint("a and b"), "write `&&`");
        assert_eq!(hint("a & b"), "write `&&` for and");
        assert_eq!(hint("'''a'''"), "use one quote, and `\\n` for a new line");
        assert_eq!(flaw("a == $b"), (5, "unexpected `$`".to_owned()));
    }

    #[test]
    fn comments_and_blanks_are_no_words() {
        assert_eq!(
            words("a // not b\n . c"),
            [
                Token::Name("a".to_owned()),
                Token::Sign("."),
                Token::Name("c".to_owned()),
                Token::End
            ]
        );
    }
}
