//! What has to be done now and then: leave dead sources out, read changed GeoIP files, forget old rows, ask every part
//! whether it is well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::audited;
use super::control::Controls;
use super::memory::Memory;
use super::{online, parts};
use crate::admin;
use crate::clock;
use crate::config::{Config, SourceKind};
use crate::model::{
    By, Erasing, IncidentState, Position, Resolution, SourcePartition, Text, Timestamp, limits,
};
use crate::pipeline::Control;
use crate::store::{StoreError, Taken};

const LOOK_EVERY: Duration = Duration::from_secs(1);
const MEMORY_EVERY: u32 = 2;
const TABLES_EVERY: u32 = 10;
const ERASURE_EVERY: u32 = 2;
const HELD_EVERY: u32 = 10;
const INCIDENTS_EVERY: u32 = 60;
const RETENTION_EVERY: u32 = 3600;
const EXCEPTIONS_EVERY: u32 = 24 * 3600;

/// Runs until cancelled.
pub(super) async fn run(controls: Arc<Controls>, cancel: CancellationToken) {
    // Beside the others: a server that does not answer must not keep dead sources in.
    let check = online::watch(Arc::clone(&controls), cancel.clone());
    tokio::join!(look_around(controls, cancel), check);
}

async fn look_around(controls: Arc<Controls>, cancel: CancellationToken) {
    let mut loaded = controls.loaded();
    let mut tables = Arc::clone(&loaded.tables);
    let mut memory = Memory::default();
    let mut turn: u32 = 0;
    while !cancel.is_cancelled() {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        turn = turn.wrapping_add(1);
        if has_room(&controls.control) {
            let out = controls.board.out_of_time();
            if !out.is_empty() && controls.control.send(Control::LeftOut(out)).await.is_err() {
                return;
            }
            let up = controls.board.up();
            if !up.is_empty() && controls.control.send(Control::Arrived(up)).await.is_err() {
                return;
            }
        }
        if turn.is_multiple_of(MEMORY_EVERY) && has_room(&controls.control) {
            let most = loaded.config.state.memory_max;
            if memory.look(most, &controls.control).await.is_err() {
                return;
            }
        }
        tell_refusals(&controls).await;
        if turn.is_multiple_of(ERASURE_EVERY) && has_room(&controls.control) {
            forget_users(&controls).await;
        }
        if !Arc::ptr_eq(&loaded, &controls.loaded()) {
            // Another configuration came with tables of its own.
            loaded = controls.loaded();
            tables = Arc::clone(&loaded.tables);
        }
        if turn.is_multiple_of(TABLES_EVERY) && has_room(&controls.control) && tables.changed() {
            let (new, warnings) = tables.reload(&parts::tables_params(&controls.config()));
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            tables = Arc::new(new);
            controls.describe_tables(&tables);
            if controls
                .control
                .send(Control::Tables(Arc::clone(&tables)))
                .await
                .is_err()
            {
                return;
            }
            tracing::info!("GeoIP files changed and were read again");
        }
        if turn.is_multiple_of(HELD_EVERY) {
            expire_held(&controls).await;
        }
        if turn.is_multiple_of(INCIDENTS_EVERY) {
            close_idle(&controls).await;
        }
        if turn.is_multiple_of(RETENTION_EVERY) {
            forget(&controls).await;
        }
        if turn.is_multiple_of(EXCEPTIONS_EVERY) {
            controls.describe_exceptions();
        }
    }
}

/// Again and again until no saved state knows them: what a restart reads again would bring them back.
async fn forget_users(controls: &Controls) {
    let done = async {
        let asked = controls.store.to_forget().await?;
        if asked.is_empty() {
            return Ok(());
        }
        let people = asked.iter().map(|it| it.person.clone()).collect();
        let (done, forgotten) = oneshot::channel();
        let sent = controls.control.send(Control::Forget(people, done)).await;
        if sent.is_ok() && forgotten.await.is_ok() {
            // They stay noted until the archive, which takes longer, knows nothing of them either.
            let archive = controls.archive.as_ref();
            let gone = |it: &Erasing| archive.is_none_or(|archive| archive.has_forgotten(it));
            let gone: Vec<Erasing> = asked.into_iter().filter(gone).collect();
            controls.store.forgotten(&gone, clock::now()).await?;
        }
        Ok::<(), StoreError>(())
    };
    if let Err(error) = done.await {
        tracing::warn!(%error, "Who is to be forgotten cannot be read; tried again in a moment");
    }
}

async fn tell_refusals(controls: &Controls) {
    if let Some(note) = controls.refusals.due(clock::now())
        && let Err(why) = audited::tell(&controls.store, note).await
    {
        tracing::warn!("Refused requests are missing in the audit log: {why}");
    }
}

/// The loop takes nothing while the store is away. What is told again in a second anyhow must leave room for a reload.
fn has_room(control: &mpsc::Sender<Control>) -> bool {
    control.capacity() > control.max_capacity() / 2
}

/// What nobody has decided about in time is over.
async fn expire_held(controls: &Controls) {
    let now = clock::now();
    let since = now
        .checked_sub(limits::HELD_EXPIRES)
        .unwrap_or(Timestamp::MIN);
    match controls.store.expire_held(since, now).await {
        Ok(over) => controls.undecided(&over),
        // `ready` tells of a store that does not answer; it is tried again in a moment.
        Err(error) => tracing::debug!(%error, "Held actions could not be expired"),
    }
}

/// Incidents in which nothing has happened for a day, and nothing is to be done, close themselves.
async fn close_idle(controls: &Controls) {
    let now = clock::now();
    let since = now
        .checked_sub(limits::INCIDENT_IDLE)
        .unwrap_or(Timestamp::MIN);
    let by = By {
        who: "tokenwarden".into(),
        why: "nothing was found for a day, and nothing is left to do".into(),
    };
    let store = &controls.store;
    let idle = store.idle_incidents(since, limits::INCIDENTS_CLOSED_AT_ONCE);
    for (id, state) in idle.await.unwrap_or_default() {
        let resolution = match state {
            IncidentState::Contained => Resolution::Contained,
            _ => Resolution::Lapsed,
        };
        match store.close_incident(&id, resolution, &by, now).await {
            Ok(Taken::Done(closed)) => admin::Control::closed(controls, &closed),
            // A person was quicker.
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "Idle incidents could not be closed");
                return;
            }
        }
    }
}

async fn forget(controls: &Controls) {
    let read = match controls.store.positions().await {
        Ok(positions) => inbox_read(&controls.config(), &positions),
        Err(_) => return,
    };
    if let Err(error) = controls
        .store
        .retention(&controls.config().retention, &read, clock::now())
        .await
    {
        tracing::warn!(%error, "Old rows could not be removed; tried again in an hour");
    }
}

/// Up to which id each webhook source that is configured has read the inbox; 0 while it has not begun. Positions of
/// sources that are configured no more stay in the store, and say nothing about what anybody is going to read.
fn inbox_read(
    config: &Config,
    positions: &BTreeMap<SourcePartition, Position>,
) -> BTreeMap<Text, i64> {
    let id = |position: &Position| {
        serde_json::from_str::<serde_json::Value>(&position.0)
            .ok()?
            .get("id")?
            .as_i64()
    };
    let webhooks = config
        .sources
        .iter()
        .filter(|source| matches!(source.kind, SourceKind::Webhook(_)));
    webhooks
        .map(|source| {
            let partition = SourcePartition {
                source: source.name.clone(),
                partition: "inbox".into(),
            };
            let read = positions.get(&partition).and_then(id);
            (source.name.clone(), read.unwrap_or(0))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_source_and_one_that_is_gone_hold_nobody_back() {
        let text = "http: { ingest: { listen: 127.0.0.1:0 } }
sources:
  - { name: busy, webhook: { bearer: a-secret-of-some-length }, format: auth0 }
  - { name: quiet, webhook: { bearer: a-secret-of-some-length }, format: auth0 }
  - { name: log, file: { path: log.jsonl }, format: tokenwarden }";
        let config = Config::parse(text, std::path::Path::new("tokenwarden.yaml")).unwrap();
        let at = |source: &str, partition: &str, id: i64| {
            let partition = SourcePartition {
                source: source.into(),
                partition: partition.into(),
            };
            (partition, Position(format!("{{\"id\":{id}}}").into()))
        };
        let positions = [
            at("busy", "inbox", 70),
            at("renamed", "inbox", 3),
            at("own", "own", 9),
        ];
        let read = inbox_read(&config, &positions.into());
        assert_eq!(read, [("busy".into(), 70), ("quiet".into(), 0)].into());
    }
}
