//! Budgets once more, by wall time, at the moment of the first try.
//!
//! The policy counts in event time: a backlog of hours, or a source whose clock is wrong, may bring within a minute what
//! was decided over many. So what was begun in the last ten minutes is counted here, in the transaction that begins the
//! next; the row that hands out the ids of own events makes two of them wait for each other.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use crate::config::Budget;
use crate::model::{Action, ActionKind, OwnEvent, Text, Timestamp, limits};

use super::attempt::begin;
use super::{AttemptId, LeasedAction, Store, StoreError, sql};

const WINDOW: Duration = Duration::from_mins(10);
/// What came of the try before this one. A first try is charged, and the first after an answer, which did not hold; what is
/// only tried again is charged already.
const ANSWER_BEFORE: &str = "(SELECT earlier.result FROM action_attempt AS earlier
    WHERE earlier.action_id = try.action_id AND earlier.seq < try.seq ORDER BY earlier.seq DESC LIMIT 1)";
/// Of so many kinds of what was begun; a budget beyond it is none.
const GROUPS_MAX: i64 = 10_000;

/// Actions begun lately that were for one person, by one rule, at one client.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Begun {
    tenant: String,
    client: String,
    rule: String,
    person: String,
    actions: u64,
}

impl Store {
    /// Begins the try of a revoker, unless the budget of the last ten minutes is used up: then says so.
    pub async fn begin_within(
        &self,
        budget: Option<&Budget>,
        leased: &LeasedAction,
        performer: &Text,
        event: &OwnEvent,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Result<Vec<AttemptId>, String>, StoreError> {
        let action = &leased.action;
        let mut transaction = self.begin().await?;
        if let Some(budget) = budget {
            sqlx::query("UPDATE sequence SET last = last WHERE name = 'own_event'")
                .execute(&mut *transaction)
                .await?;
            let begun = begun_lately(&mut transaction, action.kind, now).await?;
            if let Some(why) = used_up(&begun, &of(action), budget) {
                return Ok(Err(why));
            }
        }
        let performers = std::slice::from_ref(performer);
        let (id, owner) = (&action.id, &*leased.lease);
        let attempts = begin(
            &mut transaction,
            (id, owner),
            performers,
            Some(event),
            now,
            lease_until,
        )
        .await?;
        transaction.commit().await?;
        Ok(Ok(attempts))
    }
}

async fn begun_lately(
    connection: &mut AnyConnection,
    kind: ActionKind,
    now: Timestamp,
) -> Result<Vec<Begun>, StoreError> {
    // What only gets in somebody's way uses up nothing of what revocations need.
    let kinds = if kind.ends_something() {
        "IN ('revoke_family', 'revoke_user', 'lock_user')"
    } else {
        "IN ('challenge', 'throttle', 'block_ip')"
    };
    let statement = format!(
        "SELECT issuer, COALESCE(tenant, '-') AS tenant, COALESCE(client_id, '-') AS client, rule,
            COALESCE(user_id, family_id, '-') AS person, COUNT(*) AS actions
         FROM action JOIN action_attempt AS try ON try.action_id = action.id
         WHERE begun_at > $1 AND try.started_at > $1 AND begun_at <= $2 AND try.started_at <= $2 AND kind {kinds} AND COALESCE({ANSWER_BEFORE}, 'done') = 'done'
         GROUP BY issuer, COALESCE(tenant, '-'), COALESCE(client_id, '-'), rule, COALESCE(user_id, family_id, '-')
         ORDER BY issuer, tenant, client, rule, person LIMIT {GROUPS_MAX}"
    );
    let since = now.checked_sub(WINDOW).unwrap_or(Timestamp::MIN);
    let rows = sqlx::query(AssertSqlSafe(statement))
        .bind(sql::ms(since))
        .bind(sql::ms(sql::latest(now, WINDOW)))
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let text = |name: &str| row.try_get::<String, _>(name);
            let tenant = format!("{}/{}", text("issuer")?, text("tenant")?);
            Ok(Begun {
                client: format!("{tenant}/{}", text("client")?),
                person: format!("{tenant}/{}", text("person")?),
                rule: text("rule")?,
                actions: sql::count(row.try_get("actions")?),
                tenant,
            })
        })
        .collect()
}

fn of(action: &Action) -> Begun {
    let target = &action.target;
    let tenant = format!(
        "{}/{}",
        target.issuer,
        target.tenant.as_deref().unwrap_or("-")
    );
    let person = target.user_id.as_deref().or(target.family_id.as_deref());
    Begun {
        client: format!("{tenant}/{}", target.client_id.as_deref().unwrap_or("-")),
        person: format!("{tenant}/{}", person.unwrap_or("-")),
        rule: action.rule.to_string(),
        actions: 1,
        tenant,
    }
}

/// Which budget has no room for one more: as in the policy, one person is charged to all only a few times.
fn used_up(begun: &[Begun], next: &Begun, budget: &Budget) -> Option<String> {
    let shared_max = limits::ACTIONS_SHARED_PER_PERSON as u64;
    let of_person = begun.iter().filter(|it| it.person == next.person);
    let own: u64 = of_person.map(|it| it.actions).sum();
    let say = |limit: u32, whose: &str| {
        Some(format!(
            "budget used up: {limit} actions in 10 min of wall time {whose}"
        ))
    };
    if own >= shared_max {
        let is_over = own >= u64::from(budget.per_client);
        return is_over
            .then(|| say(budget.per_client, "for this user"))
            .flatten();
    }
    let mut charged: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut client, mut rule, mut tenant, mut all) = (0, 0, 0, 0);
    for it in begun {
        let before = charged.entry(&it.person).or_default();
        let counted = it.actions.min(shared_max.saturating_sub(*before));
        *before += counted;
        client += if it.client == next.client { counted } else { 0 };
        rule += if it.rule == next.rule { counted } else { 0 };
        tenant += if it.tenant == next.tenant { counted } else { 0 };
        all += counted;
    }
    [
        (client, budget.per_client, "for this client"),
        (rule, budget.per_rule, "for this rule"),
        (tenant, budget.per_tenant, "for this tenant"),
        (all, budget.global, "in all"),
    ]
    .into_iter()
    .find(|(spent, limit, _)| *spent >= u64::from(*limit))
    .and_then(|(_, limit, whose)| say(limit, whose))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(client: &str, person: &str, actions: u64) -> Begun {
        Begun {
            tenant: "idp/-".into(),
            client: client.into(),
            rule: "token-reuse".into(),
            person: person.into(),
            actions,
        }
    }

    #[test]
    fn the_narrowest_budget_is_named_and_one_person_is_charged_to_all_three_times() {
        let budget = Budget {
            per_client: 6,
            per_rule: 8,
            ..Budget::default()
        };
        let used = |all: &[Begun], next: &Begun| used_up(all, next, &budget);
        let mallory = begun("web", "mallory", 5);
        let others = begun("web", "other", 1);
        assert_eq!(
            used(
                &[mallory.clone(), others.clone()],
                &begun("web", "alice", 1)
            ),
            None
        );
        let own = used(&[begun("web", "mallory", 6)], &begun("web", "mallory", 1));
        assert!(own.unwrap().contains("this user"));
        let full: Vec<Begun> = (0..6).map(|n| begun("web", &format!("u{n}"), 1)).collect();
        assert!(
            used(&full, &others)
                .unwrap()
                .contains("6 actions in 10 min of wall time for this client")
        );
        let next = begun("app", "alice", 1);
        assert_eq!(used(&full, &next), None, "another client");
        let more = [&full[..], &[begun("pay", "x", 2)]].concat();
        assert!(used(&more, &next).unwrap().contains("this rule"));
    }
}
