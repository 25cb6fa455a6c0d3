//! Where templates stand: what they may name is known where they are filled in, so that is checked there.

use crate::model::Text;
use crate::yaml::{Node, Place};

use super::super::TemplateOf;
use super::across::parts;

/// Every template of the file, with what it is of.
pub(super) fn templates(root: &Node) -> Vec<(TemplateOf, Text, Place)> {
    let links = parts(root, "receivers").iter().flat_map(links);
    let calls = parts(root, "revokers").iter().flat_map(calls);
    let of = |kind: TemplateOf| {
        move |node: &Node| Some((kind, node.as_str()?.into(), node.place().clone()))
    };
    links
        .filter_map(of(TemplateOf::Link))
        .chain(calls.filter_map(of(TemplateOf::Revoker)))
        .collect()
}

fn links(receiver: &Node) -> Vec<&Node> {
    let kinds = ["email", "slack", "pagerduty"].into_iter();
    let links = kinds.filter_map(|kind| receiver.member(kind)?.member("links"));
    let links = links.flat_map(values);
    let source_url = receiver
        .member("alertmanager")
        .and_then(|it| it.member("source_url"));
    links.chain(source_url).collect()
}

fn calls(revoker: &Node) -> Vec<&Node> {
    let Some(http) = revoker.member("http") else {
        return Vec::new();
    };
    let headers = http.member("headers").into_iter().flat_map(values);
    let own = ["url", "body"]
        .into_iter()
        .filter_map(|key| http.member(key));
    own.chain(headers).collect()
}

fn values(mapping: &Node) -> impl Iterator<Item = &Node> {
    mapping.members().iter().map(|(_, _, value)| value)
}
