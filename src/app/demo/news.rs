//! What the daemon finds and does, read from its store as its API would tell it.

use std::collections::{BTreeSet, HashSet};

use crate::model::{ActionRecord, ActionState, Decision, Detection, Severity, Text};
use crate::simulate::Story;
use crate::store::{ActionFilter, DetectionFilter, Page, Store, StoreError};

/// Something worth a line.
#[derive(Debug, Clone)]
pub enum News {
    /// What people and thieves do.
    Story(Story),
    /// What the daemon found.
    Found(Box<Detection>),
    /// What the daemon did, or could not do.
    Done(Box<ActionRecord>),
}

/// Rows read at each look, newest first. A demo makes fewer between two looks by far.
const ROWS_MAX: u32 = 200;

/// Remembers what it has told.
pub(super) struct Watcher {
    store: Store,
    detections: HashSet<(Text, Severity)>,
    actions: HashSet<Text>,
    /// Families that the daemon calls stolen.
    suspects: BTreeSet<Text>,
}

impl Watcher {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            detections: HashSet::new(),
            actions: HashSet::new(),
            suspects: BTreeSet::new(),
        }
    }

    /// What is new since the last look, oldest first; findings before what was done about them.
    pub(super) async fn look(&mut self) -> Result<Vec<News>, StoreError> {
        let page = Page {
            before: None,
            limit: ROWS_MAX,
        };
        let (every_detection, every_action) = (DetectionFilter::default(), ActionFilter::default());
        let detections = self.store.detections(&every_detection, page).await?.items;
        let actions = self.store.actions(&every_action, page).await?.items;
        let mut news = Vec::new();
        for detection in detections.into_iter().rev() {
            if self
                .detections
                .insert((detection.id.clone(), detection.severity))
            {
                self.remember(&detection);
                news.push(News::Found(Box::new(detection)));
            }
        }
        for record in actions.into_iter().rev() {
            if is_settled(&record) && self.actions.insert(record.action.id.clone()) {
                news.push(News::Done(Box::new(record)));
            }
        }
        Ok(news)
    }

    /// Whether something that was decided is still to be done.
    pub(super) async fn pending(&self) -> Result<bool, StoreError> {
        for state in [ActionState::Ready, ActionState::Leased] {
            let filter = ActionFilter {
                state: Some(state),
                ..ActionFilter::default()
            };
            let page = Page {
                before: None,
                limit: 1,
            };
            if !self.store.actions(&filter, page).await?.items.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn suspects(&self) -> &BTreeSet<Text> {
        &self.suspects
    }

    fn remember(&mut self, detection: &Detection) {
        if detection.severity == Severity::Critical {
            self.suspects.extend(detection.family_id.clone());
        }
    }
}

/// Done or given up, or left to a person. What was never to be performed is no news.
fn is_settled(record: &ActionRecord) -> bool {
    let performed = matches!(record.action.decision, Decision::Execute | Decision::Hold);
    let left = matches!(record.state, ActionState::Held | ActionState::Answered);
    performed && (record.state.is_final() || left)
}
