//! What an action is paid from: the budgets, behind the breaker of its client.

use crate::config::Budget;
use crate::engine::Found;
use crate::model::{Action, BreakerClient, Subject, Target, Text};

use super::breaker::{Breakers, Gate};
use super::budget::{Bearer, Charge, Spent, client_limit};
use super::{incidents, name_of};

/// What actions of one sort are paid from.
pub(super) struct Purse<'a> {
    spent: &'a mut Spent,
    /// Only what ends something opens a breaker, and is held by one.
    breakers: Option<&'a mut Breakers>,
}

/// Whom an action is charged to, and when.
pub(super) struct Payer {
    person: Text,
    client: Option<BreakerClient>,
    rule: Text,
    tenant: Text,
    /// Families in use at the client; 0 where that is not known, and then its budget is no share of them.
    families: u32,
    /// Event time.
    time: i64,
}

impl Payer {
    pub(super) fn of(found: &Found) -> Self {
        let detection = &found.detection;
        Self {
            person: name_of(&incidents::subject_of(found)),
            client: client_of(found),
            rule: found.rule.name.clone(),
            tenant: tenant_of(&detection.issuer, detection.tenant.as_ref()),
            families: found.families_active,
            time: detection.time.as_millisecond(),
        }
    }

    /// Of an action about a person.
    pub(super) fn of_action(action: &Action, user_id: &Text) -> Self {
        let Target { issuer, tenant, .. } = &action.target;
        let person = Subject::User(user_id.clone());
        let client = action.target.client_id.as_ref();
        Self {
            person: name_of(&incidents::within(issuer, tenant.as_deref(), person)),
            client: client.map(|client_id| BreakerClient {
                issuer: issuer.clone(),
                tenant: tenant.clone(),
                client_id: client_id.clone(),
            }),
            rule: action.rule.clone(),
            tenant: tenant_of(issuer, tenant.as_ref()),
            families: 0,
            time: action.event_time.as_millisecond(),
        }
    }
}

fn tenant_of(issuer: &Text, tenant: Option<&Text>) -> Text {
    format!("{issuer}/{}", tenant.map_or("-", |name| &**name)).into()
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
    pub(super) fn spend(&mut self, budget: Budget, payer: &Payer) -> Result<(), Held> {
        let name = payer.client.as_ref();
        let charge = Charge {
            person: &payer.person,
            client: &name.map_or_else(|| "".into(), BreakerClient::key),
            rule: &payer.rule,
            tenant: &payer.tenant,
            families: payer.families,
            on_trial: false,
        };
        let time = payer.time;
        match (self.breakers.as_deref_mut(), &payer.client) {
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
