//! Keycloak's admin API, as far as it is needed: calls, what their answers mean, and which role each needs.
//!
//! A 404 is only believed when Keycloak itself says which thing is missing: a proxy's 404, an unknown path or an unknown
//! realm must never look like "already gone".

use std::collections::BTreeSet;

use reqwest::{Method, Url};
use serde_json::Value;

use crate::actions::Attempt;
use crate::actions::client::{Answer, Client};
use crate::actions::token::{Authorized, Grant};
use crate::config::{KeycloakRevoker, Secret};
use crate::model::{Text, TokenKind};

/// No session has the nil UUID.
const NOBODYS_SESSION: &str = "00000000-0000-0000-0000-000000000000";

pub(super) struct Api {
    base: Url,
    realm: Text,
    client_id: Text,
    authorized: Authorized,
}

/// A session as Keycloak lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) kind: TokenKind,
    /// Client ids with a token in it, in alphabetical order.
    pub(super) clients: Vec<String>,
}

/// One call below `/admin/realms/{realm}`.
struct Call<'a> {
    method: Method,
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    body: Option<Value>,
    /// The role to be granted where it is missing, and one that would do for this call.
    role: &'a str,
    or: Option<&'a str>,
}

enum Reply {
    Answer(Answer),
    NotFound,
}

impl Api {
    pub(super) fn new(settings: &KeycloakRevoker) -> Result<Self, String> {
        let base = base_url(&settings.url)?;
        let client = Client::new(settings.timeout, settings.ca_file.as_deref())?;
        let realm: &str = &settings.realm;
        let token_path = ["realms", realm, "protocol", "openid-connect", "token"];
        let grant = Grant {
            token_url: below(&base, &token_path).map_err(|what| format!("realm: {what}"))?,
            client_id: settings.client_id.clone(),
            client_secret: settings.client_secret.clone(),
            audience: None,
            scope: None,
        };
        Ok(Self {
            base,
            realm: settings.realm.clone(),
            client_id: settings.client_id.clone(),
            authorized: Authorized::new(client, grant),
        })
    }

    pub(super) fn realm_name(&self) -> &Text {
        &self.realm
    }

    pub(super) fn client_id(&self) -> &Text {
        &self.client_id
    }

    /// The command that gives the service account a role.
    pub(super) fn grant(&self, role: &str) -> String {
        format!(
            "grant it: kcadm.sh add-roles -r {} --uusername service-account-{} --cclientid realm-management --rolename {role}",
            self.realm, self.client_id
        )
    }

    /// A token issued now: whether we are let in, and what time it is there.
    pub(super) async fn fresh_token(&self) -> Result<Secret, Attempt> {
        self.authorized.fresh_token().await
    }

    /// The realm's settings; only names for an account that may not see more.
    pub(super) async fn realm(&self) -> Result<Value, Attempt> {
        Ok(self.get(&[], "view-realm").await?.unwrap_or_default())
    }

    pub(super) async fn events_config(&self) -> Result<Value, Attempt> {
        let path = ["events", "config"];
        Ok(self.get(&path, "view-events").await?.unwrap_or_default())
    }

    /// A call that needs the right to see users and changes nothing.
    pub(super) async fn any_user(&self) -> Result<(), Attempt> {
        let call = Call {
            method: Method::GET,
            path: &["users"],
            query: &[("max", "1"), ("briefRepresentation", "true")],
            body: None,
            role: "manage-users",
            or: Some("view-users"),
        };
        self.call(call).await.map(drop)
    }

    /// Ends a session that cannot exist: it is refused to whom may end none, before anything is looked for.
    pub(super) async fn may_end_sessions(&self) -> Result<(), Attempt> {
        let ended = self.delete_session(NOBODYS_SESSION, TokenKind::Online);
        ended.await.map(drop)
    }

    /// `None` when there is no such user.
    pub(super) async fn user(&self, user: &str) -> Result<Option<Value>, Attempt> {
        self.get(&["users", user], "manage-users").await
    }

    /// Changes the members given and no other; false when there is no such user.
    pub(super) async fn update_user(&self, user: &str, body: Value) -> Result<bool, Attempt> {
        self.change(Method::PUT, &["users", user], &[], Some(body))
            .await
    }

    pub(super) async fn logout(&self, user: &str) -> Result<bool, Attempt> {
        let path = ["users", user, "logout"];
        self.change(Method::POST, &path, &[], None).await
    }

    /// False when there is no session of that kind with that id.
    pub(super) async fn delete_session(&self, id: &str, kind: TokenKind) -> Result<bool, Attempt> {
        let is_offline = if kind == TokenKind::Offline {
            "true"
        } else {
            "false"
        };
        let query = [("isOffline", is_offline)];
        self.change(Method::DELETE, &["sessions", id], &query, None)
            .await
    }

    /// All sessions of a user, online and offline; `None` when there is no such user.
    pub(super) async fn sessions(&self, user: &str) -> Result<Option<Vec<Session>>, Attempt> {
        let role = "manage-users";
        let Some(online) = self.get(&["users", user, "sessions"], role).await? else {
            return Ok(None);
        };
        let mut sessions = read_sessions(&online, TokenKind::Online);
        // Consents name the clients with offline tokens by the UUIDs that the next call wants; asking for the
        // clients themselves would take one role more.
        let consents = self.get(&["users", user, "consents"], role).await?;
        for client in offline_clients(&consents.unwrap_or_default()) {
            let path = ["users", user, "offline-sessions", &client];
            let listed = self.get(&path, role).await?.unwrap_or_default();
            for session in read_sessions(&listed, TokenKind::Offline) {
                if !sessions.contains(&session) {
                    sessions.push(session);
                }
            }
        }
        Ok(Some(sessions))
    }

    async fn get(&self, path: &[&str], role: &str) -> Result<Option<Value>, Attempt> {
        let call = Call {
            method: Method::GET,
            path,
            query: &[],
            body: None,
            role,
            // A role that only looks is enough to look.
            or: (role == "manage-users").then_some("view-users"),
        };
        match self.call(call).await? {
            Reply::NotFound => Ok(None),
            Reply::Answer(answer) => match answer.json() {
                Some(value) => Ok(Some(value)),
                None => Err(answer.refusal("the answer is no JSON; is this Keycloak's address?")),
            },
        }
    }

    async fn change(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<bool, Attempt> {
        let call = Call {
            method,
            path,
            query,
            body,
            role: "manage-users",
            or: None,
        };
        Ok(matches!(self.call(call).await?, Reply::Answer(_)))
    }

    async fn call(&self, call: Call<'_>) -> Result<Reply, Attempt> {
        let mut path = vec!["admin", "realms", &*self.realm];
        path.extend(call.path);
        let mut url = below(&self.base, &path).map_err(|what| Attempt::Refused {
            reason: what.into(),
        })?;
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let answer = self
            .authorized
            .send(|client| {
                let request = client.request(call.method.clone(), url.clone());
                match &call.body {
                    Some(body) => request.json(body),
                    None => request,
                }
            })
            .await?;
        self.read(answer, &call)
    }

    fn read(&self, answer: Answer, call: &Call<'_>) -> Result<Reply, Attempt> {
        let what = format!(
            "{} {} in realm {}",
            call.method,
            call.path.join("/"),
            self.realm
        );
        match answer.status {
            200..=299 => Ok(Reply::Answer(answer)),
            404 if is_thing_missing(&answer) => Ok(Reply::NotFound),
            403 => Err(Attempt::Refused {
                reason: format!(
                    "{what}: the service account of {} lacks the role {} of realm-management{}; {}",
                    self.client_id,
                    call.role,
                    call.or
                        .map_or_else(String::new, |or| format!(" ({or} would do for this call)")),
                    self.grant(call.role)
                )
                .into(),
            }),
            _ => Err(answer.failure(&what)),
        }
    }
}

/// `User not found`, `Sesssion not found` (their spelling), but not `Realm not found.` or `HTTP 404 Not Found`.
fn is_thing_missing(answer: &Answer) -> bool {
    let said = answer.json().and_then(|body| {
        let error = body.get("error")?.as_str()?;
        Some(error.to_ascii_lowercase())
    });
    said.is_some_and(|said| {
        said.contains("not found") && !said.starts_with("http") && !said.starts_with("realm")
    })
}

fn read_sessions(listed: &Value, kind: TokenKind) -> Vec<Session> {
    let sessions = listed.as_array().map(Vec::as_slice).unwrap_or_default();
    sessions
        .iter()
        .filter_map(|session| {
            Some(Session {
                id: session.get("id")?.as_str()?.to_owned(),
                kind,
                clients: session
                    .get("clients")
                    .and_then(Value::as_object)
                    .map(|clients| clients.values().filter_map(Value::as_str))
                    .map(|names| names.map(str::to_owned).collect::<BTreeSet<_>>())
                    .unwrap_or_default()
                    .into_iter()
                    .collect(),
            })
        })
        .collect()
}

fn offline_clients(consents: &Value) -> BTreeSet<String> {
    let consents = consents.as_array().map(Vec::as_slice).unwrap_or_default();
    consents
        .iter()
        .filter_map(|consent| consent.get("additionalGrants")?.as_array())
        .flatten()
        .filter_map(|grant| Some(grant.get("client")?.as_str()?.to_owned()))
        .collect()
}

fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("url: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "url: expected http or https, found {}",
            url.scheme()
        ));
    }
    Ok(url)
}

/// Each part is escaped; one that would walk up the path is refused.
fn below(base: &Url, path: &[&str]) -> Result<Url, String> {
    if let Some(part) = path.iter().find(|part| matches!(**part, "" | "." | "..")) {
        return Err(format!("{part:?} is no id that Keycloak could have given"));
    }
    let mut url = base.clone();
    url.path_segments_mut()
        .map_err(|()| "url: expected an address with a host".to_owned())?
        .pop_if_empty()
        .extend(path);
    Ok(url)
}
