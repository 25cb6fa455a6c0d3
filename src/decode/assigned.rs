//! Finds in a text what stands behind the name of a secret: `name=value`, `name: "value"`, `"name":"value"`, `Bearer
//! value`, and the same inside the escapes of JSON and of URLs.
//!
//! For lines of logs, forms, and JSON that was cut or broken; a parser for each would have to know which it is. So this
//! errs to one side: where the end of a value is not certain, more than the value counts as one.

use std::ops::Range;

use super::secret_names::{names_a_header, names_a_password, names_a_secret, names_a_value};

/// How far before its separator a name is looked for, and how long it may be.
const GAP_BYTES_MAX: usize = 24;
const NAME_BYTES_MAX: usize = 64;
/// Longer words are no words.
const WORD_BYTES_MAX: usize = 15;

/// The secrets of a text, by byte position, in order and apart from each other.
pub(super) fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        let Some(separator) = separator(text, at, byte) else {
            continue;
        };
        let Some(name) = secret_name(text, at, &separator) else {
            continue;
        };
        let start = value_start(text, at + separator.length);
        // Inside of what is hidden already; also what keeps a hostile text from costing its square.
        if found.last().is_some_and(|last| start < last.end) {
            continue;
        }
        let value = value(text, start, name);
        let is_word = separator.is_prose && !names_a_password(name) && is_word(text, &value);
        if !value.is_empty() && !is_word {
            found.push(value);
        }
    }
    found
}

struct Separator {
    length: usize,
    /// A colon or a space also stands in sentences.
    is_prose: bool,
}

fn separator(text: &str, at: usize, byte: u8) -> Option<Separator> {
    let of = |length, is_prose| Some(Separator { length, is_prose });
    match byte {
        b'=' => of(1, false),
        b':' => of(1, true),
        b' ' if ends_with_bearer(text, at) => of(1, true),
        b'%' => {
            // `%3D`, and `%253D` where it was escaped twice.
            let rest = text.get(at + 1..)?;
            let code = rest.trim_start_matches("25");
            let code_at = rest.len() - code.len();
            let is_one = code.get(..2).is_some_and(|code| {
                code.eq_ignore_ascii_case("3d") || code.eq_ignore_ascii_case("3a")
            });
            is_one.then_some(())?;
            of(1 + code_at + 2, false)
        }
        _ => None,
    }
}

fn ends_with_bearer(text: &str, at: usize) -> bool {
    // Most texts have many spaces, and few behind this letter.
    let before = at.checked_sub(1).and_then(|last| text.as_bytes().get(last));
    if !before.is_some_and(|last| last.eq_ignore_ascii_case(&b'r')) {
        return false;
    }
    let start = at.saturating_sub("bearer".len());
    text.get(start..at)
        .is_some_and(|word| word.eq_ignore_ascii_case("bearer"))
}

/// The name before a separator, where it announces a secret.
fn secret_name<'a>(text: &'a str, at: usize, separator: &Separator) -> Option<&'a str> {
    let (start, name) = name_before(text, at, is_gap)?;
    // `{"name": "refresh_token", "value": "..."}` and the fields of a page.
    if separator.length == 1 && names_a_value(name) {
        let is_list_gap = |byte: u8| is_gap(byte) || byte == b',';
        let (_, named) = name_before(text, start, is_list_gap)?;
        return names_a_secret(named).then_some(named);
    }
    // With the word before it, for `status code: 500`.
    let word_before = text
        .get(..start)
        .and_then(|before| before.strip_suffix(' '));
    let longer_start = word_before.map_or(start, |before| name_start(before, before.len()));
    let longer = text.get(longer_start..start + name.len())?;
    let escaped = unescaped_names(text, start, name).any(names_a_secret);
    ((names_a_secret(name) && names_a_secret(longer)) || escaped).then_some(name)
}

/// Where a name stands directly behind an escape (`%2Ccode`, `\ncode`), it begins later than its letters do.
fn unescaped_names<'a>(text: &str, start: usize, name: &'a str) -> impl Iterator<Item = &'a str> {
    let before = start.checked_sub(1).and_then(|at| text.as_bytes().get(at));
    let skips: &[usize] = match before {
        Some(b'%') => &[2, 4],
        Some(b'\\') => &[1],
        _ => &[],
    };
    skips.iter().filter_map(|skip| name.get(*skip..))
}

fn name_before(text: &str, at: usize, is_gap: impl Fn(u8) -> bool) -> Option<(usize, &str)> {
    let bytes = text.as_bytes();
    let nearest = at.saturating_sub(GAP_BYTES_MAX);
    let mut end = at;
    while end > nearest {
        let before = bytes.get(..end)?;
        if is_gap(*before.last()?) {
            end -= 1;
        } else if is_escaped_sign(before, b'%', 3) {
            end -= 3;
        } else if is_escaped_sign(before, b'\\', 6) {
            end -= 6;
        } else {
            break;
        }
    }
    let start = name_start(text, end);
    let name = text.get(start..end)?;
    (!name.is_empty()).then_some((start, name))
}

fn is_gap(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`' | b'\\')
}

/// `%22` or `\u0022` at the end.
fn is_escaped_sign(before: &[u8], mark: u8, length: usize) -> bool {
    before
        .len()
        .checked_sub(length)
        .and_then(|start| before.get(start..))
        .and_then(<[u8]>::split_first)
        .is_some_and(|(first, code)| {
            *first == mark
                && code
                    .iter()
                    .all(|byte| byte.is_ascii_hexdigit() || *byte == b'u')
        })
}

fn name_start(text: &str, end: usize) -> usize {
    let before = text.as_bytes().get(..end).unwrap_or_default();
    let letters = before
        .iter()
        .rev()
        .take(NAME_BYTES_MAX)
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"_-.[]".contains(byte));
    end - letters.count()
}

/// Past white space, the rest of `=>` and `:=`, quotes and escapes of line breaks; the last quote stays.
fn value_start(text: &str, after: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = after;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => {
                let run = bytes
                    .iter()
                    .skip(at)
                    .take_while(|byte| **byte == b'\\')
                    .count();
                match bytes.get(at + run) {
                    Some(b'n' | b'r' | b't') => at += run + 1,
                    // An escaped quote, which says how it will end.
                    Some(b'"' | b'\'') => return at,
                    _ => at += run,
                }
            }
            b'=' | b'>' | b':' | b'|' | b'(' => at += 1,
            _ if byte.is_ascii_whitespace() => at += 1,
            _ => break,
        }
    }
    at
}

/// From where the value starts to where it certainly has ended.
fn value(text: &str, start: usize, name: &str) -> Range<usize> {
    let rest = text.get(start..).unwrap_or_default();
    let escapes = rest.bytes().take_while(|byte| *byte == b'\\').count();
    match rest.as_bytes().get(escapes) {
        Some(quote @ (b'"' | b'\'' | b'`')) => {
            let inner = start + escapes + 1;
            inner..quoted_end(text, inner, *quote, escapes)
        }
        // A list or an object: in a broken record its end cannot be told.
        Some(b'{' | b'[') => start..text.len(),
        _ if names_a_header(name) => start..line_end(text, start),
        _ => start..unquoted_end(text, start),
    }
}

/// The quote that closes stands behind as many backslashes as the one that opened, apart from whole escaped ones.
fn quoted_end(text: &str, start: usize, quote: u8, escapes: usize) -> usize {
    let mut backslashes = 0;
    for (at, byte) in text.bytes().enumerate().skip(start) {
        match byte {
            b'\\' => backslashes += 1,
            _ if byte == quote && backslashes % (2 * (escapes + 1)) == escapes => {
                return at - escapes;
            }
            _ => backslashes = 0,
        }
    }
    text.len()
}

fn line_end(text: &str, start: usize) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    start + rest.find(['\n', '\r']).unwrap_or(rest.len())
}

fn unquoted_end(text: &str, start: usize) -> usize {
    let end = run_end(text, start);
    let scheme = text.get(start..end).unwrap_or_default();
    let is_scheme = ["bearer", "basic", "dpop", "digest", "token"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    if !is_scheme {
        return end;
    }
    let rest = text.get(end..).unwrap_or_default();
    let gap = rest.len() - rest.trim_start_matches([' ', '"', '\'']).len();
    run_end(text, end + gap)
}

fn run_end(text: &str, start: usize) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    let end = rest
        .char_indices()
        .find(|(at, sign)| match sign {
            '&' | '"' | '\'' | '`' | '<' | '>' => true,
            ',' | ';' => begins_another(rest.get(at + 1..).unwrap_or_default()),
            _ => sign.is_whitespace(),
        })
        .map_or(rest.len(), |(at, _)| at);
    let value = rest.get(..end).unwrap_or_default();
    start
        + value
            .trim_end_matches([',', ';', ')', '}', ']', '.', '\\'])
            .len()
}

/// Whether a text begins with `name=` or `name:`.
fn begins_another(text: &str) -> bool {
    let name = text
        .bytes()
        .take(NAME_BYTES_MAX)
        .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        .count();
    name > 0 && matches!(text.as_bytes().get(name), Some(b'=' | b':'))
}

/// `Invalid token: expired` says something; no server makes tokens of a few letters.
fn is_word(text: &str, value: &Range<usize>) -> bool {
    let word = text.get(value.clone()).unwrap_or_default();
    let is_quoted = value
        .start
        .checked_sub(1)
        .and_then(|before| text.as_bytes().get(before))
        .is_some_and(|before| matches!(before, b'"' | b'\'' | b'`'));
    let rest = word.get(1..).unwrap_or_default();
    !is_quoted
        && word.len() <= WORD_BYTES_MAX
        && word.bytes().all(|byte| byte.is_ascii_alphabetic())
        && rest.bytes().all(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        secrets(text)
            .into_iter()
            .map(|range| text.get(range).unwrap())
            .collect()
    }

    #[test]
    fn values_end_where_they_end() {
        for (text, secrets) in [
            ("a=1&code=x.Y7&state=z", vec!["x.Y7"]),
            ("token=v1,user=u1", vec!["v1"]),
            ("{token: v1}", vec!["v1"]),
            (r#""token":"v1","id":"7""#, vec!["v1"]),
            (r#"{\"token\":\"v1\",\"id\":\"7\"}"#, vec!["v1"]),
            (r#""token":"a\"b\\","id":"7""#, vec![r#"a\"b\\"#]),
            (r#""token":{"value":"v1""#, vec![r#"{"value":"v1""#]),
            ("cookie: a=1; b=2\nx", vec!["a=1; b=2"]),
            ("Authorization=Bearer v1 and", vec!["Bearer v1 and"]),
            ("token=Bearer v1 and", vec!["Bearer v1"]),
            ("token: code: v1", vec!["code:", "v1"]),
            ("name=\"password\" value=\"v1\"", vec!["v1"]),
            ("a%2Ccode%253Dv1", vec!["v1"]),
            (r"a\ncode=v1", vec!["v1"]),
            ("token: expired, password: hunter", vec!["hunter"]),
            ("token=\"\" type=x", vec![]),
        ] {
            assert_eq!(found(text), secrets, "{text}");
        }
    }

    /// With work by the square this would not end.
    #[test]
    fn hostile_texts_cost_no_more_than_their_length() {
        for (piece, count) in [
            ("token=", 1),
            ("token=\"", 19_999),
            ("token:{", 1),
            ("token: ", 19_999),
            ("%253D", 0),
            ("\\", 0),
            ("code=\\\\\"", 19_999),
            ("Bearer ", 10_000),
        ] {
            let found = secrets(&piece.repeat(20_000));
            assert_eq!(found.len(), count, "{piece}");
        }
    }
}
