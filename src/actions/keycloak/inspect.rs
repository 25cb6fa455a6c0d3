//! What `check --online` asks of a realm: can we act, are the events saved, and does the realm do what is declared.
//!
//! By default Keycloak saves none of what is needed, and a missing role shows only when somebody's session should end:
//! each finding comes with the command that mends it.

use serde_json::Value;

use crate::actions::inspection::{issued_at, off};
use crate::actions::{Attempt, Declared, Finding};
use crate::config::Rotation;
use crate::model::Timestamp;

use super::api::Api;

/// Events without which rules are blind, and what for.
const EVENT_TYPES: [(&str, &str); 6] = [
    ("REFRESH_TOKEN", "every use of a token"),
    ("REFRESH_TOKEN_ERROR", "refused tokens, so every stolen one"),
    ("CODE_TO_TOKEN", "where a family begins"),
    ("LOGIN", "a changed place or device that the user explains"),
    ("LOGOUT", "sessions that ended honestly"),
    ("REVOKE_GRANT", "tokens that a client gave back"),
];

pub(super) async fn inspect(
    api: &Api,
    declared: &Declared,
    now: fn() -> Timestamp,
) -> Vec<Finding> {
    let realm = api.realm_name();
    let issued_at = match api.fresh_token().await {
        Ok(token) => issued_at(&token),
        Err(attempt) => return vec![no_token(api, &attempt)],
    };
    let mut findings = vec![Finding::fine(format!(
        "realm {realm}: client {} gets a token",
        api.client_id()
    ))];
    // Keycloak sends no `Date`, but its tokens carry the second in which they were issued.
    findings.extend(issued_at.and_then(|at| off("Keycloak", at, now())));
    findings.push(match may_revoke(api).await {
        Ok(()) => Finding::fine(format!(
            "realm {realm}: users can be read, and sessions ended"
        )),
        Err(attempt) => missing(api, &attempt, "manage-users", "nothing can be revoked"),
    });
    match api.events_config().await {
        Ok(config) => findings.extend(events(realm, &config)),
        Err(attempt) => findings.push(missing(
            api,
            &attempt,
            "view-events",
            "whether events are saved cannot be checked",
        )),
    }
    match api.realm().await {
        Ok(settings) if settings.get("id").is_some() => {
            findings.extend(rotation(realm, &settings, declared));
        }
        Ok(_) => findings.push(Finding::advice(
            format!("realm {realm}: its settings cannot be compared with the file without the role view-realm"),
            api.grant("view-realm"),
        )),
        Err(attempt) => findings.push(missing(api, &attempt, "view-realm", "settings cannot be checked")),
    }
    findings
}

async fn may_revoke(api: &Api) -> Result<(), Attempt> {
    api.any_user().await?;
    api.may_end_sessions().await
}

fn no_token(api: &Api, attempt: &Attempt) -> Finding {
    let mend = match attempt {
        Attempt::Retry { .. } => "check `url`, the network and `ca_file`".to_owned(),
        _ => format!(
            "client {} of realm {} needs client authentication, service accounts enabled, and the secret of this file: \
             kcadm.sh get clients -r {} -q clientId={} --fields secret,serviceAccountsEnabled,publicClient",
            api.client_id(),
            api.realm_name(),
            api.realm_name(),
            api.client_id()
        ),
    };
    Finding::fault(attempt.reason(), mend)
}

fn missing(api: &Api, attempt: &Attempt, role: &str, consequence: &str) -> Finding {
    Finding::fault(
        format!(
            "realm {}: {consequence}: {}",
            api.realm_name(),
            attempt.reason()
        ),
        api.grant(role),
    )
}

fn events(realm: &str, config: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    if is_on(config, "eventsEnabled") {
        findings.extend(saved_types(realm, config));
    } else {
        findings.push(Finding::fault(
            format!("realm {realm} saves no events, so there is nothing to watch"),
            format!(
                "kcadm.sh update events/config -r {realm} -s eventsEnabled=true {}",
                all_types(config)
            ),
        ));
    }
    if !is_on(config, "adminEventsEnabled") || !is_on(config, "adminEventsDetailsEnabled") {
        findings.push(Finding::fault(
            format!(
                "realm {realm} saves no admin events with details: what an operator ends or disables cannot be told from an attack's aftermath"
            ),
            format!(
                "kcadm.sh update events/config -r {realm} -s adminEventsEnabled=true -s adminEventsDetailsEnabled=true"
            ),
        ));
    }
    findings
}

fn saved_types(realm: &str, config: &Value) -> Vec<Finding> {
    let saved = enabled_types(config);
    let unsaved: Vec<String> = EVENT_TYPES
        .iter()
        .filter(|(name, _)| !saved.iter().any(|saved| saved == name))
        .map(|(name, what)| format!("{name} ({what})"))
        .collect();
    if unsaved.is_empty() {
        return vec![Finding::fine(format!(
            "realm {realm} saves all events needed"
        ))];
    }
    vec![Finding::fault(
        format!("realm {realm} does not save {}", unsaved.join(", ")),
        format!(
            "kcadm.sh update events/config -r {realm} {}",
            all_types(config)
        ),
    )]
}

/// What is saved already stays saved: the setting replaces the whole list.
fn all_types(config: &Value) -> String {
    let mut types = enabled_types(config);
    for (name, _) in EVENT_TYPES {
        if !types.contains(&name) {
            types.push(name);
        }
    }
    let quoted: Vec<String> = types.iter().map(|name| format!("\"{name}\"")).collect();
    format!("-s 'enabledEventTypes=[{}]'", quoted.join(","))
}

fn enabled_types(config: &Value) -> Vec<&str> {
    let list = config.get("enabledEventTypes").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn rotation(realm: &str, settings: &Value, declared: &Declared) -> Vec<Finding> {
    let rotates = is_on(settings, "revokeRefreshToken");
    let mut findings = Vec::new();
    if rotates {
        if let Some(keys) = declared.keys(Rotation::Off) {
            findings.push(Finding::contradiction(
                format!("realm {realm} rotates refresh tokens, but {keys} say rotation: off, which hides every replay"),
                "write rotation: enforced there",
            ));
        }
        findings.extend(allowed_reuse(realm, settings, declared));
    } else if let Some(keys) = declared.keys(Rotation::Enforced) {
        findings.push(Finding::contradiction(
            format!("realm {realm} does not rotate refresh tokens, but {keys} say rotation: enforced: each ordinary refresh would look like theft"),
            format!("kcadm.sh update realms/{realm} -s revokeRefreshToken=true, or write rotation: off there"),
        ));
    }
    if let Some(keys) = declared.keys(Rotation::Unknown) {
        let found = if rotates { "enforced" } else { "off" };
        findings.push(Finding::advice(
            format!("realm {realm}: {keys} leave rotation unknown, which never revokes on an accepted repeat"),
            format!("write rotation: {found} there, as the realm does"),
        ));
    }
    findings.extend(lifetime(realm, settings, declared));
    if findings.is_empty() {
        findings.push(Finding::fine(format!(
            "realm {realm} does what the file declares"
        )));
    }
    findings
}

fn allowed_reuse(realm: &str, settings: &Value, declared: &Declared) -> Option<Finding> {
    let allowed = settings.get("refreshTokenMaxReuse")?.as_u64()?;
    let others: Vec<&str> = declared
        .clients
        .iter()
        .filter(|client| {
            client.rotation == Rotation::Enforced && u64::from(client.max_reuse) != allowed
        })
        .map(|client| client.key.as_ref())
        .collect();
    (!others.is_empty()).then(|| {
        Finding::contradiction(
            format!(
                "realm {realm} allows each token {allowed} repeats (refreshTokenMaxReuse), {} declare another number",
                others.join(", ")
            ),
            format!("write max_reuse: {allowed} there, or kcadm.sh update realms/{realm} -s refreshTokenMaxReuse=0"),
        )
    })
}

fn lifetime(realm: &str, settings: &Value, declared: &Declared) -> Option<Finding> {
    let lifespan = settings.get("accessTokenLifespan")?.as_u64()?;
    let differs = declared.clients.iter().find(|client| {
        client
            .access_token_ttl
            .is_some_and(|ttl| ttl.as_secs() != lifespan)
    })?;
    Some(Finding::advice(
        format!(
            "realm {realm} issues access tokens for {lifespan} s, {} declares another access_token_ttl (a client may have its own)",
            differs.key
        ),
        format!("write access_token_ttl: {lifespan}s unless the client overrides it"),
    ))
}

fn is_on(settings: &Value, name: &str) -> bool {
    settings.get(name).and_then(Value::as_bool).unwrap_or(false)
}
