//! The four actions at Keycloak, each with the check that it took effect.
//!
//! Tried on a real server: deleting a session with the wrong `isOffline` answers 404 while the token lives, logging out
//! leaves offline tokens of the same second alive, and disabling a user ends nothing that enabling would not bring
//! back. So each step is followed by looking at what is left.

use serde_json::json;

use crate::actions::Attempt;
use crate::model::{Action, ActionKind, Evidence, Target, Text, TokenKind, Value, limits};

use super::api::{Api, Session};

pub(super) async fn perform(
    api: &Api,
    required_action: &str,
    action: &Action,
) -> Result<Attempt, Attempt> {
    let target = &action.target;
    match action.kind {
        ActionKind::RevokeFamily => revoke_family(api, target).await,
        ActionKind::RevokeUser => revoke_user(api, user_of(target)?).await,
        ActionKind::LockUser => lock_user(api, user_of(target)?).await,
        ActionKind::Challenge => challenge(api, required_action, user_of(target)?).await,
        kind => Err(refused(format!("Keycloak has no way to {kind}"))),
    }
}

/// Deletes the family's session.
async fn revoke_family(api: &Api, target: &Target) -> Result<Attempt, Attempt> {
    let session = target.session_id.as_deref().ok_or_else(|| {
        refused(
            "no event of this family named its session, and Keycloak can end a family only by its session; \
             `revoke_user` would end all sessions of the user"
                .to_owned(),
        )
    })?;
    // What ends with it must be asked before; not to know it is no reason to leave the thief in.
    let before = listed(api, target).await.ok().flatten();
    let ended = delete_session(api, session, target.token_kind).await?;
    let is_checked = is_gone(api, target, session, &ended).await?;
    Ok(family_done(target, session, &ended, is_checked, before))
}

/// Tries the kind of the token first, then the other; where the kind is unknown, both. Returns what was deleted.
async fn delete_session(
    api: &Api,
    session: &str,
    kind: Option<TokenKind>,
) -> Result<Vec<TokenKind>, Attempt> {
    let order = match kind {
        Some(TokenKind::Offline) => [TokenKind::Offline, TokenKind::Online],
        _ => [TokenKind::Online, TokenKind::Offline],
    };
    let mut ended = Vec::new();
    for tried in order {
        if api.delete_session(session, tried).await? {
            ended.push(tried);
            if kind.is_some() {
                break;
            }
        }
    }
    Ok(ended)
}

/// True when the server's own list was asked and no longer has it; still listed is a failure.
async fn is_gone(
    api: &Api,
    target: &Target,
    session: &str,
    ended: &[TokenKind],
) -> Result<bool, Attempt> {
    let left = match listed(api, target).await {
        Ok(Some(left)) => left,
        Ok(None) => return Ok(target.user_id.is_some()),
        // A deletion that was answered is done even if the list cannot be had just now.
        Err(_) if !ended.is_empty() => return Ok(false),
        Err(attempt) => return Err(attempt),
    };
    let is_left = left
        .iter()
        .any(|left| left.id == session && (ended.is_empty() || ended.contains(&left.kind)));
    if is_left {
        return Err(Attempt::Retry {
            reason: format!("Keycloak still lists session {session}").into(),
            after: None,
        });
    }
    Ok(true)
}

/// The user's sessions, where the user is known; `None` where not, or where the user is no more.
async fn listed(api: &Api, target: &Target) -> Result<Option<Vec<Session>>, Attempt> {
    match &target.user_id {
        Some(user) => api.sessions(user).await,
        None => Ok(None),
    }
}

fn family_done(
    target: &Target,
    session: &str,
    ended: &[TokenKind],
    is_checked: bool,
    before: Option<Vec<Session>>,
) -> Attempt {
    let others = other_clients(target, session, ended, before.unwrap_or_default());
    let mut detail = if let Some(kind) = ended.first() {
        format!("{kind} session {session} deleted")
    } else {
        format!("session {session} was already gone")
    };
    if !is_checked {
        detail += " (not looked for in the user's list of sessions)";
    }
    if !others.is_empty() {
        let names = others.join(", ");
        detail = format!("{detail}; tokens of {names} in the same session ended with it");
    }
    let kinds = ended.iter().map(|kind| kind.as_str().into()).collect();
    let evidence = Evidence::new()
        .with("session_id", session)
        .with("sessions_deleted", Value::List(kinds))
        .with("already_gone", ended.is_empty())
        .with("checked", is_checked)
        .with("also_ended", texts(&others));
    let detail = detail.into();
    if is_checked {
        Attempt::Done { detail, evidence }
    } else {
        Attempt::Answered { detail, evidence }
    }
}

fn other_clients(
    target: &Target,
    session: &str,
    ended: &[TokenKind],
    before: Vec<Session>,
) -> Vec<String> {
    let mut others: Vec<String> = before
        .into_iter()
        .filter(|listed| listed.id == session && ended.contains(&listed.kind))
        .flat_map(|listed| listed.clients)
        .filter(|client| target.client_id.as_deref() != Some(client))
        .collect();
    others.sort();
    others.dedup();
    others
}

/// Logs the user out everywhere and deletes the offline sessions.
async fn revoke_user(api: &Api, user: &str) -> Result<Attempt, Attempt> {
    let Some(before) = api.sessions(user).await? else {
        return user_is_gone(user);
    };
    if !api.logout(user).await? {
        return user_is_gone(user);
    }
    // The logout reaches offline tokens by a time stamp in whole seconds; one issued within that second lives on.
    let offline = before
        .iter()
        .filter(|session| session.kind == TokenKind::Offline);
    for session in offline.take(limits::OFFLINE_SESSIONS_MAX) {
        api.delete_session(&session.id, TokenKind::Offline).await?;
    }
    none_left(api, user, &before).await?;
    Ok(user_done("logged out", user, &before))
}

/// A session that was there before must not be there afterwards; a new login in between is no failure.
async fn none_left(api: &Api, user: &str, before: &[Session]) -> Result<(), Attempt> {
    let left = api.sessions(user).await?.unwrap_or_default();
    let surviving = |session: &&Session| {
        before
            .iter()
            .any(|old| old.id == session.id && old.kind == session.kind)
    };
    match left.iter().filter(surviving).count() {
        0 => Ok(()),
        count => Err(Attempt::Retry {
            reason: format!("Keycloak still lists {count} sessions of user {user} from before")
                .into(),
            after: None,
        }),
    }
}

fn user_done(what: &str, user: &str, before: &[Session]) -> Attempt {
    let offline = before
        .iter()
        .filter(|session| session.kind == TokenKind::Offline)
        .count();
    let online = before.len() - offline;
    let mut clients: Vec<String> = before.iter().flat_map(|s| s.clients.clone()).collect();
    clients.sort();
    clients.dedup();
    let with = if clients.is_empty() {
        String::new()
    } else {
        format!(", clients {}", clients.join(", "))
    };
    Attempt::Done {
        detail: format!(
            "user {user} {what}: {online} online and {offline} offline sessions ended{with}"
        )
        .into(),
        evidence: Evidence::new()
            .with("online_sessions", online)
            .with("offline_sessions", offline)
            .with("also_ended", texts(&clients)),
    }
}

/// Disables first, so that no new session can start; disabling alone would only put the old ones to sleep.
async fn lock_user(api: &Api, user: &str) -> Result<Attempt, Attempt> {
    if !api.update_user(user, json!({"enabled": false})).await? {
        return user_is_gone(user);
    }
    match revoke_user(api, user).await? {
        Attempt::Done { detail, evidence } => Ok(Attempt::Done {
            detail: format!("user {user} disabled; {detail}").into(),
            evidence: evidence.with("disabled", true),
        }),
        other => Ok(other),
    }
}

async fn challenge(api: &Api, required_action: &str, user: &str) -> Result<Attempt, Attempt> {
    let Some(found) = api.user(user).await? else {
        return user_is_gone(user);
    };
    let mut asked: Vec<String> = found
        .get("requiredActions")
        .and_then(|list| serde_json::from_value(list.clone()).ok())
        .unwrap_or_default();
    if !asked.iter().any(|name| name == required_action) {
        asked.push(required_action.to_owned());
        if !api
            .update_user(user, json!({"requiredActions": asked}))
            .await?
        {
            return user_is_gone(user);
        }
    }
    Ok(Attempt::Done {
        detail: format!(
            "{required_action} is asked of user {user} at the next login; sessions that run now go on"
        )
        .into(),
        evidence: Evidence::new().with("required_action", required_action),
    })
}

/// A deleted user has no sessions. A name in place of the id gets the same answer, and must not count as success.
fn user_is_gone(user: &str) -> Result<Attempt, Attempt> {
    if !is_user_id(user) {
        return Err(refused(format!(
            "Keycloak knows no user with the id {user}; it wants the id (a UUID), not the name"
        )));
    }
    Ok(Attempt::Done {
        detail: format!("user {user} does not exist any more").into(),
        evidence: Evidence::new().with("already_gone", true),
    })
}

/// A UUID, or `f:{UUID of the provider}:{id there}` for a federated user.
fn is_user_id(user: &str) -> bool {
    let is_uuid =
        |text: &str| text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    match user.strip_prefix("f:") {
        Some(rest) => rest.split(':').next().is_some_and(is_uuid),
        None => is_uuid(user),
    }
}

fn user_of(target: &Target) -> Result<&Text, Attempt> {
    target.user_id.as_ref().ok_or_else(|| {
        refused("no event told whose token it was, so there is no user to act on".to_owned())
    })
}

fn refused(reason: String) -> Attempt {
    Attempt::Refused {
        reason: reason.into(),
    }
}

fn texts(list: &[String]) -> Value {
    Value::List(list.iter().map(|text| text.as_str().into()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_can_belong_to_a_deleted_user() {
        let id = "3da45bb7-4261-4cc9-839d-d331fe0b1408";
        assert!(is_user_id(id));
        assert!(is_user_id(&format!("f:{id}:alice")));
        assert!(!is_user_id("alice"));
        assert!(!is_user_id("f:alice"));
        assert!(matches!(
            user_is_gone("alice"),
            Err(Attempt::Refused { .. })
        ));
    }
}
