//! Hands a message to a mail server, for one recipient at a time.
//!
//! Our own small session over lettre's connection, because its transport does not tell at which step a server refused:
//! a wrong password concerns everybody, a full mailbox one. The library bounds only the connect by a time-out, so
//! everything stands under one of ours.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, TlsParameters, TlsParametersBuilder,
};
use lettre::transport::smtp::commands::{Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;

use crate::actions::Finding;
use crate::actions::client::chain;
use crate::config::{MailTls, MailTransport};

use super::Failure;

pub(super) struct Smtp {
    host: String,
    port: u16,
    tls: MailTls,
    parameters: TlsParameters,
    credentials: Option<Credentials>,
    hello: ClientId,
    timeout: Duration,
}

impl Smtp {
    /// `domain` is what we call ourselves: the sender's, because a container's host name looks like a spammer's.
    pub(super) fn new(settings: &MailTransport, domain: &str) -> Result<Self, String> {
        let MailTransport::Smtp {
            host,
            port,
            tls,
            username,
            password,
            ca_file,
            timeout,
        } = settings
        else {
            return Err("expected an SMTP server".to_owned());
        };
        if *tls == MailTls::None && !is_loopback(host) {
            return Err(format!(
                "tls: none would send passwords and incidents to {host} in clear; only a server on this machine may go without"
            ));
        }
        Ok(Self {
            host: host.to_string(),
            port: *port,
            tls: *tls,
            parameters: parameters(host, ca_file.as_deref())?,
            credentials: match (username, password) {
                (Some(name), Some(password)) => Some(Credentials::new(
                    name.to_string(),
                    password.expose().to_owned(),
                )),
                _ => None,
            },
            hello: ClientId::Domain(domain.to_owned()),
            timeout: *timeout,
        })
    }

    pub(super) async fn send(
        &self,
        from: &Address,
        to: &Address,
        message: &[u8],
    ) -> Result<(), Failure> {
        let exchange = async {
            let mut connection = self.connect().await?;
            let envelope = Envelope::new(Some(from.clone()), vec![to.clone()])
                .map_err(|error| failure_of_server(true, error.to_string()))?;
            connection
                .send(&envelope, message)
                .await
                .map_err(|error| self.failure_of_mail(&error))?;
            // The mail is taken; how the conversation ends is no matter.
            connection.abort().await;
            Ok(())
        };
        self.in_time(exchange).await
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        let implicit = (self.tls == MailTls::Implicit).then(|| self.parameters.clone());
        let mut connection = AsyncSmtpConnection::connect_tokio1(
            (self.host.as_str(), self.port),
            Some(self.timeout),
            &self.hello,
            implicit,
            None,
        )
        .await
        .map_err(|error| self.failure_of_step("connect", &error))?;
        if self.tls == MailTls::Starttls {
            if !connection.can_starttls() {
                return Err(failure_of_server(
                    true,
                    format!("{} does not offer STARTTLS", self.place()),
                ));
            }
            connection
                .starttls(self.parameters.clone(), &self.hello)
                .await
                .map_err(|error| self.failure_of_step("STARTTLS", &error))?;
        }
        if let Some(credentials) = &self.credentials {
            connection
                .auth(&[Mechanism::Plain, Mechanism::Login], credentials)
                .await
                .map_err(|error| self.failure_of_step("AUTH", &error))?;
        }
        Ok(connection)
    }

    /// Goes as far as the recipients and sends nothing.
    pub(super) async fn inspect(&self, from: &Address, to: &[Mailbox]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for mailbox in to {
            let probe = async {
                let mut connection = self.connect().await?;
                let mail = Mail::new(Some(from.clone()), vec![]);
                let sender = connection.command(mail).await;
                sender.map_err(|error| self.failure_of_step("MAIL FROM", &error))?;
                let rcpt = Rcpt::new(mailbox.email.clone(), vec![]);
                let recipient = connection.command(rcpt).await;
                recipient.map_err(|error| self.failure_of_mail(&error))?;
                connection.abort().await;
                Ok(())
            };
            match self.in_time(probe).await {
                Ok(()) => findings.push(Finding::fine(format!(
                    "{} takes mail for {}",
                    self.place(),
                    mailbox.email
                ))),
                Err(Failure::Recipient { said, .. }) => findings.push(Finding::fault(
                    format!(
                        "{} refuses mail for {}: {said}",
                        self.place(),
                        mailbox.email
                    ),
                    "correct the address under `to`, or ask the mail server's owner",
                )),
                Err(Failure::Server { said, .. }) => {
                    findings.push(Finding::fault(
                        said,
                        format!("check host, port, tls, username, password and `from` ({from})"),
                    ));
                    break;
                }
            }
        }
        findings
    }

    async fn in_time(
        &self,
        exchange: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(failure_of_server(
                false,
                format!("{} did not answer in time", self.place()),
            )),
        }
    }

    fn failure_of_step(&self, step: &str, error: &Error) -> Failure {
        let said = format!("{} at {step}: {}", self.place(), chain(error));
        failure_of_server(error.is_permanent(), said)
    }

    /// An answer concerns this mail; no answer concerns the server.
    fn failure_of_mail(&self, error: &Error) -> Failure {
        let said = chain(error);
        if error.status().is_some() {
            Failure::Recipient {
                is_final: error.is_permanent(),
                said,
            }
        } else {
            failure_of_server(false, format!("{}: {said}", self.place()))
        }
    }

    fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

const fn failure_of_server(is_final: bool, said: String) -> Failure {
    Failure::Server { is_final, said }
}

fn parameters(host: &str, ca_file: Option<&Path>) -> Result<TlsParameters, String> {
    let mut builder = TlsParametersBuilder::new(host.to_owned());
    if let Some(path) = ca_file {
        let what = |error: &dyn std::fmt::Display| format!("ca_file {}: {error}", path.display());
        let pem = std::fs::read(path).map_err(|error| what(&error))?;
        builder = builder
            .add_root_certificate(Certificate::from_pem(&pem).map_err(|error| what(&error))?);
    }
    builder
        .build_rustls()
        .map_err(|error| format!("tls: {}", chain(&error)))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
