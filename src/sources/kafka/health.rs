//! One status for a source that reads several topics: it works when all of them do, and partly when some do.
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
    reported: Option<Summary>,
}

/// What is reported.
#[derive(Clone, PartialEq)]
enum Summary {
    Up,
    /// These parts are not read, and why.
    Partly(Vec<Text>, String),
    Down(String),
}

#[derive(Clone, PartialEq)]
enum Condition {
    /// Nothing has worked yet, nothing has failed.
    Starting,
    Up,
    /// These of its partitions are not read, and why.
    Partly(Vec<Text>, String),
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

    pub(super) fn partly(&self, topic: &Text, (partitions, reason): (Vec<Text>, String)) {
        self.set(topic, Condition::Partly(partitions, reason));
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
                Summary::Up => self.status.up(&self.source),
                Summary::Partly(parts, reason) => self.status.partly(&self.source, parts, reason),
                Summary::Down(reason) => self.status.down(&self.source, reason),
            }
            topics.reported = Some(now);
        }
    }
}

impl Topics {
    /// `None` while nothing can be said.
    fn summary(&self) -> Option<Summary> {
        let (mut reasons, mut parts): (Vec<&str>, Vec<Text>) = (Vec::new(), Vec::new());
        for (topic, condition) in &self.conditions {
            let reason = match condition {
                Condition::Starting | Condition::Up => continue,
                Condition::Partly(partitions, reason) => {
                    parts.extend(partitions.iter().cloned());
                    reason
                }
                Condition::Down(reason) => {
                    parts.push(topic.clone());
                    reason
                }
            };
            // The topics of one cluster mostly fail for the same reason.
            if !reasons.contains(&reason.as_str()) {
                reasons.push(reason);
            }
        }
        let works = |it: &Condition| matches!(it, Condition::Up | Condition::Partly(..));
        let mut conditions = self.conditions.values();
        if reasons.is_empty() {
            return conditions.all(works).then_some(Summary::Up);
        }
        let reason = reasons.join("; ");
        Some(if conditions.any(works) {
            Summary::Partly(parts, reason)
        } else {
            Summary::Down(reason)
        })
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
        fn partly(&self, source: &Text, parts: &[Text], reason: &str) {
            let mut reports = self.0.lock().unwrap();
            reports.push(format!("{source} without {}: {reason}", parts.join(", ")));
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
            [
                "k up",
                "k without a: refused",
                "k down: refused",
                "k without b: refused",
                "k up"
            ]
        );
    }

    #[test]
    fn a_topic_that_is_read_but_for_a_partition_names_it() {
        let reports = Arc::new(Reports::default());
        let topic: Text = "a".into();
        let health = Health::new("k".into(), reports.clone(), std::slice::from_ref(&topic));
        let lost = || (vec!["a/3".into()], "a/3: gone".to_owned());
        health.partly(&topic, lost());
        health.partly(&topic, lost());
        health.down(&topic, "refused".into());
        assert_eq!(
            *reports.0.lock().unwrap(),
            ["k without a/3: a/3: gone", "k down: refused"]
        );
    }
}
