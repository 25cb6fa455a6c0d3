//! Who is named where: the rule by which a record is about a person, names the person, or only has a word in common.
//!
//! An id may be any word (`admin`, `web`, `user`), and what others have written must not go for that. So a record is read
//! by its members. Their keys are never compared, and of their values:
//!
//! - One that is the whole id counts where its member's name says that a person, or a family or session, stands there
//!   (`user_id`, `sub`, `sessionId`, the `id` of a subject whose type is `user`). Such a record is about the person.
//! - The name of a client, a server or a tenant never counts.
//! - Any other counts only if the id can be no word: from six characters on, and not of letters alone.
//! - So it is with ids inside longer texts. There a plain word of six letters is taken out of our own sentences too, since
//!   that destroys nothing, but no record goes for it.
//!
//! Servers have other names for their members than we do, therefore the endings. A record that cannot be parsed is a text.

use serde_json::Value;

use crate::model::{ERASED, NAME_IN_TEXT_BYTES_MIN, Text, without_name};

/// What is looked for: the user's id, and those of the user's families and sessions.
pub struct Names {
    user: Vec<String>,
    families: Vec<String>,
}

/// How a record names somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mention {
    /// A text has the word, which may be no name.
    Perhaps,
    Named,
    About,
}

/// How the names of members end that hold the id of a person; without separators and in small letters.
const OF_USERS: &[&str] = &[
    "user",
    "userid",
    "username",
    "sub",
    "subject",
    "uid",
    "account",
    "accountid",
    "email",
    "login",
];
const OF_FAMILIES: &[&str] = &["family", "familyid", "session", "sessionid", "sid"];
/// The same of what is never a person.
const OF_OTHERS: &[&str] = &[
    "client", "clientid", "azp", "aud", "issuer", "iss", "tenant", "realm", "realmid",
];

impl Names {
    /// `families`: ids of families, and of sessions where they are known.
    pub fn new(user_id: &str, families: &[Text]) -> Self {
        Self {
            user: vec![user_id.to_owned()],
            families: families.iter().map(ToString::to_string).collect(),
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.user.iter().chain(&self.families)
    }

    /// Whether a name occurs in a text at all, as JSON writes it; a text with escapes may write it in other ways.
    pub fn may_be_in(&self, text: &str) -> bool {
        text.contains('\\') || self.all().any(|name| text.contains(name))
    }

    /// How a record names one of them.
    pub fn mention(&self, record: &str) -> Option<Mention> {
        match serde_json::from_str::<Value>(record) {
            Ok(mut value) => self.take_out_of(&mut value),
            Err(_) => self.take_out_of_sentence(&mut record.to_owned()),
        }
    }

    /// Takes the names out of a record, and tells how it named them.
    pub fn take_out_of(&self, record: &mut Value) -> Option<Mention> {
        self.take_out("", record)
    }

    fn take_out(&self, member: &str, value: &mut Value) -> Option<Mention> {
        match value {
            Value::String(text) => self.take_out_of_text(member, text),
            // Of several it is how many they are.
            Value::Number(number) if !member.ends_with('s') => {
                let whole = number.to_string();
                let is_whole = |held: &[String]| held.contains(&whole);
                if !self.held_by(member).is_some_and(is_whole) {
                    return None;
                }
                *value = ERASED.into();
                Some(Mention::About)
            }
            Value::Array(items) => {
                let each = items.iter_mut().map(|item| self.take_out(member, item));
                each.max().flatten()
            }
            Value::Object(members) => {
                let kind = members.get("type").and_then(Value::as_str);
                let kind = kind.map(ToOwned::to_owned);
                let each = members.iter_mut().map(|(name, value)| match &kind {
                    Some(kind) if name == "id" => self.take_out_of_subject(kind, value),
                    _ => self.take_out(name, value),
                });
                each.max().flatten()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => None,
        }
    }

    /// The id of a subject, which an incident has behind its server and tenant: `idp/shop/u1`.
    fn take_out_of_subject(&self, kind: &str, id: &mut Value) -> Option<Mention> {
        let scoped = |name: &String| {
            let scope = id.as_str().and_then(|id| id.strip_suffix(name.as_str()));
            scope.is_some_and(|scope| scope.ends_with('/'))
        };
        if self
            .held_by(kind)
            .is_some_and(|held| held.iter().any(scoped))
        {
            *id = ERASED.into();
            return Some(Mention::About);
        }
        self.take_out(kind, id)
    }

    fn take_out_of_text(&self, member: &str, text: &mut String) -> Option<Mention> {
        if ends_with_one(member, OF_OTHERS) {
            return None;
        }
        // The details of some servers are a record in a text.
        if text.starts_with('{')
            && let Ok(mut inner) = serde_json::from_str::<Value>(text)
        {
            let mention = self.take_out_of(&mut inner)?;
            *text = inner.to_string();
            return Some(mention);
        }
        let held = self.held_by(member);
        let mention = if held.is_some_and(|held| held.contains(text)) {
            Mention::About
        } else if self.all().any(|name| name == text && can_be_no_word(name)) {
            Mention::Named
        } else {
            return self.take_out_of_sentence(text);
        };
        ERASED.clone_into(text);
        Some(mention)
    }

    fn take_out_of_sentence(&self, text: &mut String) -> Option<Mention> {
        let mut mention = None;
        for name in self.all() {
            let is_sentence = text.contains(' ');
            let how = match can_be_no_word(name) {
                true => Mention::Named,
                false if is_sentence => Mention::Perhaps,
                false => continue,
            };
            if let Some(without) = without_name(text, name) {
                *text = without;
                mention = mention.max(Some(how));
            }
        }
        mention
    }

    /// Those of which one may stand in a member of that name.
    fn held_by(&self, member: &str) -> Option<&[String]> {
        if ends_with_one(member, OF_USERS) {
            return Some(&self.user);
        }
        ends_with_one(member, OF_FAMILIES).then_some(&self.families)
    }
}

/// Whether a member's name, or that of several, ends so.
fn ends_with_one(member: &str, endings: &[&str]) -> bool {
    let plain = member.chars().filter(char::is_ascii_alphanumeric);
    let plain: String = plain.map(|c| c.to_ascii_lowercase()).collect();
    let one = plain.strip_suffix('s').unwrap_or(&plain);
    let ends = |ending: &&str| plain.ends_with(ending) || one.ends_with(ending);
    endings.iter().any(ends)
}

fn can_be_no_word(name: &str) -> bool {
    let of_words = |c: char| c.is_alphabetic() || c == '_' || c == '-';
    name.len() >= NAME_IN_TEXT_BYTES_MIN && !name.chars().all(of_words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(user: &str) -> Names {
        Names::new(user, &["family-7".into(), "12".into()])
    }

    fn mention(user: &str, record: &str) -> Option<Mention> {
        names(user).mention(record)
    }

    #[test]
    fn an_id_that_is_an_ordinary_word_counts_only_where_a_person_stands() {
        use Mention::About;
        for word in ["user", "admin", "web", "issuer", "revoke_family"] {
            for record in [
                r#"{"type":"WORD","kind":"WORD","initiator":"WORD","reason":"WORD","role":"WORD"}"#,
                r#"{"client_id":"WORD","issuer":"WORD","tenant":"WORD","event":{"WORD":{"by":"WORD"}}}"#,
                r#"{"type":"client","id":"idp/-/WORD"}"#,
                r#"{"user_id":"xWORD","details":"{\"clientId\":\"WORD\"}"}"#,
                "WORD of no record",
            ] {
                let record = record.replace("WORD", word);
                let mention = mention(word, &record).filter(|it| *it > Mention::Perhaps);
                assert_eq!(mention, None, "{record}");
            }
            for record in [
                r#"{"user_id":"WORD"}"#,
                r#"{"payload":{"userId":"WORD"}}"#,
                r#"{"details":"{\"refresh_token_sub\":\"WORD\"}"}"#,
                r#"{"subject":{"type":"user","id":"idp/-/WORD"}}"#,
                r#"{"users":["bob","WORD"]}"#,
            ] {
                let record = record.replace("WORD", word);
                assert_eq!(mention(word, &record), Some(About), "{record}");
            }
        }
    }

    #[test]
    fn an_id_that_can_be_no_word_counts_wherever_it_stands() {
        use Mention::{About, Named};
        let alice = |record| mention("alice@example.com", record);
        assert_eq!(alice(r#"{"sub":"alice@example.com"}"#), Some(About));
        assert_eq!(alice(r#"{"by":"alice@example.com"}"#), Some(Named));
        assert_eq!(alice(r#"{"alice@example.com":1}"#), None, "a key");
        assert_eq!(alice(r#"{"client_id":"alice@example.com"}"#), None);
        assert_eq!(alice("refused: alice@example.com is unknown"), Some(Named));
        assert_eq!(alice(r#"{"user_id":"malice@example.com"}"#), None);
        assert_eq!(alice(r#"{"session_id":"family-7"}"#), Some(About));
        assert_eq!(alice(r#"{"path":"users/family-7/logout"}"#), Some(Named));
    }

    #[test]
    fn a_number_is_an_id_where_one_person_stands() {
        assert_eq!(mention("4711", r#"{"user":4711}"#), Some(Mention::About));
        for record in [
            r#"{"users":4711}"#,
            r#"{"count":4711}"#,
            r#"{"user":12,"text":"see 4711"}"#,
        ] {
            assert_eq!(mention("4711", record), None, "{record}");
        }
    }

    #[test]
    fn a_body_loses_the_names_and_nothing_else() {
        let body = r#"{"by":{"alice@example.com":2},"n":7,"text":"of alice@example.com, malice@example.com","users":["bob","alice@example.com"]}"#;
        let expected = r#"{"by":{"alice@example.com":2},"n":7,"text":"of (erased), malice@example.com","users":["bob","(erased)"]}"#;
        let mut value: Value = serde_json::from_str(body).unwrap();
        names("alice@example.com").take_out_of(&mut value);
        assert_eq!(value.to_string(), expected);
    }
}
