//! Templates of the configuration: URLs, headers, bodies and links with values of an action filled in.
//!
//! Every value is escaped for the place where it lands, whatever the template's author did: a user id may hold a slash,
//! a quote or a line break, and comes from outside. A value that the action does not have is an error, never an empty
//! string: `DELETE /users//tokens` could mean somebody else.

use std::fmt::Write;

use minijinja::value::{Serde, Value};
use minijinja::{Environment, Error, ErrorKind, Output, UndefinedBehavior};
use serde::Serialize;

use crate::config::TemplateOf;
use crate::model::{Action, TokenKind, limits};

use super::Notification;

/// One template, checked when it is made.
#[derive(Debug)]
pub(super) struct Template {
    environment: Environment<'static>,
    source: String,
}

/// Where a value lands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A part of a path or a query, or a form field.
    Url,
    /// Inside a JSON string.
    Json,
    /// A header, or plain text on one line: control characters are refused.
    Line,
}

const NAME: &str = "template";

/// What a template may name, all of which an action can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    OfRevoker,
    OfLink,
}

const TARGET: &[&str] = &[
    "issuer",
    "tenant",
    "family_id",
    "user_id",
    "client_id",
    "session_id",
    "token_kind",
];
const ACTION: &[&str] = &["id", "kind", "rule", "incident_id", "reason", "event_time"];

impl Names {
    fn groups(self) -> Vec<(&'static str, &'static [&'static str])> {
        let mut groups = vec![("target", TARGET), ("action", ACTION)];
        if self == Self::OfLink {
            groups.extend([
                ("incident", &["id", "severity"] as &[_]),
                ("detection", &["id", "rule"]),
            ]);
        }
        groups
    }

    /// An action that has everything.
    fn specimen(self) -> serde_json::Value {
        let group = |names: &[&str]| -> serde_json::Map<String, serde_json::Value> {
            let specimen = |name: &&str| ((*name).to_owned(), "specimen".into());
            names.iter().map(specimen).collect()
        };
        let groups = self.groups().into_iter();
        groups
            .map(|(name, names)| (name.to_owned(), group(names).into()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    fn listed(self) -> String {
        let group = |(name, names): (&str, &[&str])| format!("`{name}.`: {}", names.join(", "));
        let groups: Vec<String> = self.groups().into_iter().map(group).collect();
        groups.join("; ")
    }
}

impl Template {
    /// Refuses what could not be filled in even for an action that has everything: a slip must be found before a theft.
    pub(super) fn new(
        what: &str,
        source: &str,
        place: Place,
        names: Names,
    ) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(limits::TEMPLATE_FUEL_MAX));
        environment.set_debug(false);
        environment.set_formatter(move |out, _state, value| write_escaped(out, place, value));
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| format!("{what}: {}", fault(&error, source)))?;
        let template = Self {
            environment,
            source: source.to_owned(),
        };
        match template.render(names.specimen()) {
            Ok(_) => Ok(template),
            Err(fault) => Err(format!("{what}: {fault}; there are {}", names.listed())),
        }
    }

    pub(super) fn render(&self, values: impl Serialize) -> Result<String, String> {
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(Serde(values)))
            .map_err(|error| fault(&error, &self.source))
    }
}

/// What is wrong with a template of the configuration, and what it could name instead.
pub fn template_fault(of: TemplateOf, source: &str) -> Option<(String, String)> {
    let names = match of {
        TemplateOf::Revoker => Names::OfRevoker,
        TemplateOf::Link => Names::OfLink,
    };
    let fault = Template::new("this template", source, Place::Line, names).err()?;
    let listed = names.listed();
    let message = fault.strip_suffix(&format!("; there are {listed}"));
    let message = message.unwrap_or(&fault).to_owned();
    Some((message, format!("there are {listed}")))
}

/// What templates of a revoker may name.
pub(super) fn values_of(action: &Action) -> impl Serialize {
    let target = &action.target;
    let mut known = serde_json::Map::new();
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            known.insert(name.to_owned(), value.into());
        }
    };
    put("issuer", Some(&target.issuer));
    put("tenant", target.tenant.as_deref());
    put("family_id", target.family_id.as_deref());
    put("user_id", target.user_id.as_deref());
    put("client_id", target.client_id.as_deref());
    put("session_id", target.session_id.as_deref());
    put("token_kind", target.token_kind.map(TokenKind::as_str));
    serde_json::json!({
        "target": known,
        "action": {
            "id": action.id, "kind": action.kind, "rule": action.rule, "incident_id": action.incident_id,
            "reason": action.reason, "event_time": action.event_time.to_string(),
        },
    })
}

/// What links in a notification may name.
pub(super) fn values_of_notification(notification: &Notification) -> impl Serialize {
    let mut values = serde_json::to_value(values_of(&notification.action)).unwrap_or_default();
    let detection = notification.detections.first();
    if let Some(members) = values.as_object_mut() {
        let incident = &notification.incident;
        members.insert(
            "incident".to_owned(),
            serde_json::json!({"id": incident.id, "severity": incident.severity}),
        );
        if let Some(detection) = detection {
            members.insert(
                "detection".to_owned(),
                serde_json::json!({"id": detection.id, "rule": detection.rule}),
            );
        }
    }
    values
}

fn write_escaped(out: &mut Output, place: Place, value: &Value) -> Result<(), Error> {
    let text = value.to_string();
    let escaped = match place {
        Place::Url => percent_encoded(&text)?,
        Place::Json => json_escaped(&text),
        Place::Line => line(text)?,
    };
    out.write_str(&escaped).map_err(Error::from)
}

/// Everything but the unreserved characters of RFC 3986; also right in a form.
fn percent_encoded(text: &str) -> Result<String, Error> {
    // Alone between slashes these two walk up the path, escaped or not.
    if matches!(text, "" | "." | "..") {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("the value {text:?} is no id"),
        ));
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}")?;
        }
    }
    Ok(encoded)
}

fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or_default()
        .to_owned()
}

fn line(text: String) -> Result<String, Error> {
    if text.chars().any(char::is_control) {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "a value holds a line break or another control character",
        ));
    }
    Ok(text)
}

/// The library says what is wrong, the place says where; a value that is not there is the ordinary case.
fn fault(error: &Error, source: &str) -> String {
    let at = error.range().and_then(|range| source.get(range));
    match (error.kind(), at) {
        (ErrorKind::UndefinedError, Some(name)) => format!("there is no {name}"),
        (kind, at) => {
            let what = error
                .detail()
                .map_or_else(|| kind.to_string(), str::to_owned);
            let place = at.map_or_else(String::new, |at| format!(" at {at:?}"));
            format!("{what}{place}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(source: &str, place: Place, value: &str) -> Result<String, String> {
        Template::new("url", source, place, Names::OfRevoker)?
            .render(json!({"target": {"user_id": value}}))
    }

    #[test]
    fn a_value_cannot_leave_its_place() {
        let hostile = "a/../b?x=1&y#z \"\n\u{1b}é";
        assert_eq!(
            render("/users/{{ target.user_id }}/x", Place::Url, hostile).unwrap(),
            "/users/a%2F..%2Fb%3Fx%3D1%26y%23z%20%22%0A%1B%C3%A9/x"
        );
        let body = render(r#"{"user":"{{ target.user_id }}"}"#, Place::Json, hostile).unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(parsed, json!({"user": hostile}));
        assert!(render("{{ target.user_id }}", Place::Line, hostile).is_err());
        assert_eq!(
            render("{{ target.user_id | safe }}", Place::Url, "a/b").unwrap(),
            "a%2Fb"
        );
        assert!(render("/users/{{ target.user_id }}/x", Place::Url, "..").is_err());
    }

    #[test]
    fn a_missing_value_is_an_error() {
        let fault = render("{{ target.session_id }}", Place::Url, "u").unwrap_err();
        assert_eq!(fault, "there is no target.session_id");
    }

    #[test]
    fn a_name_that_no_action_has_is_refused_when_the_template_is_made() {
        for (source, names) in [
            ("{{ family_id }}", Names::OfRevoker),
            ("{{ target.familyid }}", Names::OfLink),
            ("{{ incident.id }}", Names::OfRevoker),
        ] {
            let fault = Template::new("body", source, Place::Json, names).unwrap_err();
            let said =
                fault.starts_with("body: there is no ") && fault.contains("`target.`: issuer,");
            assert!(said, "{fault}");
        }
        assert!(Template::new("a", "{{ incident.id }}", Place::Url, Names::OfLink).is_ok());
    }

    #[test]
    fn a_broken_or_endless_template_is_told() {
        let broken =
            Template::new("url", "/a/{{ target. }}", Place::Url, Names::OfRevoker).unwrap_err();
        assert_eq!(
            broken,
            "url: unexpected end of variable block, expected identifier or integer at \"}}\""
        );
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
        assert!(render(endless, Place::Url, "u").is_err());
    }
}
