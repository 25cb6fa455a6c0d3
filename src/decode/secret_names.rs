//! Which names announce a secret: of a member, a parameter, a header, a field of a form.
//!
//! An opaque token has no form of its own; what tells it is the name it stands under. Names are judged by how they end,
//! for everybody writes them his own way (`new_refresh_token`, `previousToken`, `X-Api-Key`). What ends otherwise is about
//! a secret and none itself: `token_id`, `refresh_token_type`, `code_id` stay readable.

/// The end of a name that is one wherever it stands, also run together with others (`REFRESHTOKEN`).
const ENDINGS: &[&str] = &[
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "cookie",
    "assertion",
    "authorization",
    "credential",
];

/// The last word of a name: too short to be told inside another word (`monkey`, `zipcode`).
const LAST_WORDS: &[&str] = &[
    "apikey",
    "authcode",
    "bearer",
    "code",
    "devicecode",
    "jwt",
    "key",
    "otp",
    "pass",
    "pwd",
    "ticket",
    "usercode",
    "verifier",
];

/// What a code or key is called that nobody is let in by, by the word before it.
const PUBLIC: &[&str] = &[
    "area",
    "country",
    "currency",
    "err",
    "error",
    "event",
    "exit",
    "foreign",
    "http",
    "language",
    "message",
    "partition",
    "postal",
    "primary",
    "public",
    "reason",
    "region",
    "response",
    "result",
    "return",
    "routing",
    "sort",
    "status",
    "zip",
];

/// Words after the name of a secret that leave it one.
const TRAILING: &[&str] = &[
    "again",
    "body",
    "confirmation",
    "current",
    "encoded",
    "header",
    "hint",
    "new",
    "old",
    "plain",
    "plaintext",
    "previous",
    "raw",
    "string",
    "text",
    "value",
];

/// Longer names are texts; their end decides.
const NAME_BYTES_MAX: usize = 64;

pub(super) fn names_a_secret(name: &str) -> bool {
    let start = name.ceil_char_boundary(name.len().saturating_sub(NAME_BYTES_MAX));
    let mut words = words(name.get(start..).unwrap_or_default());
    while words
        .last()
        .is_some_and(|word| is_number(word) || TRAILING.contains(&word.as_str()))
    {
        words.pop();
    }
    let Some(last) = words.pop() else {
        return false;
    };
    // `age_of_refresh_token` is Keycloak's.
    if words.first().is_some_and(|first| first == "age") {
        return false;
    }
    let singular = last.strip_suffix('s').unwrap_or(&last);
    if ENDINGS.iter().any(|ending| singular.ends_with(ending)) {
        return true;
    }
    LAST_WORDS
        .iter()
        .any(|word| last == *word || singular == *word)
        && !words
            .last()
            .is_some_and(|before| PUBLIC.contains(&before.as_str()))
}

/// Whether what follows the name is a whole header, with spaces in it.
pub(super) fn names_a_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with("authorization") || name.ends_with("cookie")
}

/// Whether a person chose the secret, so that it may look like a word.
pub(super) fn names_a_password(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "pwd", "secret", "credential"]
        .iter()
        .any(|part| name.contains(part))
}

/// Whether the name stands for "the value of what was named before".
pub(super) fn names_a_value(name: &str) -> bool {
    matches!(
        name.to_ascii_lowercase().as_str(),
        "value" | "val" | "content"
    )
}

/// In lower case, split where one ends: at signs, at digits, at the humps of `camelCase`.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = ' ';
    for letter in name.chars() {
        if letter.is_ascii_alphanumeric() {
            let begins = !before.is_ascii_alphanumeric()
                || before.is_ascii_digit() != letter.is_ascii_digit()
                || (before.is_ascii_lowercase() && letter.is_ascii_uppercase());
            match words.last_mut() {
                Some(word) if !begins => word.push(letter.to_ascii_lowercase()),
                _ => words.push(letter.to_ascii_lowercase().to_string()),
            }
        }
        before = letter;
    }
    words
}

fn is_number(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_by_how_they_end() {
        for name in [
            "refresh_token",
            "newRefreshToken",
            "REFRESHTOKEN",
            "access_tokens",
            "token2",
            "params[token][0]",
            "id_token_value",
            "grant_type=x&refresh_token",
            "device_code",
            "%26code",
            "X-Api-Key",
            "Set-Cookie",
            "password_confirmation",
            "pass",
            "jwt",
        ] {
            assert!(names_a_secret(name), "{name}");
        }
        for name in [
            "",
            "7",
            "value",
            "token_id",
            "refresh_token_type",
            "code_id",
            "session_id",
            "grant_type",
            "error_code",
            "statusCode",
            "age_of_refresh_token",
            "public_key",
            "monkey",
            "zipcode",
            "tokenCounter",
            "compass",
        ] {
            assert!(!names_a_secret(name), "{name}");
        }
    }
}
