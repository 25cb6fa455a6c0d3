//! The token store of the simulated authorization server: families, rotation, refusal, and the ways servers get it wrong.
//!
//! Pure: a request goes in, an answer and the facts for the audit log come out; HTTP, time and SQL are the business of
//! `authorization_server`. Only hashes of tokens are kept, as RFC 9700 advises.
//!
//! A refused replay ends nothing here, as with many real servers: whoever holds the newest token lives on until
//! somebody ends the family. That is the gap the daemon fills.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::random::Random;
use crate::model::{EventType, Initiator, Outcome, Reason};

/// Tokens kept; beyond it nothing new is issued. A demo left running over a weekend stays below it.
const TOKENS_MAX: usize = 1_000_000;

/// What the server does with a refresh token that has been used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReusePolicy {
    /// Refuses the presented token and leaves its family alone.
    RefuseToken,
    /// A bug seen in real servers: the consumed token is honoured and a second branch grows.
    AcceptByMistake,
}

#[derive(Debug, Clone, Copy)]
pub struct ClientSetting {
    pub client_id: &'static str,
    pub reuse: ReusePolicy,
}

/// What happened, for the audit log: the part of an event that the token store knows.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    pub kind: EventType,
    pub outcome: Outcome,
    pub reason: Option<Reason>,
    pub error: Option<&'static str>,
    pub user_id: Option<String>,
    pub client_id: Option<String>,
    pub session_id: Option<String>,
    pub family_id: Option<String>,
    pub token_id: Option<String>,
    pub new_token_id: Option<String>,
    pub initiator: Option<Initiator>,
}

/// The answer to a token request, and the facts that led to it.
pub(super) struct Decision {
    /// The new refresh token, or the OAuth error.
    pub answer: Result<String, &'static str>,
    pub facts: Vec<Fact>,
}

pub(super) struct Grants {
    random: Random,
    clients: &'static [ClientSetting],
    families: HashMap<String, Family>,
    tokens: HashMap<String, Token>,
}

struct Family {
    user_id: String,
    client_id: &'static str,
    session_id: String,
    ended: Option<Reason>,
}

struct Token {
    family_id: String,
    consumed: bool,
}

impl Grants {
    pub(super) fn new(seed: u64, clients: &'static [ClientSetting]) -> Self {
        Self {
            random: Random::part(seed, 0),
            clients,
            families: HashMap::new(),
            tokens: HashMap::new(),
        }
    }

    /// A user has logged in: a session, and in it a family with its first token.
    pub(super) fn log_in(&mut self, user_id: &str, client_id: &str) -> Decision {
        let Some(client) = self.client(client_id) else {
            return refused(
                "invalid_client",
                Fact::failed(EventType::Login, Reason::Other),
            );
        };
        if self.tokens.len() >= TOKENS_MAX {
            return refused(
                "temporarily_unavailable",
                Fact::failed(EventType::Login, Reason::Policy),
            );
        }
        let family = Family {
            user_id: user_id.to_owned(),
            client_id: client.client_id,
            session_id: format!("s-{}", self.short_id()),
            ended: None,
        };
        let family_id = format!("f-{}", self.short_id());
        let login = Fact {
            family_id: None,
            ..family.fact(&family_id, EventType::Login)
        };
        let mut issue = family.fact(&family_id, EventType::Issue);
        self.families.insert(family_id.clone(), family);
        let token = self.issue(&family_id);
        issue.new_token_id = Some(token_id(&token));
        Decision {
            answer: Ok(token),
            facts: vec![login, issue],
        }
    }

    /// A refresh token is presented.
    pub(super) fn refresh(&mut self, token: &str, client_id: &str) -> Decision {
        let presented = token_id(token);
        let Some(known) = self.tokens.get(&presented) else {
            let mut fact = Fact::failed(EventType::Refresh, Reason::UnknownToken);
            fact.token_id = Some(presented);
            fact.client_id = Some(client_id.to_owned());
            return refused("invalid_grant", fact);
        };
        let (family_id, consumed) = (known.family_id.clone(), known.consumed);
        let family = &self.families[&family_id];
        let mut fact = family.fact(&family_id, EventType::Refresh);
        fact.token_id = Some(presented.clone());
        if let Some(reason) = self.refusal(family, client_id, consumed) {
            fact.fail(reason);
            return refused("invalid_grant", fact);
        }
        if let Some(known) = self.tokens.get_mut(&presented) {
            known.consumed = true;
        }
        let token = self.issue(&family_id);
        fact.new_token_id = Some(token_id(&token));
        Decision {
            answer: Ok(token),
            facts: vec![fact],
        }
    }

    fn refusal(&self, family: &Family, client_id: &str, consumed: bool) -> Option<Reason> {
        if family.client_id != client_id {
            return Some(Reason::ClientMismatch);
        }
        if let Some(ended) = family.ended {
            return Some(ended);
        }
        let lenient = self
            .client(client_id)
            .is_some_and(|client| client.reuse == ReusePolicy::AcceptByMistake);
        (consumed && !lenient).then_some(Reason::Reuse)
    }

    /// The owner of a token gives it up (RFC 7009): its family ends. An unknown token is no error there.
    pub(super) fn revoke(&mut self, token: &str) -> Vec<Fact> {
        let Some(known) = self.tokens.get(&token_id(token)) else {
            return Vec::new();
        };
        let family_id = known.family_id.clone();
        self.end_family(&family_id, Initiator::User)
            .unwrap_or_default()
    }

    /// `None` if there is no such family; no facts if it had ended before.
    pub(super) fn end_family(
        &mut self,
        family_id: &str,
        initiator: Initiator,
    ) -> Option<Vec<Fact>> {
        let family = self.families.get_mut(family_id)?;
        if family.ended.is_some() {
            return Some(Vec::new());
        }
        family.ended = Some(Reason::Revoked);
        let mut fact = family.fact(family_id, EventType::Revoke);
        fact.initiator = Some(initiator);
        Some(vec![fact])
    }

    /// Ends every family of a session.
    pub(super) fn end_session(
        &mut self,
        session_id: &str,
        initiator: Initiator,
    ) -> Option<Vec<Fact>> {
        let mut ids: Vec<String> = self
            .families
            .iter()
            .filter(|(_, family)| family.session_id == session_id)
            .map(|(id, _)| id.clone())
            .collect();
        ids.sort_unstable();
        if ids.is_empty() {
            return None;
        }
        let ended = ids.iter().filter_map(|id| self.end_family(id, initiator));
        Some(ended.flatten().collect())
    }

    fn client(&self, client_id: &str) -> Option<&'static ClientSetting> {
        self.clients
            .iter()
            .find(|client| client.client_id == client_id)
    }

    fn issue(&mut self, family_id: &str) -> String {
        let token = format!("rt.{}", self.random.hex());
        let record = Token {
            family_id: family_id.to_owned(),
            consumed: false,
        };
        self.tokens.insert(token_id(&token), record);
        token
    }

    fn short_id(&mut self) -> String {
        let mut id = self.random.hex();
        id.truncate(12);
        id
    }
}

impl Family {
    fn fact(&self, family_id: &str, kind: EventType) -> Fact {
        Fact {
            kind,
            outcome: Outcome::Success,
            reason: None,
            error: None,
            user_id: Some(self.user_id.clone()),
            client_id: Some(self.client_id.to_owned()),
            session_id: Some(self.session_id.clone()),
            family_id: Some(family_id.to_owned()),
            token_id: None,
            new_token_id: None,
            initiator: None,
        }
    }
}

impl Fact {
    fn failed(kind: EventType, reason: Reason) -> Self {
        let mut fact = Self {
            kind,
            outcome: Outcome::Failure,
            reason: None,
            error: None,
            user_id: None,
            client_id: None,
            session_id: None,
            family_id: None,
            token_id: None,
            new_token_id: None,
            initiator: None,
        };
        fact.fail(reason);
        fact
    }

    fn fail(&mut self, reason: Reason) {
        self.outcome = Outcome::Failure;
        self.reason = Some(reason);
        self.error = Some(match reason {
            Reason::Reuse => "refresh token was used before",
            Reason::Revoked => "grant was revoked",
            Reason::UnknownToken => "refresh token is unknown",
            Reason::ClientMismatch => "refresh token belongs to another client",
            _ => "request refused",
        });
    }
}

fn refused(error: &'static str, fact: Fact) -> Decision {
    Decision {
        answer: Err(error),
        facts: vec![fact],
    }
}

/// What the audit log shows of a token: enough to tell tokens apart, nothing that could be presented.
pub fn token_id(token: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    let first = digest
        .first_chunk::<8>()
        .expect("a SHA-256 digest has 32 bytes");
    format!("{:016x}", u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: &[ClientSetting] = &[
        ClientSetting {
            client_id: "web",
            reuse: ReusePolicy::RefuseToken,
        },
        ClientSetting {
            client_id: "legacy",
            reuse: ReusePolicy::AcceptByMistake,
        },
    ];

    fn reason(decision: &Decision) -> Option<Reason> {
        decision.facts.last().and_then(|fact| fact.reason)
    }

    fn granted(decision: Decision) -> String {
        decision.answer.expect("a token")
    }

    #[test]
    fn a_replay_is_refused_and_the_newest_token_lives_on() {
        let mut grants = Grants::new(1, CLIENTS);
        let first = granted(grants.log_in("anna", "web"));
        let second = granted(grants.refresh(&first, "web"));
        let replay = grants.refresh(&first, "web");
        assert_eq!(
            (replay.answer.is_err(), reason(&replay)),
            (true, Some(Reason::Reuse))
        );
        assert!(grants.refresh(&second, "web").answer.is_ok());
    }

    #[test]
    fn the_buggy_client_setting_grows_a_second_branch() {
        let mut grants = Grants::new(1, CLIENTS);
        let first = granted(grants.log_in("anna", "legacy"));
        let second = granted(grants.refresh(&first, "legacy"));
        let branch = granted(grants.refresh(&first, "legacy"));
        assert!(grants.refresh(&second, "legacy").answer.is_ok());
        assert!(grants.refresh(&branch, "legacy").answer.is_ok());
    }

    #[test]
    fn an_ended_family_refuses_every_branch_and_ends_once() {
        let mut grants = Grants::new(1, CLIENTS);
        let first = granted(grants.log_in("anna", "legacy"));
        let branch = granted(grants.refresh(&first, "legacy"));
        let refreshed = grants.refresh(&first, "legacy");
        let family_id = refreshed.facts[0].family_id.clone().expect("a family");
        let session_id = refreshed.facts[0].session_id.clone().expect("a session");
        let facts = grants
            .end_session(&session_id, Initiator::Tokenwarden)
            .expect("known");
        assert_eq!(facts.len(), 1);
        assert_eq!(
            grants
                .end_family(&family_id, Initiator::Admin)
                .expect("known")
                .len(),
            0
        );
        assert!(grants.end_family("f-none", Initiator::Admin).is_none());
        assert!(grants.end_session("s-none", Initiator::Admin).is_none());
        for token in [branch, granted(refreshed)] {
            assert_eq!(
                reason(&grants.refresh(&token, "legacy")),
                Some(Reason::Revoked)
            );
        }
    }

    #[test]
    fn what_it_does_not_know_it_refuses_without_naming_anybody() {
        let mut grants = Grants::new(1, CLIENTS);
        assert!(grants.log_in("anna", "nobody").answer.is_err());
        let unknown = grants.refresh("rt.none", "web");
        assert_eq!(reason(&unknown), Some(Reason::UnknownToken));
        assert_eq!(unknown.facts[0].user_id, None);
        assert!(grants.revoke("rt.none").is_empty());
        let token = granted(grants.log_in("anna", "web"));
        assert_eq!(
            reason(&grants.refresh(&token, "legacy")),
            Some(Reason::ClientMismatch)
        );
    }

    #[test]
    fn facts_never_carry_a_token() {
        let mut grants = Grants::new(1, CLIENTS);
        let first = granted(grants.log_in("anna", "web"));
        let refreshed = grants.refresh(&first, "web");
        let shown = format!("{:?}", refreshed.facts);
        assert!(!shown.contains("rt.") && !shown.contains(first.trim_start_matches("rt.")));
        assert!(shown.contains(&token_id(&first)));
    }
}
