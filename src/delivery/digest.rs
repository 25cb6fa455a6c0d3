//! Makes a digest of what the store counted and the engine remembers. Pure, but for the asking.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::model::limits::{BULLETIN_ROWS_MAX, DIGEST_DOUBTS_MAX, DIGEST_FATES_MAX, NAME_WAIT_MAX};
use crate::model::{
    Action, ActionKind, Afterwards, ClientDay, Detection, Digest, Evidence, Fate, Mode, Target,
    Text, Timestamp, Use, Value,
};
use crate::store::{Doubts, Store, StoreError, WouldHaveBeen};

/// Remembers what was seen of families: asked whether a revocation took effect, and for the digest.
pub trait Memory: Send + Sync {
    /// In the order of the questions: what was seen of the family since, or of the user where the target names no family;
    /// `None` where nothing is remembered.
    fn afterwards(
        &self,
        families: Vec<(Target, Timestamp)>,
    ) -> BoxFuture<'_, Vec<Option<Afterwards>>>;

    /// What the family of a finding went through up to its event, oldest first; nothing where that is not kept.
    fn story<'a>(&'a self, _detection: &'a Detection) -> BoxFuture<'a, Vec<Evidence>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// Remembers nothing: every fate is unknown.
impl Memory for () {
    fn afterwards(
        &self,
        families: Vec<(Target, Timestamp)>,
    ) -> BoxFuture<'_, Vec<Option<Afterwards>>> {
        Box::pin(std::future::ready(vec![None; families.len()]))
    }
}

/// What happened from `since` up to `until`, in wall time.
pub(super) async fn digest(
    store: &Store,
    memory: &dyn Memory,
    mode: Mode,
    since: Timestamp,
    until: Timestamp,
) -> Result<Digest, StoreError> {
    let mut clients = Clients::default();
    let would = store.would_have_been(since, until).await?;
    for would in would.iter().filter(|would| would.kind.is_deed()) {
        clients.add_would(would);
    }
    let revoked = store
        .would_be_revoked(since, until, DIGEST_FATES_MAX)
        .await?;
    for ((action, _), fate) in revoked.iter().zip(fates(memory, &revoked).await) {
        clients.of(action.target.client_id.as_ref()).fates.add(fate);
    }
    for doubts in store.doubts(since, until, DIGEST_DOUBTS_MAX).await? {
        clients.add_doubts(&doubts);
    }
    let (clients, more_clients) = clients.sorted();
    let mut sources = store.last_read().await?;
    sources.truncate(BULLETIN_ROWS_MAX);
    let mut rejected = store.rejected(since, until).await?;
    rejected.truncate(BULLETIN_ROWS_MAX);
    let mut waiting = store.waiting(since).await?;
    waiting.truncate(BULLETIN_ROWS_MAX);
    let (review, review_total) = store.for_review(since, until).await?;
    let mut rules = store.detections_by_rule(since, until).await?;
    rules.truncate(BULLETIN_ROWS_MAX);
    Ok(Digest {
        mode,
        clients,
        more_clients,
        rules,
        performed: store.performed(since, until).await?,
        waiting,
        review,
        review_total,
        rejected,
        sources,
        audit: Some(store.audit_head().await?),
    })
}

/// One for each; all unknown when the memory does not answer: a digest without them beats none.
async fn fates(memory: &dyn Memory, revoked: &[(Action, Option<Detection>)]) -> Vec<Fate> {
    let questions: Vec<(Target, Timestamp)> = revoked
        .iter()
        .map(|(action, _)| (action.target.clone(), action.event_time))
        .collect();
    // The engine may be reading a backlog.
    let patience = NAME_WAIT_MAX.max(Duration::from_secs(30));
    let seen = tokio::time::timeout(patience, memory.afterwards(questions))
        .await
        .unwrap_or_default();
    let seen = seen.into_iter().chain(std::iter::repeat(None));
    revoked
        .iter()
        .zip(seen)
        .map(|((_, detection), seen)| seen.map_or(Fate::Unknown, |s| fate(detection.as_ref(), &s)))
        .collect()
}

/// By whom it was used again, as far as networks tell; the evidence names those of both branches.
fn fate(detection: Option<&Detection>, seen: &Afterwards) -> Fate {
    let network_of = |branch: &str| match detection?.evidence.get(branch)? {
        Value::Map(branch) => text(branch, "network"),
        _ => None,
    };
    let (foreign, own) = (network_of("foreign_branch"), network_of("own_branch"));
    let is =
        |used: &Use, branch: Option<&str>| branch.is_some() && used.network.as_deref() == branch;
    if seen.accepted.iter().any(|used| is(used, foreign)) {
        Fate::UsedByForeign
    } else if !seen.accepted.is_empty() && seen.accepted.iter().all(|used| is(used, own)) {
        Fate::UsedByOwn
    } else if !seen.accepted.is_empty() {
        Fate::UsedByUnknown
    } else if seen.ended || seen.refused > 0 {
        Fate::Closed
    } else {
        Fate::Silent
    }
}

fn text<'a>(evidence: &'a Evidence, name: &str) -> Option<&'a str> {
    match evidence.get(name)? {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// Days by client, in order of appearance.
#[derive(Default)]
struct Clients(Vec<ClientDay>);

impl Clients {
    fn of(&mut self, client_id: Option<&Text>) -> &mut ClientDay {
        let place = self
            .0
            .iter()
            .position(|day| day.client_id.as_ref() == client_id);
        let place = place.unwrap_or_else(|| {
            self.0.push(ClientDay {
                client_id: client_id.cloned(),
                ..ClientDay::default()
            });
            self.0.len() - 1
        });
        &mut self.0[place]
    }

    fn add_would(&mut self, would: &WouldHaveBeen) {
        let day = self.of(would.client_id.as_ref());
        if !revokes(would.kind) {
            day.other_measures += would.actions;
            return;
        }
        day.revocations += would.actions;
        match day.rules.iter_mut().find(|(rule, _)| *rule == would.rule) {
            Some((_, actions)) => *actions += would.actions,
            None => day.rules.push((would.rule.clone(), would.actions)),
        }
    }

    fn add_doubts(&mut self, doubts: &Doubts) {
        let day = self.of(doubts.client_id.as_ref());
        day.suspected += doubts.suspected;
        day.client_faults += doubts.client_faults;
    }

    /// Most would-be revocations first, and how many are not listed.
    fn sorted(mut self) -> (Vec<ClientDay>, u64) {
        self.0.sort_by(|a, b| {
            (b.revocations, b.suspected, b.client_faults)
                .cmp(&(a.revocations, a.suspected, a.client_faults))
                .then_with(|| a.client_id.cmp(&b.client_id))
        });
        let more = self.0.len().saturating_sub(BULLETIN_ROWS_MAX);
        self.0.truncate(BULLETIN_ROWS_MAX);
        (self.0, u64::try_from(more).unwrap_or(u64::MAX))
    }
}

const fn revokes(kind: ActionKind) -> bool {
    matches!(
        kind,
        ActionKind::RevokeFamily | ActionKind::RevokeUser | ActionKind::LockUser
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Severity, Subject};

    fn theft() -> Detection {
        let branch = |network: &str| Evidence::new().with("network", network);
        Detection {
            id: "d".into(),
            rule: "token-reuse".into(),
            kind: "reuse".into(),
            severity: Severity::Critical,
            time: Timestamp::UNIX_EPOCH,
            event_id: "e".into(),
            subject: Subject::Family("f".into()),
            issuer: "events".into(),
            tenant: None,
            user_id: None,
            client_id: None,
            family_id: Some("f".into()),
            session_id: None,
            token_kind: None,
            ip_address: None,
            summary: "".into(),
            evidence: Evidence::new()
                .with("foreign_branch", branch("198.51.100.0/24"))
                .with("own_branch", branch("192.0.2.0/24")),
        }
    }

    fn seen(accepted: &[Option<&str>], refused: u64, ended: bool) -> Afterwards {
        Afterwards {
            accepted: accepted
                .iter()
                .map(|network| Use {
                    time: Timestamp::UNIX_EPOCH,
                    network: network.map(Into::into),
                })
                .collect(),
            refused,
            ended,
            ..Afterwards::default()
        }
    }

    #[test]
    fn a_fate_names_the_worst_that_was_seen() {
        let (thief, owner) = (Some("198.51.100.0/24"), Some("192.0.2.0/24"));
        for (accepted, refused, ended, expected) in [
            (vec![owner, thief], 3, true, Fate::UsedByForeign),
            (vec![owner, owner], 1, false, Fate::UsedByOwn),
            (
                vec![owner, Some("203.0.113.0/24")],
                0,
                false,
                Fate::UsedByUnknown,
            ),
            (vec![None], 0, false, Fate::UsedByUnknown),
            (vec![], 1, false, Fate::Closed),
            (vec![], 0, true, Fate::Closed),
            (vec![], 0, false, Fate::Silent),
        ] {
            let seen = seen(&accepted, refused, ended);
            assert_eq!(fate(Some(&theft()), &seen), expected, "{seen:?}");
        }
        // Without evidence of two branches nobody can be named.
        assert_eq!(fate(None, &seen(&[None], 0, false)), Fate::UsedByUnknown);
    }

    #[test]
    fn clients_with_most_revocations_stand_first_and_the_rest_is_counted() {
        let mut clients = Clients::default();
        let would = |client: &str, kind, actions| WouldHaveBeen {
            client_id: Some(client.into()),
            kind,
            rule: "token-reuse".into(),
            actions,
            users: 1,
        };
        for n in 0..BULLETIN_ROWS_MAX {
            clients.add_would(&would(&format!("client {n:02}"), ActionKind::Challenge, 2));
        }
        clients.add_would(&would("zoo", ActionKind::RevokeFamily, 3));
        clients.add_would(&would("zoo", ActionKind::RevokeUser, 1));
        let (days, more) = clients.sorted();
        assert_eq!((days.len(), more), (BULLETIN_ROWS_MAX, 1));
        assert_eq!(days[0].client_id.as_deref(), Some("zoo"));
        assert_eq!(days[0].rules, [("token-reuse".into(), 4)]);
        assert_eq!(days[1].other_measures, 2);
    }
}
