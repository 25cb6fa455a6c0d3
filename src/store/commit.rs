//! The fenced transaction: what some input caused, and how far the input has been read, become durable together.
//!
//! Doing it twice changes nothing: ids are functions of what happened, so a repeated detection or action meets its own
//! row (O1, O2). The fence comes first, since it also takes the row locks that make two owners wait for each other.

use std::collections::BTreeSet;

use sqlx::{AnyConnection, Row as _};

use crate::model::{
    Action, ActionKind, ActionState, AuditNote, Commit, Decision, Detection, Incident, Output,
    Reject, SourcePartition, Text, Timestamp,
};

use super::canary::put_canary;
use super::sql::{self, Cell, Insert};
use super::{Store, StoreError, audit};

/// What a commit brought that was not there before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommitReport {
    pub detections_new: u64,
    pub actions_new: u64,
}

impl Store {
    /// Writes all of it, or nothing: [`StoreError::Fenced`] when a partition has another owner since.
    pub async fn commit(
        &self,
        commit: &Commit,
        now: Timestamp,
    ) -> Result<CommitReport, StoreError> {
        let mut transaction = self.begin().await?;
        advance(&mut transaction, commit, now).await?;
        let (report, decided) = insert_output(&mut transaction, &commit.output, now).await?;
        insert_rejects(&mut transaction, commit, now).await?;
        audit::append(&mut transaction, &decided, now).await?;
        if let Some(canary) = &commit.canary {
            put_canary(&mut transaction, canary).await?;
        }
        transaction.commit().await?;
        // What the first try brought is not new to the second, and nobody has been woken for it.
        if report.actions_new > 0 || commit.canary.is_some() || commit.tried_at.is_some() {
            self.ring();
        }
        Ok(report)
    }
}

/// Without a position only the fence is checked, and the row locked against whoever claims it meanwhile.
const ADVANCE: &str = "UPDATE source_partition SET position = COALESCE($1, position), updated_at = $2 WHERE source = $3 AND part = $4 AND epoch = $5";

async fn advance(
    connection: &mut AnyConnection,
    commit: &Commit,
    now: Timestamp,
) -> Result<(), StoreError> {
    let moved = commit.positions.iter().map(|progress| {
        let position = Some(progress.position.0.as_ref());
        (&progress.partition, progress.epoch, position)
    });
    let held = commit.fences.iter();
    let mut sorted: Vec<(&SourcePartition, u64, Option<&str>)> = held
        .map(|(partition, epoch)| (partition, *epoch, None))
        .chain(moved)
        .collect();
    // A stable sort: of several steps of one partition the last stands.
    sorted.sort_by_key(|(partition, ..)| *partition);
    for (partition, epoch, position) in sorted {
        let advanced = sqlx::query(ADVANCE)
            .bind(position)
            .bind(sql::ms(now))
            .bind(partition.source.as_ref())
            .bind(partition.partition.as_ref())
            .bind(i64::try_from(epoch).unwrap_or(i64::MAX))
            .execute(&mut *connection)
            .await?;
        if advanced.rows_affected() == 0 {
            return Err(StoreError::Fenced {
                partition: partition.clone(),
                owner: owner(connection, partition).await?,
            });
        }
    }
    Ok(())
}

async fn owner(
    connection: &mut AnyConnection,
    partition: &SourcePartition,
) -> Result<Text, StoreError> {
    let row = sqlx::query("SELECT owner FROM source_partition WHERE source = $1 AND part = $2")
        .bind(partition.source.as_ref())
        .bind(partition.partition.as_ref())
        .fetch_optional(connection)
        .await?;
    let owner = row
        .map(|row| row.try_get::<String, _>("owner"))
        .transpose()?;
    Ok(owner.unwrap_or_default().into())
}

async fn insert_output(
    connection: &mut AnyConnection,
    output: &Output,
    now: Timestamp,
) -> Result<(CommitReport, Vec<AuditNote>), StoreError> {
    let detections = output
        .detections
        .iter()
        .map(|each| detection_row(each, now))
        .collect::<Result<_, _>>()?;
    let incidents = output
        .incidents
        .iter()
        .map(|each| incident_row(each, now))
        .collect::<Result<_, _>>()?;
    let detections_new = DETECTIONS.run(connection, detections).await?;
    INCIDENTS.run(connection, incidents).await?;
    MEMBERS.run(connection, member_rows(output)).await?;
    let mut decided = insert_actions(connection, &output.actions, decided_state, now).await?;
    let actions_new = u64::try_from(decided.len()).unwrap_or(u64::MAX);
    let offered = |_: &Action| ActionState::Offered;
    decided.extend(insert_actions(connection, &output.offers, offered, now).await?);
    reopen(connection, output).await?;
    let report = CommitReport {
        detections_new,
        actions_new,
    };
    Ok((report, decided))
}

/// Inserts actions, and gives for each one that is new what the audit log is to tell: a repeated one was told before.
pub(super) async fn insert_actions(
    connection: &mut AnyConnection,
    actions: &[Action],
    state: impl Fn(&Action) -> ActionState,
    now: Timestamp,
) -> Result<Vec<AuditNote>, StoreError> {
    let rows = actions
        .iter()
        .map(|each| action_row(each, state(each), now))
        .collect::<Result<_, _>>()?;
    let mut new = ACTIONS.run_returning(connection, rows).await?;
    let is_new = |action: &&Action| new.remove(&sql::clean(&action.id));
    let note = |action: &Action| AuditNote::decision(action).with("state", state(action).as_str());
    Ok(actions.iter().filter(is_new).map(note).collect())
}

/// The state that the decision gives.
pub(super) fn decided_state(action: &Action) -> ActionState {
    first_state(action.decision)
}

const DETECTIONS: Insert = Insert {
    head: "INSERT INTO detection (id, rule, kind, severity, event_time, issuer, tenant, user_id, client_id, family_id, recorded_at, body)",
    tail: "ON CONFLICT (id) DO NOTHING",
};

fn detection_row(detection: &Detection, now: Timestamp) -> Result<Vec<Cell>, StoreError> {
    Ok(vec![
        Cell::text(&detection.id),
        Cell::text(&detection.rule),
        Cell::text(&detection.kind),
        Cell::Int(sql::rank(detection.severity)),
        Cell::Int(sql::ms(detection.time)),
        Cell::text(&detection.issuer),
        Cell::maybe(detection.tenant.as_ref()),
        Cell::maybe(detection.user_id.as_ref()),
        Cell::maybe(detection.client_id.as_ref()),
        Cell::maybe(detection.family_id.as_ref()),
        Cell::Int(sql::ms(now)),
        Cell::Text(sql::to_json(detection)?),
    ])
}

/// An incident grows: the newest form replaces the one before. Its state is not the engine's to say.
pub(super) const INCIDENTS: Insert = Insert {
    head: "INSERT INTO incident (id, issuer, tenant, user_id, client_id, state, severity, opened_at, updated_at, recorded_at, body)",
    tail: "ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, client_id = excluded.client_id,
        severity = excluded.severity, opened_at = excluded.opened_at, updated_at = excluded.updated_at, body = excluded.body",
};

pub(super) fn incident_row(incident: &Incident, now: Timestamp) -> Result<Vec<Cell>, StoreError> {
    Ok(vec![
        Cell::text(&incident.id),
        Cell::text(&incident.issuer),
        Cell::maybe(incident.tenant.as_ref()),
        Cell::maybe(incident.user_id.as_ref()),
        Cell::maybe(incident.client_id.as_ref()),
        Cell::text(incident.state.as_str()),
        Cell::Int(sql::rank(incident.severity)),
        Cell::Int(sql::ms(incident.opened_at)),
        Cell::Int(sql::ms(incident.updated_at)),
        Cell::Int(sql::ms(now)),
        Cell::Text(sql::to_json(incident)?),
    ])
}

const MEMBERS: Insert = Insert {
    head: "INSERT INTO incident_member (incident_id, detection_id)",
    tail: "ON CONFLICT DO NOTHING",
};

/// What an action names belongs to its incident too, so that nobody has to say it twice.
fn member_rows(output: &Output) -> Vec<Vec<Cell>> {
    let told = output
        .members
        .iter()
        .map(|member| (&member.incident_id, &member.detection_id));
    let named = output.actions.iter().flat_map(|action| {
        action
            .detection_ids
            .iter()
            .map(move |id| (&action.incident_id, id))
    });
    let pairs: BTreeSet<(&Text, &Text)> = told.chain(named).collect();
    pairs
        .into_iter()
        .map(|(incident, detection)| vec![Cell::text(incident), Cell::text(detection)])
        .collect()
}

const ACTIONS: Insert = Insert {
    head: "INSERT INTO action (id, incident_id, kind, rule, decision, issuer, tenant, user_id, client_id, family_id, event_time,
        lane, state, due_at, attempts, approved, ready_since, created_at, body)",
    tail: "ON CONFLICT (id) DO NOTHING RETURNING id",
};

/// What was contained is open again when there is more to end.
async fn reopen(connection: &mut AnyConnection, output: &Output) -> Result<(), StoreError> {
    const REOPEN: &str = "UPDATE incident SET state = 'open' WHERE id = $1 AND state = 'contained'
        AND EXISTS (SELECT 1 FROM action WHERE action.incident_id = incident.id AND action.state IN ('ready', 'held'))";
    let ends = |action: &&Action| action.kind.ends_something();
    let incidents: BTreeSet<&Text> = output
        .actions
        .iter()
        .filter(ends)
        .map(|action| &action.incident_id)
        .collect();
    for incident in incidents {
        sqlx::query(REOPEN)
            .bind(sql::clean(incident))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn action_row(
    action: &Action,
    state: ActionState,
    now: Timestamp,
) -> Result<Vec<Cell>, StoreError> {
    let target = &action.target;
    Ok(vec![
        Cell::text(&action.id),
        Cell::text(&action.incident_id),
        Cell::text(action.kind.as_str()),
        Cell::text(&action.rule),
        Cell::text(action.decision.as_str()),
        Cell::text(&target.issuer),
        Cell::maybe(target.tenant.as_ref()),
        Cell::maybe(target.user_id.as_ref()),
        Cell::maybe(target.client_id.as_ref()),
        Cell::maybe(target.family_id.as_ref()),
        Cell::Int(sql::ms(action.event_time)),
        Cell::Text(lane(action)),
        Cell::text(state.as_str()),
        Cell::Int(sql::ms(now)),
        Cell::Int(0),
        Cell::Int(0),
        Cell::Int(sql::ms(now)),
        Cell::Int(sql::ms(now)),
        Cell::Text(sql::to_json(action)?),
    ])
}

const fn first_state(decision: Decision) -> ActionState {
    match decision {
        Decision::Execute => ActionState::Ready,
        Decision::Hold => ActionState::Held,
        Decision::Observe | Decision::Suppress => ActionState::Suppressed,
    }
}

/// Actions of one lane are performed one after the other: all that concern one user, or, where no user is known, one family.
/// Notifications have lanes of their own, since they wait for the others.
fn lane(action: &Action) -> String {
    let target = &action.target;
    if action.kind == ActionKind::Notify {
        return sql::clean(&format!("notify {}", action.incident_id));
    }
    let (what, subject) = [
        ("user", &target.user_id),
        ("family", &target.family_id),
        ("session", &target.session_id),
        ("client", &target.client_id),
    ]
    .into_iter()
    .find_map(|(what, id)| id.as_ref().map(|id| (what, id)))
    .unwrap_or(("action", &action.id));
    sql::clean(&format!("{} {what} {subject}", target.issuer))
}

const REJECTS: Insert = Insert {
    head: "INSERT INTO reject (source, part, place, reason, message, body, recorded_at)",
    tail: "",
};

async fn insert_rejects(
    connection: &mut AnyConnection,
    commit: &Commit,
    now: Timestamp,
) -> Result<(), StoreError> {
    if let Some(tried_at) = commit.tried_at {
        forget_rejects(connection, &commit.rejects, tried_at).await?;
    }
    let now = commit.tried_at.unwrap_or(now);
    let rows = commit.rejects.iter();
    let rows = rows.map(|reject| reject_row(reject, now)).collect();
    REJECTS.run(connection, rows).await?;
    Ok(())
}

/// What was rejected has no id, and may rightly come twice (a place in a file that was rotated, an array of two bad events): what
/// an earlier try has left is known by its time.
async fn forget_rejects(
    connection: &mut AnyConnection,
    rejects: &[Reject],
    tried_at: Timestamp,
) -> Result<(), StoreError> {
    let of = |reject: &Reject| (sql::clean(&reject.source), sql::clean(&reject.partition));
    for (source, partition) in rejects.iter().map(of).collect::<BTreeSet<_>>() {
        sqlx::query("DELETE FROM reject WHERE recorded_at = $1 AND source = $2 AND part = $3")
            .bind(sql::ms(tried_at))
            .bind(source)
            .bind(partition)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn reject_row(reject: &Reject, now: Timestamp) -> Vec<Cell> {
    vec![
        Cell::text(&reject.source),
        Cell::text(&reject.partition),
        Cell::text(&reject.place),
        Cell::text(reject.reason.as_str()),
        Cell::text(&reject.message),
        Cell::text(&reject.payload),
        Cell::Int(sql::ms(now)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, StoreConfig};
    use crate::model::RejectReason;
    use crate::store::{OpenAs, Store};

    fn rejects(count: usize) -> Commit {
        let reject = Reject {
            source: "events".into(),
            partition: "0".into(),
            place: "42".into(),
            reason: RejectReason::Syntax,
            message: "expected a JSON object".into(),
            payload: "x".repeat(4000).into(),
        };
        Commit {
            rejects: vec![reject; count],
            ..Commit::default()
        }
    }

    async fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            url: Secret::new(format!("sqlite://{}/a.db", folder.path().display())),
            connections_max: 1,
            snapshot_every: std::time::Duration::from_mins(1),
        };
        let store = Store::open(&config, OpenAs::Daemon).await.unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn a_full_disk_is_passing_and_ends_by_itself() {
        let (_folder, store) = store().await;
        let limit = async |pages: &'static str| {
            sqlx::query(pages)
                .execute(&store.inner.writer)
                .await
                .map(|_| ())
        };

        limit("PRAGMA max_page_count = 1").await.unwrap();
        let refused = store.commit(&rejects(100), Timestamp::UNIX_EPOCH).await;
        assert!(
            matches!(refused, Err(StoreError::Unavailable(ref why)) if why.contains("full")),
            "{refused:?}"
        );
        limit("PRAGMA max_page_count = 1000000").await.unwrap();
        store
            .commit(&rejects(100), Timestamp::UNIX_EPOCH)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_commit_whose_answer_was_lost_is_whole_after_the_next_try() {
        let (_folder, store) = store().await;
        let second = |second| Timestamp::from_second(second).unwrap();
        let mut commit = rejects(3);
        store.commit(&commit, second(1)).await.unwrap();
        store.commit(&commit, second(2)).await.unwrap();
        let arrivals = store.arrivals();
        commit.tried_at = Some(second(2));
        for later in [3, 4] {
            store.commit(&commit, second(later)).await.unwrap();
        }
        let rows: i64 = sqlx::query("SELECT COUNT(*) FROM reject")
            .fetch_one(store.reader())
            .await
            .unwrap()
            .get(0);
        assert_eq!(rows, 6, "those of the second commit once");
        assert!(arrivals.has_changed().unwrap(), "whoever performs looks");
    }
}
