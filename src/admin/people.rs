//! What people change through the API: each change is a POST, needs a role, and says who and why.

use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::{
    Action, ActionKind, BreakerClient, By, Decision, Incident, IncidentState, Matchers, Mode,
    Resolution, Role, Severity, Silence, Subject, Target, Text, Timestamp, limits,
};
use crate::store::{Ruling, Taken};

use super::answer::Refusal;
use super::api::{Answer, Api, missing};
use super::exception;
use super::guard::{Admitted, digest};

type Body<T> = Result<Json<T>, JsonRejection>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Close {
    #[serde(rename = "as")]
    resolution: String,
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSilence {
    matchers: Matchers,
    ends_at: Timestamp,
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HalfOpen {
    issuer: Text,
    tenant: Option<Text>,
    client_id: Text,
    note: String,
}

/// What is to be ended by hand: one family, or all of a user.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    family_id: Option<Text>,
    user_id: Option<Text>,
    /// Also locks the user out.
    #[serde(default)]
    lock: bool,
    issuer: Option<Text>,
    tenant: Option<Text>,
    client_id: Option<Text>,
    session_id: Option<Text>,
    note: String,
}

pub(super) async fn acknowledge(
    State(api): State<Api>,
    Extension(who): Extension<Admitted>,
    Path(id): Path<String>,
    body: Body<Note>,
) -> Answer {
    let by = by(&who, Role::Responder, &asked(body)?.note)?;
    let taken = api.store.acknowledge(&id, &by, (api.now)()).await?;
    answer("incident", &id, taken).map(|()| done("acknowledged", &id))
}

pub(super) async fn close(
    State(api): State<Api>,
    Extension(who): Extension<Admitted>,
    Path(id): Path<String>,
    body: Body<Close>,
) -> Answer {
    let Close { resolution, note } = asked(body)?;
    let by = by(&who, Role::Responder, &note)?;
    let given = Resolution::GIVEN
        .iter()
        .find(|it| it.as_str() == resolution);
    let resolution = *given.ok_or_else(|| {
        let names: Vec<&str> = Resolution::GIVEN.iter().map(|it| it.as_str()).collect();
        Refusal::bad_request(format!(
            "as={resolution}: expected one of {}",
            names.join(", ")
        ))
    })?;
    let now = (api.now)();
    let taken = api.store.close_incident(&id, resolution, &by, now).await?;
    let closed = answer("incident", &id, taken)?;
    api.control.closed(&closed);
    let mut told = done("closed", &id).0;
    if resolution == Resolution::FalsePositive
        && let Some(details) = api.store.incident(&id, exception::DETECTIONS_READ).await?
    {
        let proposed = exception::proposed(&details.detections, &by, now);
        told["proposed_exception"] = Value::from(proposed);
    }
    Ok(Json(told))
}

pub(super) async fn approve(
    state: State<Api>,
    who: Extension<Admitted>,
    id: Path<String>,
    body: Body<Note>,
) -> Answer {
    rule_on(state, who, id, body, Ruling::Approve).await
}

pub(super) async fn refuse(
    state: State<Api>,
    who: Extension<Admitted>,
    id: Path<String>,
    body: Body<Note>,
) -> Answer {
    rule_on(state, who, id, body, Ruling::Refuse).await
}

pub(super) async fn retry(
    state: State<Api>,
    who: Extension<Admitted>,
    id: Path<String>,
    body: Body<Note>,
) -> Answer {
    rule_on(state, who, id, body, Ruling::Retry).await
}

/// Takes a measure back before its time.
pub(super) async fn undo(
    State(api): State<Api>,
    Extension(who): Extension<Admitted>,
    Path(id): Path<String>,
    body: Body<Note>,
) -> Answer {
    let by = by(&who, Role::Responder, &asked(body)?.note)?;
    let taken = api.store.take_back(&id, &by, (api.now)()).await?;
    answer("action", &id, taken).map(|()| done("undone", &id))
}

async fn rule_on(
    State(api): State<Api>,
    Extension(who): Extension<Admitted>,
    Path(id): Path<String>,
    body: Body<Note>,
    ruling: Ruling,
) -> Answer {
    let by = by(&who, Role::Responder, &asked(body)?.note)?;
    let taken = api.store.rule_on(&id, ruling, &by, (api.now)()).await?;
    answer("action", &id, taken).map(|()| done(ruling.verb(), &id))
}

pub(super) async fn silences(State(api): State<Api>) -> Answer {
    let max = u32::try_from(limits::SILENCES_MAX).unwrap_or(u32::MAX);
    let silences = api.store.silences((api.now)(), max).await?;
    Ok(Json(json!({ "silences": silences })))
}

pub(super) async fn silence_of(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let silence = api.store.silence_of(&id).await?;
    let silence = silence.ok_or_else(|| missing("silence", &id))?;
    Ok(Json(json!({ "silence": silence })))
}

pub(super) async fn silence(
    State(api): State<Api>,
    Extension(who): Extension<Admitted>,
    body: Body<NewSilence>,
) -> Answer {
    let asked = asked(body)?;
    let by = by(&who, Role::Responder, &asked.note)?;
    let now = (api.now)();
    if asked.matchers.is_empty() {
        return Err(Refusal::bad_request(
            "a silence without matchers would silence everything",
        ));
    }
    let longest = now
        .checked_add(limits::SILENCE_MAX)
        .unwrap_or(Timestamp::MAX);
    if asked.ends_at <= now || asked.ends_at > longest {
        let message = format!("ends_at={}: expected a time until {longest}", asked.ends_at);
        return Err(Refusal::bad_request(message));
    }
    let max = u32::try_from(limits::SILENCES_MAX).unwrap_or(u32::MAX);
    if api.store.silences(now, max).await?.len() >= limits::SILENCES_MAX {
        let message = format!("{max} silences are in force; end one, or except what nobody minds");
        return Err(Refusal::new(StatusCode::CONFLICT, message));
    }
    let (author, comment) = (by.who.clone(), by.why.clone());
    let silence = Silence {
        id: new_id(&["silence", &author, &comment, &now.to_string()]),
        matchers: asked.matchers,
        author,
        comment,
        created_at: now,
        ends_at: asked.ends_at,
    };
    api.store.silence(&silence, &by).await?;
    Ok(Json(json!({ "silence": silence })))
}

pub(super) async fn end_silence(
    State(api): State<Api>,
    Extension(who): Extension<Admitted>,
    Path(id): Path<String>,
    body: Body<Note>,
) -> Answer {
    let by = by(&who, Role::Responder, &asked(body)?.note)?;
    let taken = api.store.end_silence(&id, &by, (api.now)()).await?;
    answer("silence", &id, taken).map(|()| done("ended", &id))
}

pub(super) async fn breakers(State(api): State<Api>) -> Answer {
    Ok(Json(json!({ "breakers": api.control.breakers() })))
}

pub(super) async fn half_open(
    State(api): State<Api>,
    Extension(who): Extension<Admitted>,
    body: Body<HalfOpen>,
) -> Answer {
    let asked = asked(body)?;
    let by = by(&who, Role::Admin, &asked.note)?;
    let client = BreakerClient {
        issuer: asked.issuer,
        tenant: asked.tenant,
        client_id: asked.client_id,
    };
    let is_open = |known: &crate::model::BreakerReport| known.client == client;
    if !api.control.breakers().iter().any(is_open) {
        let message = format!("no breaker of client {} is open", client.client_id);
        return Err(Refusal::new(StatusCode::NOT_FOUND, message));
    }
    api.store.half_open(&client, &by, (api.now)()).await?;
    Ok(done("half_open", &client.client_id))
}

/// By hand, and all the same through the outbox: with its tries, its budget by wall time, and its traces.
pub(super) async fn revoke(
    State(api): State<Api>,
    Extension(who): Extension<Admitted>,
    body: Body<Revocation>,
) -> Answer {
    let asked = asked(body)?;
    let by = by(&who, Role::Admin, &asked.note)?;
    if api.control.mode() < Mode::Enforce {
        let message = format!(
            "the daemon's mode is {}: it performs nothing",
            api.control.mode()
        );
        return Err(Refusal::new(StatusCode::CONFLICT, message));
    }
    let now = (api.now)();
    let (kind, subject) = match (&asked.family_id, &asked.user_id) {
        (Some(family), None) if !asked.lock => {
            (ActionKind::RevokeFamily, Subject::Family(family.clone()))
        }
        (None, Some(user)) if asked.lock => (ActionKind::LockUser, Subject::User(user.clone())),
        (None, Some(user)) => (ActionKind::RevokeUser, Subject::User(user.clone())),
        _ => {
            return Err(Refusal::bad_request(
                "expected either family_id, or user_id with or without lock",
            ));
        }
    };
    let target = target_of(&api, asked).await?;
    let stamp = now.to_string();
    let (of, id) = subject.parts();
    let incident = Incident {
        id: new_id(&["by hand", of, id, &stamp]),
        issuer: target.issuer.clone(),
        tenant: target.tenant.clone(),
        episode: 0,
        state: IncidentState::Open,
        severity: Severity::Info,
        opened_at: now,
        updated_at: now,
        user_id: target.user_id.clone(),
        client_id: target.client_id.clone(),
        detections: 0,
        summary: format!("{kind} by hand, by {}: {}", by.who, by.why).into(),
        resolution: None,
        closed_at: None,
        subject: subject.clone(),
    };
    let action = Action {
        id: new_id(&["action by hand", kind.as_str(), id, &stamp]),
        kind,
        target,
        detection_ids: Vec::new(),
        incident_id: incident.id.clone(),
        rule: Action::BY_HAND.into(),
        decision: Decision::Execute,
        reason: format!("asked for by {}: {}", by.who, by.why).into(),
        event_time: now,
        undoes: None,
    };
    api.store.ask_for(&action, &incident, &by, now).await?;
    Ok(Json(json!({ "action": action })))
}

/// What the newest finding about the family or user tells fills in what the request leaves out.
async fn target_of(api: &Api, asked: Revocation) -> Result<Target, Refusal> {
    let known = api
        .store
        .newest_about(asked.family_id.as_ref(), asked.user_id.as_ref())
        .await?;
    let of_family = known.as_ref().filter(|_| asked.family_id.is_some());
    let issuer = asked
        .issuer
        .or_else(|| known.as_ref().map(|known| known.issuer.clone()))
        .or_else(|| api.control.only_issuer());
    let issuer = issuer.ok_or_else(|| {
        Refusal::bad_request(
            "nothing was ever found about it, and there are several sources: say which `issuer`",
        )
    })?;
    let tenant = known.as_ref().and_then(|known| known.tenant.clone());
    Ok(Target {
        issuer,
        tenant: asked.tenant.or(tenant),
        user_id: asked.user_id.or_else(|| of_family?.user_id.clone()),
        client_id: asked.client_id.or_else(|| of_family?.client_id.clone()),
        session_id: asked.session_id.or_else(|| of_family?.session_id.clone()),
        token_kind: of_family.and_then(|known| known.token_kind),
        family_id: asked.family_id,
        network: None,
    })
}

/// Who it was, if he may, and why, which must be said.
fn by(who: &Admitted, role: Role, note: &str) -> Result<By, Refusal> {
    let who = who.may(role)?;
    let note = note.trim();
    if note.is_empty() || note.len() > limits::NOTE_BYTES_MAX {
        let most = limits::NOTE_BYTES_MAX;
        return Err(Refusal::bad_request(format!(
            "note: say why, in 1 to {most} bytes"
        )));
    }
    let why = note.into();
    Ok(By { who, why })
}

fn asked<T>(body: Body<T>) -> Result<T, Refusal> {
    body.map(|Json(body)| body)
        .map_err(|rejection| Refusal::new(rejection.status(), rejection.body_text()))
}

fn answer<T>(what: &str, id: &str, taken: Taken<T>) -> Result<T, Refusal> {
    match taken {
        Taken::Done(done) => Ok(done),
        Taken::Missing => Err(missing(what, id)),
        Taken::Conflict(why) => Err(Refusal::new(
            StatusCode::CONFLICT,
            format!("{what} {id}: {why}"),
        )),
    }
}

/// An id for what a person makes: no other has the same name, time and content.
fn new_id(parts: &[&str]) -> Text {
    let digest = digest(&parts.join("\u{1f}"));
    let hex = digest[..16].iter().map(|byte| format!("{byte:02x}"));
    hex.collect::<String>().into()
}

fn done(what: &str, id: &str) -> Json<Value> {
    Json(json!({ "done": what, "id": id }))
}

/// How long a proposed exception lasts.
pub(super) const EXCEPTION_LASTS: Duration = Duration::from_hours(90 * 24);
