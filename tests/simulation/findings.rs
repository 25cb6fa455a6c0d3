//! What is going to be found in a world, and when.

use tokenwarden::engine::{Found, stable_id};
use tokenwarden::model::{Detection, Evidence, Severity, Subject, Timestamp};
use tokenwarden::rules::Ask;

use super::{Arc, BACKLOG, BREAK_GLASS, START, World};

impl World {
    /// How many things happen until the next finding.
    pub(super) fn pause(&mut self) -> u32 {
        match self.random.below(3) {
            1 | 2 if self.has_backlog && self.random.below(8) > 0 => 0,
            things => things,
        }
    }

    /// What is going to be found, the last first: out of order, and some of it twice. A backlog is older than the time for
    /// which budgets count, so that what was allowed by event time has to be held by wall time.
    pub(super) fn findings(&mut self) -> Vec<Found> {
        let mut findings = Vec::new();
        let (mut at, thefts, apart) = if self.has_backlog {
            (START - BACKLOG, 6 + self.random.below(7), 150_000)
        } else {
            (START, 2 + self.random.below(9), 90_000)
        };
        for n in 0..thefts {
            at += i64::from(self.random.below(apart));
            // Some have several logins.
            let user = match self.random.below(12) {
                0 => BREAK_GLASS.to_owned(),
                1..=3 => "u0".to_owned(),
                _ => format!("u{n}"),
            };
            let client = *self.random.pick(&["web", "web", "app"]);
            let family = format!("f{n}").into();
            self.logins.begin(&family, &user.as_str().into());
            if self.random.below(4) == 0 {
                findings.push(self.finding(&user, n, client, at - 30_000, Severity::Medium));
            }
            findings.push(self.finding(&user, n, client, at, Severity::Critical));
            if self.random.below(4) == 0 {
                findings.push(findings.last().expect("one").clone());
            }
        }
        for _ in 0..findings.len() / 3 {
            let n = u32::try_from(findings.len() - 1).expect("a few");
            let at = self.random.below(n) as usize;
            findings.swap(at, at + 1);
        }
        findings.reverse();
        findings
    }

    fn finding(&self, user: &str, n: u32, client: &str, at: i64, severity: Severity) -> Found {
        let theft = severity == Severity::Critical;
        let family = format!("f{n}");
        Found {
            detection: Detection {
                id: stable_id(&["simulated", user, &family, severity.as_str()]),
                rule: self.rule.name.clone(),
                kind: "reuse".into(),
                severity,
                time: Timestamp::from_millisecond(at).expect("a time"),
                event_id: "e".into(),
                subject: Subject::Family(family.as_str().into()),
                issuer: "idp".into(),
                tenant: Some(tenant_of(user).into()),
                user_id: Some(user.into()),
                client_id: Some(client.into()),
                family_id: Some(family.as_str().into()),
                session_id: None,
                token_kind: None,
                ip_address: None,
                summary: format!("{family} of {user}").into(),
                evidence: Evidence::new(),
            },
            rule: self.rule.clone(),
            ask: if theft { Ask::Response } else { Ask::Nothing },
            may_revoke: theft,
            late: false,
            confidence: 1.0,
            foreign_network: None,
            families_active: 0,
            presenter: Arc::default(),
        }
    }
}

fn tenant_of(user: &str) -> &'static str {
    if user.ends_with(['1', '3', '5', '7', '9']) {
        "b"
    } else {
        "a"
    }
}
