//! `http:`: a listener is opened when its key is there, on loopback unless `listen` says otherwise.

use std::net::{Ipv4Addr, SocketAddr};

use crate::yaml::{Faults, Map, Node};

use super::super::{ApiListener, Http, IngestListener, OpsListener, Secret};
use super::{existing_file, secret};

const OPS_PORT_DEFAULT: u16 = 9510;
const API_PORT_DEFAULT: u16 = 9511;
const INGEST_PORT_DEFAULT: u16 = 9512;

pub(super) fn http(node: &Node, faults: &mut Faults) -> Option<Http> {
    let mut map = node.mapping(faults)?;
    let ops = map.optional("ops", faults, |node, faults| {
        let (listen, token) = guarded(node, OPS_PORT_DEFAULT, faults)?;
        Some(OpsListener { listen, token })
    });
    let api = map.optional("api", faults, |node, faults| {
        let (listen, token) = guarded(node, API_PORT_DEFAULT, faults)?;
        Some(ApiListener { listen, token })
    });
    let ingest = map.optional("ingest", faults, ingest);
    map.finish(faults);
    Some(Http { ops, api, ingest })
}

/// A listener with a token, which it needs beyond loopback.
fn guarded(node: &Node, port: u16, faults: &mut Faults) -> Option<(SocketAddr, Option<Secret>)> {
    let mut map = node.mapping(faults)?;
    let listen = listen(&mut map, port, faults);
    let token = secret::optional(&mut map, "token", faults);
    if !listen.ip().is_loopback() && !secret::is_given(&mut map, "token") {
        let message =
            format!("{listen} can be reached from elsewhere, and `token_file` is missing");
        let hint = "give it a bearer token, or listen on 127.0.0.1";
        faults.push(
            node.member("listen")
                .unwrap_or(node)
                .fault(message)
                .with_hint(hint),
        );
    }
    map.finish(faults);
    Some((listen, token))
}

/// Each webhook source has an authentication of its own, so none is asked for here.
fn ingest(node: &Node, faults: &mut Faults) -> Option<IngestListener> {
    let mut map = node.mapping(faults)?;
    let listen = listen(&mut map, INGEST_PORT_DEFAULT, faults);
    let tls = map.optional("tls", faults, |node, faults| {
        let mut map = node.mapping(faults)?;
        let certificate = map.required("cert_file", faults, existing_file);
        let key = map.required("key_file", faults, existing_file);
        map.finish(faults);
        Some((certificate?, key?))
    });
    if !listen.ip().is_loopback() && node.member("tls").is_none() {
        let message = format!("{listen} takes plain HTTP: secrets can be read on the way");
        let hint = "give it `tls`, or let only a proxy that ends TLS reach it";
        faults.warn(
            node.member("listen")
                .unwrap_or(node)
                .fault(message)
                .with_hint(hint),
        );
    }
    map.finish(faults);
    Some(IngestListener { listen, tls })
}

fn listen(map: &mut Map<'_>, port: u16, faults: &mut Faults) -> SocketAddr {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    map.or("listen", default, faults, Node::socket_address)
}
