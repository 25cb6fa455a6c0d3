//! What the daemon stored of it: the evidence of what fired, and what was decided.

use std::io::Write;

use anyhow::Context as _;
use serde_json::json;

use super::super::replay::Form;
use super::super::{Exit, Terminal, clean};
use super::{name, text};
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
    let store = match runtime.block_on(Store::open(&config.store, OpenAs::Reader)) {
        Ok(store) => store,
        Err(OpenError::Missing { store }) => {
            writeln!(
                terminal.err,
                "tokenwarden: {store} does not exist: explain it from a recording with `--replay FILE`"
            )?;
            return Ok(Exit::Negative);
        }
        Err(error) => return Err(error.into()),
    };
    let stored = runtime.block_on(read(&store, asked))?;
    runtime.block_on(store.close());
    if stored.is_empty() {
        writeln!(
            terminal.err,
            "tokenwarden: the store holds no detection for {}; what did not fire is not stored: explain it from a recording with `--replay FILE`",
            name(asked)
        )?;
        return Ok(Exit::Negative);
    }
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
    if form == Form::Text {
        writeln!(
            terminal.err,
            "Why other rules did not fire is not stored: `--replay FILE` tells it from a recording."
        )?;
    }
    Ok(Exit::Success)
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
