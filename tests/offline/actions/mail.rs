//! Mails as they are written: the whole of one, and what hostile values cannot do to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokenwarden::actions::{
    Attempt, Notification, Notifier, Revoker, Revokers, Surroundings, notifier, revoker, specimen,
};
use tokenwarden::config::{
    self, EmailReceiver, KeycloakRevoker, MailTls, MailTransport, Receiver, ReceiverKind,
    RevokerKind, Secret,
};
use tokenwarden::model::{ActionState, Evidence, Severity, Timestamp, Value};

use super::server::{Server, reply};
use super::stories;
use super::{detail, reason};

fn now() -> Timestamp {
    "2026-11-20T10:20:07Z".parse().unwrap()
}

fn surroundings(revokers: Vec<Arc<dyn Revoker>>) -> Surroundings {
    Surroundings {
        now,
        revokers: Revokers::from_list(revokers),
    }
}

pub(super) fn settings(transport: MailTransport) -> EmailReceiver {
    EmailReceiver {
        to: vec![
            "oncall@example.com".into(),
            "Second <second@example.com>".into(),
        ],
        from: "tokenwarden@example.com".into(),
        reply_to: None,
        transport,
        links: BTreeMap::from([(
            "User at Keycloak".into(),
            "https://sso.example.com/admin/corp/console/#/corp/users/{{ target.user_id }}/sessions"
                .into(),
        )]),
    }
}

pub(super) fn email(settings: EmailReceiver, revokers: Vec<Arc<dyn Revoker>>) -> Arc<dyn Notifier> {
    let receiver = Receiver {
        name: "oncall".into(),
        limits: tokenwarden::config::TargetLimits::default(),
        kind: ReceiverKind::Email(settings),
        digest_at: None,
        fallback: None,
        per_hour_max: None,
    };
    notifier(&receiver, surroundings(revokers)).unwrap()
}

/// Writes the mail into a folder and reads it back.
async fn mail(notification: &Notification, revokers: Vec<Arc<dyn Revoker>>) -> Mail {
    let folder = tempfile::tempdir().unwrap();
    let email = email(
        settings(MailTransport::Folder(folder.path().into())),
        revokers,
    );
    detail(&email.notify(notification).await);
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
    assert_eq!(files.len(), 1);
    let raw = std::fs::read_to_string(files[0].as_ref().unwrap().path()).unwrap();
    Mail::read(&raw)
}

pub(crate) struct Mail {
    pub(crate) headers: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

impl Mail {
    pub(crate) fn read(raw: &str) -> Self {
        let raw = raw.replace("\r\n", "\n");
        let (headers, body) = raw.split_once("\n\n").unwrap();
        let boundary = headers.split_once("boundary=\"").unwrap().1;
        let boundary = boundary.split_once('"').unwrap().0;
        let parts: Vec<&str> = body.split(&format!("--{boundary}")).collect();
        let part = |n: usize| {
            let (headers, body) = parts[n].trim_start().split_once("\n\n").unwrap();
            if headers.contains("quoted-printable") {
                unquoted(body)
            } else {
                body.to_owned()
            }
        };
        Self {
            headers: headers.replace(boundary, "BOUNDARY"),
            text: part(1),
            html: part(2),
        }
    }

    /// The subject on one line, as a mail program shows it.
    pub(crate) fn subject(&self) -> String {
        let (_, rest) = self.headers.split_once("\nSubject: ").unwrap();
        let lines: Vec<&str> = rest.lines().collect();
        let folded = lines[1..].iter().take_while(|line| line.starts_with(' '));
        folded.fold(lines[0].to_owned(), |subject, line| subject + line)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let line = self
            .headers
            .lines()
            .find(|line| line.starts_with(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name}"))
            .split_once(": ")
            .unwrap()
            .1
    }
}

fn unquoted(text: &str) -> String {
    let text = text.replace("=\n", "");
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'=' {
            let hex = std::str::from_utf8(&tail[..2]).unwrap();
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_mail_answers_the_questions_in_order() {
    let mail = mail(&specimen("n1", now()), vec![]).await;
    insta::assert_snapshot!("mail_headers", mail.headers);
    insta::assert_snapshot!("mail_text", mail.text);
    insta::assert_snapshot!("mail_html", mail.html);
}

/// What each of the ten says, and how some of them look; the pictures were looked at in a browser (light, dark, narrow).
#[tokio::test]
async fn ten_stories_as_mails() {
    for (name, story) in stories::all() {
        let mail = mail(&story, vec![]).await;
        let head = format!(
            "From: {}\nSubject: {}\n\n",
            mail.header("From"),
            mail.subject()
        );
        insta::assert_snapshot!(format!("mail_{name}_text"), head + &mail.text);
        if ["contained", "failed", "storm", "stand_in", "hostile"].contains(&name) {
            insta::assert_snapshot!(format!("mail_{name}_html"), mail.html);
        }
    }
}

/// Who reads the first finding only has read the one that matters.
#[tokio::test]
async fn the_gravest_finding_stands_first() {
    let mut notification = specimen("n1", now());
    let mut first = notification.detections[0].clone();
    (first.rule, first.severity) = ("refresh-velocity".into(), Severity::Medium);
    notification.detections.insert(0, first);
    let mail = mail(&notification, vec![]).await;
    let why = mail.text.split_once("\nWhy\n").unwrap().1;
    let place = |rule: &str| {
        why.find(rule)
            .unwrap_or_else(|| panic!("no {rule} in {why}"))
    };
    assert!(place("token-reuse (critical)") < place("refresh-velocity (medium)"));
}

#[tokio::test]
async fn the_html_loads_nothing_from_anywhere() {
    let mail = mail(&specimen("n1", now()), vec![]).await;
    for from_elsewhere in [
        "<img", "<script", "src=", "url(", "@import", "<link", "<iframe",
    ] {
        assert!(!mail.html.contains(from_elsewhere), "{from_elsewhere}");
    }
}

/// Mail programs split threads by the subject; the state must be visible all the same.
#[tokio::test]
async fn state_and_severity_change_the_sender_and_never_the_subject() {
    let mut notification = specimen("n1", now());
    notification.specimen = false;
    let mut seen = Vec::new();
    for (state, expected) in [
        (ActionState::Ready, "UNDER WAY"),
        (ActionState::Done, "CONTAINED"),
        (ActionState::Parked, "FAILED"),
        (ActionState::Held, "WAITS FOR YOU"),
        (ActionState::Suppressed, "ALERT"),
    ] {
        notification.actions[0].state = state;
        let mail = mail(&notification, vec![]).await;
        let from = mail.header("From");
        assert!(from.contains(&format!("tokenwarden {expected}")), "{from}");
        assert_eq!(mail.header("X-Tokenwarden-State"), expected);
        seen.push((
            mail.header("Subject").to_owned(),
            mail.header("References").to_owned(),
        ));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].1, "<specimen-n1@example.com>");
}

#[tokio::test]
async fn hostile_values_inject_neither_headers_nor_markup_nor_escapes() {
    let hostile = "x\r\nBcc: thief@evil.example\r\n\r\n<script>alert(1)</script>\"'>\u{1b}[2J\u{202e}http://evil.example/ \
                   {{ 7*6007 }}";
    let mut notification = specimen("n1", now());
    notification.specimen = false;
    notification.action.target.user_id = Some(hostile.into());
    notification.action.target.client_id = Some(hostile.into());
    notification.action.rule = hostile.into();
    notification.action.id = hostile.into();
    notification.incident.id = hostile.into();
    notification.incident.summary = hostile.into();
    notification.incident.user_id = Some(hostile.replace('x', "y").into());
    notification.actions[0].outcome = Some(hostile.into());
    let detection = &mut notification.detections[0];
    detection.id = hostile.into();
    detection.summary = hostile.into();
    detection.evidence = Evidence::new()
        .with(hostile, hostile)
        .with("owner", Evidence::new().with("agent", hostile))
        .with("thief", Evidence::new().with(hostile, "y"))
        .with(
            "timeline",
            vec![Value::Map(Evidence::new().with("agent", hostile))],
        );
    let mail = mail(&notification, vec![]).await;

    assert!(
        !mail.headers.lines().any(|line| line.starts_with("Bcc")),
        "{}",
        mail.headers
    );
    for text in [&mail.text, &mail.html] {
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
        assert!(!text.contains("http://evil"), "{text}");
        assert!(text.contains("7*6007") && !text.contains("42049"), "{text}");
    }
    assert!(!mail.text.lines().any(|line| line.starts_with("Bcc")));
    assert!(!mail.html.contains("<script"));
    assert!(
        !mail.text.contains("exempt_from"),
        "no YAML with such a name"
    );
}

/// Everything that a rule may put into its evidence is shown, also what nobody has thought of here.
#[tokio::test]
async fn evidence_is_shown_whatever_it_holds() {
    let place = |name: &str, ip: &str| Evidence::new().with("place", name).with("ip_address", ip);
    let mut notification = specimen("n1", now());
    notification.detections[0].evidence = Evidence::new()
        .with("from", place("Berlin", "192.0.2.10"))
        .with("to", place("Lagos", "198.51.100.20").with("asn", 64500))
        .with("distance_km", 5200.4)
        .with("speed_km_per_h", 74_300.0)
        .with("threshold_km_per_h", 900)
        .with("from_alone", Evidence::new().with("a", 1).with("b", true))
        .with("words", vec![Value::from("x"), Value::from("y")])
        .with(
            "timeline",
            (0..40)
                .map(|n| Value::Map(Evidence::new().with("token", n)))
                .collect::<Vec<_>>(),
        );
    let mail = mail(&notification, vec![]).await;
    let why = mail.text.split_once("\nWhy\n").unwrap().1;
    insta::assert_snapshot!(why.split_once("Who and where").unwrap().0);
}

/// Names instead of ids, asked when the mail is written; and what a person can do where nothing was done.
#[tokio::test]
async fn the_server_is_asked_for_the_name_and_gives_the_command() {
    let server = Server::start(|seen, _| match seen.path.as_str() {
        path if path.ends_with("/token") => reply(200, r#"{"access_token":"t"}"#),
        "/admin/realms/corp/users/u-1" => reply(200, r#"{"username":"alice"}"#),
        _ => reply(404, ""),
    })
    .await;
    let keycloak = config::Revoker {
        name: "kc".into(),
        issuers: vec![],
        limits: tokenwarden::config::TargetLimits::default(),
        kind: RevokerKind::Keycloak(KeycloakRevoker {
            url: server.url.as_str().into(),
            realm: "corp".into(),
            realm_id: Some("realm-uuid".into()),
            client_id: "tokenwarden".into(),
            client_secret: Secret::new("hush"),
            required_action: "UPDATE_PASSWORD".into(),
            timeout: Duration::from_secs(5),
            ca_file: None,
        }),
    };
    let keycloak = revoker(&keycloak, true, jiff::Timestamp::now).unwrap();
    let mut notification = specimen("n1", now());
    notification.specimen = false;
    notification.action.target.user_id = Some("u-1".into());
    notification.action.target.tenant = Some("realm-uuid".into());
    let record = &mut notification.actions[0];
    record.state = ActionState::Parked;
    record.action.target.tenant = Some("realm-uuid".into());
    record.outcome = Some("503".into());
    let by_name = mail(&notification, vec![keycloak.clone()]).await;
    assert!(
        by_name.text.contains("user     alice (u-1)"),
        "{}",
        by_name.text
    );
    assert!(
        by_name
            .text
            .contains("FAILED: end the login (revoke its token family): 503")
    );
    assert!(
        by_name
            .text
            .contains("\n    kcadm.sh delete sessions/specimen-session -r corp\n")
    );

    notification.actions[0].action.target.session_id = Some("x; rm -rf /".into());
    let hostile = mail(&notification, vec![keycloak]).await;
    assert!(!hostile.text.contains("rm -rf"), "{}", hostile.text);
}

#[tokio::test]
async fn a_folder_keeps_every_mail_of_an_incident() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mails");
    let email = email(settings(MailTransport::Folder(path.clone())), vec![]);
    for n in ["n1", "n2"] {
        let mut notification = specimen(n, now());
        notification.incident.id = "../inc".into();
        detail(&email.notify(&notification).await);
    }
    let mut names: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["___inc-1.eml", "___inc-2.eml"]);
}

fn smtp(host: &str, port: u16, tls: MailTls) -> MailTransport {
    MailTransport::Smtp {
        host: host.into(),
        port,
        tls,
        username: None,
        password: None,
        ca_file: None,
        timeout: Duration::from_millis(300),
    }
}

/// The library would wait for ever.
#[tokio::test]
async fn a_mail_server_that_says_nothing_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let email = email(settings(smtp("127.0.0.1", port, MailTls::None)), vec![]);
    let attempt = email.notify(&specimen("n1", now())).await;
    assert!(matches!(attempt, Attempt::Retry { .. }), "{attempt:?}");
    assert!(
        reason(&attempt).contains("oncall@example.com (127.0.0.1"),
        "{attempt:?}"
    );
    assert!(
        reason(&attempt).contains("second@example.com"),
        "{attempt:?}"
    );
}

#[test]
fn faults_of_a_receiver_are_told_before_the_first_mail() {
    let fault = |settings: EmailReceiver| {
        let receiver = Receiver {
            name: "oncall".into(),
            limits: tokenwarden::config::TargetLimits::default(),
            kind: ReceiverKind::Email(settings),
            digest_at: None,
            fallback: None,
            per_hour_max: None,
        };
        notifier(&receiver, surroundings(vec![])).err().unwrap()
    };
    let folder = || MailTransport::Folder("mails".into());
    let mut to = settings(folder());
    to.to = vec!["nobody".into()];
    assert!(fault(to).starts_with("receiver oncall: to: \"nobody\" is no mail address"));
    let clear = settings(smtp("mail.example.com", 25, MailTls::None));
    assert!(fault(clear).contains("tls: none"));
    let mut link = settings(folder());
    link.links = BTreeMap::from([("x".into(), "javascript:alert(1)".into())]);
    assert!(fault(link).contains("links: x"));
}
