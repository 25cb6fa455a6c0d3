//! Leaf: the configuration file, read once at the border into values that cannot be wrong.
//!
//! The structs here are plain data with their defaults; the files beside this one say which part of the file they are.
//! How each part is written, and everything that can be wrong about it, is in `read`, file by file under the same names.
//! Every fault is reported with its place, all at once. The environment is never read.

mod actions;
mod http;
mod log;
mod policy;
mod read;
mod receivers;
mod routes;
mod schema;
mod secret;
mod shared;
mod sources;
mod state;
mod store;

pub use crate::model::{ClientType, Rotation};
pub use actions::{
    HttpAuth, HttpRevoker, KEYCLOAK_ACTIONS, KeycloakRevoker, Revoker, RevokerKind, TargetLimits,
    WebhookRevoker,
};
pub use http::{ApiListener, ApiToken, Http, IngestListener, OpsListener};
pub use log::{Log, LogFormat, LogLevel};
pub use policy::{Budget, Client, Clients, DeclaredNetwork, GeoIp, Response, Tenant, Tenants};
pub use receivers::{
    AlertmanagerReceiver, EmailReceiver, MailTls, MailTransport, PagerDutyReceiver, Receiver,
    ReceiverKind, SlackReceiver, WebhookReceiver,
};
pub use routes::{Matches, Route};
pub use schema::schema;
pub use secret::Secret;
pub use shared::Shared;
pub use sources::{
    ColumnMap, Database, Decode, FileSource, Format, KafkaSource, Mapping, MappingField,
    MappingValue, Source, SourceKind, SqlCursor, SqlLayout, SqlSource, Start, WebhookAuth,
    WebhookSource,
};
pub use state::StateLimits;
pub use store::{ArchiveConfig, Retention, StoreConfig};

use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Mode, Text};
use crate::yaml::{Fault, Place};

/// What a template is filled in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateOf {
    /// A call of a revoker.
    Revoker,
    /// A link in a notification.
    Link,
}

/// The whole configuration, valid.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from; relative paths in it are relative to its folder.
    pub path: PathBuf,
    /// SHA-256 of the file's bytes, hex: shown as a metric, so that one can see which configuration runs.
    pub sha256: String,
    pub mode: Mode,
    /// Files or folders, all of which exist, and [`SHIPPED_RULES`](crate::model::SHIPPED_RULES). Empty: these alone.
    pub rules: Vec<PathBuf>,
    /// Rules newer than this act at most as `alert`; unset: all are as their files say.
    pub rules_version: Option<(u32, Place)>,
    /// By rule name, as written; checked against the rules by `rules::compile`.
    pub overrides: Vec<(Text, crate::yaml::Node)>,
    pub geoip: GeoIp,
    pub networks: Vec<DeclaredNetwork>,
    pub clients: Clients,
    pub tenants: Tenants,
    /// Key of the hash that replaces anything that could be presented as a token. Absent: made once beside the store.
    pub token_key: Option<Secret>,
    /// The previous key, during a rotation.
    pub token_key_previous: Option<Secret>,
    pub store: StoreConfig,
    /// Absent: events are judged and not kept.
    pub archive: Option<ArchiveConfig>,
    pub retention: Retention,
    pub state: StateLimits,
    pub sources: Vec<Source>,
    pub revokers: Vec<Revoker>,
    pub receivers: Vec<Receiver>,
    /// Empty: every receiver is told of everything.
    pub routes: Vec<Route>,
    pub response: Response,
    pub http: Http,
    pub log: Log,
    /// How long a stop may take before running attempts are left to their leases.
    pub grace_period: Duration,
    /// Every rule that `exempt_from` names, with its place: whether there is such a rule shows only when rules are known.
    pub exemptions: Vec<(Text, Place)>,
    /// Every Kafka property with its source and place: whether librdkafka takes it shows only where that is used.
    pub kafka_properties: Vec<(Text, Text, Place)>,
    /// Every template with what it is of and its place: what it may name is known where it is filled in.
    pub templates: Vec<(TemplateOf, Text, Place)>,
    /// What is no fault but worth knowing, with places: a GeoIP file that is missing, a page that nobody receives.
    pub warnings: Vec<Fault>,
}
