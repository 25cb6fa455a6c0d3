//! `revokers:`: each has a name, the sources it is for, and one kind (`keycloak`, `http`, `webhook`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::limits::{MEASURE_TTL_DEFAULT, MEASURE_TTL_MAX, MEASURE_TTL_MIN};
use crate::model::{ActionKind, Text};
use crate::yaml::{Faults, Map, Node};

use super::super::{
    HttpAuth, HttpRevoker, KeycloakRevoker, Revoker, RevokerKind, TargetLimits, WebhookRevoker,
};
use super::receivers::secret_url;
use super::{existing_file, name, secret, server_url, texts};

/// An admin API that takes longer is not well; the attempt is made again.
pub(super) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Known to every Keycloak, and a thief who has only a refresh token cannot answer it.
const REQUIRED_ACTION_DEFAULT: &str = "UPDATE_PASSWORD";

pub(super) fn revoker(node: &Node, faults: &mut Faults) -> Option<Revoker> {
    let mut map = node.mapping(faults)?;
    let name = map.required("name", faults, name);
    let issuers = map.or("issuers", Vec::new(), faults, texts);
    let kind = map
        .one_kind(&["keycloak", "http", "webhook"], faults)
        .and_then(|(kind, node)| match kind {
            "keycloak" => keycloak(node, faults).map(RevokerKind::Keycloak),
            "webhook" => webhook(node, faults).map(RevokerKind::Webhook),
            _ => http(node, faults).map(RevokerKind::Http),
        });
    let limits = map.or("limits", TargetLimits::default(), faults, limits);
    map.finish(faults);
    Some(Revoker {
        name: name?,
        issuers,
        kind: kind?,
        limits,
    })
}

/// More than any server is asked; nothing would be no limit but a stop.
const AT_MOST: u32 = 1000;

/// How much a revoker or receiver is asked.
pub(super) fn limits(node: &Node, faults: &mut Faults) -> Option<TargetLimits> {
    let usual = TargetLimits::default();
    let mut map = node.mapping(faults)?;
    let mut count = |key, usual| {
        map.or(key, usual, faults, |node, faults| {
            node.integer(1..=AT_MOST, faults)
        })
    };
    let limits = TargetLimits {
        concurrency: count("concurrency", usual.concurrency),
        per_second: count("per_second", usual.per_second),
    };
    map.finish(faults);
    Some(limits)
}

fn keycloak(node: &Node, faults: &mut Faults) -> Option<KeycloakRevoker> {
    let mut map = node.mapping(faults)?;
    let url = map.required("url", faults, base_url);
    let realm = map.required("realm", faults, Node::text);
    let realm_id = map.optional("realm_id", faults, Node::text);
    let client_id = map.required("client_id", faults, Node::text);
    let client_secret = secret::required(&mut map, "client_secret", faults);
    let required_action = map.or(
        "required_action",
        REQUIRED_ACTION_DEFAULT.into(),
        faults,
        Node::text,
    );
    let timeout = map.or(
        "timeout",
        TIMEOUT_DEFAULT,
        faults,
        Node::duration_above_zero,
    );
    let ca_file = map.optional("ca_file", faults, existing_file);
    map.finish(faults);
    Some(KeycloakRevoker {
        url: url?,
        realm: realm?,
        realm_id,
        client_id: client_id?,
        client_secret: client_secret?,
        required_action,
        timeout,
        ca_file,
    })
}

fn base_url(node: &Node, faults: &mut Faults) -> Option<Text> {
    let url = server_url(node, faults)?;
    let url = url.trim_end_matches('/');
    if let Some((base, _)) = url
        .split_once("/realms")
        .or_else(|| url.split_once("/admin"))
    {
        let fault = node.fault("expected the base URL, without /realms or /admin");
        faults.push(fault.with_hint(format!("write {base}")));
        return None;
    }
    Some(url.into())
}

fn http(node: &Node, faults: &mut Faults) -> Option<HttpRevoker> {
    const METHODS: [(&str, &str); 5] = [
        ("GET", "GET"),
        ("POST", "POST"),
        ("PUT", "PUT"),
        ("PATCH", "PATCH"),
        ("DELETE", "DELETE"),
    ];
    let mut map = node.mapping(faults)?;
    let actions = map.required("actions", faults, |node, faults| {
        node.one_or_list(faults, action)
    });
    let method = map.or("method", "POST", faults, |node, faults| {
        node.one_of(&METHODS, faults)
    });
    let url = map.required("url", faults, server_url);
    let headers = map.or("headers", BTreeMap::new(), faults, headers);
    let body = map.optional("body", faults, Node::text);
    let success = map.or("success", Vec::new(), faults, statuses);
    let retry = map.or("retry", Vec::new(), faults, statuses);
    if let Some(both) = success.iter().find(|status| retry.contains(status)) {
        faults.push(map.fault(format!("{both} stands under `success` and under `retry`")));
    }
    let auth = map.or("auth", HttpAuth::None, faults, auth);
    let timeout = map.or(
        "timeout",
        TIMEOUT_DEFAULT,
        faults,
        Node::duration_above_zero,
    );
    let ca_file = map.optional("ca_file", faults, existing_file);
    map.finish(faults);
    Some(HttpRevoker {
        actions: actions?,
        method: method.into(),
        url: url?,
        headers,
        body,
        success,
        retry,
        auth,
        timeout,
        ca_file,
    })
}

fn action(node: &Node, faults: &mut Faults) -> Option<ActionKind> {
    // People are told by receivers, and a review waits in the daemon itself.
    let performed: Vec<_> = ActionKind::ALL
        .iter()
        .copied()
        .filter(|kind| !matches!(kind, ActionKind::Notify | ActionKind::Review))
        .collect();
    node.name(&performed, ActionKind::as_str, faults)
}

/// Measures that a system of one's own takes and takes back.
fn webhook(node: &Node, faults: &mut Faults) -> Option<WebhookRevoker> {
    let mut map = node.mapping(faults)?;
    let actions = map.required("actions", faults, |node, faults| {
        node.one_or_list(faults, measure)
    });
    let url = secret_url(&mut map, faults);
    let secret = secret::required(&mut map, "secret", faults);
    let ttl = map.or("ttl", MEASURE_TTL_DEFAULT, faults, ttl);
    let timeout = map.or(
        "timeout",
        TIMEOUT_DEFAULT,
        faults,
        Node::duration_above_zero,
    );
    let ca_file = map.optional("ca_file", faults, existing_file);
    map.finish(faults);
    Some(WebhookRevoker {
        actions: actions?,
        url: url?,
        secret: secret?,
        ttl,
        timeout,
        ca_file,
    })
}

/// What ends a login is not taken back, so it is no measure.
fn measure(node: &Node, faults: &mut Faults) -> Option<ActionKind> {
    let measures: Vec<_> = ActionKind::ALL
        .iter()
        .copied()
        .filter(|kind| kind.is_measure())
        .collect();
    node.name(&measures, ActionKind::as_str, faults)
}

fn ttl(node: &Node, faults: &mut Faults) -> Option<Duration> {
    let ttl = node.duration_above_zero(faults)?;
    if (MEASURE_TTL_MIN..=MEASURE_TTL_MAX).contains(&ttl) {
        return Some(ttl);
    }
    let fault = node.fault("a measure holds for a minute to 30 days");
    faults.push(fault.with_hint("write for instance `ttl: 1h`"));
    None
}

fn headers(node: &Node, faults: &mut Faults) -> Option<BTreeMap<Text, Text>> {
    let mut headers = BTreeMap::new();
    for entry in node.mapping(faults)?.entries() {
        if entry.name.eq_ignore_ascii_case("authorization") {
            let fault = entry.place.fault("a secret does not belong into `headers`");
            faults.push(
                fault.with_hint("use `auth`: bearer_file, scheme, basic or client_credentials"),
            );
            continue;
        }
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if entry.name.is_empty() || !entry.name.chars().all(token) {
            faults.push(
                entry
                    .place
                    .fault(format!("`{}` cannot be the name of a header", entry.name)),
            );
            continue;
        }
        headers.extend(
            entry
                .node
                .text(faults)
                .map(|value| (entry.name.clone(), value)),
        );
    }
    Some(headers)
}

fn statuses(node: &Node, faults: &mut Faults) -> Option<Vec<u16>> {
    node.list(faults, |node, faults| node.integer(100..=599, faults))
}

pub(super) fn auth(node: &Node, faults: &mut Faults) -> Option<HttpAuth> {
    let mut map = node.mapping(faults)?;
    let kinds = [
        "bearer",
        "bearer_file",
        "scheme",
        "basic",
        "client_credentials",
    ];
    let auth = map
        .one_kind(&kinds, faults)
        .and_then(|(kind, node)| match kind {
            "scheme" => scheme(node, faults),
            "basic" => basic(node, faults),
            "client_credentials" => client_credentials(node, faults),
            _ => secret::required(&mut map, "bearer", faults).map(HttpAuth::Bearer),
        });
    map.finish(faults);
    auth
}

/// `Authorization: SSWS ...`.
fn scheme(node: &Node, faults: &mut Faults) -> Option<HttpAuth> {
    let mut map = node.mapping(faults)?;
    let scheme = map.required("scheme", faults, Node::text);
    let token = secret::required(&mut map, "token", faults);
    map.finish(faults);
    Some(HttpAuth::Scheme {
        scheme: scheme?,
        token: token?,
    })
}

fn basic(node: &Node, faults: &mut Faults) -> Option<HttpAuth> {
    let mut map = node.mapping(faults)?;
    let username = map.required("username", faults, Node::text);
    let password = secret::required(&mut map, "password", faults);
    map.finish(faults);
    Some(HttpAuth::Basic {
        username: username?,
        password: password?,
    })
}

fn client_credentials(node: &Node, faults: &mut Faults) -> Option<HttpAuth> {
    let mut map: Map<'_> = node.mapping(faults)?;
    let token_url = map.required("token_url", faults, server_url);
    let client_id = map.required("client_id", faults, Node::text);
    let client_secret = secret::required(&mut map, "client_secret", faults);
    let audience = map.optional("audience", faults, Node::text);
    let scope = map.optional("scope", faults, Node::text);
    map.finish(faults);
    Some(HttpAuth::ClientCredentials {
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        audience,
        scope,
    })
}
