//! Reads the paths out of Rust source text: just enough of the language, without a parser.
//!
//! A parser (`syn`) would be exact, but sees nothing inside macros, where half of such code stands. Tokens are enough:
//! a path is names joined by `::`, a group in braces continues the path before it.

/// A path that a file names, with `crate` in front when it is one of ours.
#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) line: usize,
    pub(crate) path: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    /// `::`
    Join,
    Other(char),
}

/// Every path of two or more segments in the text of the module.
pub(crate) fn uses(text: &str, module: &[String]) -> Vec<Use> {
    let mut scanner = Scanner {
        tokens: tokens(text),
        at: 0,
        module: module.to_vec(),
        found: Vec::new(),
    };
    scanner.block();
    scanner.found
}

struct Scanner {
    tokens: Vec<(usize, Token)>,
    at: usize,
    /// Where `super` is counted from; grows inside `mod name { }`.
    module: Vec<String>,
    found: Vec<Use>,
}

impl Scanner {
    /// Up to the brace that closes the block, or the end.
    fn block(&mut self) {
        while self.at < self.tokens.len() {
            match self.peek(0) {
                Some(Token::Other('}')) => {
                    self.at += 1;
                    return;
                }
                Some(Token::Other('{')) => {
                    self.at += 1;
                    self.block();
                }
                Some(Token::Other('#')) if self.is_test_attribute() => self.skip_item(),
                Some(Token::Name(name)) if name == "mod" && self.opens_module() => {
                    let Some(Token::Name(inner)) = self.peek(1) else {
                        unreachable!("seen")
                    };
                    self.at += 3;
                    self.module.push(inner);
                    self.block();
                    self.module.pop();
                }
                Some(Token::Name(name)) if name == "use" => {
                    self.at += 1;
                    self.tree(&[], true);
                }
                Some(Token::Name(_)) => self.tree(&[], false),
                _ => self.at += 1,
            }
        }
    }

    /// A path, or a group of them after `prefix`.
    fn tree(&mut self, prefix: &[String], in_use: bool) {
        let mut path = prefix.to_vec();
        let line = self.tokens[self.at].0;
        loop {
            match self.peek(0) {
                Some(Token::Name(name)) => {
                    path.push(name);
                    self.at += 1;
                }
                Some(Token::Other('{')) if in_use => {
                    self.at += 1;
                    while !matches!(self.peek(0), None | Some(Token::Other('}'))) {
                        match self.peek(0) {
                            Some(Token::Name(_)) => self.tree(&path, true),
                            _ => self.at += 1,
                        }
                    }
                    self.at += 1;
                    return;
                }
                _ => break,
            }
            if self.peek(0) != Some(Token::Join) {
                break;
            }
            self.at += 1;
        }
        self.record(line, path, in_use);
    }

    fn record(&mut self, line: usize, path: Vec<String>, in_use: bool) {
        let ours = matches!(
            path.first().map(String::as_str),
            Some("crate" | "super" | "self")
        );
        if path.len() < 2 && !in_use || path.is_empty() {
            return;
        }
        let path = if ours { self.absolute(path) } else { path };
        self.found.push(Use { line, path });
    }

    /// `super::x` in `crate::a::b` is `crate::a::x`.
    fn absolute(&self, path: Vec<String>) -> Vec<String> {
        if path[0] == "crate" {
            return path;
        }
        let supers = path
            .iter()
            .take_while(|part| *part == "super" || *part == "self");
        let up = supers.clone().filter(|part| *part == "super").count();
        let mut absolute = vec!["crate".to_owned()];
        absolute.extend_from_slice(&self.module[..self.module.len().saturating_sub(up)]);
        absolute.extend(path.iter().skip(supers.count()).cloned());
        absolute
    }

    fn peek(&self, ahead: usize) -> Option<Token> {
        self.tokens
            .get(self.at + ahead)
            .map(|(_, token)| token.clone())
    }

    fn opens_module(&self) -> bool {
        matches!(self.peek(1), Some(Token::Name(_))) && self.peek(2) == Some(Token::Other('{'))
    }

    /// `#[cfg(test)]`
    fn is_test_attribute(&self) -> bool {
        let name = |text: &str| Token::Name(text.to_owned());
        let attribute = [
            Token::Other('['),
            name("cfg"),
            Token::Other('('),
            name("test"),
            Token::Other(')'),
        ];
        attribute
            .iter()
            .enumerate()
            .all(|(i, token)| self.peek(i + 1).as_ref() == Some(token))
    }

    /// Past the item after an attribute: to its `;`, or over its braces.
    fn skip_item(&mut self) {
        let mut depth = 0;
        while let Some(token) = self.peek(0) {
            self.at += 1;
            match token {
                Token::Other('{') => depth += 1,
                Token::Other('}') => {
                    depth -= 1;
                    if depth == 0 {
                        return;
                    }
                }
                Token::Other(';') if depth == 0 => return,
                _ => {}
            }
        }
    }
}

/// Names, `::` and single signs with their lines; comments, strings and characters left out.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let next = |ahead: usize| chars.get(at + ahead).copied();
        let end = match chars[at] {
            '/' if next(1) == Some('/') => find(&chars, at, |i| chars[i] == '\n'),
            '/' if next(1) == Some('*') => comment_end(&chars, at),
            '"' => string_end(&chars, at),
            'r' | 'b' | 'c' if raw_string(&chars, at).is_some() => {
                raw_string(&chars, at).unwrap_or(at + 1)
            }
            '\'' => quote_end(&chars, at),
            c if c.is_alphabetic() || c == '_' => {
                let end = find(&chars, at, |i| {
                    !(chars[i].is_alphanumeric() || chars[i] == '_')
                });
                tokens.push((line, Token::Name(chars[at..end].iter().collect())));
                end
            }
            ':' if next(1) == Some(':') => {
                tokens.push((line, Token::Join));
                at + 2
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push((line, Token::Other(c)));
                }
                at + 1
            }
        };
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    tokens
}

fn find(chars: &[char], from: usize, stop: impl Fn(usize) -> bool) -> usize {
    (from..chars.len())
        .find(|i| stop(*i))
        .unwrap_or(chars.len())
}

fn comment_end(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The end of `r"…"`, `br#"…"#` and the like; none where a name merely begins with such a letter.
fn raw_string(chars: &[char], start: usize) -> Option<usize> {
    let prefix = find(chars, start, |i| !matches!(chars[i], 'r' | 'b' | 'c'));
    let hashes = find(chars, prefix, |i| chars[i] != '#') - prefix;
    if chars.get(prefix + hashes) != Some(&'"') || prefix - start > 2 {
        return None;
    }
    if !chars[start..prefix].contains(&'r') {
        return (hashes == 0).then(|| string_end(chars, prefix));
    }
    let close = |i: usize| chars[i] == '"' && (1..=hashes).all(|n| chars.get(i + n) == Some(&'#'));
    Some((find(chars, prefix + hashes + 1, close) + 1 + hashes).min(chars.len()))
}

/// A character literal, or only the sign when it begins a lifetime.
fn quote_end(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => find(chars, start + 3, |i| chars[i] == '\'') + 1,
        (_, Some('\'')) => start + 3,
        _ => start + 1,
    }
    .min(chars.len())
}
