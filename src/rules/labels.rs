//! Labels of a rule: how sure it is, how easily it is fooled, which technique it answers, and whatever else an operator
//! sorts rules by.
//!
//! Labels decide nothing. They are for whoever reads lists of rules and detections.

use std::collections::BTreeMap;

use crate::model::{Text, limits};
use crate::yaml::{Faults, Node};

/// What a rule is labelled with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// How sure a finding is: 0 (a hint) to 3 (a proof).
    pub confidence: Option<u8>,
    /// How easily an attacker avoids it: 0 (cannot) to 3 (by sending another header).
    pub spoofable: Option<u8>,
    /// Techniques of MITRE ATT&CK, such as `T1528`.
    pub mitre: Vec<Text>,
    /// Labels of the operator's own.
    pub others: BTreeMap<Text, Text>,
}

impl Labels {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Each label with its values, as routes match them.
    pub fn values(&self) -> BTreeMap<Text, Vec<Text>> {
        let degree = |of: Option<u8>| of.map(|of| vec![of.to_string().into()]);
        let mitre = (!self.mitre.is_empty()).then(|| self.mitre.clone());
        let ours = [
            ("confidence", degree(self.confidence)),
            ("spoofable", degree(self.spoofable)),
            ("mitre", mitre),
        ];
        let ours = (ours.into_iter()).filter_map(|(name, values)| Some((name.into(), values?)));
        let others = self.others.iter();
        ours.chain(others.map(|(name, value)| (name.clone(), vec![value.clone()])))
            .collect()
    }

    /// Each label as `name: value`, those of ours first.
    pub fn lines(&self) -> Vec<String> {
        let degree = |name: &str, of: Option<u8>| of.map(|of| format!("{name}: {of} of 3"));
        let mitre = (!self.mitre.is_empty()).then(|| format!("mitre: {}", self.mitre.join(", ")));
        let others = self.others.iter();
        [
            degree("confidence", self.confidence),
            degree("spoofable", self.spoofable),
            mitre,
        ]
        .into_iter()
        .flatten()
        .chain(others.map(|(name, value)| format!("{name}: {value}")))
        .collect()
    }
}

pub(super) fn read(node: &Node, faults: &mut Faults) -> Option<Labels> {
    let mut map = node.mapping(faults)?;
    let degree = |node: &Node, faults: &mut Faults| node.integer(0..=3, faults);
    let mut labels = Labels {
        confidence: map.optional("confidence", faults, degree),
        spoofable: map.optional("spoofable", faults, degree),
        mitre: map.or("mitre", Vec::new(), faults, |node, faults| {
            node.one_or_list(faults, technique)
        }),
        others: BTreeMap::new(),
    };
    for entry in map.entries() {
        if let Some(value) = bounded(entry.node, faults) {
            labels.others.insert(entry.name.clone(), value);
        }
    }
    map.finish(faults);
    if labels.others.len() + labels.mitre.len() > limits::LABELS_MAX {
        faults.push(node.fault(format!("more than {} labels", limits::LABELS_MAX)));
        return None;
    }
    Some(labels)
}

/// A text of one line that a list of rules can show.
fn bounded(node: &Node, faults: &mut Faults) -> Option<Text> {
    let text = node.text(faults)?;
    if text.len() <= limits::LABEL_BYTES_MAX && !text.contains('\n') {
        return Some(text);
    }
    let most = limits::LABEL_BYTES_MAX;
    faults.push(node.fault(format!("a label is one line of at most {most} bytes")));
    None
}

fn technique(node: &Node, faults: &mut Faults) -> Option<Text> {
    let text = node.text(faults)?;
    if is_technique(&text) {
        return Some(text);
    }
    faults.push(node.unexpected("a technique of MITRE ATT&CK, such as T1528 or T1550.001"));
    None
}

/// `T` with four digits, and three more behind a dot where it is a part of one.
fn is_technique(text: &str) -> bool {
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    let Some(number) = text.strip_prefix('T') else {
        return false;
    };
    match number.split_once('.') {
        Some((whole, part)) => digits(whole, 4) && digits(part, 3),
        None => digits(number, 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_technique_has_its_digits() {
        for good in ["T1528", "T1550.001"] {
            assert!(is_technique(good), "{good}");
        }
        for bad in [
            "", "T", "1528", "T152", "T15280", "T1550.1", "T1550.", "t1528",
        ] {
            assert!(!is_technique(bad), "{bad}");
        }
    }
}
