//! One JSON object, split into its members without copying: what every decoder of JSON starts from.
//!
//! Members stay as they stand in the record until somebody asks for one as text or number. A tree of values
//! would cost an allocation per member of every event, and recursion per level of a hostile one; here what is
//! nested is skipped without recursion.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Rejected;

/// The members in the order in which they stand.
#[derive(Debug, Default)]
pub(super) struct Object<'a> {
    pub(super) members: Vec<(Cow<'a, str>, Member<'a>)>,
}

/// A value as it stands in the record: valid JSON, without white space around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Member<'a>(&'a str);

impl<'a> Object<'a> {
    /// The record must be one object and nothing else.
    pub(super) fn parse(text: &'a str) -> Result<Self, Rejected> {
        match text.as_bytes().first() {
            Some(b'{') => {}
            None => return Err(Rejected::syntax("the record is empty")),
            Some(b'[') => return Err(Rejected::schema("expected one JSON object, got an array")),
            Some(_) => return Err(Rejected::syntax("expected a JSON object")),
        }
        // The parser's messages name a place and what it expected, and repeat nothing of the record.
        serde_json::from_str(text).map_err(|error| Rejected::syntax(format!("not JSON: {error}")))
    }

    /// A member that is there and not null. Of repeated members the last counts, as in most parsers.
    pub(super) fn get(&self, name: &str) -> Option<Member<'a>> {
        self.members
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, member)| *member)
            .filter(|member| !member.is_null())
    }

    /// The object in a member, or nothing where it is something else.
    pub(super) fn object(&self, name: &str) -> Option<Object<'a>> {
        self.get(name).and_then(Member::object)
    }

    /// A member's text, or nothing where it is something else or empty.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name)
            .and_then(Member::text)
            .filter(|text| !text.is_empty())
    }
}

impl<'a> Member<'a> {
    pub(super) fn is_null(self) -> bool {
        self.0 == "null"
    }

    pub(super) fn raw(self) -> &'a str {
        self.0
    }

    /// What it is, for a message: never the value itself.
    pub(super) fn type_name(self) -> &'static str {
        match self.0.as_bytes().first() {
            Some(b'"') => "a string",
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') | None => "null",
            Some(_) => "a number",
        }
    }

    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('\\') {
            // Unpaired surrogates end here: they are no text.
            return serde_json::from_str::<String>(self.0).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(inner))
    }

    /// A whole number; `3.0` is one, as in JSON Schema.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only whole numbers that a double holds exactly"
    )]
    pub(super) fn integer(self) -> Option<i64> {
        self.0.parse().ok().or_else(|| {
            self.number()
                .filter(|number| number.fract() == 0.0 && number.abs() < 9e15)
                .map(|number| number as i64)
        })
    }

    pub(super) fn number(self) -> Option<f64> {
        let first = self.0.as_bytes().first()?;
        (first.is_ascii_digit() || *first == b'-')
            .then(|| self.0.parse().ok())
            .flatten()
    }

    pub(super) fn object(self) -> Option<Object<'a>> {
        self.0
            .starts_with('{')
            .then(|| serde_json::from_str(self.0).ok())
            .flatten()
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut members = Vec::with_capacity(24);
        while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
            members.push((key, Member(value.get())));
        }
        Ok(Object { members })
    }
}

/// Borrows where the name has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object<'_> {
        Object::parse(text).unwrap()
    }

    #[test]
    fn members_are_read_as_what_they_are() {
        let object = object(
            r#"{"a":"x\u0041","b": 3.0 ,"c":-4,"d":true,"e":{"f":[1]},"n":null,"a":"last"}"#,
        );
        assert_eq!(object.text("a").as_deref(), Some("last"));
        assert_eq!(object.get("b").unwrap().integer(), Some(3));
        assert_eq!(object.get("c").unwrap().integer(), Some(-4));
        assert_eq!(object.object("e").unwrap().get("f").unwrap().raw(), "[1]");
        assert_eq!(object.get("n"), None);
        assert_eq!(object.get("b").unwrap().text(), None);
        assert_eq!(object.get("d").unwrap().integer(), None);
    }

    #[test]
    fn a_bomb_of_brackets_is_skipped_without_recursion() {
        let deep = format!(
            r#"{{"a":{}{},"b":"x"}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(object(&deep).text("b").as_deref(), Some("x"));
    }

    #[test]
    fn what_is_no_object_is_refused_without_repeating_it() {
        for text in [
            "",
            "[1]",
            "\"eyJsecret\"",
            "{\"a\":}",
            "{\"a\":1",
            "{} {}",
            "nonsense",
            "{'a':1}",
        ] {
            let rejected = Object::parse(text).unwrap_err();
            assert!(!rejected.message.contains("eyJ"), "{}", rejected.message);
        }
    }
}
