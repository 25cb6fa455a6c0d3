//! A value of a YAML file with its place.
//!
//! A scalar keeps the text as it was written: what it means is decided by who reads it. So a client id `0042`, a version
//! `1.10` or a mode `off` is never turned into something else on the way.

use std::path::Path;

use crate::model::Text;

use super::parse::parse;
use super::{Fault, Faults, Map, Place};

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// Nothing after the colon, `~` or `null`.
    Null,
    Scalar(Text),
    Sequence(Vec<Node>),
    /// In the order of the file; keys are unique.
    Mapping(Vec<(Place, Text, Node)>),
}

impl Node {
    /// Reads the text of a file. Keys are unique afterwards, anchors, aliases and tags are refused, depth is bounded.
    pub fn parse(text: &str, file: &Path, faults: &mut Faults) -> Option<Self> {
        parse(text, file, faults)
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// A fault at this place.
    pub fn fault(&self, message: impl Into<String>) -> Fault {
        self.place.fault(message)
    }

    /// The value as a mapping; nothing at all is an empty one, so that all keys of a section may be commented out.
    pub fn mapping<'a>(&'a self, faults: &mut Faults) -> Option<Map<'a>> {
        match &self.content {
            Content::Mapping(entries) => Some(Map::new(&self.place, entries)),
            Content::Null => Some(Map::new(&self.place, &[])),
            _ => self.expected("a mapping (`key: value`)", faults),
        }
    }

    /// Reads every element of a list; elements with faults are left out. Nothing at all is an empty list.
    pub fn list<'a, T>(
        &'a self,
        faults: &mut Faults,
        mut read: impl FnMut(&'a Node, &mut Faults) -> Option<T>,
    ) -> Option<Vec<T>> {
        match &self.content {
            Content::Sequence(items) => {
                Some(items.iter().filter_map(|item| read(item, faults)).collect())
            }
            Content::Null => Some(Vec::new()),
            _ => self.expected("a list (`[a, b]`)", faults),
        }
    }

    /// As [`Node::list`], but one value may stand alone without the brackets.
    pub fn one_or_list<'a, T>(
        &'a self,
        faults: &mut Faults,
        mut read: impl FnMut(&'a Node, &mut Faults) -> Option<T>,
    ) -> Option<Vec<T>> {
        match &self.content {
            Content::Sequence(_) | Content::Null => self.list(faults, read),
            _ => read(self, faults).map(|only| vec![only]),
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self.content, Content::Null)
    }

    /// The text of a scalar, whatever it looks like; for readers of their own.
    pub fn as_str(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// A member of a mapping, for checks across a file that has been read; reading goes through [`Node::mapping`].
    pub fn member(&self, key: &str) -> Option<&Self> {
        self.members()
            .iter()
            .find_map(|(_, name, node)| (**name == *key).then_some(node))
    }

    /// Place, key and value of each member of a mapping, none of anything else; for checks across a file.
    pub fn members(&self) -> &[(Place, Text, Self)] {
        match &self.content {
            Content::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// Takes a member out of a mapping.
    pub fn remove(&mut self, key: &str) -> Option<Self> {
        let Content::Mapping(entries) = &mut self.content else {
            return None;
        };
        let at = entries.iter().position(|(_, name, _)| **name == *key)?;
        Some(entries.remove(at).2)
    }

    /// Adds what stands in another file to the list or mapping under a key; names of a mapping stay unique.
    pub fn extend(&mut self, key: &str, more: Self, faults: &mut Faults) {
        if self.is_null() {
            self.content = Content::Mapping(Vec::new());
        }
        let Content::Mapping(entries) = &mut self.content else {
            return;
        };
        let known = entries.iter_mut().find(|(_, name, _)| **name == *key);
        let Some((_, _, known)) = known else {
            entries.push((more.place.clone(), key.into(), more));
            return;
        };
        match (&mut known.content, more.content) {
            (_, Content::Null) => {}
            (Content::Sequence(items), Content::Sequence(more)) => items.extend(more),
            (Content::Mapping(entries), Content::Mapping(more)) => unite(entries, more, faults),
            (content @ Content::Null, more) => *content = more,
            (Content::Sequence(_), other) => {
                faults.push(other_form(more.place, other, "a list (`[a, b]`)"));
            }
            (_, other) => faults.push(other_form(more.place, other, "a mapping (`key: value`)")),
        }
    }

    /// The elements of a list, or the value itself where it is none; for checks across a file.
    pub fn items(&self) -> &[Self] {
        match &self.content {
            Content::Sequence(items) => items,
            Content::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }

    /// Notes that something else was expected here.
    pub fn expected<T>(&self, what: &str, faults: &mut Faults) -> Option<T> {
        faults.push(self.unexpected(what));
        None
    }

    /// A fault at this place that tells what stands there instead.
    pub fn unexpected(&self, what: &str) -> Fault {
        self.fault(format!("expected {what}, found {}", self.describe()))
    }

    fn describe(&self) -> String {
        const SHOWN_CHARS_MAX: usize = 40;
        match &self.content {
            Content::Null => "nothing".into(),
            Content::Sequence(_) => "a list".into(),
            Content::Mapping(_) => "a mapping".into(),
            Content::Scalar(text) if text.is_empty() => "an empty text".into(),
            Content::Scalar(text) if text.chars().count() > SHOWN_CHARS_MAX => {
                let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
                format!("`{}…`", shown.escape_debug())
            }
            Content::Scalar(text) => format!("`{}`", text.escape_debug()),
        }
    }
}

fn other_form(place: Place, content: Content, expected: &str) -> Fault {
    let node = Node { place, content };
    node.unexpected(&format!("{expected}, as in the other place"))
}

fn unite(
    entries: &mut Vec<(Place, Text, Node)>,
    more: Vec<(Place, Text, Node)>,
    faults: &mut Faults,
) {
    for (place, name, node) in more {
        match entries.iter().find(|(_, known, _)| *known == name) {
            Some((first, ..)) => {
                faults.push(place.fault(format!("`{name}` was given before, at {first}")));
            }
            None => entries.push((place, name, node)),
        }
    }
}
