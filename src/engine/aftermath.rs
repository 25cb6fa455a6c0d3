//! What was seen of a family, or of all families of a user, after a time: whether what ended them took effect.
//!
//! A refusal shows an end only where the token would have been good: a consumed one is refused in any case. A use shows
//! that there was none, unless a new login stands before it.

use super::family::Family;
use super::key::Scope;
use super::lineage::all_ended;
use super::state::State;
use crate::model::{Afterwards, Target, Timestamp, Use};
use crate::rules::case::Taken;
use crate::rules::ledger::{Answer, Entry};

/// After a time in milliseconds; `None` where nothing is remembered. A target without a family stands for its user.
pub(super) fn afterwards(state: &State, target: &Target, since: i64) -> Option<Afterwards> {
    let families = meant(state, target, since);
    if families.is_empty() {
        return None;
    }
    let mut afterwards = Afterwards::default();
    for (key, family) in families {
        for ended in all_ended(state, family, key) {
            afterwards.ended |= ended.by_people.iter().any(|end| *end >= since);
            afterwards.end_told |= ended
                .measures
                .iter()
                .any(|measure| measure.time >= since && ends(measure.taken));
        }
        look(family, since, &mut afterwards);
    }
    afterwards.lived_on.sort_by_key(|used| used.time);
    Some(afterwards)
}

fn meant<'a>(state: &'a State, target: &Target, since: i64) -> Vec<(u64, &'a Family)> {
    let scope = Scope::new(&target.issuer, target.tenant.as_deref());
    let known = |key: u64| Some((key, &**state.families.get(key)?));
    if let Some(id) = target.family_id.as_deref() {
        let keys = [
            state.resolve.survivor(scope.family(id)),
            state.resolve.of_token(scope.token(id)),
        ];
        return keys.into_iter().find_map(known).into_iter().collect();
    }
    let Some(user) = target.user_id.as_deref() else {
        return Vec::new();
    };
    let members = state.members.get(scope.ended_user(user));
    let keys = members.map_or(&[][..], |members| &members.families);
    let mut keys: Vec<u64> = keys.iter().map(|it| state.resolve.survivor(*it)).collect();
    keys.sort_unstable();
    keys.dedup();
    let had_begun = |family: &Family| family.began().is_some_and(|began| began <= since);
    let families = keys.into_iter().filter_map(known);
    families.filter(|(_, family)| had_begun(family)).collect()
}

const fn ends(taken: Taken) -> bool {
    matches!(taken, Taken::LoggedOut | Taken::Revoked | Taken::Disabled)
}

fn look(family: &Family, since: i64, afterwards: &mut Afterwards) {
    let entries = family.ledger.entries();
    // The issue that a family begins with is no new login.
    let first = entries.iter().position(|entry| entry.answer.accepted());
    let mut renewed = false;
    for (at, entry) in entries.iter().enumerate() {
        if entry.time <= since {
            continue;
        }
        renewed |= entry.answer == Answer::Issued && first != Some(at);
        if entry.answer.accepted() {
            let network = family.ledger.context(entry).network.as_ref();
            let used = Use {
                time: Timestamp::from_millisecond(entry.time).unwrap_or(Timestamp::UNIX_EPOCH),
                network: network.map(|network| network.prefix.to_string().into()),
            };
            if !renewed {
                afterwards.lived_on.push(used.clone());
            }
            afterwards.accepted.push(used);
        } else {
            afterwards.refused += 1;
            afterwards.dead |= shows_end(entry, &entries[..at]);
        }
    }
}

/// Whether a refused token would have been good.
fn shows_end(refused: &Entry, before: &[Entry]) -> bool {
    match (refused.token, refused.answer) {
        (_, Answer::RefusedOther) => false,
        (None, answer) => answer == Answer::RefusedDead,
        (Some(token), _) => {
            let consumed = |it: &Entry| it.token == Some(token) && it.answer.accepted();
            let issued = |it: &Entry| it.issued == Some(token);
            !before.iter().any(consumed) && before.iter().any(issued)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Clients;
    use crate::engine::Engine;
    use crate::model::{Enriched, Event, EventType, Initiator, Input, Outcome, Reason, TokenKind};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap()
    }

    fn event(second: i64, kind: EventType, token: Option<&str>, issued: Option<&str>) -> Event {
        let id = format!("{second} {kind} {token:?}");
        let mut event = Event::new(id, at(second), kind, Outcome::Success, "app");
        event.user_id = Some("alice".into());
        event.client_id = Some("web".into());
        event.session_id = Some("s1".into());
        event.token_id = token.map(Into::into);
        event.new_token_id = issued.map(Into::into);
        event
    }

    fn refused(second: i64, token: &str, reason: Reason) -> Event {
        let mut event = event(second, EventType::Refresh, Some(token), None);
        event.outcome = Outcome::Failure;
        event.reason = Some(reason);
        event
    }

    fn ended(second: i64, by: Initiator) -> Event {
        let mut event = event(second, EventType::Revoke, None, None);
        event.initiator = Some(by);
        event.token_kind = Some(TokenKind::Online);
        event
    }

    /// What is seen after 100 s of a family that was used before: of the family itself, or of its user.
    fn seen(later: &[Event], family: Option<&str>) -> Afterwards {
        let rules = crate::rules::load(&[], &[]).expect("the shipped rules");
        let mut engine = Engine::new(
            &rules,
            Clients::default(),
            std::time::Duration::from_mins(2),
        );
        let before = [
            event(0, EventType::Issue, None, Some("a")),
            event(60, EventType::Refresh, Some("a"), Some("b")),
        ];
        let mut found = Vec::new();
        for event in before.iter().chain(later) {
            let event = Box::new(Enriched {
                event: event.clone(),
                network: None,
                place: None,
                agent: None,
            });
            let input = Input::Event {
                partition: 0,
                event,
                muted: false,
                arrived_at: None,
            };
            engine.apply(&input, &mut found);
        }
        assert!(found.is_empty(), "{found:?}");
        let target = Target {
            issuer: "app".into(),
            tenant: None,
            family_id: family.map(Into::into),
            user_id: Some("alice".into()),
            client_id: None,
            session_id: None,
            token_kind: None,
            network: None,
        };
        engine.afterwards(&target, at(100)).unwrap()
    }

    fn times(uses: &[Use]) -> Vec<Timestamp> {
        uses.iter().map(|used| used.time).collect()
    }

    #[test]
    fn a_use_shows_that_it_lives_on_unless_it_goes_back_to_a_new_login() {
        let used = event(160, EventType::Refresh, Some("b"), Some("c"));
        for family in [Some("a"), None] {
            let seen = seen(std::slice::from_ref(&used), family);
            assert_eq!(times(&seen.lived_on), [at(160)], "{family:?}");
        }
        let renewed = [
            event(150, EventType::Issue, None, Some("x")),
            event(170, EventType::Refresh, Some("x"), Some("y")),
        ];
        let of_user = seen(&renewed, None);
        assert_eq!(of_user.lived_on, [], "another family, begun since");
    }

    #[test]
    fn only_a_token_that_would_have_been_good_shows_an_end() {
        let dead = |token: &str, reason| seen(&[refused(160, token, reason)], Some("a")).dead;
        assert!(dead("b", Reason::SessionEnded));
        assert!(dead("b", Reason::UnknownToken));
        assert!(!dead("a", Reason::Reuse), "consumed: refused in any case");
        assert!(!dead("a", Reason::SessionEnded));
        assert!(
            !dead("b", Reason::Policy),
            "the request was wrong in itself"
        );
    }

    #[test]
    fn the_server_s_own_events_show_an_end_also_when_it_was_ours() {
        let shown = |by| {
            let seen = seen(&[ended(160, by)], Some("a"));
            (seen.end_told, seen.ended)
        };
        assert_eq!(shown(Initiator::Tokenwarden), (true, false));
        assert_eq!(shown(Initiator::Admin), (true, true));
        let before = seen(&[ended(90, Initiator::Tokenwarden)], Some("a"));
        assert!(!before.end_told);
    }
}
