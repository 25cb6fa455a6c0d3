//! What the daemon stored of it: the evidence of what fired, what was decided, and what the archive has of the family.

use std::io::Write;

use anyhow::Context as _;
use serde_json::json;

use super::super::replay::Form;
use super::super::{Exit, Terminal, clean};
use super::{archived, name, text};
use crate::app::lookback::{Id, Wanted, Whose};
use crate::app::replay::explain::Asked;
use crate::config::Config;
use crate::model::{ActionRecord, Detection, Text};
use crate::store::{ActionFilter, DetectionFilter, OpenAs, OpenError, Page, Store};

/// Detections and actions of one family that are shown, newest first.
const PAGE: Page = Page {
    before: None,
    limit: 100,
};
/// Detections that are looked through for those of one event.
const SEARCHED_MAX: u32 = 20_000;

pub(super) fn explain(
    config: &Config,
    asked: &Asked,
    form: Form,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime for the store")?;
    let stored = match runtime.block_on(Store::open(&config.store, OpenAs::Reader)) {
        Ok(store) => {
            let stored = runtime.block_on(read(&store, asked))?;
            runtime.block_on(store.close());
            stored
        }
        Err(OpenError::Missing { store }) if config.archive.is_none() => {
            writeln!(
                terminal.err,
                "tokenwarden: {store} does not exist: explain it from a recording with `--replay FILE`"
            )?;
            return Ok(Exit::Negative);
        }
        Err(OpenError::Missing { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    for (detection, actions) in &stored {
        match form {
            Form::Text => print(detection, actions, terminal.out)?,
            Form::Json => {
                let actions: Vec<_> = actions
                    .iter()
                    .map(|record| {
                        json!({
                            "action": record.action.kind, "decision": record.action.decision,
                            "reason": record.action.reason, "state": record.state,
                        })
                    })
                    .collect();
                let line = json!({"type": "stored", "detection": detection, "actions": actions});
                writeln!(terminal.out, "{line}")?;
            }
        }
    }
    let wanted = wanted(asked, &stored);
    let is_archived = archived::tell(config, wanted.as_ref(), form, terminal)?;
    if stored.is_empty() && !is_archived {
        let archive = config.archive.as_ref();
        let archive = archive.map_or("", |_| ", and the archive no event");
        writeln!(
            terminal.err,
            "tokenwarden: the store holds no detection for {}{archive}; what did not fire is not stored: explain it from a recording with `--replay FILE`",
            name(asked)
        )?;
        return Ok(Exit::Negative);
    }
    if form == Form::Text {
        writeln!(
            terminal.err,
            "Why other rules did not fire is not stored: `--replay FILE` tells it from a recording."
        )?;
    }
    Ok(Exit::Success)
}

/// What the archive is asked for: of a detection its event, and of what was stored no other server's.
fn wanted(asked: &Asked, stored: &[(Detection, Vec<ActionRecord>)]) -> Option<Wanted> {
    let detection = stored.first().map(|(detection, _)| detection);
    let id = match asked {
        Asked::Family(id) => Id::Family(id.clone()),
        Asked::Event(id) => Id::Event(id.clone()),
        Asked::Detection(_) => return detection.map(Wanted::event_of),
    };
    let whose = detection.map(Whose::of_detection);
    Some(Wanted { id, whose })
}

async fn read(store: &Store, asked: &Asked) -> anyhow::Result<Vec<(Detection, Vec<ActionRecord>)>> {
    let detections = match asked {
        Asked::Detection(id) => store.detection(id).await?.into_iter().collect(),
        Asked::Family(id) => of_family(store, id).await?,
        Asked::Event(id) => of_event(store, id).await?,
    };
    let mut stored = Vec::new();
    for detection in detections {
        let filter = ActionFilter {
            user_id: detection.user_id.clone(),
            rule: Some(detection.rule.clone()),
            ..ActionFilter::default()
        };
        let mut actions = store.actions(&filter, PAGE).await?.items;
        actions.retain(|record| record.action.detection_ids.contains(&detection.id));
        stored.push((detection, actions));
    }
    Ok(stored)
}

async fn of_family(store: &Store, id: &Text) -> anyhow::Result<Vec<Detection>> {
    let filter = DetectionFilter {
        family_id: Some(id.clone()),
        ..DetectionFilter::default()
    };
    Ok(store.detections(&filter, PAGE).await?.items)
}

/// Detections are not found by event: the newest are looked through.
async fn of_event(store: &Store, id: &Text) -> anyhow::Result<Vec<Detection>> {
    let mut found = Vec::new();
    let mut page = PAGE;
    for _ in 0..SEARCHED_MAX / PAGE.limit {
        let listed = store.detections(&DetectionFilter::default(), page).await?;
        found.extend(listed.items.into_iter().filter(|d| d.event_id == *id));
        page.before = listed.next;
        if listed.next.is_none() {
            break;
        }
    }
    Ok(found)
}

fn print(
    detection: &Detection,
    actions: &[ActionRecord],
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    writeln!(
        out,
        "{} {} {}: {}",
        detection.time,
        detection.severity,
        detection.rule,
        clean(&detection.summary)
    )?;
    writeln!(
        out,
        "  detection {}, event {}",
        detection.id,
        clean(&detection.event_id)
    )?;
    text::tree(&detection.evidence, 4, out)?;
    for record in actions {
        let action = &record.action;
        writeln!(
            out,
            "  {} {}: {} ({})",
            action.decision,
            action.kind,
            clean(&action.reason),
            record.state
        )?;
    }
    Ok(())
}
