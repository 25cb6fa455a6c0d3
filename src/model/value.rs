//! Evidence: small ordered key-value data that a detection carries to people and machines.

use serde::{Deserialize, Serialize};

use super::Text;

/// Ordered as it was written: a reader sees the same order in the mail, the API and `replay`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence(pub Vec<(Text, Value)>);

/// A JSON value without surprises: no null, no duplicate keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(Text),
    List(Vec<Value>),
    Map(Evidence),
}

impl Evidence {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a member and returns the evidence, so that it reads as a list.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// Adds a member if there is something to say.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(key, _)| key.as_ref() == name)
            .map(|(_, value)| value)
    }
}

impl Serialize for Evidence {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Evidence {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Evidence;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Evidence, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Evidence(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

macro_rules! value_from {
    ($($type:ty => $make:expr),+ $(,)?) => { $(impl From<$type> for Value {
        fn from(value: $type) -> Self { let make: fn($type) -> Value = $make; make(value) }
    })+ };
}
value_from! {
    bool => Value::Bool,
    i64 => Value::Integer,
    i32 => |n| Value::Integer(n.into()),
    u32 => |n| Value::Integer(n.into()),
    u64 => |n| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX)),
    usize => |n| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX)),
    f64 => Value::Number,
    &str => |text| Value::Text(text.into()),
    String => |text| Value::Text(text.into()),
    Text => Value::Text,
    &Text => |text| Value::Text(text.clone()),
    Evidence => Value::Map,
    Vec<Value> => Value::List,
}
