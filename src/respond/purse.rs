//! What an action is paid from: the budgets, behind the breaker of its client.

use crate::config::Budget;
use crate::engine::Found;
use crate::model::{BreakerClient, Text};

use super::breaker::{Breakers, Gate};
use super::budget::{Bearer, Charge, Spent, client_limit};
use super::{incidents, name_of};

/// What actions of one sort are paid from.
pub(super) struct Purse<'a> {
    spent: &'a mut Spent,
    /// Only what ends something opens a breaker, and is held by one.
    breakers: Option<&'a mut Breakers>,
}

/// An action is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) why: Text,
    /// The breaker of its client opened over it.
    opened: bool,
    /// It would have ended something.
    revocation: bool,
}

/// What of a finding's revocations has to wait for a person.
#[derive(Debug, Default)]
pub(super) struct Wait {
    pub(super) waits: bool,
    /// A breaker opened: what is to be told about it.
    pub(super) breaker: Option<Text>,
}

impl<'a> Purse<'a> {
    pub(super) fn of_revocations(spent: &'a mut Spent, breakers: &'a mut Breakers) -> Self {
        Self {
            spent,
            breakers: Some(breakers),
        }
    }

    pub(super) fn of_the_rest(spent: &'a mut Spent) -> Self {
        Self {
            spent,
            breakers: None,
        }
    }

    /// Spends one action, or says why it is held; what is held consumes nothing.
    pub(super) fn spend(&mut self, budget: Budget, found: &Found) -> Result<(), Held> {
        let detection = &found.detection;
        let client = client_of(found);
        let name = client
            .as_ref()
            .map_or_else(|| "".into(), BreakerClient::key);
        let tenant = detection.tenant.as_deref().unwrap_or("-");
        let charge = Charge {
            person: &name_of(&incidents::subject_of(found)),
            client: &name,
            rule: &found.rule.name,
            tenant: &format!("{}/{tenant}", detection.issuer).into(),
            families: found.families_active,
            on_trial: false,
        };
        let time = detection.time.as_millisecond();
        match (self.breakers.as_deref_mut(), &client) {
            (Some(breakers), Some(client)) => {
                spend_behind(breakers, client, self.spent, budget, charge, time)
            }
            (breakers, _) => self.spent.spend(budget, charge, time).map_err(|why| Held {
                why: why.reason().into(),
                opened: false,
                revocation: breakers.is_some(),
            }),
        }
    }
}

fn spend_behind(
    breakers: &mut Breakers,
    client: &BreakerClient,
    spent: &mut Spent,
    budget: Budget,
    mut charge: Charge<'_>,
    time: i64,
) -> Result<(), Held> {
    let held = |why: Text, opened| Held {
        why,
        opened,
        revocation: true,
    };
    let of_client = client_limit(budget, charge.families);
    let limit = of_client.of_client().unwrap_or(budget.per_client);
    charge.on_trial = match breakers.admits(charge.client, charge.person, limit, time) {
        Gate::Held(why) => return Err(held(why, false)),
        Gate::Trial => true,
        Gate::Closed => false,
    };
    match spent.room(budget, charge, time) {
        Ok(bearer) => {
            let tried = charge.on_trial && bearer == Bearer::All;
            if tried && !breakers.try_one(charge.client, limit, time) {
                let half = limit.div_ceil(2);
                let why = format!("budget used up: {half} actions on trial for this client");
                return Err(held(why.into(), true));
            }
            spent.take(bearer, charge, time);
            Ok(())
        }
        Err(exhausted) => {
            let why: Text = exhausted.reason().into();
            let opened =
                exhausted.of_client().is_some() && breakers.open(client, why.clone(), limit, time);
            if opened {
                breakers.hold(charge.client, charge.person, time);
            }
            Err(held(why, opened))
        }
    }
}

impl Wait {
    /// An action of the finding is held.
    pub(super) fn because(&mut self, held: &Held, found: &Found) {
        self.waits |= held.revocation;
        if held.opened {
            self.opened(&held.why, found);
        }
    }

    /// A breaker opened with the finding: why, what goes on, and what to do.
    pub(super) fn opened(&mut self, why: &str, found: &Found) {
        let client = found.detection.client_id.as_deref().unwrap_or("-");
        let text = format!(
            "the breaker of client {client} has opened ({why}): its revocations wait for a person, detection goes on; \
             look at them with `tokenwarden actions list --state held`"
        );
        self.waits = true;
        self.breaker = Some(text.into());
    }
}

/// The client that a finding is about, within its issuer and tenant.
pub(super) fn client_of(found: &Found) -> Option<BreakerClient> {
    let detection = &found.detection;
    Some(BreakerClient {
        issuer: detection.issuer.clone(),
        tenant: detection.tenant.clone(),
        client_id: detection.client_id.clone()?,
    })
}
