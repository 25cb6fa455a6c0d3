//! The last thing between a record and an event: nothing that could be presented as a token passes, nothing is
//! unbounded, and no control character reaches a log, a mail or a database.
//!
//! What counts as a token is decided by its form wherever it stands: callers put tokens where ids belong, and error texts
//! quote them. Opaque ones have no form; they are known by the name they stand under (`secret_names`) or behind
//! (`assigned`).

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value;

use super::TokenKey;
use super::assigned;
use super::secret_names::names_a_secret;
use crate::model::{Text, limits};

/// Longest token id or unbroken run of token characters that is still taken for an id. Ids are UUIDs or hashes in
/// hex (up to 128 digits); opaque tokens of the large providers without dots are longer or are declared `secret`.
const ID_RUN_BYTES_MAX: usize = 128;

/// Shorter numbers are counts and statuses, also under the name of a secret; one-time codes have six digits.
const SECRET_DIGITS_MIN: usize = 6;

/// Bytes that are looked at together.
const CHUNK_BYTES: usize = 32;

/// Longer texts of letters are no names.
const NAME_BYTES_MAX: usize = 24;

/// As much of a value as a person needs to find it in the record.
const QUOTED_BYTES_MAX: usize = 40;

/// Cleans texts; hashes with the current key and, during a rotation, tells the hash under the previous one.
#[derive(Debug, Clone)]
pub(super) struct Cleaner {
    key: TokenKey,
    previous: Option<TokenKey>,
}

impl Cleaner {
    pub(super) fn new(key: TokenKey, previous: Option<TokenKey>) -> Self {
        Self { key, previous }
    }

    pub(super) fn hash(&self, secret: &str) -> Text {
        self.key.hash(secret)
    }

    /// The hash under the key before this one, while one is configured.
    pub(super) fn previous_hash(&self, secret: &str) -> Option<Text> {
        self.previous.as_ref().map(|key| key.hash(secret))
    }

    /// As [`Cleaner::previous_hash`], if the id is nothing but the hash of the text.
    pub(super) fn hash_before(&self, text: &str, id: &str) -> Option<Text> {
        let previous = self.previous.as_ref()?;
        (*self.hash(text) == *id).then(|| previous.hash(text))
    }

    /// An id or a name. One that is too long becomes its hash: cut short, two of them could become one.
    pub(super) fn id(&self, text: &str) -> Option<Text> {
        match text.len() {
            0 => None,
            1..=limits::ID_BYTES_MAX => Some(self.scrubbed(text, Runs::Kept).as_ref().into()),
            _ => Some(self.hash(text)),
        }
    }

    /// The id of an event, whose length has been checked.
    pub(super) fn event_id(&self, text: &str) -> Text {
        self.scrubbed(text, Runs::Kept).as_ref().into()
    }

    /// The id of a token, which must not be the token.
    pub(super) fn token_id(&self, text: &str) -> Option<Text> {
        if is_presentable(text) {
            return Some(self.hash(text));
        }
        self.id(text)
    }

    /// Free text: an error, a user agent, a scope.
    pub(super) fn text(&self, text: &str) -> Option<Text> {
        if text.is_empty() {
            return None;
        }
        Some(cut(&self.scrubbed(text, Runs::Hashed), limits::TEXT_BYTES_MAX).into())
    }

    /// The text with tokens replaced by their hash and control characters by a mark.
    fn scrubbed<'a>(&self, text: &'a str, long: Runs) -> Cow<'a, str> {
        let text = match long {
            Runs::Kept => Cow::Borrowed(text),
            Runs::Hashed => self.without_assigned(text),
        };
        match self.without_tokens(&text, long) {
            Some(clean) => without_controls(Cow::Owned(clean)),
            None => without_controls(text),
        }
    }

    /// Without what the names before it call a secret.
    fn without_assigned<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = String::new();
        let mut copied_to = 0;
        for range in assigned::secrets(text) {
            let secret = text.get(range.clone()).unwrap_or_default();
            clean.push_str(text.get(copied_to..range.start).unwrap_or_default());
            clean.push_str(&self.hash_once(secret));
            copied_to = range.end;
        }
        if copied_to == 0 {
            return Cow::Borrowed(text);
        }
        clean.push_str(text.get(copied_to..).unwrap_or_default());
        Cow::Owned(clean)
    }

    /// What has been cleaned once may come again.
    fn hash_once(&self, secret: &str) -> Text {
        if is_hash(secret) {
            secret.into()
        } else {
            self.hash(secret)
        }
    }

    /// Without what looks like a token; nothing where none does.
    fn without_tokens(&self, text: &str, long: Runs) -> Option<String> {
        // Ids and addresses, which is nearly everything, leave here.
        let short = long == Runs::Kept || text.len() <= ID_RUN_BYTES_MAX;
        if short && !begins_a_jwt_somewhere(text) {
            return None;
        }
        let mut clean = String::new();
        let mut copied_to = 0;
        for (start, end) in runs(text) {
            let Some(run) = text.get(start..end) else {
                continue;
            };
            let Some(token_start) = token_start(run, long) else {
                continue;
            };
            clean.push_str(text.get(copied_to..start + token_start).unwrap_or_default());
            clean.push_str(&self.hash(run.get(token_start..).unwrap_or_default()));
            copied_to = end;
        }
        if copied_to == 0 {
            return None;
        }
        clean.push_str(text.get(copied_to..).unwrap_or_default());
        Some(clean)
    }

    /// What may be kept of a whole record that was rejected.
    pub(super) fn record(&self, payload: &[u8]) -> Text {
        let text = String::from_utf8_lossy(payload);
        // A record over the limit is not worth a tree of values.
        let parsed = (text.len() <= limits::RECORD_BYTES_MAX)
            .then(|| serde_json::from_str::<Value>(&text).ok())
            .flatten();
        let clean = match parsed {
            Some(mut value) => {
                self.clean_value(&mut value);
                value.to_string()
            }
            // No JSON, or no longer: a line, or a record that was cut.
            None => self
                .scrubbed(cut(&text, limits::RECORD_BYTES_MAX), Runs::Hashed)
                .into_owned(),
        };
        cut(&clean, limits::REJECT_BYTES_MAX).into()
    }

    /// What a message may say of a member's value: no more than the record that is kept beside it.
    pub(super) fn quoted(&self, name: &str, text: &str) -> String {
        let mut value = Value::from(text);
        self.clean_member(name, &mut value);
        let clean = value.as_str().unwrap_or_default();
        format!("{:?}", cut(clean, QUOTED_BYTES_MAX))
    }

    /// A member's name, which may be a whole form that somebody took for JSON.
    pub(super) fn member_name<'a>(&self, name: &'a str) -> Cow<'a, str> {
        self.scrubbed(name, Runs::Hashed)
    }

    /// Cleans a member's value; all of it where the name says that it is a secret.
    pub(super) fn clean_member(&self, name: &str, value: &mut Value) {
        if names_a_secret(name) {
            // `"key": "refresh_token"` names what stands beside it.
            let is_name = name == "key" && value.as_str().is_some_and(is_plain) && names_one(value);
            if !is_name {
                self.hide(value);
            }
        } else {
            self.clean_value(value);
        }
    }

    /// Replaces what could be presented anywhere in a value, and whatever stands under the name of a secret.
    fn clean_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(clean) = self.scrubbed(text, Runs::Hashed) {
                    *text = clean;
                }
            }
            Value::Array(items) => self.clean_items(items),
            Value::Object(members) => self.clean_members(members),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Headers also come as a list of names and values in turn.
    fn clean_items(&self, items: &mut [Value]) {
        let mut is_secret = false;
        for item in items {
            if is_secret {
                self.hide(item);
                is_secret = false;
            } else {
                is_secret = names_one(item);
                self.clean_value(item);
            }
        }
    }

    fn clean_members(&self, members: &mut Members) {
        let named = [
            "name",
            "key",
            "field",
            "parameter",
            "param",
            "header",
            "attribute",
        ];
        let names_its_value = named
            .iter()
            .any(|name| members.get(*name).is_some_and(names_one));
        *members = std::mem::take(members)
            .into_iter()
            .map(|(name, mut value)| {
                if names_its_value && !named.contains(&name.as_str()) {
                    self.hide(&mut value);
                } else {
                    self.clean_member(&name, &mut value);
                }
                (self.member_name(&name).into_owned(), value)
            })
            .collect();
    }

    /// Replaces every text of a value, and what else could be a code.
    fn hide(&self, value: &mut Value) {
        match value {
            Value::String(secret) if secret.is_empty() => {}
            Value::String(secret) => *secret = self.hash_once(secret).to_string(),
            Value::Number(number) => {
                let digits = number.to_string();
                if digits.len() >= SECRET_DIGITS_MIN {
                    *value = Value::String(self.hash(&digits).to_string());
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide(item)),
            Value::Object(members) => {
                *members = std::mem::take(members)
                    .into_iter()
                    .map(|(name, mut value)| {
                        self.hide(&mut value);
                        (self.hidden_name(name), value)
                    })
                    .collect();
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// `value` and `expires_at` may be read below the name of a secret, a token that stands as a name may not.
    fn hidden_name(&self, name: String) -> String {
        if is_plain(&name) {
            name
        } else {
            self.hash_once(&name).to_string()
        }
    }
}

type Members = serde_json::Map<String, Value>;

/// Whether a value is itself the name of a secret.
fn names_one(value: &Value) -> bool {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte);
    value
        .as_str()
        .is_some_and(|name| name.bytes().all(of_name) && names_a_secret(name))
}

/// Of letters, as no opaque token is.
fn is_plain(name: &str) -> bool {
    let of_letters = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-');
    name.len() <= NAME_BYTES_MAX && name.bytes().all(of_letters)
}

fn is_hash(text: &str) -> bool {
    text.strip_prefix("hmac:").is_some_and(|hex| {
        hex.len() == 32
            && hex
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// What becomes of long unbroken runs that are no JWT: in texts they are opaque tokens; an id of a user or a session may
/// be as long (SAML allows 256 characters), and a revocation needs it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runs {
    Kept,
    Hashed,
}

/// Collects members that no field takes, as one bounded JSON object.
#[derive(Debug, Default)]
pub(super) struct Extra {
    json: String,
    left_out: u32,
}

impl Extra {
    pub(super) fn add(&mut self, name: &str, value: &Value) {
        let member = format!("{}:{value}", Value::String(name.to_owned()));
        // Room for the note on what was left out.
        if self.json.len() + member.len() + 32 > limits::EXTRA_BYTES_MAX {
            self.leave_out();
            return;
        }
        self.json.push(if self.json.is_empty() { '{' } else { ',' });
        self.json.push_str(&member);
    }

    /// Notes a member that cannot be kept.
    pub(super) fn leave_out(&mut self) {
        self.left_out += 1;
    }

    pub(super) fn text(&mut self, name: &str, text: &Text) {
        self.add(name, &Value::String(text.to_string()));
    }

    pub(super) fn finish(mut self) -> Option<Text> {
        if self.json.is_empty() && self.left_out == 0 {
            return None;
        }
        if self.json.is_empty() {
            self.json.push('{');
        }
        if self.left_out > 0 {
            let comma = if self.json.len() > 1 { "," } else { "" };
            write!(self.json, r#"{comma}"_left_out":{}"#, self.left_out)
                .expect("writing to a string cannot fail");
        }
        self.json.push('}');
        Some(self.json.into())
    }
}

/// Whether the text as a whole could be presented as a token.
fn is_presentable(text: &str) -> bool {
    text.len() > ID_RUN_BYTES_MAX || is_jwt(text)
}

/// Where in an unbroken run a token starts.
fn token_start(run: &str, long: Runs) -> Option<usize> {
    let jwt = run
        .match_indices("eyJ")
        .map(|(at, _)| at)
        .find(|at| run.get(*at..).is_some_and(is_jwt));
    jwt.or_else(|| (long == Runs::Hashed && run.len() > ID_RUN_BYTES_MAX).then_some(0))
}

/// Header, payload and the rest, as a signed (three parts) or encrypted (five) token has.
fn is_jwt(text: &str) -> bool {
    text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() >= 2
}

/// The unbroken runs of characters of which tokens are made (base64, base64url, dots), by byte position.
fn runs(text: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        at += bytes
            .get(at..)?
            .iter()
            .position(|byte| is_token_byte(*byte))?;
        let start = at;
        let rest = bytes.get(at..)?;
        at += rest
            .iter()
            .position(|byte| !is_token_byte(*byte))
            .unwrap_or(rest.len());
        Some((start, at))
    })
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=')
}

/// NUL cannot be stored in PostgreSQL; line breaks would let a caller write log lines and mail headers of his own.
fn without_controls(text: Cow<'_, str>) -> Cow<'_, str> {
    // The controls above U+007F all begin with this byte in UTF-8.
    let suspicious = |byte: &u8| *byte < 0x20 || *byte == 0x7f || *byte == 0xc2;
    // Without a way out within a chunk the compiler looks at many bytes at once: an eighth of decoding else.
    let is_clean = |chunk: &[u8]| !chunk.iter().fold(false, |any, byte| any | suspicious(byte));
    if text.as_bytes().chunks(CHUNK_BYTES).all(is_clean) {
        return text;
    }
    Cow::Owned(text.replace(char::is_control, "\u{fffd}"))
}

/// Nearly no text has the letter, and a letter is found much sooner than a word.
fn begins_a_jwt_somewhere(text: &str) -> bool {
    text.as_bytes().contains(&b'J') && text.contains("eyJ")
}

/// The longest beginning of whole characters within the limit.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2lnbmF0dXJl";

    fn cleaner() -> Cleaner {
        Cleaner::new(TokenKey::new(b"key"), None)
    }

    #[test]
    fn tokens_are_replaced_wherever_they_stand() {
        let cleaner = cleaner();
        let hash = cleaner.hash(JWT);
        assert_eq!(cleaner.token_id(JWT), Some(hash.clone()));
        assert_eq!(cleaner.id(JWT), Some(hash.clone()));
        assert_eq!(
            cleaner
                .text(&format!("bad token \"{JWT}\", sorry"))
                .as_deref(),
            Some(format!("bad token \"{hash}\", sorry").as_str())
        );
        // Before the text is cut: half a token must not be what is left of it.
        let late = format!("{} {JWT}", "x ".repeat(limits::TEXT_BYTES_MAX / 2 - 5));
        assert!(!cleaner.text(&late).unwrap().contains("eyJ"));
        let opaque = "a1B2".repeat(40);
        assert_eq!(cleaner.token_id(&opaque), Some(cleaner.hash(&opaque)));
        assert_eq!(cleaner.text(&opaque), Some(cleaner.hash(&opaque)));
    }

    #[test]
    fn ids_stay_readable() {
        let cleaner = cleaner();
        for id in [
            "onrtrt:64d536cc-15c8-c398-33fb-129039380a58",
            "hmac:f7bc83f430538424b13298e6aa6fb143",
            &"0f".repeat(64),
            "eyJ-a-name",
        ] {
            assert_eq!(cleaner.token_id(id).as_deref(), Some(id));
        }
        let name_id = "x".repeat(256);
        assert_eq!(cleaner.id(&name_id).as_deref(), Some(name_id.as_str()));
        assert_eq!(cleaner.id(""), None);
    }

    #[test]
    fn lengths_and_controls_are_bounded() {
        let cleaner = cleaner();
        assert_eq!(
            cleaner.id("a\0b\nc\u{85}d").as_deref(),
            Some("a\u{fffd}b\u{fffd}c\u{fffd}d")
        );
        let long = "ä b".repeat(400);
        assert!(cleaner.text(&long).unwrap().len() <= limits::TEXT_BYTES_MAX);
        assert!(cleaner.id(&long).unwrap().starts_with("hmac:"));
    }

    #[test]
    fn rejected_records_lose_their_secrets() {
        let cleaner = cleaner();
        let json = format!(r#"{{"id":5,"a":[{{"refresh_token":"short"}}],"note":"{JWT}"}}"#);
        let kept = cleaner.record(json.as_bytes());
        assert!(!kept.contains("short") && !kept.contains("eyJ"), "{kept}");
        assert!(kept.contains(r#""id":5"#));
        let broken = cleaner.record(format!("{{\"id\":5,\"t\":\"{JWT}").as_bytes());
        assert!(
            !broken.contains("eyJ") && broken.contains("hmac:"),
            "{broken}"
        );
        for unreadable in [
            r#"{"id":5,"refresh_token": "opaque""#,
            r#"{"row":"{\"access_token\":\"opaque\",""#,
            r#"2026-11-21 [x] type="A", client_secret="opaque", b="c"#,
            r#"{"password":"opaque"#,
        ] {
            let kept = cleaner.record(unreadable.as_bytes());
            assert!(!kept.contains("opaque"), "{kept}");
            assert!(kept.contains("hmac:"), "{kept}");
        }
        assert!(cleaner.record(&vec![b'x'; 1 << 20]).len() <= limits::REJECT_BYTES_MAX);
        assert!(cleaner.record(&[0xff, 0xfe]).len() < 10);
    }

    #[test]
    fn extra_is_bounded_and_says_what_it_left_out() {
        let mut extra = Extra::default();
        assert_eq!(Extra::default().finish(), None);
        extra.add("a\"", &Value::from(1));
        extra.text("big", &"x".repeat(limits::EXTRA_BYTES_MAX).into());
        assert_eq!(
            extra.finish().as_deref(),
            Some(r#"{"a\"":1,"_left_out":1}"#)
        );
    }
}
