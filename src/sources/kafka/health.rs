//! One status for a source that reads several topics: it works when all of them do.
//!
//! Only changes are reported, so that nobody has to filter twice a second of the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::Text;
use crate::sources::Status;

pub(super) struct Health {
    source: Text,
    status: Arc<dyn Status>,
    topics: Mutex<Topics>,
}

struct Topics {
    conditions: BTreeMap<Text, Condition>,
    /// What was reported last: `Ok`, or the reason.
    reported: Option<Result<(), String>>,
}

#[derive(Clone, PartialEq)]
enum Condition {
    /// Nothing has worked yet, nothing has failed.
    Starting,
    Up,
    Down(String),
}

impl Health {
    pub(super) fn new(source: Text, status: Arc<dyn Status>, topics: &[Text]) -> Self {
        let conditions = topics
            .iter()
            .map(|topic| (topic.clone(), Condition::Starting))
            .collect();
        Self {
            source,
            status,
            topics: Mutex::new(Topics {
                conditions,
                reported: None,
            }),
        }
    }

    pub(super) fn up(&self, topic: &Text) {
        self.set(topic, Condition::Up);
    }

    pub(super) fn down(&self, topic: &Text, reason: String) {
        self.set(topic, Condition::Down(reason));
    }

    fn set(&self, topic: &Text, condition: Condition) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.conditions.insert(topic.clone(), condition);
        let Some(now) = topics.summary() else { return };
        if topics.reported.as_ref() != Some(&now) {
            match &now {
                Ok(()) => self.status.up(&self.source),
                Err(reason) => self.status.down(&self.source, reason),
            }
            topics.reported = Some(now);
        }
    }
}

impl Topics {
    /// `None` while nothing can be said.
    fn summary(&self) -> Option<Result<(), String>> {
        let mut reasons: Vec<&str> = Vec::new();
        for condition in self.conditions.values() {
            if let Condition::Down(reason) = condition {
                // The topics of one cluster mostly fail for the same reason.
                if !reasons.contains(&reason.as_str()) {
                    reasons.push(reason);
                }
            }
        }
        if !reasons.is_empty() {
            return Some(Err(reasons.join("; ")));
        }
        let all_up = self.conditions.values().all(|it| *it == Condition::Up);
        all_up.then_some(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SourcePartition;

    #[derive(Default)]
    struct Reports(Mutex<Vec<String>>);

    impl Status for Reports {
        fn up(&self, source: &Text) {
            self.0.lock().unwrap().push(format!("{source} up"));
        }
        fn down(&self, source: &Text, reason: &str) {
            self.0.lock().unwrap().push(format!("{source} down: {reason}"));
        }
        fn lag(&self, _: &SourcePartition, _: u64) {}
    }

    #[test]
    fn is_up_when_every_topic_is_and_reports_changes_only() {
        let reports = Arc::new(Reports::default());
        let (a, b): (Text, Text) = ("a".into(), "b".into());
        let health = Health::new("k".into(), reports.clone(), &[a.clone(), b.clone()]);
        health.up(&a);
        health.up(&b);
        health.up(&a);
        health.down(&a, "refused".into());
        health.down(&b, "refused".into());
        health.up(&a);
        health.up(&b);
        assert_eq!(
            *reports.0.lock().unwrap(),
            ["k up", "k down: refused", "k up"]
        );
    }
}
