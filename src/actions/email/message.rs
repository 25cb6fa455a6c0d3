//! A report as a message: headers that threads, filters and vacation programs understand.
//!
//! The subject is the same for all mails of an incident, because mail programs split threads by it; what changes (the
//! state) stands in the sender's display name, which every list of mails shows, and in a header for filters.

use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};

use crate::actions::Notification;
use crate::model::{Severity, Timestamp};

use super::report::Report;
use super::{Email, clean, render};

/// Longer subjects are cut by the programs that show them.
const SUBJECT_CHARS_MAX: usize = 120;

pub(super) fn compose(
    email: &Email,
    notification: &Notification,
    report: &Report,
    now: Timestamp,
) -> Result<Message, String> {
    let domain = email.from.email.domain();
    let incident = format!("<{}@{domain}>", id(&notification.incident.id));
    let state = format!("tokenwarden {}", report.state);
    let mut builder = Message::builder()
        .from(Mailbox::new(Some(state), email.from.email.clone()))
        .date(now.into())
        .message_id(Some(format!("<{}@{domain}>", id(&notification.action.id))))
        .references(incident.clone())
        .in_reply_to(incident)
        .subject(subject(notification));
    for to in &email.to {
        builder = builder.to(to.clone());
    }
    if let Some(reply_to) = &email.reply_to {
        builder = builder.reply_to(reply_to.clone());
    }
    for (name, value) in headers(notification, report, domain) {
        builder = builder.raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str(name),
            value,
        ));
    }
    let html = render::html(report)?;
    builder
        .multipart(
            MultiPart::alternative()
                .singlepart(SinglePart::plain(render::text(report)))
                .singlepart(SinglePart::html(html)),
        )
        .map_err(|error| error.to_string())
}

fn headers(
    notification: &Notification,
    report: &Report,
    domain: &str,
) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("List-Id", format!("tokenwarden <tokenwarden.{domain}>")),
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
        ("X-Tokenwarden-State", report.state.to_owned()),
        ("X-Tokenwarden-Severity", report.severity.to_owned()),
        (
            "X-Tokenwarden-Rule",
            clean::value(&notification.action.rule),
        ),
        ("X-Tokenwarden-Incident", report.incident_id.clone()),
        (
            "X-Tokenwarden-Action",
            clean::value(&notification.action.id),
        ),
    ];
    if let Some(detection) = notification.detections.first() {
        headers.push(("X-Tokenwarden-Detection", clean::value(&detection.id)));
    }
    if notification.incident.severity == Severity::Critical && !report.is_specimen {
        headers.push(("X-Priority", "1".to_owned()));
        headers.push(("Importance", "high".to_owned()));
    }
    headers
}

/// Only what stays as it is for the whole life of an incident.
fn subject(notification: &Notification) -> String {
    let incident = &notification.incident;
    let specimen = if notification.specimen {
        "specimen: "
    } else {
        ""
    };
    let short: String = clean::value(&incident.id).chars().take(8).collect();
    let said = whole_words(&clean::value(&incident.summary), SUBJECT_CHARS_MAX);
    format!("[tokenwarden] {specimen}{said} ({short})")
}

/// Half an address would look like another address.
fn whole_words(text: &str, chars_max: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(chars_max) else {
        return text.to_owned();
    };
    let cut = text.get(..end).unwrap_or_default();
    let words = cut.rsplit_once(' ').map_or(cut, |(words, _)| words);
    format!("{words}…")
}

/// Ids are hashes of ours; should one hold anything else, it must not break out of the angle brackets.
fn id(text: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.chars().filter(is_plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_subject_ends_with_a_whole_word() {
        let text = "the foreign holder is at 198.51.100.20";
        assert_eq!(whole_words(text, 38), text);
        assert_eq!(whole_words(text, 31), "the foreign holder is at…");
        assert_eq!(whole_words("äöü", 2), "äö…");
    }
}
