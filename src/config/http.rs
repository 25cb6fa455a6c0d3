//! `http:`: the three listeners. Each refuses to listen beyond loopback without its authentication.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::model::{Role, Text};

use super::Secret;

/// Absent means: this listener is not opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Http {
    pub ops: Option<OpsListener>,
    pub api: Option<ApiListener>,
    pub ingest: Option<IngestListener>,
}

/// Metrics and health; no personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpsListener {
    pub listen: SocketAddr,
    /// Bearer token; required beyond loopback.
    pub token: Option<Secret>,
}

/// Incidents, detections, actions, reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiListener {
    pub listen: SocketAddr,
    /// Bearer token that may do everything; beyond loopback this or `tokens` is required.
    pub token: Option<Secret>,
    /// Bearer tokens of people and scripts, each with a name that stands beside whatever it does.
    pub tokens: Vec<ApiToken>,
}

/// One token for the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    pub name: Text,
    pub role: Role,
    pub token: Secret,
}

/// Webhook sources only; each source has its own authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestListener {
    pub listen: SocketAddr,
    /// PEM files; absent means plain HTTP (behind a proxy, or on loopback).
    pub tls: Option<(PathBuf, PathBuf)>,
}
