//! `use_after_revocation`: a token is used after its family, session, consent or user had been revoked or logged out.
//!
//! Accepted, it is certain: the end had no effect, and whoever uses the token is not supposed to. Refused, the server did
//! its work, and an application that still holds the token tries for a while: only a stranger who keeps trying is worth
//! a look, and never more (DESIGN S4). It reads what happened, not what the server says of it.
//!
//! No end of an offline family is the logout of a browser session, which it outlives, nor a logout that names a user but
//! not which of the user's sessions. Nothing that may still come excuses an accepted use.

use std::sync::Arc;
use std::time::Duration;

use super::super::super::case::{At, FamilyCase, FamilyKind, Measure, Reach, Taken, millis};
use super::super::super::context::{Standing, TravelBounds};
use super::super::super::finding::{Ask, Finding};
use super::super::super::ledger::{Answer, Entry};
use super::super::super::needs::Need;
use super::super::super::parameters::Parameters;
use super::super::super::trace::Trace;
use super::super::super::words::{instant, place_name, span, who};
use super::super::Kind;
use super::seen::{accepted_at, by, is_our_doing, root, stands, taken_before};
use crate::model::{Clue, Evidence, Initiator, Severity, TokenKind};

/// Parameters of a use-after-revocation rule.
#[derive(Debug, Clone, PartialEq)]
pub struct UseAfterRevocation {
    /// From the end to its effect on every node of the server.
    pub propagation: Duration,
    /// Refused attempts from a foreign context within `attempts_window` that are worth a look.
    pub attempts: u32,
    pub attempts_window: Duration,
    /// The same from a context that is not the family's own, foreign or not: where a source tells addresses only, a stranger
    /// is merely unknown, and only perseverance sets him apart from a phone that tries again in the street.
    pub attempts_unknown: u32,
    pub attempts_unknown_window: Duration,
    /// After our own or an operator's revocation so long nothing that is refused counts: we broke it.
    pub self_induced: Duration,
    pub settle: Duration,
    pub travel: TravelBounds,
}

impl Default for UseAfterRevocation {
    fn default() -> Self {
        Self {
            propagation: Duration::from_secs(10),
            attempts: 3,
            attempts_window: Duration::from_mins(10),
            attempts_unknown: 8,
            attempts_unknown_window: Duration::from_hours(1),
            self_induced: Duration::from_hours(24),
            settle: Duration::from_secs(2),
            travel: TravelBounds::default(),
        }
    }
}

impl Kind for UseAfterRevocation {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.duration(
            "propagation",
            "A use this soon after the end was under way, or met a node that had not heard of it.",
            &mut self.propagation,
        );
        p.count(
            "attempts",
            "Refused attempts from a foreign context within `attempts_window` that are worth a low alert.",
            1..=16,
            &mut self.attempts,
        );
        p.duration(
            "attempts_window",
            "Within this time they are counted.",
            &mut self.attempts_window,
        );
        p.count(
            "attempts_unknown",
            "Refused attempts within `attempts_unknown_window` from contexts that are not the family's own, foreign or not, that are worth a low alert.",
            1..=16,
            &mut self.attempts_unknown,
        );
        p.duration(
            "attempts_unknown_window",
            "Within this time those are counted.",
            &mut self.attempts_unknown_window,
        );
        p.duration(
            "self_induced",
            "This long after our own or an operator's revocation refused attempts do not count.",
            &mut self.self_induced,
        );
        p.settle(&mut self.settle);
        self.travel.parameters(p);
    }

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::all(&[Clue::FamilyId, Clue::TokenId, Clue::SessionId, Clue::UserId]),
            Need::part(&[Clue::Refusals], "attempts that the server refused"),
        ]
    }
}

impl FamilyKind for UseAfterRevocation {
    fn settle(&self) -> Duration {
        self.settle
    }

    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        case.measures.iter().any(is_end)
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        let accepted = accepted_at(case, at.time);
        let used = accepted.and_then(|entry| self.accepted(case, entry, trace));
        let refused = case.entries_at(at.time).iter().find(|e| is_refused(e));
        let tried = refused.and_then(|entry| self.refused(case, entry, trace));
        used.into_iter().chain(tried).collect()
    }
}

const fn is_end(measure: &Measure) -> bool {
    matches!(measure.taken, Taken::LoggedOut | Taken::Revoked)
}

/// A request that was wrong in itself says nothing about the token.
const fn is_refused(entry: &Entry) -> bool {
    !entry.answer.accepted() && !matches!(entry.answer, Answer::RefusedOther)
}

/// What makes an end none of this family's; nothing where it ends it.
fn spared(measure: &Measure, case: &FamilyCase<'_>) -> Option<&'static str> {
    let offline = case.token_kind == Some(TokenKind::Offline);
    let of_session = measure.reach == Reach::Session;
    match (measure.taken, measure.only) {
        (_, _) if measure.reach == Reach::Family => None,
        (_, Some(only)) if case.token_kind != Some(only) => {
            Some("the end was meant for tokens of another kind")
        }
        (Taken::LoggedOut, None) if offline => {
            Some("a browser session was logged out, and offline tokens outlive it")
        }
        (Taken::LoggedOut, None)
            if measure.reach == Reach::User
                && !matches!(measure.by, Some(Initiator::Admin | Initiator::System)) =>
        {
            Some("the user logged out, and the event does not say of which session")
        }
        (_, None) if offline && of_session => {
            Some("a session was ended, and the event does not say whether its offline tokens were")
        }
        _ => None,
    }
}

/// The newest end of the family that a use at `time` came after.
fn ended<'a>(
    case: &FamilyCase<'a>,
    time: i64,
    leeway: Duration,
    trace: &mut Trace,
) -> Option<&'a Measure> {
    for measure in taken_before(case, time, leeway).filter(|m| is_end(m)) {
        let Some(why) = spared(measure, case) else {
            return Some(measure);
        };
        trace.note(|| {
            let kind = case.token_kind.map(TokenKind::as_str);
            let values = Evidence::new()
                .with("ended", instant(measure.time))
                .with("reach", measure.reach.as_str())
                .with_some("token_kind", kind);
            (why.to_owned(), values)
        });
    }
    None
}

impl UseAfterRevocation {
    fn accepted(&self, case: &FamilyCase<'_>, entry: &Entry, trace: &mut Trace) -> Option<Finding> {
        let Some(end) = ended(case, entry.time, self.propagation, trace) else {
            trace.note(|| {
                let any = case.measures.iter().rev().find(|m| is_end(m));
                let values = Evidence::new()
                    .with_some("newest_end", any.map(|m| instant(m.time)))
                    .with("propagation_seconds", self.propagation.as_secs());
                let why = "no end of this family is further before this use than `propagation`";
                (why.to_owned(), values)
            });
            return None;
        };
        if is_our_doing(case, end.time, entry.time, trace) {
            return None;
        }
        let (standing, basis) = stands(case, entry, end.time, &self.travel);
        let after = span(entry.time - end.time);
        let (what, presenter) = (end.what(), case.context(entry));
        let token = entry.token_name().unwrap_or_else(|| case.id.clone());
        let foreign = presenter.network.as_ref().map(|network| network.prefix);
        Some(Finding {
            about: vec!["accepted".into(), end.time.to_string(), root(case)],
            time: entry.time,
            event_id: entry.event_id().cloned(),
            at_most: Severity::Critical,
            ask: Ask::Response,
            may_revoke: true,
            confidence: 1.0,
            presenter: Arc::clone(presenter),
            foreign_network: foreign.filter(|_| standing == Standing::Foreign),
            summary: format!(
                "A refresh from {} was accepted {after} after {what}",
                place_name(presenter)
            ),
            evidence: end
                .evidence()
                .with("answer", entry.answer.as_str())
                .with("seconds_after", (entry.time - end.time) / 1000)
                .with("presented_token", token)
                .with("context", standing.as_str())
                .with("basis", basis.as_str())
                .with("presenter", who(presenter)),
        })
    }

    fn refused(&self, case: &FamilyCase<'_>, entry: &Entry, trace: &mut Trace) -> Option<Finding> {
        let end = ended(case, entry.time, Duration::ZERO, trace)?;
        if self.is_self_induced(case, entry.time, trace) {
            return None;
        }
        let foreign = self.attempts(case, entry, end, self.attempts_window, Standing::Foreign);
        let unknown = self.attempts(
            case,
            entry,
            end,
            self.attempts_unknown_window,
            Standing::Unknown,
        );
        let (attempts, window) = if foreign >= self.attempts as usize {
            (foreign, self.attempts_window)
        } else if unknown >= self.attempts_unknown as usize {
            (unknown, self.attempts_unknown_window)
        } else {
            trace.note(|| {
                let values = Evidence::new()
                    .with("foreign_attempts", foreign)
                    .with("attempts", self.attempts)
                    .with("attempts_window_seconds", self.attempts_window.as_secs())
                    .with("unknown_attempts", unknown)
                    .with("attempts_unknown", self.attempts_unknown)
                    .with(
                        "attempts_unknown_window_seconds",
                        self.attempts_unknown_window.as_secs(),
                    );
                let why = "refused after the end, as it should be: too few attempts from a foreign or unknown context";
                (why.to_owned(), values)
            });
            return None;
        };
        let (_, basis) = stands(case, entry, end.time, &self.travel);
        let presenter = case.context(entry);
        Some(Finding {
            about: vec!["refused".into(), end.time.to_string(), root(case)],
            time: entry.time,
            event_id: entry.event_id().cloned(),
            at_most: Severity::Low,
            ask: Ask::Review,
            may_revoke: false,
            confidence: 0.3,
            presenter: Arc::clone(presenter),
            foreign_network: None,
            summary: format!(
                "{attempts} refused attempts by a stranger at {} within {}, after {}",
                place_name(presenter),
                span(millis(window)),
                end.what()
            ),
            evidence: end
                .evidence()
                .with("answer", entry.answer.as_str())
                .with("attempts", attempts)
                .with_some("presented_token", entry.token_name())
                .with("basis", basis.as_str())
                .with("presenter", who(presenter)),
        })
    }

    /// Refused attempts since the end, within a window that ends with this one, by whoever stands at least so far off.
    fn attempts(
        &self,
        case: &FamilyCase<'_>,
        last: &Entry,
        end: &Measure,
        window: Duration,
        at_least: Standing,
    ) -> usize {
        let since = last.time.saturating_sub(millis(window)).max(end.time);
        let attempts = case.entries_before(last.time + 1).iter();
        attempts
            .filter(|e| is_refused(e) && e.time > since)
            .filter(|e| stands(case, e, end.time, &self.travel).0 >= at_least)
            .count()
    }

    /// Whoever was cut off by us or an operator tries again, and is rarely a thief: one lesson of mass revocations.
    fn is_self_induced(&self, case: &FamilyCase<'_>, time: i64, trace: &mut Trace) -> bool {
        let since = time.saturating_sub(millis(self.self_induced));
        let lately = |end: i64| since <= end && end <= time;
        let by_operator = |m: &&Measure| m.by == Some(Initiator::Admin) && lately(m.time);
        let ours = case.ends.by_us.iter().copied().find(|end| lately(*end));
        let end = ours.or_else(|| case.measures.iter().find(by_operator).map(|m| m.time));
        if let Some(end) = end {
            trace.note(|| {
                let values = Evidence::new()
                    .with("self_induced", true)
                    .with("ended", instant(end))
                    .with("self_induced_seconds", self.self_induced.as_secs());
                let why =
                    "self-induced: refused after our own or an operator's revocation, never counted";
                (why.to_owned(), values)
            });
        }
        end.is_some()
    }
}

impl Measure {
    /// "its session was logged out by the user".
    fn what(&self) -> String {
        let (taken, by) = (self.taken.as_str(), by(self));
        match self.reach {
            Reach::Family => format!("its login was {taken}{by}"),
            Reach::User if self.taken == Taken::Revoked => {
                format!("all logins of its user were {taken}{by}")
            }
            reach => format!("its {} was {taken}{by}", reach.as_str()),
        }
    }

    fn evidence(&self) -> Evidence {
        Evidence::new()
            .with("ended", instant(self.time))
            .with("end", self.taken.as_str())
            .with("reach", self.reach.as_str())
            .with_some("initiator", self.by.map(Initiator::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::scope_widening::Scopes;
    use super::*;
    use crate::model::Rotation;
    use crate::rules::case::{ClientFacts, Ends, Logins, TenantFacts, Told};
    use crate::rules::ledger::{Ledger, NewEntry};

    /// What the rule says, and notes, of a use ten minutes after the family began.
    fn judged(measures: &[Measure], kind: Option<TokenKind>, ends: &Ends) -> (usize, Vec<String>) {
        let mut ledger = Ledger::default();
        for (time, answer, token, issued) in [
            (0, Answer::Issued, None, "a"),
            (600_000, Answer::Accepted, Some("a"), "b"),
        ] {
            ledger.add(NewEntry {
                time,
                answer,
                token: token.map(Into::into),
                issued: Some(issued.into()),
                generation: None,
                latest_generation: None,
                client_id: None,
                event_id: issued.into(),
                used_before: false,
                context: Arc::default(),
            });
        }
        let client = ClientFacts {
            rotation: Rotation::Enforced,
            grace: Duration::ZERO,
            max_reuse: 0,
            access_token_ttl: None,
            refresh_token_lifetime: None,
            own_addresses: false,
            native: false,
        };
        let case = FamilyCase {
            id: &"f1".into(),
            ledger: &ledger,
            client: &client,
            tenant: TenantFacts::default(),
            ends,
            measures,
            began: Some(0),
            session: None,
            token_kind: kind,
            user_let_in: &[],
            scopes: &Scopes::default(),
            access_token_ttl: None,
            told: Told::NOTHING,
            logins: Logins::NONE,
        };
        let at = At {
            time: 600_000,
            cut: 601_800,
        };
        let mut trace = Trace::on();
        let found = UseAfterRevocation::default().judge(&case, at, &mut trace);
        let notes = trace.into_notes().into_iter().map(|note| note.why);
        (found.len(), notes.collect())
    }

    fn ended(time: i64, taken: Taken, reach: Reach) -> Measure {
        Measure {
            time,
            taken,
            reach,
            by: None,
            only: None,
            session: None,
            context: None,
        }
    }

    #[test]
    fn every_reason_to_be_silent_is_told() {
        let logout = ended(300_000, Taken::LoggedOut, Reach::Session);
        let late = ended(595_000, Taken::Revoked, Reach::Family);
        let whose = ended(300_000, Taken::LoggedOut, Reach::User);
        let of_online = Measure {
            only: Some(TokenKind::Online),
            ..ended(300_000, Taken::Revoked, Reach::Session)
        };
        let ours = Ends {
            by_us: vec![300_000],
            ..Ends::default()
        };
        let (none, offline) = (Ends::default(), Some(TokenKind::Offline));
        for (measure, kind, ends, why) in [
            (&logout, offline, &none, "offline tokens outlive it"),
            (&of_online, offline, &none, "tokens of another kind"),
            (&whose, None, &none, "does not say of which session"),
            (&late, None, &none, "further before this use"),
            (&logout, None, &ours, "self-induced"),
        ] {
            let (found, notes) = judged(std::slice::from_ref(measure), kind, ends);
            assert_eq!(found, 0, "{why}");
            assert!(notes.iter().any(|note| note.contains(why)), "{notes:?}");
        }
        assert_eq!(judged(&[logout], None, &none).0, 1);
    }

    #[test]
    fn an_end_that_somebody_brings_about_after_ours_stands_on_its_own() {
        let theirs = ended(330_000, Taken::Revoked, Reach::Family);
        let ours = |assumed| Ends {
            by_us: vec![300_000],
            assumed,
            ..Ends::default()
        };
        assert_eq!(
            judged(std::slice::from_ref(&theirs), None, &ours(false)).0,
            1
        );
        // In a replay nothing of ours was performed, so that all that follows is as it would not have been.
        assert_eq!(judged(&[theirs], None, &ours(true)).0, 0);
    }
}
