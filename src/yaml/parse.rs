//! Turns the text of a file into a tree of nodes.
//!
//! The tree is built from the parser's events on a stack of our own, not by recursion and not by the parser's loader:
//! so depth is bounded before it costs anything, repeated keys are reported with both places and reading goes on.
//! Anchors, aliases and tags are refused: they hide what a file says, and a few nested aliases fill any memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use crate::model::Text;
use crate::model::limits::{YAML_BYTES_MAX, YAML_DEPTH_MAX};

use super::node::Content;
use super::{Fault, Faults, Node, Place};

/// The only document of the text. `None` after a fault that leaves nothing to go on with.
pub(super) fn parse(text: &str, file: &Path, faults: &mut Faults) -> Option<Node> {
    if text.len() > YAML_BYTES_MAX {
        let message = format!("the file is larger than {YAML_BYTES_MAX} bytes");
        let fault = Place::start_of(file).fault(message);
        faults.push(fault.with_hint("is it the right file?"));
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::new(file);
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((Event::DocumentStart(_), span)) if builder.root.is_some() => {
                faults.push(no_second_document(&builder.place(span.start)));
                break;
            }
            Ok((event, span)) => builder.take(event, span.start, faults),
            Err(error) => Err(builder.syntax_fault(&error)),
        };
        if let Err(fault) = step {
            faults.push(fault);
            return None;
        }
    }
    Some(builder.root.unwrap_or(Node {
        place: Place::start_of(file),
        content: Content::Null,
    }))
}

struct Builder {
    file: Arc<Path>,
    /// Lists and mappings that are not closed yet, outermost first.
    open: Vec<Open>,
    root: Option<Node>,
}

/// A list or mapping that is not closed yet.
struct Open {
    place: Place,
    kind: OpenKind,
}

enum OpenKind {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<(Place, Text, Node)>,
        /// Where each key stands, to name the first place of a repeated one.
        keys: BTreeMap<Text, Place>,
        /// The key whose value comes next.
        key: Option<(Place, Text)>,
    },
}

impl Builder {
    fn new(file: &Path) -> Self {
        Self {
            file: file.into(),
            open: Vec::new(),
            root: None,
        }
    }

    /// `Err` ends the reading.
    fn take(&mut self, event: Event<'_>, at: Marker, faults: &mut Faults) -> Result<(), Fault> {
        let place = self.place(at);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse(anchor, tag.is_some(), &place, faults);
                let content = scalar(&text, style);
                self.put(Node { place, content }, faults);
            }
            Event::SequenceStart(anchor, tag) => {
                refuse(anchor, tag.is_some(), &place, faults);
                self.open(place, OpenKind::Sequence(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                refuse(anchor, tag.is_some(), &place, faults);
                let (entries, keys) = (Vec::new(), BTreeMap::new());
                let key = None;
                self.open(place, OpenKind::Mapping { entries, keys, key })?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(node) = self.close() {
                    self.put(node, faults);
                }
            }
            Event::Alias(_) => {
                faults.push(no_alias(&place));
                let content = Content::Null;
                self.put(Node { place, content }, faults);
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn open(&mut self, place: Place, kind: OpenKind) -> Result<(), Fault> {
        if self.open.len() == YAML_DEPTH_MAX {
            return Err(place.fault(format!("nested more than {YAML_DEPTH_MAX} deep")));
        }
        self.open.push(Open { place, kind });
        Ok(())
    }

    fn close(&mut self) -> Option<Node> {
        let Open { place, kind } = self.open.pop()?;
        let content = match kind {
            OpenKind::Sequence(items) => Content::Sequence(items),
            OpenKind::Mapping { entries, .. } => Content::Mapping(entries),
        };
        Some(Node { place, content })
    }

    /// Puts a finished node where it belongs: into the innermost open collection, as key or value.
    fn put(&mut self, node: Node, faults: &mut Faults) {
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::Sequence(items)) => items.push(node),
            Some(OpenKind::Mapping { entries, keys, key }) => match key.take() {
                None => *key = Some(read_key(node, faults)),
                Some((place, name)) => {
                    if let Some(first) = keys.get(&name) {
                        let message = format!("`{name}` was given before, in line {}", first.line);
                        faults.push(place.fault(message));
                    } else {
                        keys.insert(name.clone(), place.clone());
                        entries.push((place, name, node));
                    }
                }
            },
        }
    }

    fn place(&self, at: Marker) -> Place {
        Place {
            file: self.file.clone(),
            line: u32::try_from(at.line()).unwrap_or(u32::MAX),
            column: u32::try_from(at.col() + 1).unwrap_or(u32::MAX),
        }
    }

    fn syntax_fault(&self, error: &saphyr_parser::ScanError) -> Fault {
        let fault = self
            .place(*error.marker())
            .fault(format!("not valid YAML: {}", error.info()));
        let hint = match error.info() {
            info if info.contains("tabs") => "indent with spaces".to_owned(),
            info if info.contains("simple key") => {
                "a space belongs after each colon: `mode: observe`".to_owned()
            }
            info if info.contains("quoted scalar") => {
                "the quote that opens here is not closed".to_owned()
            }
            // The parser notices an open bracket only where the next thing does not fit into it.
            _ => match self.open.last() {
                Some(Open { place, .. }) => {
                    format!(
                        "is everything closed and aligned since line {}?",
                        place.line
                    )
                }
                None => "expected `key: value`, one a line".to_owned(),
            },
        };
        fault.with_hint(hint)
    }
}

fn no_second_document(place: &Place) -> Fault {
    place
        .fault("a second document begins here")
        .with_hint("keep one document a file: remove this `---` and what follows it")
}

fn scalar(text: &str, style: ScalarStyle) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" if style == ScalarStyle::Plain => Content::Null,
        _ => Content::Scalar(text.into()),
    }
}

fn read_key(node: Node, faults: &mut Faults) -> (Place, Text) {
    match node.content {
        Content::Scalar(name) => (node.place, name),
        Content::Null | Content::Sequence(_) | Content::Mapping(_) => {
            faults.push(node.unexpected("a name as key"));
            // Unique, so that it is not reported once more as a repeated key.
            let name = format!("?{}:{}", node.place.line, node.place.column);
            (node.place, name.into())
        }
    }
}

fn refuse(anchor: usize, tagged: bool, place: &Place, faults: &mut Faults) {
    if anchor != 0 {
        faults.push(no_alias(place));
    }
    if tagged {
        faults.push(
            place
                .fault("tags (`!name`) mean nothing here")
                .with_hint("remove the tag; a text that starts with `!` needs quotes"),
        );
    }
}

fn no_alias(place: &Place) -> Fault {
    place
        .fault("anchors (`&name`) and aliases (`*name`) are not supported")
        .with_hint("write the value out; a text that starts with `&` or `*` needs quotes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let mut faults = Faults::default();
        parse(text, "f.yaml".as_ref(), &mut faults);
        faults
            .into_faults()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn repeated_keys_are_reported_with_both_places() {
        assert_eq!(
            faults("a: 1\nb: {c: 1, c: 2}\na: 3"),
            [
                "f.yaml:2:11: `c` was given before, in line 2",
                "f.yaml:3:1: `a` was given before, in line 1",
            ]
        );
    }

    #[test]
    fn anchors_and_aliases_are_refused_before_anything_expands() {
        let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]";
        assert_eq!(faults(bomb).len(), 6);
    }

    #[test]
    fn depth_is_bounded() {
        assert!(faults(&format!("{}{}", "[".repeat(32), "]".repeat(32))).is_empty());
        assert_eq!(
            faults(&"[".repeat(33)),
            ["f.yaml:1:33: nested more than 32 deep"]
        );
        assert_eq!(faults(&"[".repeat(100_000)).len(), 1);
        assert_eq!(faults(&"- ".repeat(100_000)).len(), 1);
        assert_eq!(faults(&"a: {".repeat(200)).len(), 1);
    }

    #[test]
    fn size_is_bounded() {
        assert_eq!(faults(&" ".repeat(YAML_BYTES_MAX + 1)).len(), 1);
    }

    #[test]
    fn a_second_document_is_refused() {
        assert_eq!(
            faults("---\na: 1\n---\nb: 2\n"),
            [
                "f.yaml:3:1: a second document begins here\n  hint: keep one document a file: remove this `---` and what follows it"
            ]
        );
    }

    #[test]
    fn syntax_errors_have_a_place() {
        let report = faults("a: 1\nb: [1, 2\nc: 3\n");
        assert_eq!(report.len(), 1);
        assert!(report[0].starts_with("f.yaml:3:"), "{report:?}");
    }

    #[test]
    fn a_key_that_is_no_name_is_reported_once() {
        assert_eq!(
            faults("{[a]: 1, ~: 2}"),
            [
                "f.yaml:1:2: expected a name as key, found a list",
                "f.yaml:1:10: expected a name as key, found nothing",
            ]
        );
    }

    #[test]
    fn scalars_keep_their_spelling() {
        let mut faults = Faults::default();
        let node = parse("[0042, 1.10, off, 'null', \"\"]", "f".as_ref(), &mut faults).unwrap();
        let texts = node.list(&mut faults, |node, _| node.as_str().map(String::from));
        assert_eq!(texts.unwrap(), ["0042", "1.10", "off", "null", ""]);
    }
}
