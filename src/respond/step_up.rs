//! One step up the ladder: what is done when ending a login had no effect, twice.
//!
//! The next that suffices is to end all sessions of its user. It passes the same gates as everything that is decided: the
//! modes, the list of those never to be acted on, the budgets behind the breaker. No finding leads to it, so it stands
//! apart from those: what we ended ourselves never counts as an attack. People are told in any case.

use crate::engine::stable_id;
use crate::model::{Action, ActionKind, Decision, Mode, NoEffect, Output, Target, Text};

use super::purse::{Payer, Purse};
use super::{Policy, too_low};

impl Policy {
    /// Decides what follows from a revocation without effect. `rule`: the mode of the rule that asked for it; absent where
    /// there is no such rule any more.
    pub fn step_up(&mut self, failed: &NoEffect, rule: Option<Mode>, out: &mut Output) {
        let action = &failed.no_effect;
        let Target {
            client_id, tenant, ..
        } = &action.target;
        // A person who asked for it has said how far to go.
        let by_hand = *action.rule == *Action::BY_HAND;
        let of_rule = match rule {
            _ if by_hand => (Mode::Enforce, "the person"),
            Some(mode) => (mode, "the rule"),
            None => (Mode::Alert, "the rule, which is no more,"),
        };
        let mode = self.mode_for(client_id.as_deref(), tenant.as_deref(), of_rule);
        let user_id = action.target.user_id.as_ref();
        let is_narrow = action.kind == ActionKind::RevokeFamily && !by_hand;
        let next = user_id.filter(|_| is_narrow && self.allowed.response.step_up);
        let next = next.map(|user_id| self.end_all_sessions(failed, user_id, mode));
        out.actions.push(notice(failed, next.as_ref(), mode));
        out.actions.extend(next);
    }

    fn end_all_sessions(
        &mut self,
        failed: &NoEffect,
        user_id: &Text,
        (mode, of): (Mode, &str),
    ) -> Action {
        let kind = ActionKind::RevokeUser;
        let mut action = following(failed, kind);
        let response = &self.allowed.response;
        (action.decision, action.reason) = if mode < kind.needs() {
            (Decision::Observe, too_low(mode, of, kind))
        } else if response.never_act_on.contains(user_id) {
            let why = "the user is on the list of those never to be acted on";
            (Decision::Suppress, why.into())
        } else {
            let mut purse = Purse::of_revocations(&mut self.state.spent, &mut self.state.breakers);
            match purse.spend(response.budget, &Payer::of_action(&action, user_id)) {
                Ok(()) => (Decision::Execute, NoEffect::LIVES_ON.into()),
                Err(held) => (Decision::Hold, held.why),
            }
        };
        action
    }
}

/// Told once for each revocation without effect, also where nothing more is done.
fn notice(failed: &NoEffect, next: Option<&Action>, (mode, of): (Mode, &str)) -> Action {
    let kind = ActionKind::Notify;
    let mut notice = following(failed, kind);
    (notice.decision, notice.reason) = if mode < kind.needs() {
        (Decision::Observe, too_low(mode, of, kind))
    } else {
        let then = match next.map(|next| next.decision) {
            Some(Decision::Execute) => "all sessions of the user are ended",
            Some(Decision::Hold) => "to end all sessions of the user waits for a person",
            Some(Decision::Observe | Decision::Suppress) | None => "a person is needed",
        };
        (
            Decision::Execute,
            format!("{}: {then}", NoEffect::LIVES_ON).into(),
        )
    };
    notice
}

/// Its id is made of that of the revocation: reading again decides nothing twice.
fn following(failed: &NoEffect, kind: ActionKind) -> Action {
    let action = &failed.no_effect;
    Action {
        id: stable_id(&["no effect", kind.as_str(), &action.id]),
        kind,
        decision: Decision::Hold,
        reason: "".into(),
        event_time: failed.used_at,
        ..Action::clone(action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Budget, Clients, Response, Tenants};
    use crate::model::Timestamp;
    use crate::respond::Allowed;

    fn failed(n: u32, kind: ActionKind) -> NoEffect {
        let action = Action {
            id: format!("revocation {n}").into(),
            kind,
            target: Target {
                issuer: "idp".into(),
                tenant: None,
                family_id: Some(format!("f{n}").into()),
                user_id: Some(format!("user {n}").into()),
                client_id: Some("web".into()),
                session_id: None,
                token_kind: None,
                network: None,
            },
            detection_ids: vec!["detection".into()],
            incident_id: "incident".into(),
            rule: "token-reuse".into(),
            decision: Decision::Execute,
            reason: "theft".into(),
            event_time: Timestamp::UNIX_EPOCH,
            undoes: None,
        };
        NoEffect {
            time: Timestamp::UNIX_EPOCH,
            no_effect: Box::new(action),
            used_at: Timestamp::from_second(60).unwrap(),
        }
    }

    fn policy(response: Response) -> Policy {
        Policy::new(Allowed {
            mode: Mode::Enforce,
            clients: Clients::default(),
            tenants: Tenants::default(),
            response,
            shared: crate::config::Shared::default(),
            performed: crate::config::KEYCLOAK_ACTIONS.to_vec(),
        })
    }

    /// Kinds and decisions, with the reason of the notice.
    fn decided(
        policy: &mut Policy,
        failed: &NoEffect,
        rule: Mode,
    ) -> (Vec<(ActionKind, Decision)>, String) {
        let mut out = Output::default();
        policy.step_up(failed, Some(rule), &mut out);
        let reason = out.actions[0].reason.to_string();
        let actions = out.actions.iter();
        (actions.map(|it| (it.kind, it.decision)).collect(), reason)
    }

    #[test]
    fn the_user_s_sessions_are_next_within_mode_list_and_budget() {
        use {ActionKind::*, Decision::*};
        let family = failed(1, RevokeFamily);
        let (all, why) = decided(&mut policy(Response::default()), &family, Mode::Enforce);
        assert_eq!(all, [(Notify, Execute), (RevokeUser, Execute)]);
        assert!(why.ends_with("all sessions of the user are ended"), "{why}");

        let (all, why) = decided(&mut policy(Response::default()), &family, Mode::Alert);
        assert_eq!(all, [(Notify, Execute), (RevokeUser, Observe)]);
        assert!(why.ends_with("a person is needed"), "{why}");
        let (all, _) = decided(&mut policy(Response::default()), &family, Mode::Observe);
        assert_eq!(all, [(Notify, Observe), (RevokeUser, Observe)]);

        let never = Response {
            never_act_on: vec!["user 1".into()],
            ..Response::default()
        };
        let (all, _) = decided(&mut policy(never), &family, Mode::Enforce);
        assert_eq!(all, [(Notify, Execute), (RevokeUser, Suppress)]);

        let small = Response {
            budget: Budget {
                per_client: 1,
                ..Budget::default()
            },
            ..Response::default()
        };
        let mut policy = policy(small);
        decided(&mut policy, &family, Mode::Enforce);
        let (all, why) = decided(&mut policy, &failed(2, RevokeFamily), Mode::Enforce);
        assert_eq!(all, [(Notify, Execute), (RevokeUser, Hold)]);
        assert!(why.ends_with("waits for a person"), "{why}");
    }

    #[test]
    fn at_the_top_of_the_ladder_and_where_it_is_not_wanted_people_are_told() {
        let told = [(ActionKind::Notify, Decision::Execute)];
        let user = failed(1, ActionKind::RevokeUser);
        let (all, why) = decided(&mut policy(Response::default()), &user, Mode::Enforce);
        assert_eq!(all, told);
        assert!(why.ends_with("a person is needed"), "{why}");

        let off = Response {
            step_up: false,
            ..Response::default()
        };
        let family = failed(1, ActionKind::RevokeFamily);
        let (all, _) = decided(&mut policy(off), &family, Mode::Enforce);
        assert_eq!(all, told);

        let mut by_hand = failed(1, ActionKind::RevokeFamily);
        by_hand.no_effect.rule = Action::BY_HAND.into();
        let (all, _) = decided(&mut policy(Response::default()), &by_hand, Mode::Off);
        assert_eq!(all, told);
    }
}
