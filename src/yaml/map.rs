//! Reads the keys of one mapping and reports those that nobody asked for.

use std::borrow::Cow;

use crate::model::Text;

use super::fault::hint_names;
use super::{Fault, Faults, Node, Place};

/// A mapping being read: ask for every key it may have, then [`finish`](Map::finish).
#[derive(Debug)]
#[must_use = "unknown keys are found by `finish`"]
pub struct Map<'a> {
    place: &'a Place,
    entries: &'a [(Place, Text, Node)],
    known: Vec<Cow<'static, str>>,
}

/// One key with its value, where the keys are names that the user chose.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub name: &'a Text,
    /// Where the key stands.
    pub place: &'a Place,
    pub node: &'a Node,
}

impl<'a> Map<'a> {
    pub(super) fn new(place: &'a Place, entries: &'a [(Place, Text, Node)]) -> Self {
        Self {
            place,
            entries,
            known: Vec::new(),
        }
    }

    pub fn place(&self) -> &'a Place {
        self.place
    }

    /// A fault of the mapping as a whole.
    pub fn fault(&self, message: impl Into<String>) -> Fault {
        self.place.fault(message)
    }

    /// The value of a key, if it is there.
    pub fn get(&mut self, key: impl Into<Cow<'static, str>>) -> Option<&'a Node> {
        let key = key.into();
        let node = self
            .entries
            .iter()
            .find_map(|(_, name, node)| (**name == *key).then_some(node));
        self.known.push(key);
        node
    }

    /// Reads a key that may be left out.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        faults: &mut Faults,
        read: impl FnOnce(&'a Node, &mut Faults) -> Option<T>,
    ) -> Option<T> {
        read(self.get(key)?, faults)
    }

    /// Reads a key that must be there.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        faults: &mut Faults,
        read: impl FnOnce(&'a Node, &mut Faults) -> Option<T>,
    ) -> Option<T> {
        let node = self.get(key);
        if node.is_none() {
            faults.push(self.fault(format!("`{key}` is missing")));
        }
        read(node?, faults)
    }

    /// Reads a key with a default, which also stands in for a faulty value, so that the rest can be checked.
    pub fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        faults: &mut Faults,
        read: impl FnOnce(&'a Node, &mut Faults) -> Option<T>,
    ) -> T {
        self.optional(key, faults, read).unwrap_or(default)
    }

    /// The one key of `kinds` that is there: how a kind is named (`detect: { reuse: {...} }`).
    pub fn one_kind(
        &mut self,
        kinds: &[&'static str],
        faults: &mut Faults,
    ) -> Option<(&'static str, &'a Node)> {
        let mut found = None;
        for kind in kinds {
            let Some(node) = self.get(*kind) else {
                continue;
            };
            match found {
                None => found = Some((*kind, node)),
                Some((first, _)) => faults.push(node.fault(format!(
                    "`{kind}` and `{first}` exclude each other: keep one of them"
                ))),
            }
        }
        if found.is_none() {
            faults.push(self.fault(match kinds {
                [only] => format!("`{only}` is missing"),
                _ => format!("one of these keys is missing: {}", kinds.join(", ")),
            }));
        }
        found
    }

    /// All entries that were not asked for by name: for mappings whose keys are names that the user chose.
    pub fn entries(&mut self) -> Vec<Entry<'a>> {
        let entries: Vec<_> = self.unknown().collect();
        self.known
            .extend(entries.iter().map(|entry| entry.name.to_string().into()));
        entries
    }

    /// Reports every key that was never asked for, with the nearest one that was.
    pub fn finish(self, faults: &mut Faults) {
        let known: Vec<&str> = self.known.iter().map(AsRef::as_ref).collect();
        for entry in self.unknown() {
            let fault = entry
                .place
                .fault(format!("unknown key `{}`", entry.name.escape_debug()));
            faults.push(fault.with_hint(hint_names(entry.name, &known)));
        }
    }

    fn unknown(&self) -> impl Iterator<Item = Entry<'a>> {
        self.entries
            .iter()
            .map(|(place, name, node)| Entry { name, place, node })
            .filter(|entry| !self.known.iter().any(|known| **known == **entry.name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Faults, Node};

    #[test]
    fn a_kind_is_named_by_exactly_one_key() {
        let ask = |text| {
            let mut faults = Faults::default();
            let node = Node::parse(text, "f".as_ref(), &mut faults).unwrap();
            let mut map = node.mapping(&mut faults).unwrap();
            let found = map
                .one_kind(&["reuse", "velocity"], &mut faults)
                .map(|(kind, _)| kind);
            map.finish(&mut faults);
            let report: Vec<_> = faults
                .into_faults()
                .iter()
                .map(ToString::to_string)
                .collect();
            (found, report.join("\n"))
        };
        assert_eq!(ask("reuse: {}"), (Some("reuse"), String::new()));
        assert_eq!(
            ask("reuse: {}\nvelocity: {}").1,
            "f:2:11: `velocity` and `reuse` exclude each other: keep one of them"
        );
        assert_eq!(
            ask("{}").1,
            "f:1:1: one of these keys is missing: reuse, velocity"
        );
    }

    #[test]
    fn keys_chosen_by_the_user_are_not_unknown() {
        let mut faults = Faults::default();
        let node = Node::parse("default: 1\nweb: 2\n", "f".as_ref(), &mut faults).unwrap();
        let mut map = node.mapping(&mut faults).unwrap();
        assert!(map.get("default").is_some());
        let names: Vec<_> = map.entries().iter().map(|e| e.name.to_string()).collect();
        map.finish(&mut faults);
        assert_eq!(names, ["web"]);
        assert!(faults.is_empty());
    }
}
