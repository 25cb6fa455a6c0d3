//! Mails through a real mail server: STARTTLS and AUTH, refused and busy mailboxes, a server that is away.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokenwarden::actions::{
    Attempt, Gravity, Notifier, Revokers, Surroundings, notifier, specimen,
};
use tokenwarden::config::{EmailReceiver, MailTls, MailTransport, Receiver, ReceiverKind, Secret};

use super::keycloak_realm::env;

struct Account {
    host: String,
    port: u16,
    password: &'static str,
    ca_file: Option<PathBuf>,
    tls: MailTls,
}

impl Account {
    fn good() -> Self {
        let address = env("TW_SMTP");
        let (host, port) = address.rsplit_once(':').unwrap();
        Self {
            host: host.to_owned(),
            port: port.parse().unwrap(),
            password: "pw",
            ca_file: Some(env("TW_SMTP_CA").into()),
            tls: MailTls::Starttls,
        }
    }

    fn receiver(self, to: &[&str]) -> Arc<dyn Notifier> {
        let receiver = Receiver {
            name: "oncall".into(),
            limits: tokenwarden::config::TargetLimits::default(),
            kind: ReceiverKind::Email(EmailReceiver {
                to: to.iter().map(|to| (*to).into()).collect(),
                from: "tokenwarden@example.com".into(),
                reply_to: None,
                transport: MailTransport::Smtp {
                    host: self.host.into(),
                    port: self.port,
                    tls: self.tls,
                    username: Some("warden".into()),
                    password: Some(Secret::new(self.password)),
                    ca_file: self.ca_file,
                    timeout: Duration::from_secs(30),
                },
                links: BTreeMap::new(),
            }),
            digest_at: None,
            fallback: None,
            per_hour_max: None,
        };
        let surroundings = Surroundings {
            now: jiff::Timestamp::now,
            revokers: Revokers::default(),
        };
        notifier(&receiver, surroundings).unwrap()
    }
}

/// A local part that no other test and no earlier run has used.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}{}", jiff::Timestamp::now().as_microsecond())
}

/// Waits until the server has put as many mails into the mailbox, and a little for one too many.
pub(crate) async fn mailbox(local_part: &str, expected: usize) -> Vec<String> {
    let mails = mails(local_part, |mails| mails.len() >= expected).await;
    assert_eq!(mails.len(), expected, "mails for {local_part}");
    mails
}

/// Waits for enough mails in the mailbox, and a little for more.
pub(crate) async fn mails(local_part: &str, are_enough: impl Fn(&[String]) -> bool) -> Vec<String> {
    let folder = Path::new(&env("TW_MAILDIR")).join(local_part).join("new");
    let read = || -> Vec<String> {
        let Ok(files) = std::fs::read_dir(&folder) else {
            return vec![];
        };
        files
            .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
            .collect()
    };
    for _ in 0..300 {
        if are_enough(&read()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    read()
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn a_mail_arrives_by_starttls_and_auth_with_its_headers() {
    let oncall = unique("oncall");
    let receiver = Account::good().receiver(&[&format!("{oncall}@example.com")]);
    let id = unique("act");
    let attempt = receiver
        .notify(&specimen(&id, jiff::Timestamp::now()))
        .await;
    assert!(matches!(attempt, Attempt::Done { .. }), "{attempt:?}");
    let mail = mailbox(&oncall, 1).await.remove(0);
    for line in [
        format!("Message-ID: <{id}@example.com>"),
        format!("References: <specimen-{id}@example.com>"),
        "Auto-Submitted: auto-generated".to_owned(),
        "From: \"tokenwarden SPECIMEN\" <tokenwarden@example.com>".to_owned(),
    ] {
        assert!(mail.lines().any(|found| found == line), "{line} in {mail}");
    }
    assert!(
        mail.contains("(TLS1.3)") || mail.contains("TLS1.3"),
        "{mail}"
    );
    assert!(mail.contains("text/plain") && mail.contains("text/html"));
    assert!(mail.contains("nobody's token was stolen"));
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn a_refused_mailbox_does_not_silence_the_others() {
    let (first, last) = (unique("first"), unique("last"));
    let receiver = Account::good().receiver(&[
        &format!("{first}@example.com"),
        "bad@example.com",
        &format!("{last}@example.com"),
    ]);
    let attempt = receiver
        .notify(&specimen(&unique("act"), jiff::Timestamp::now()))
        .await;
    let Attempt::Done { detail, .. } = attempt else {
        panic!("{attempt:?}");
    };
    assert!(
        detail.contains("refused for bad@example.com") && detail.contains("no such mailbox"),
        "{detail}"
    );
    mailbox(&first, 1).await;
    mailbox(&last, 1).await;
    let alone = Account::good().receiver(&["bad@example.com"]);
    let attempt = alone
        .notify(&specimen(&unique("act"), jiff::Timestamp::now()))
        .await;
    assert!(matches!(attempt, Attempt::Refused { .. }), "{attempt:?}");
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn a_retry_goes_only_to_those_who_have_not_got_it() {
    let oncall = unique("oncall");
    let receiver =
        Account::good().receiver(&[&format!("{oncall}@example.com"), "later@example.com"]);
    let notification = specimen(&unique("act"), jiff::Timestamp::now());
    for _ in 0..3 {
        let attempt = receiver.notify(&notification).await;
        let Attempt::Retry { reason, .. } = attempt else {
            panic!("{attempt:?}");
        };
        assert!(
            reason.contains("not yet for later@example.com") && reason.contains("mailbox busy"),
            "{reason}"
        );
    }
    mailbox(&oncall, 1).await;
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn what_is_wrong_with_the_server_is_told() {
    let to = ["oncall@example.com"];
    let notification = specimen("act", jiff::Timestamp::now());
    let wrong = |change: fn(&mut Account)| {
        let mut account = Account::good();
        change(&mut account);
        account.receiver(&to)
    };
    let password = wrong(|account| account.password = "guess")
        .notify(&notification)
        .await;
    let Attempt::Refused { reason } = &password else {
        panic!("{password:?}");
    };
    assert!(
        reason.contains("at AUTH") && !reason.contains("guess"),
        "{reason}"
    );
    let untrusted = wrong(|account| account.ca_file = None)
        .notify(&notification)
        .await;
    let Attempt::Retry { reason, .. } = &untrusted else {
        panic!("{untrusted:?}");
    };
    assert!(reason.contains("at STARTTLS"), "{reason}");
    // Without TLS this server offers no AUTH, so nothing was sent in clear.
    let clear = wrong(|account| account.tls = MailTls::None)
        .notify(&notification)
        .await;
    assert!(!matches!(clear, Attempt::Done { .. }), "{clear:?}");
    let away = wrong(|account| account.port = 9)
        .notify(&notification)
        .await;
    assert!(matches!(away, Attempt::Retry { .. }), "{away:?}");
}

#[tokio::test]
#[ignore = "needs real servers: tests/run"]
async fn inspection_asks_for_each_recipient_and_sends_nothing() {
    let oncall = unique("oncall");
    let address = format!("{oncall}@example.com");
    let findings = Account::good()
        .receiver(&[&address, "bad@example.com"])
        .inspect()
        .await;
    let gravities: Vec<_> = findings.iter().map(|found| found.gravity).collect();
    assert_eq!(gravities, [Gravity::Fine, Gravity::Fault], "{findings:?}");
    assert!(findings[1].what.contains("no such mailbox"), "{findings:?}");
    let mut account = Account::good();
    account.password = "guess";
    let findings = account.receiver(&[&address]).inspect().await;
    assert!(findings[0].what.contains("at AUTH"), "{findings:?}");
    mailbox(&oncall, 0).await;
}
