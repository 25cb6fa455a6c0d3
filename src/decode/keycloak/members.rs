//! Takes the text of a listener's line apart: `type="LOGIN", realmId="...", clientId="..."`.
//!
//! Values are callers' texts. A quote in one is written `\"`, a line break as a space, but a backslash as itself:
//! `"a\"` is a value that ends in a backslash, or the beginning of one with a quote in it. What follows decides, see
//! [`end_of_value`]. No value can forge a member: each needs a quote without a backslash before it.

use std::borrow::Cow;

use crate::decode::Rejected;

/// Members by name, in their order.
pub(super) type Pairs<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Takes `key="value", key="value"` apart.
pub(super) fn pairs(message: &str) -> Result<Pairs<'_>, Rejected> {
    let mut pairs = Vec::with_capacity(16);
    let mut rest = message.trim_end();
    loop {
        let (key, after) = key(rest).ok_or_else(|| {
            Rejected::syntax(format!(
                "member {} of the line is not written `key=\"value\"` (the listener's `quotes` option must keep its default)",
                pairs.len() + 1
            ))
        })?;
        let end = end_of_value(after).ok_or_else(|| {
            Rejected::syntax(format!(
                "the value of `{key}` does not end: the line was cut"
            ))
        })?;
        pairs.push((key, unescaped(after.get(..end).unwrap_or_default())));
        rest = after.get(end + 1..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(pairs);
        }
        rest = rest.strip_prefix(", ").ok_or_else(|| {
            Rejected::syntax(format!("the value of `{key}` is not followed by a comma"))
        })?;
    }
}

/// `key="`, and what comes after.
fn key(text: &str) -> Option<(&str, &str)> {
    let (key, rest) = text.split_once("=\"")?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (!key.is_empty() && key.len() <= KEY_BYTES_MAX && key.bytes().all(is_name))
        .then_some((key, rest))
}

const KEY_BYTES_MAX: usize = 128;

/// Where the closing quote of a value stands.
///
/// Usually it is the next quote without a backslash before it. But where the value ends in a backslash, its own
/// closing quote has one, and the next bare quote opens the next value. Then exactly `, key=` stands between the two. A
/// value with such a text in it looks the same up to there; only there the bare quote is followed by the next member.
fn end_of_value(text: &str) -> Option<usize> {
    let bare = bare_quote(text)?;
    let Some(escaped) = text.get(..bare)?.rfind("\\\"").map(|at| at + 1) else {
        return Some(bare);
    };
    let between = text.get(escaped + 1..=bare)?;
    let opens = between
        .strip_prefix(", ")
        .and_then(key)
        .is_some_and(|(_, rest)| rest.is_empty());
    let after = text.get(bare + 1..)?;
    let closes = after.is_empty() || after.strip_prefix(", ").and_then(key).is_some();
    Some(if opens && !closes { escaped } else { bare })
}

/// The first quote that has no backslash before it.
fn bare_quote(text: &str) -> Option<usize> {
    text.match_indices('"')
        .map(|(at, _)| at)
        .find(|at| *at == 0 || text.as_bytes().get(at - 1) != Some(&b'\\'))
}

/// A quote lost one backslash when it was written; a backslash stands for itself.
fn unescaped(value: &str) -> Cow<'_, str> {
    if value.contains("\\\"") {
        Cow::Owned(value.replace("\\\"", "\""))
    } else {
        Cow::Borrowed(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(message: &str) -> Vec<(String, String)> {
        pairs(message)
            .unwrap()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into_owned()))
            .collect()
    }

    /// As the listener writes it.
    fn written(values: &[(&str, &str)]) -> String {
        let members: Vec<_> = values
            .iter()
            .map(|(key, value)| {
                format!(
                    "{key}=\"{}\"",
                    value.replace(['\n', '\r'], " ").replace('"', "\\\"")
                )
            })
            .collect();
        members.join(", ")
    }

    #[test]
    fn hostile_values_stay_in_their_place() {
        for hostile in [
            "plain",
            "",
            "a\"b",
            "a\\b",
            "a\\",
            "a\\\\",
            "a\\\"b",
            "a\"",
            "a\\\"",
            "\", userId=\"victim",
            "\", userId=",
            "x\\\", userId=\"victim\", error=",
            "a=\"b\", c=\"",
            "a, b=",
            "=",
            ", ",
            "nul\0inside",
        ] {
            let members = [
                ("type", "REFRESH_TOKEN_ERROR"),
                ("clientId", hostile),
                ("userId", "null"),
                ("ipAddress", hostile),
                ("error", "invalid_token"),
            ];
            let line = written(&members);
            let expected: Vec<_> = members
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(values(&line), expected, "{line}");
        }
    }

    #[test]
    fn a_line_that_was_cut_is_refused() {
        let whole = written(&[("type", "LOGIN"), ("clientId", "web"), ("userId", "u1")]);
        for end in 0..whole.len() {
            let cut = whole.get(..end).unwrap();
            if let Ok(pairs) = pairs(cut) {
                // Only at the end of a member can a cut go unseen.
                assert!(cut.ends_with('"') && pairs.len() < 3, "{cut}");
            }
        }
    }
}
