//! `receivers:`: each has a name, one kind (`email`, `webhook`, a service), and perhaps a time for its daily digest, a limit of
//! messages, and who is told in its place.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Text;
use crate::model::limits::{DIGEST_AT, MESSAGES_PER_HOUR};
use crate::yaml::{Faults, Map, Node, is_url};

use super::super::{
    EmailReceiver, MailTls, MailTransport, Receiver, ReceiverKind, Secret, TargetLimits,
    WebhookReceiver,
};
use super::revokers::{TIMEOUT_DEFAULT, limits};
use super::{existing_file, is_loopback, name, secret, services, warn_if_plain};

const KINDS: [&str; 5] = ["email", "slack", "pagerduty", "alertmanager", "webhook"];

/// Greylisting and virus scanners make mail servers slow.
const MAIL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

pub(super) fn receiver(node: &Node, faults: &mut Faults) -> Option<Receiver> {
    let mut map = node.mapping(faults)?;
    let name = map.required("name", faults, name);
    let kind = map
        .one_kind(&KINDS, faults)
        .and_then(|(kind, node)| match kind {
            "email" => email(node, faults).map(ReceiverKind::Email),
            "slack" => services::slack(node, faults).map(ReceiverKind::Slack),
            "pagerduty" => services::pagerduty(node, faults).map(ReceiverKind::PagerDuty),
            "alertmanager" => services::alertmanager(node, faults).map(ReceiverKind::Alertmanager),
            _ => webhook(node, faults).map(ReceiverKind::Webhook),
        });
    // People read mails; what reads a webhook asks for what it wants.
    let usual = match kind {
        Some(ReceiverKind::Email(_)) => Daily::At(DIGEST_AT),
        _ => Daily::Off,
    };
    let digest_at = match map.or("digest", usual, faults, digest) {
        Daily::At(time) => Some(time),
        Daily::Off => None,
    };
    let fallback = map.optional("fallback", faults, Node::text);
    let is_read = (kind.as_ref()).is_some_and(ReceiverKind::is_read_by_people);
    let usual = if is_read {
        PerHour::AtMost(MESSAGES_PER_HOUR)
    } else {
        PerHour::Unlimited
    };
    let per_hour_max = match map.or("per_hour_max", usual, faults, per_hour) {
        PerHour::AtMost(most) => Some(most),
        PerHour::Unlimited => None,
    };
    as_states(node, kind.as_ref(), faults);
    let limits = map.or("limits", TargetLimits::default(), faults, limits);
    map.finish(faults);
    Some(Receiver {
        name: name?,
        kind: kind?,
        digest_at,
        fallback,
        per_hour_max,
        limits,
    })
}

/// What knows incidents as states takes neither a page of news nor a part of what there is.
fn as_states(node: &Node, kind: Option<&ReceiverKind>, faults: &mut Faults) {
    let Some(kind @ (ReceiverKind::PagerDuty(_) | ReceiverKind::Alertmanager(_))) = kind else {
        return;
    };
    if let Some(digest) = node
        .member("digest")
        .filter(|it| it.as_str() != Some("off"))
    {
        let fault = digest.fault(format!("{} takes no digest", kind.name()));
        faults.push(fault.with_hint("set it at a receiver of mails, of Slack or of a webhook"));
    }
    if let (ReceiverKind::Alertmanager(_), Some(limit)) = (kind, node.member("per_hour_max")) {
        let fault = limit.fault("alertmanager is told of every incident until it has ended");
        faults.push(fault.with_hint("remove this line; grouping there makes few messages of many"));
    }
}

#[derive(Debug, Clone, Copy)]
enum PerHour {
    AtMost(u32),
    Unlimited,
}

/// A number, or `none`.
fn per_hour(node: &Node, faults: &mut Faults) -> Option<PerHour> {
    if node.as_str() == Some("none") {
        return Some(PerHour::Unlimited);
    }
    node.integer(1..=10_000, faults).map(PerHour::AtMost)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Daily {
    At(Duration),
    Off,
}

/// `daily`, `off`, or a time of day in UTC.
fn digest(node: &Node, faults: &mut Faults) -> Option<Daily> {
    match node.as_str() {
        Some("off") => Some(Daily::Off),
        Some("daily") => Some(Daily::At(DIGEST_AT)),
        text => {
            let at = text.and_then(time_of_day);
            if at.is_none() {
                let hint = "write daily (07:00 UTC), off, or a time of day in UTC such as 06:30";
                let message = "expected `daily`, `off` or a time of day";
                faults.push(node.fault(message).with_hint(hint));
            }
            at.map(Daily::At)
        }
    }
}

/// `06:30`.
fn time_of_day(text: &str) -> Option<Duration> {
    let (hours, minutes) = text.split_once(':')?;
    let part = |text: &str, below: u64| -> Option<u64> {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_number)?;
        (number < below).then_some(number)
    };
    Some(Duration::from_secs(
        part(hours, 24)? * 3600 + part(minutes, 60)? * 60,
    ))
}

fn email(node: &Node, faults: &mut Faults) -> Option<EmailReceiver> {
    let mut map = node.mapping(faults)?;
    let to = map.required("to", faults, mailboxes);
    let from = map.required("from", faults, mailbox);
    let reply_to = map.optional("reply_to", faults, mailbox);
    let transport = map
        .one_kind(&["smtp", "folder"], faults)
        .and_then(|(kind, node)| match kind {
            "smtp" => smtp(node, faults),
            _ => node.path(faults).map(MailTransport::Folder),
        });
    let links = map.or("links", BTreeMap::new(), faults, links);
    map.finish(faults);
    Some(EmailReceiver {
        to: to?,
        from: from?,
        reply_to,
        transport: transport?,
        links,
    })
}

fn mailboxes(node: &Node, faults: &mut Faults) -> Option<Vec<Text>> {
    let all = node.one_or_list(faults, mailbox)?;
    if node.items().is_empty() {
        faults.push(node.fault("expected at least one address"));
        return None;
    }
    Some(all)
}

/// `oncall@example.com`, or `On call <oncall@example.com>`.
fn mailbox(node: &Node, faults: &mut Faults) -> Option<Text> {
    let text = node.text(faults)?;
    if text.parse::<lettre::message::Mailbox>().is_err() {
        let message = format!("`{text}` is no mail address");
        let hint = "write oncall@example.com or On call <oncall@example.com>";
        faults.push(node.fault(message).with_hint(hint));
        return None;
    }
    Some(text)
}

pub(super) fn links(node: &Node, faults: &mut Faults) -> Option<BTreeMap<Text, Text>> {
    let entries = node.mapping(faults)?.entries().into_iter();
    let read = entries.filter_map(|entry| {
        Some((
            entry.name.clone(),
            entry.node.url(&["https", "http"], faults)?,
        ))
    });
    Some(read.collect())
}

/// A name or an address; the port has a key of its own.
fn host(node: &Node, faults: &mut Faults) -> Option<Text> {
    let host = node.text(faults)?;
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    if !is_address && host.contains([':', '/', '@', ' ']) {
        let fault = node.fault(format!(
            "expected the name of a host, found `{}`",
            host.escape_debug()
        ));
        faults.push(fault.with_hint("such as mail.example.com; the port goes under `port`"));
        return None;
    }
    Some(host)
}

fn smtp(node: &Node, faults: &mut Faults) -> Option<MailTransport> {
    const TLS: [(&str, MailTls); 3] = [
        ("implicit", MailTls::Implicit),
        ("starttls", MailTls::Starttls),
        ("none", MailTls::None),
    ];
    let mut map = node.mapping(faults)?;
    let host = map.required("host", faults, host);
    let tls = map.or("tls", MailTls::Starttls, faults, |node, faults| {
        node.one_of(&TLS, faults)
    });
    let port = map.or("port", usual_port(tls), faults, |node, faults| {
        node.integer(1..=u16::MAX, faults)
    });
    let username = map.optional("username", faults, Node::text);
    let password = secret::optional(&mut map, "password", faults);
    let ca_file = map.optional("ca_file", faults, existing_file);
    let timeout = map.or(
        "timeout",
        MAIL_TIMEOUT_DEFAULT,
        faults,
        Node::duration_above_zero,
    );
    if username.is_some() != secret::is_given(&mut map, "password") {
        faults.push(map.fault("`username` and `password_file` (or `password`) belong together"));
    }
    if let (MailTls::None, Some(host), Some(node)) = (tls, &host, node.member("tls"))
        && !is_loopback(host)
    {
        let message = format!("mail to `{host}` would leave this machine in the clear");
        faults.push(node.fault(message).with_hint("use starttls or implicit"));
    }
    map.finish(faults);
    Some(MailTransport::Smtp {
        host: host?,
        port,
        tls,
        username,
        password,
        ca_file,
        timeout,
    })
}

const fn usual_port(tls: MailTls) -> u16 {
    match tls {
        MailTls::Implicit => 465,
        MailTls::Starttls => 587,
        MailTls::None => 25,
    }
}

/// `url` or `url_file`: an address that is a key too, and is not shown.
pub(super) fn secret_url(map: &mut Map<'_>, faults: &mut Faults) -> Option<Secret> {
    let (url, node) = secret::required_placed(map, "url", faults)?;
    if !is_url(url.expose(), &["https", "http"]) {
        faults.push(node.fault("expected a URL that starts with https:// or http://"));
        return None;
    }
    warn_if_plain(node, url.expose(), faults);
    Some(url)
}

fn webhook(node: &Node, faults: &mut Faults) -> Option<WebhookReceiver> {
    let mut map = node.mapping(faults)?;
    let url = secret_url(&mut map, faults);
    let secret = secret::optional(&mut map, "secret", faults);
    let timeout = map.or(
        "timeout",
        TIMEOUT_DEFAULT,
        faults,
        Node::duration_above_zero,
    );
    let ca_file = map.optional("ca_file", faults, existing_file);
    map.finish(faults);
    Some(WebhookReceiver {
        url: url?,
        secret,
        timeout,
        ca_file,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_digest_is_daily_off_or_at_a_time() {
        let read = |text: &str| {
            let mut faults = Faults::default();
            let node = Node::parse(text, Path::new("t.yaml"), &mut faults).unwrap();
            digest(&node, &mut faults)
        };
        let minutes = |minutes: u64| Some(Daily::At(Duration::from_secs(minutes * 60)));
        assert_eq!(read("daily"), minutes(7 * 60));
        assert_eq!(read("off"), Some(Daily::Off));
        assert_eq!(read("00:00"), minutes(0));
        assert_eq!(read("23:59"), minutes(24 * 60 - 1));
        for wrong in [
            "24:00", "7:00", "07:60", "+7:00", "weekly", "07:00:00", "[]",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
