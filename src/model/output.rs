//! What one stretch of input caused, and what must become durable with it.

use super::{
    Action, Canary, Detection, Incident, Position, Reject, SourcePartition, Text, Timestamp,
};

/// What the engine and the response policy made of some input, in the order in which it came about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Output {
    pub detections: Vec<Detection>,
    /// New or changed incidents; each at most once, as it stands now.
    pub incidents: Vec<Incident>,
    pub actions: Vec<Action>,
    /// What a person may have done besides, and nobody does without one.
    pub offers: Vec<Action>,
    /// Which detection belongs to which incident, where no action says so already.
    pub members: Vec<Member>,
}

/// A detection that belongs to an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub incident_id: Text,
    pub detection_id: Text,
}

/// One fenced transaction: all of it becomes durable, or none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Commit {
    pub positions: Vec<Progress>,
    /// Ownerships, by epoch, without which nothing may be written either: of partitions whose positions wait.
    pub fences: Vec<(SourcePartition, u64)>,
    pub output: Output,
    pub rejects: Vec<Reject>,
    /// The canary that came with it, for the outbox.
    pub canary: Option<Canary>,
    /// When it was tried first, where no answer came: it may have become durable all the same.
    pub tried_at: Option<Timestamp>,
}

/// How far one partition has been read, under which ownership.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    pub partition: SourcePartition,
    pub epoch: u64,
    pub position: Position,
}
