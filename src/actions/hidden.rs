//! What of a request must not come back in a sentence: servers quote in their errors what they were asked for.
//!
//! Paths and queries of webhooks carry keys, headers and forms carry credentials. They are looked for in the answer's text
//! in every writing a server is known to use: as sent, decoded, escaped anew, in other case.

use std::ops::Range;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Request, Url};

use crate::config::Secret;

/// What stands in place of what was hidden.
const MASK: &str = "[hidden]";
/// Shorter ones are only hidden as whole words, or they would be found in every other word.
const PART_BYTES_MIN: usize = 6;
/// Nothing can be kept secret in one letter.
const WORD_BYTES_MIN: usize = 2;
/// Headers that hold no secret.
const PLAIN_HEADERS: &[&str] = &[
    "accept",
    "content-length",
    "content-type",
    "idempotency-key",
    "user-agent",
];
/// Parts of paths that every address has. Without them the sentence would lose its own words.
const PLAIN_PARTS: &[&str] = &[
    "admin",
    "api",
    "auth",
    "hook",
    "hooks",
    "logout",
    "oauth",
    "oauth2",
    "connect",
    "openid",
    "openid-connect",
    "protocol",
    "realms",
    "revoke",
    "services",
    "sessions",
    "token",
    "tokens",
    "user",
    "users",
    "v1",
    "v2",
    "v3",
    "webhook",
    "webhooks",
];

/// Texts to hide, in lower case. Never printed.
#[derive(Clone, Default)]
pub(super) struct Hidden(Vec<String>);

impl Hidden {
    /// Path, query, user, headers and form of a request.
    pub(super) fn of(request: &Request) -> Self {
        let mut hidden = Self::default();
        hidden.add_url(request.url());
        hidden.add_headers(request.headers());
        let is_form = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().ends_with(b"x-www-form-urlencoded"));
        let body = request.body().and_then(reqwest::Body::as_bytes);
        if let (true, Some(Ok(form))) = (is_form, body.map(std::str::from_utf8)) {
            let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .filter(|(name, _)| is_secret_field(name))
                .for_each(|(_, value)| hidden.add(value));
        }
        hidden.0.sort_unstable();
        hidden.0.dedup();
        hidden
    }

    /// And these, wherever they stand in it.
    pub(super) fn and(mut self, secrets: &[&Secret]) -> Self {
        for secret in secrets {
            self.add(secret.expose());
        }
        self
    }

    /// The text without them.
    pub(super) fn mask(&self, text: &str) -> String {
        let lower = text.to_ascii_lowercase();
        let mut found: Vec<Range<usize>> = Vec::new();
        for hidden in &self.0 {
            let places = lower.match_indices(hidden.as_str());
            let ranges = places.map(|(at, _)| at..at + hidden.len());
            found.extend(
                ranges.filter(|range| hidden.len() >= PART_BYTES_MIN || is_word(&lower, range)),
            );
        }
        found.sort_unstable_by_key(|range| range.start);
        masked(text, &found)
    }

    fn add_url(&mut self, url: &Url) {
        self.add(url.path());
        let parts = url.path().split('/');
        parts
            .filter(|part| !PLAIN_PARTS.contains(&part.to_ascii_lowercase().as_str()))
            .for_each(|part| self.add(part));
        for pair in url.query().into_iter().flat_map(|query| query.split('&')) {
            self.add(pair);
            self.add(pair.split_once('=').map_or(pair, |(_, value)| value));
        }
        self.add(url.username());
        self.add(url.password().unwrap_or_default());
    }

    fn add_headers(&mut self, headers: &HeaderMap) {
        for (name, value) in headers {
            let Ok(value) = value.to_str() else {
                continue;
            };
            if PLAIN_HEADERS.contains(&name.as_str()) {
                continue;
            }
            self.add(value);
            if let (true, Some((_, credentials))) = (name == AUTHORIZATION, value.split_once(' ')) {
                self.add(credentials);
            }
        }
    }

    /// As sent, encoded, decoded, decoded as a form, escaped as some do it in JSON; and each long piece between signs,
    /// however the signs come back.
    fn add(&mut self, text: &str) {
        let decoded = decoded(text);
        let pieces = decoded.split(|sign: char| !sign.is_alphanumeric());
        let pieces =
            pieces.filter(|piece| piece.len() >= PART_BYTES_MIN && !PLAIN_PARTS.contains(piece));
        let encoded: String = url::form_urlencoded::byte_serialize(decoded.as_bytes()).collect();
        let forms = [
            text,
            &encoded,
            &decoded,
            &decoded.replace('+', " "),
            &decoded.replace('/', "\\/"),
        ];
        self.0.extend(
            forms
                .into_iter()
                .chain(pieces)
                .filter(|form| form.len() >= WORD_BYTES_MIN)
                .map(str::to_ascii_lowercase),
        );
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(…)")
    }
}

fn masked(text: &str, found: &[Range<usize>]) -> String {
    let mut masked = String::new();
    let mut copied_to = 0;
    for range in found {
        if range.start >= copied_to {
            masked.push_str(text.get(copied_to..range.start).unwrap_or_default());
            masked.push_str(MASK);
        }
        copied_to = copied_to.max(range.end);
    }
    masked.push_str(text.get(copied_to..).unwrap_or_default());
    masked
}

fn is_word(text: &str, range: &Range<usize>) -> bool {
    let before = text
        .get(..range.start)
        .and_then(|text| text.chars().next_back());
    let after = text.get(range.end..).and_then(|text| text.chars().next());
    let is_letter =
        |sign: Option<char>| sign.is_some_and(|sign| sign.is_alphanumeric() || sign == '_');
    !is_letter(before) && !is_letter(after)
}

fn is_secret_field(name: &str) -> bool {
    ["secret", "password", "token", "assertion", "key"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// `%2F` as `/`; what is no text then stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code =
            code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = after
            .get(if code.is_some() { 2 } else { 0 }..)
            .unwrap_or_default();
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(url: &str) -> Hidden {
        Hidden::of(&Request::new(reqwest::Method::POST, url.parse().unwrap()))
    }

    #[test]
    fn the_words_of_an_answer_stay_what_they_are() {
        let hidden = hidden("https://h/api/v1/hooks/T0/k3y-of-mine?a=b&debug=true");
        assert_eq!(
            hidden.mask("Cannot POST /api/v1/hooks/T0/k3y-of-mine?a=b: invalid_token, T00 is true"),
            "Cannot POST [hidden]?[hidden]: invalid_token, T00 is [hidden]"
        );
        assert_eq!(hidden.mask("no hook K3Y-OF-MINE, ä"), "no hook [hidden], ä");
        assert_eq!(hidden.mask(""), "");
    }

    #[test]
    fn overlapping_finds_are_one() {
        let hidden = Hidden(vec!["abcdef".to_owned(), "defghi".to_owned()]);
        assert_eq!(hidden.mask("xabcdefghix"), "x[hidden]x");
        assert_eq!(format!("{hidden:?}"), "Hidden(…)");
    }

    #[test]
    fn escapes_are_taken_away_once() {
        for (text, plain) in [
            ("a%2Fb%20c", "a/b c"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%ff", "%ff"),
        ] {
            assert_eq!(decoded(text), plain);
        }
    }
}
