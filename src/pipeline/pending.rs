//! What was taken and is not yet durable, and which partition's batch caused it.
//!
//! An output belongs to the batch that released it. When that batch's partition turns out to have another owner, the
//! output is taken out of the commit again: the other owner reads on from the committed position and judges the same
//! records under its own configuration, which may allow less than ours. It is kept for a while, because the other may end
//! before it has done so, and the partition come back to us, whose memory holds those records as judged.

use std::collections::{BTreeMap, HashSet};

use tokio::time::Instant;

use super::worker::Taken;
use crate::model::{
    Claim, Commit, OWN_SOURCE, Output, Position, Progress, SourcePartition, Text, limits,
};

#[derive(Default)]
pub(super) struct Pending {
    pub(super) taken: Taken,
    pub(super) progress: BTreeMap<SourcePartition, (u64, Position)>,
    pub(super) since: Option<Instant>,
    pub(super) records: usize,
    caused: Caused,
    /// Under which ownership.
    fences: BTreeMap<SourcePartition, u64>,
    detections_noted: usize,
    actions_noted: usize,
}

/// Ids of detections and actions, by the partition whose batch released them.
#[derive(Default)]
pub(super) struct Caused(BTreeMap<SourcePartition, HashSet<Text>>);

/// What a commit did not write, because somebody else had become the owner.
pub(super) struct Withheld {
    output: Output,
    since: Instant,
}

impl Pending {
    pub(super) fn is_due(&self) -> bool {
        let found = !self.taken.output.detections.is_empty();
        let full = self.records >= limits::COMMIT_RECORDS_MAX;
        self.since
            .is_some_and(|since| found || full || since.elapsed() >= limits::COMMIT_EVERY)
    }

    /// All that was found since the last note was caused by this partition.
    pub(super) fn note(&mut self, partition: &SourcePartition, epoch: u64) {
        let output = &self.taken.output;
        let detections = output.detections.iter().skip(self.detections_noted);
        let actions = output.actions.iter().skip(self.actions_noted);
        let mut new = detections
            .map(|detection| &detection.id)
            .chain(actions.map(|action| &action.id))
            .cloned()
            .peekable();
        if new.peek().is_some() {
            let ids = self.caused.0.entry(partition.clone()).or_default();
            ids.extend(new);
            if &*partition.source != OWN_SOURCE {
                self.fences.insert(partition.clone(), epoch);
            }
        }
        self.noted();
    }

    /// The partition is ours again: what the owner in between has judged is known to the store by the same ids.
    pub(super) fn take_back(&mut self, claim: &Claim, withheld: Withheld) {
        self.noted();
        let output = &mut self.taken.output;
        let Output {
            detections,
            incidents,
            actions,
            offers,
            members,
        } = withheld.output;
        output.detections.extend(detections);
        output.actions.extend(actions);
        output.offers.extend(offers);
        output.members.extend(members);
        for incident in incidents {
            // What is there is newer.
            if output.incidents.iter().all(|known| known.id != incident.id) {
                output.incidents.push(incident);
            }
        }
        self.note(&claim.partition, claim.epoch);
        self.since.get_or_insert_with(Instant::now);
    }

    /// What was found so far was caused by no partition, or is noted.
    pub(super) fn noted(&mut self) {
        self.detections_noted = self.taken.output.detections.len();
        self.actions_noted = self.taken.output.actions.len();
    }

    pub(super) fn into_commit(self) -> (Commit, Caused) {
        let progress =
            |(partition, (epoch, position)): (SourcePartition, (u64, Position))| Progress {
                partition,
                epoch,
                position,
            };
        let mut fences = self.fences;
        fences.retain(|partition, _| !self.progress.contains_key(partition));
        let commit = Commit {
            fences: fences.into_iter().collect(),
            positions: self.progress.into_iter().map(progress).collect(),
            output: self.taken.output,
            rejects: self.taken.rejects,
            canary: self.taken.canary,
            tried_at: None,
        };
        (commit, self.caused)
    }
}

impl Caused {
    /// Takes out of the commit what this partition caused.
    pub(super) fn withhold(
        &mut self,
        commit: &mut Commit,
        partition: &SourcePartition,
    ) -> Withheld {
        commit.rejects.retain(|reject| {
            reject.source != partition.source || reject.partition != partition.partition
        });
        let ids = self.0.remove(partition).unwrap_or_default();
        let output = &mut commit.output;
        let mut withheld = Output {
            detections: take(&mut output.detections, |it| ids.contains(&it.id)),
            actions: take(&mut output.actions, |it| ids.contains(&it.id)),
            offers: take(&mut output.offers, |it| {
                it.detection_ids.iter().any(|id| ids.contains(id))
            }),
            members: take(&mut output.members, |it| ids.contains(&it.detection_id)),
            incidents: Vec::new(),
        };
        // An incident goes with the last that names it.
        let named: HashSet<&Text> = output
            .members
            .iter()
            .map(|member| &member.incident_id)
            .chain(output.actions.iter().map(|action| &action.incident_id))
            .collect();
        withheld.incidents = take(&mut output.incidents, |it| !named.contains(&it.id));
        Withheld {
            output: withheld,
            since: Instant::now(),
        }
    }
}

impl Withheld {
    pub(super) fn is_empty(&self) -> bool {
        self.output.detections.is_empty() && self.output.actions.is_empty()
    }

    pub(super) fn is_past(&self) -> bool {
        self.since.elapsed() > limits::WITHHELD_MAX
    }
}

fn take<T>(all: &mut Vec<T>, which: impl Fn(&T) -> bool) -> Vec<T> {
    let (taken, left) = std::mem::take(all).into_iter().partition(which);
    *all = left;
    taken
}
