//! `slack:`, `pagerduty:` and `alertmanager:` of a receiver: services with an API of their own.

use std::collections::BTreeMap;

use crate::model::Text;
use crate::model::limits::{ALERT_LASTS_AT_LEAST, ALERTMANAGERS_MAX};
use crate::yaml::{Faults, Node};

use super::super::{AlertmanagerReceiver, HttpAuth, PagerDutyReceiver, SlackReceiver};
use super::receivers::{links, secret_url};
use super::revokers::{TIMEOUT_DEFAULT, auth};
use super::{existing_file, secret, server_url};

/// The service region of the United States; that of Europe has an address of its own.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";

pub(super) fn slack(node: &Node, faults: &mut Faults) -> Option<SlackReceiver> {
    let mut map = node.mapping(faults)?;
    let url = secret_url(&mut map, faults);
    let links = map.or("links", BTreeMap::new(), faults, links);
    let usual = TIMEOUT_DEFAULT;
    let timeout = map.or("timeout", usual, faults, Node::duration_above_zero);
    let ca_file = map.optional("ca_file", faults, existing_file);
    map.finish(faults);
    Some(SlackReceiver {
        url: url?,
        links,
        timeout,
        ca_file,
    })
}

pub(super) fn pagerduty(node: &Node, faults: &mut Faults) -> Option<PagerDutyReceiver> {
    let mut map = node.mapping(faults)?;
    let routing_key = secret::required(&mut map, "routing_key", faults);
    let url = map.or("url", PAGERDUTY.into(), faults, server_url);
    let links = map.or("links", BTreeMap::new(), faults, links);
    let usual = TIMEOUT_DEFAULT;
    let timeout = map.or("timeout", usual, faults, Node::duration_above_zero);
    let ca_file = map.optional("ca_file", faults, existing_file);
    map.finish(faults);
    Some(PagerDutyReceiver {
        routing_key: routing_key?,
        url,
        links,
        timeout,
        ca_file,
    })
}

pub(super) fn alertmanager(node: &Node, faults: &mut Faults) -> Option<AlertmanagerReceiver> {
    let mut map = node.mapping(faults)?;
    let urls = map.required("url", faults, |node, faults| {
        super::some(node, faults, base_url)
    });
    let auth = map.or("auth", HttpAuth::None, faults, auth);
    let source_url = map.optional("source_url", faults, |node, faults| {
        node.url(&["https", "http"], faults)
    });
    let usual = ALERT_LASTS_AT_LEAST;
    let lasts_at_least = map.or("lasts_at_least", usual, faults, Node::duration);
    let usual = TIMEOUT_DEFAULT;
    let timeout = map.or("timeout", usual, faults, Node::duration_above_zero);
    let ca_file = map.optional("ca_file", faults, existing_file);
    if urls
        .as_ref()
        .is_some_and(|urls| urls.len() > ALERTMANAGERS_MAX)
    {
        faults.push(map.fault(format!("more than {ALERTMANAGERS_MAX} of one cluster")));
    }
    map.finish(faults);
    Some(AlertmanagerReceiver {
        urls: urls?,
        auth,
        source_url,
        lasts_at_least,
        timeout,
        ca_file,
    })
}

/// Without the path of the API.
fn base_url(node: &Node, faults: &mut Faults) -> Option<Text> {
    let url = server_url(node, faults)?;
    let url = url.trim_end_matches('/');
    if let Some((base, _)) = url.split_once("/api/") {
        let fault = node.fault("expected the base URL, without /api");
        faults.push(fault.with_hint(format!("write {base}")));
        return None;
    }
    Some(url.into())
}
