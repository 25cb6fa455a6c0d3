//! Tells the JSON forms apart and reads each into a plain record.
//!
//! | form | told by |
//! |---|---|
//! | event of the admin API, of Kafka forwarders, of listeners that add an `eventType` of `USER` | `type` |
//! | webhook listeners: the same with `uid` for `id`, `access.` before the type and the caller in `authDetails` | `type` |
//! | native event hooks: `eventId`, and the type in `eventType` | `eventType` |
//! | row of `event_entity` | `event_time` |
//! | admin event of the admin API and of forwarders | `operationType` |
//! | row of `admin_event_entity` | `admin_event_time` |

use std::borrow::Cow;

use crate::decode::json::{Member, Object};
use crate::decode::{Rejected, time};
use crate::model::{Timestamp, limits};

use super::{AdminEvent, Details, Operator, Record, UserEvent};

/// The details as text, without the escapes of the member they stand in; nothing where they are an object.
pub(super) fn details_text<'a>(object: &Object<'a>) -> Option<Cow<'a, str>> {
    details_member(object)?.text()
}

/// The record of an object; `details` is its [`details_text`].
pub(super) fn read<'a>(
    object: &Object<'a>,
    details: Option<&'a str>,
) -> Result<Record<'a>, Rejected> {
    if object.get("event_time").is_some() {
        return row(object, details).map(Record::User);
    }
    if object.get("admin_event_time").is_some() {
        return admin_row(object).map(Record::Admin);
    }
    if object.get("operationType").is_some() {
        return admin_event(object).map(Record::Admin);
    }
    event(object, details).map(Record::User)
}

fn event<'a>(object: &Object<'a>, text: Option<&'a str>) -> Result<UserEvent<'a>, Rejected> {
    // Of the two, `type` is the more exact: beside it, `eventType` says only `USER`.
    let kind = required_text(object, &["type", "eventType"])?;
    let caller = object.object("authDetails");
    let member = |name: &str| {
        object
            .text(name)
            .or_else(|| caller.as_ref().and_then(|caller| caller.text(name)))
    };
    Ok(UserEvent {
        id: id(object, &["id", "uid", "eventId"])?,
        time: time_of(object, "time")?,
        kind: without_prefix(kind, "access."),
        realm_id: object.text("realmId"),
        client_id: member("clientId"),
        user_id: member("userId"),
        session_id: member("sessionId"),
        ip_address: member("ipAddress"),
        error: object.text("error"),
        details: details(details_member(object), text)?,
    })
}

fn row<'a>(object: &Object<'a>, text: Option<&'a str>) -> Result<UserEvent<'a>, Rejected> {
    Ok(UserEvent {
        id: id(object, &["id"])?,
        time: time_of(object, "event_time")?,
        kind: required_text(object, &["type"])?,
        realm_id: object.text("realm_id"),
        client_id: object.text("client_id"),
        user_id: object.text("user_id"),
        session_id: object.text("session_id"),
        ip_address: object.text("ip_address"),
        error: object.text("error"),
        details: details(details_member(object), text)?,
    })
}

fn admin_event<'a>(object: &Object<'a>) -> Result<AdminEvent<'a>, Rejected> {
    let caller = object.object("authDetails");
    let of_caller = |name: &str| caller.as_ref().and_then(|caller| caller.text(name));
    Ok(AdminEvent {
        id: id(object, &["id", "uid", "eventId"])?,
        time: time_of(object, "time")?,
        operation: required_text(object, &["operationType"])?,
        resource_path: object.text("resourcePath"),
        realm_id: object.text("realmId"),
        operator: Operator {
            user_id: of_caller("userId"),
            client_id: of_caller("clientId"),
            ip_address: of_caller("ipAddress"),
        },
        representation: representation(object.get("representation")),
        error: object.text("error"),
    })
}

fn admin_row<'a>(object: &Object<'a>) -> Result<AdminEvent<'a>, Rejected> {
    Ok(AdminEvent {
        id: id(object, &["id"])?,
        time: time_of(object, "admin_event_time")?,
        operation: required_text(object, &["operation_type"])?,
        resource_path: object.text("resource_path"),
        realm_id: object.text("realm_id"),
        operator: Operator {
            user_id: object.text("auth_user_id"),
            client_id: object.text("auth_client_id"),
            ip_address: object.text("ip_address"),
        },
        representation: representation(object.get("representation")),
        error: object.text("error"),
    })
}

/// An object, or its text: a column holds text, and some forwarders pass it on so.
fn details<'a>(member: Option<Member<'a>>, text: Option<&'a str>) -> Result<Details<'a>, Rejected> {
    let Some(member) = member else {
        return Ok(Details::Pairs(Vec::new()));
    };
    if let Some(object) = member.object() {
        return Ok(Details::Json(object));
    }
    let text = text.ok_or_else(|| {
        Rejected::schema(format!(
            "the event's details: expected an object, got {}",
            member.type_name()
        ))
    })?;
    if text.is_empty() {
        return Ok(Details::Pairs(Vec::new()));
    }
    Object::parse(text).map(Details::Json).map_err(|rejected| {
        Rejected::new(
            rejected.reason,
            format!("the event's details: {}", rejected.message),
        )
    })
}

/// Where the details of the forms stand. Newer servers fill the long column and leave the short one null.
fn details_member<'a>(object: &Object<'a>) -> Option<Member<'a>> {
    ["details", "details_json_long_value", "details_json"]
        .iter()
        .find_map(|name| object.get(name))
}

fn representation(member: Option<Member<'_>>) -> Option<Cow<'_, str>> {
    let member = member?;
    member.text().or(Some(Cow::Borrowed(member.raw())))
}

fn without_prefix<'a>(kind: Cow<'a, str>, prefix: &str) -> Cow<'a, str> {
    match kind {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_prefix(prefix).unwrap_or(text)),
        Cow::Owned(text) => Cow::Owned(text.strip_prefix(prefix).unwrap_or(&text).to_owned()),
    }
}

fn required_text<'a>(object: &Object<'a>, names: &[&str]) -> Result<Cow<'a, str>, Rejected> {
    for name in names {
        if let Some(member) = object.get(name) {
            return member
                .text()
                .filter(|text| !text.is_empty())
                .ok_or_else(|| {
                    Rejected::schema(format!(
                        "member `{name}`: expected a string that is not empty, got {}",
                        member.type_name()
                    ))
                });
        }
    }
    Err(Rejected::schema(format!(
        "member `{}` is missing",
        names.first().unwrap_or(&"")
    )))
}

fn id<'a>(object: &Object<'a>, names: &[&str]) -> Result<Cow<'a, str>, Rejected> {
    let id = required_text(object, names)?;
    if id.len() > limits::EVENT_ID_BYTES_MAX {
        return Err(Rejected::schema(format!(
            "the event's id has {} bytes, the limit is {}",
            id.len(),
            limits::EVENT_ID_BYTES_MAX
        )));
    }
    Ok(id)
}

fn time_of(object: &Object<'_>, name: &str) -> Result<Timestamp, Rejected> {
    let Some(member) = object.get(name) else {
        return Err(Rejected::schema(format!("member `{name}` is missing")));
    };
    member
        .integer()
        .and_then(time::unix_integer)
        .or_else(|| member.text().and_then(|text| time::rfc3339(&text)))
        .ok_or_else(|| {
            Rejected::schema(format!(
                "member `{name}`: expected milliseconds since 1970, got {}",
                member.type_name()
            ))
        })
}
