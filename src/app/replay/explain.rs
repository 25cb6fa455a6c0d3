//! `explain --replay`: why each rule fired or did not, from a recording.
//!
//! Two passes over the files: the first finds the event that is meant (of a detection the one that completed it, of a family
//! its last), the second stops when that event has settled and asks every rule again, this time with its reasons. So nothing
//! has to be remembered of the millions of events before it.

use std::time::Duration;

use super::feed::Step;
use super::lane::Lane;
use super::{PROGRESS_EVERY, Replay};
use crate::engine::{Engine, Explained, FamilyStory};
use crate::enrich::Enricher;
use crate::model::{Action, Detection, Enriched, Evidence, Output, Text, Timestamp, Value};

/// What is to be explained, by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Event(Text),
    Detection(Text),
    /// By the family's id or by any of its tokens.
    Family(Text),
}

/// Why each rule fired or did not, for one event.
#[derive(Debug)]
pub struct Explanation {
    pub event: Enriched,
    /// The family as it stood when the event had settled.
    pub family: Option<FamilyStory>,
    pub rules: Vec<Explained>,
    /// Detections that the event completed, with what was decided about each.
    pub decided: Vec<(Detection, Vec<Action>)>,
}

/// Told how many bytes and events have been read.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Unless a rule waits longer, every question has been asked by then.
const SETTLED_AFTER: Duration = Duration::from_mins(3);

impl Replay<'_> {
    /// Explains what was asked for; `None` when the recording does not hold it.
    pub fn explain(
        &self,
        asked: &Asked,
        progress: Progress<'_>,
    ) -> anyhow::Result<Option<Explanation>> {
        let event_id = match asked {
            Asked::Event(id) => Some(id.clone()),
            Asked::Detection(id) => self.event_of_detection(id, progress)?,
            Asked::Family(id) => self.last_event_of_family(id, progress)?,
        };
        event_id.map_or(Ok(None), |id| self.explain_event(&id, progress))
    }

    fn event_of_detection(
        &self,
        id: &Text,
        progress: Progress<'_>,
    ) -> anyhow::Result<Option<Text>> {
        let mut event_id = None;
        self.pass(progress, |_, _, output| {
            let detection = output.detections.iter().find(|d| d.id == *id);
            event_id = detection.map(|d| d.event_id.clone());
            event_id.is_some()
        })?;
        Ok(event_id)
    }

    fn last_event_of_family(
        &self,
        id: &Text,
        progress: Progress<'_>,
    ) -> anyhow::Result<Option<Text>> {
        let lane = self.pass(progress, |_, _, _| false)?;
        let story = lane.engine().family_story(id);
        let named = |line: &Evidence| match line.get("event_id") {
            Some(Value::Text(id)) => Some(id.clone()),
            _ => None,
        };
        Ok(story.and_then(|story| story.timeline.iter().rev().find_map(named)))
    }

    fn explain_event(
        &self,
        id: &Text,
        progress: Progress<'_>,
    ) -> anyhow::Result<Option<Explanation>> {
        let settled_after = self.rules.settle_max().max(SETTLED_AFTER);
        let mut meant: Option<Enriched> = None;
        let mut decided = Vec::new();
        let mut explanation = None;
        self.pass(progress, |engine, event, output| {
            if meant.is_none() && event.event.event_id == *id {
                meant = Some(event.clone());
            }
            decided.extend(of_event(id, output));
            let Some(meant) = meant
                .as_ref()
                .filter(|meant| has_settled(meant, settled_after, engine))
            else {
                return false;
            };
            explanation = Some(Explanation {
                event: meant.clone(),
                family: engine.family_of_event(meant),
                rules: engine.explain(&self.rules, meant),
                decided: std::mem::take(&mut decided),
            });
            true
        })?;
        Ok(explanation)
    }

    /// Reads on until `look` has seen enough; it is shown each event once it has been judged, and what came of it.
    fn pass(
        &self,
        progress: Progress<'_>,
        mut look: impl FnMut(&Engine, &Enriched, &Output) -> bool,
    ) -> anyhow::Result<Lane> {
        let mut enricher = Enricher::new(self.tables());
        let mut lane = Lane::new(self.config, &self.rules);
        let mut feed = self.feed()?;
        while let Some(step) = feed.next()? {
            if let Step::Event(taken) = step {
                let event = enricher.enrich(taken.event);
                let output = lane.take(taken.partition, Box::new(event.clone()), taken.last);
                if look(lane.engine(), &event, &output) {
                    break;
                }
            }
            if feed.taken.is_multiple_of(PROGRESS_EVERY) {
                progress(feed.bytes(), feed.taken);
            }
        }
        progress(feed.bytes(), feed.taken);
        Ok(lane)
    }
}

/// Whether every question about the event has been asked; at the end of the recording all have.
fn has_settled(event: &Enriched, after: Duration, engine: &Engine) -> bool {
    let has = |now: Timestamp| now >= event.event.time + after;
    engine.now().is_none_or(has)
}

/// The detections that an event completed, with what was decided.
fn of_event(id: &Text, output: &Output) -> Vec<(Detection, Vec<Action>)> {
    let of_event = output.detections.iter().filter(|d| d.event_id == *id);
    let with_actions = |detection: &Detection| {
        let about = |action: &&Action| action.detection_ids.contains(&detection.id);
        let actions = output.actions.iter().filter(about).cloned().collect();
        (detection.clone(), actions)
    };
    of_event.map(with_actions).collect()
}
