//! `http:`: a listener is opened when its key is there, on loopback unless `listen` says otherwise.

use std::net::{Ipv4Addr, SocketAddr};

use crate::model::Role;
use crate::model::limits::API_TOKENS_MAX;
use crate::yaml::{Faults, Map, Node};

use super::super::{ApiListener, ApiToken, Http, IngestListener, OpsListener, Secret};
use super::{existing_file, list, name, secret};

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
        let mut map = node.mapping(faults)?;
        let listen = listen(&mut map, API_PORT_DEFAULT, faults);
        let token = secret::optional(&mut map, "token", faults);
        let tokens = list(&mut map, "tokens", faults, api_token);
        let is_given = secret::is_given(&mut map, "token") || node.member("tokens").is_some();
        need_token(node, listen, is_given, faults);
        unlike(node, &tokens, faults);
        map.finish(faults);
        Some(ApiListener {
            listen,
            token,
            tokens,
        })
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
    let is_given = secret::is_given(&mut map, "token");
    need_token(node, listen, is_given, faults);
    map.finish(faults);
    Some((listen, token))
}

fn need_token(node: &Node, listen: SocketAddr, is_given: bool, faults: &mut Faults) {
    if listen.ip().is_loopback() || is_given {
        return;
    }
    let message = format!("{listen} can be reached from elsewhere, and `token_file` is missing");
    let hint = "give it a bearer token, or listen on 127.0.0.1";
    faults.push(
        node.member("listen")
            .unwrap_or(node)
            .fault(message)
            .with_hint(hint),
    );
}

/// A token of one person or script.
fn api_token(node: &Node, faults: &mut Faults) -> Option<ApiToken> {
    let mut map = node.mapping(faults)?;
    let name = map.required("name", faults, name);
    let role = map.required("role", faults, |node, faults| {
        node.name(Role::ALL, Role::as_str, faults)
    });
    let token = secret::required(&mut map, "token", faults);
    map.finish(faults);
    Some(ApiToken {
        name: name?,
        role: role?,
        token: token?,
    })
}

/// Whose deed it was must be told by the token.
fn unlike(node: &Node, tokens: &[ApiToken], faults: &mut Faults) {
    let place = node.member("tokens").unwrap_or(node);
    for (at, token) in tokens.iter().enumerate() {
        for other in &tokens[..at] {
            if other.name == token.name {
                faults.push(place.fault(format!("the name `{}` stands twice", token.name)));
            }
            if other.token == token.token {
                let names = format!("`{}` and `{}`", other.name, token.name);
                faults.push(place.fault(format!("{names} have the same token")));
            }
        }
    }
    if tokens.len() > API_TOKENS_MAX {
        faults.push(place.fault(format!("more than {API_TOKENS_MAX} tokens")));
    }
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
