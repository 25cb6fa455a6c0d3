//! A report as a message: headers that threads, filters and vacation programs understand.
//!
//! The subject is the same for all mails of an incident, because mail programs split threads by it; what changes (the
//! state) stands in the sender's display name, which every list of mails shows, and in a header for filters.

use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder, MultiPart, SinglePart};

use crate::actions::Notification;
use crate::model::{Bulletin, News, Severity, Timestamp};

use super::letter::Letter;
use super::{Email, render};
use crate::actions::clean;
use crate::actions::report::Report;

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
    let builder = start(email, report.state, &notification.action.id, now)
        .references(incident.clone())
        .in_reply_to(incident)
        .subject(subject(notification, report));
    let builder = address(builder, email, headers(notification, report));
    let html = render::html(report)?;
    builder
        .multipart(
            MultiPart::alternative()
                .singlepart(SinglePart::plain(render::text(report)))
                .singlepart(SinglePart::html(html)),
        )
        .map_err(|error| error.to_string())
}

/// A bulletin belongs to no thread: each has a subject of its own.
pub(super) fn compose_bulletin(
    email: &Email,
    bulletin: &Bulletin,
    letter: &Letter,
    now: Timestamp,
) -> Result<Message, String> {
    let said = whole_words(&letter.headline, SUBJECT_CHARS_MAX);
    let subject = match &bulletin.news {
        News::Digest(_) => {
            let day = bulletin.until.strftime("%Y-%m-%d");
            format!("[tokenwarden] digest {day}: {said}")
        }
        News::TooLate(_) | News::More(_) => format!("[tokenwarden] {said}"),
    };
    let builder = start(email, letter.state, &bulletin.id, now).subject(subject);
    let headers = vec![
        ("X-Tokenwarden-State", letter.state.to_owned()),
        ("X-Tokenwarden-Action", clean::value(&bulletin.id)),
    ];
    let builder = address(builder, email, headers);
    let parts = MultiPart::alternative()
        .singlepart(SinglePart::plain(letter.text()))
        .singlepart(SinglePart::html(letter.html()?));
    builder.multipart(parts).map_err(|error| error.to_string())
}

/// Sender with the state, date and `Message-ID`.
fn start(email: &Email, state: &str, action_id: &str, now: Timestamp) -> MessageBuilder {
    let domain = email.from.email.domain();
    let sender = format!("tokenwarden {state}");
    Message::builder()
        .from(Mailbox::new(Some(sender), email.from.email.clone()))
        .date(now.into())
        .message_id(Some(format!("<{}@{domain}>", id(action_id))))
}

/// Recipients and headers, the same for all that we write.
fn address(
    mut builder: MessageBuilder,
    email: &Email,
    headers: Vec<(&'static str, String)>,
) -> MessageBuilder {
    for to in &email.to {
        builder = builder.to(to.clone());
    }
    if let Some(reply_to) = &email.reply_to {
        builder = builder.reply_to(reply_to.clone());
    }
    let domain = email.from.email.domain();
    let common = [
        ("List-Id", format!("tokenwarden <tokenwarden.{domain}>")),
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
    ];
    let all = common.into_iter().chain(headers);
    all.fold(builder, |builder, (name, value)| {
        builder.raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str(name),
            value,
        ))
    })
}

fn headers(notification: &Notification, report: &Report) -> Vec<(&'static str, String)> {
    let mut headers = vec![
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
fn subject(notification: &Notification, report: &Report) -> String {
    let specimen = if notification.specimen {
        "specimen: "
    } else {
        ""
    };
    let short: String = report.incident_id.chars().take(8).collect();
    let said = whole_words(&report.headline, SUBJECT_CHARS_MAX);
    format!("[tokenwarden] {specimen}{said} ({short})")
}

/// Half an address would look like another address.
fn whole_words(text: &str, chars_max: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(chars_max) else {
        return text.to_owned();
    };
    let cut = text.get(..end).unwrap_or_default();
    let words = cut.rsplit_once(' ').map_or(cut, |(words, _)| words);
    format!("{words}...")
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
        assert_eq!(whole_words(text, 31), "the foreign holder is at...");
        assert_eq!(whole_words("äöü", 2), "äö...");
    }
}
