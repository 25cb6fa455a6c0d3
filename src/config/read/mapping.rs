//! `mapping:` of a source: which member of a record gives which member of the event.

use std::collections::BTreeMap;

use crate::model::{Event, EventType, Initiator, Outcome, Reason, Text};
use crate::yaml::{Faults, Node};

use super::super::{Mapping, MappingField, MappingValue};

/// Without these there is no event.
const REQUIRED: [&str; 4] = ["event_id", "time", "type", "outcome"];

pub(super) fn mapping(node: &Node, faults: &mut Faults) -> Option<Mapping> {
    let mut map = node.mapping(faults)?;
    let mut fields = BTreeMap::new();
    for member in REQUIRED {
        let field = map.required(member, faults, |node, faults| field(member, node, faults));
        fields.extend(field.map(|field| (member.into(), field)));
    }
    let all = Event::TEXT_MEMBERS.iter().chain(Event::INTEGER_MEMBERS);
    for member in all.filter(|member| !REQUIRED.contains(member)) {
        let field = map.optional(member, faults, |node, faults| field(member, node, faults));
        fields.extend(field.map(|field| ((*member).into(), field)));
    }
    map.finish(faults);
    Some(Mapping { fields })
}

/// `ip_address: /context/ip`, `type: { from: action, values: { token_refresh: refresh } }`, `outcome: { constant: success }`.
fn field(member: &str, node: &Node, faults: &mut Faults) -> Option<MappingField> {
    if node.as_str().is_some() {
        let from = pointer(node, faults)?;
        taken_for_a_column(member, node, faults);
        return Some(MappingField {
            from,
            values: BTreeMap::new(),
            otherwise: None,
            secret: false,
        });
    }
    let mut map = node.mapping(faults)?;
    let from = match map.one_kind(&["from", "constant"], faults) {
        Some(("from", node)) => pointer(node, faults),
        Some((_, node)) => target(member, node, faults).map(MappingValue::Constant),
        None => None,
    };
    let values = map.or("values", BTreeMap::new(), faults, |node, faults| {
        let entries = node.mapping(faults)?.entries().into_iter();
        let read = entries
            .filter_map(|entry| Some((entry.name.clone(), target(member, entry.node, faults)?)));
        Some(read.collect())
    });
    let otherwise = map.optional("otherwise", faults, |node, faults| {
        target(member, node, faults)
    });
    let secret = map.or("secret", false, faults, Node::boolean);
    map.finish(faults);
    Some(MappingField {
        from: from?,
        values,
        otherwise,
        secret,
    })
}

/// `type: refresh` reads a column of that name.
fn taken_for_a_column(member: &str, node: &Node, faults: &mut Faults) {
    let text = node.as_str().unwrap_or_default();
    let is_value = match member {
        "type" => EventType::parse(text).is_some(),
        "outcome" => Outcome::parse(text).is_some(),
        "reason" => Reason::parse(text).is_some(),
        "initiator" => Initiator::parse(text).is_some(),
        _ => false,
    };
    if is_value {
        let fault = node.fault(format!("`{text}` is taken for the name of a column"));
        faults.warn(fault.with_hint(format!("for a fixed value write {{ constant: {text} }}")));
    }
}

/// A JSON pointer, or a column name, which becomes one.
fn pointer(node: &Node, faults: &mut Faults) -> Option<MappingValue> {
    let text = node.text(faults)?;
    if !text.starts_with('/') {
        let escaped = text.replace('~', "~0").replace('/', "~1");
        return Some(MappingValue::Pointer(format!("/{escaped}").into()));
    }
    let mut escapes = text.split('~').skip(1);
    if !escapes.all(|rest| rest.starts_with(['0', '1'])) {
        faults.push(node.fault("in a JSON pointer `~` is written ~0, and `/` in a name ~1"));
        return None;
    }
    Some(MappingValue::Pointer(text))
}

/// A value of a member, one of the contract's where the member has a fixed set.
fn target(member: &str, node: &Node, faults: &mut Faults) -> Option<Text> {
    let name = match member {
        "type" => node
            .name(EventType::ALL, EventType::as_str, faults)
            .map(EventType::as_str),
        "outcome" => node
            .name(Outcome::ALL, Outcome::as_str, faults)
            .map(Outcome::as_str),
        "reason" => node
            .name(Reason::ALL, Reason::as_str, faults)
            .map(Reason::as_str),
        "initiator" => node
            .name(Initiator::ALL, Initiator::as_str, faults)
            .map(Initiator::as_str),
        _ => return node.text(faults),
    };
    name.map(Into::into)
}
