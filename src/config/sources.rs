//! `sources:`: where events come from, and how their records are to be read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Text, Timestamp};

use super::Secret;

/// One configured source.
#[derive(Debug, Clone)]
pub struct Source {
    pub name: Text,
    pub kind: SourceKind,
    pub decode: Decode,
    pub start: Start,
    /// How far before `start` records are read muted, so that state exists before anything is judged.
    pub warm_up: Duration,
    /// How much later than the rest an event may come and still be judged.
    pub lateness: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    Kafka(KafkaSource),
    Sql(SqlSource),
    Webhook(WebhookSource),
    File(FileSource),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Latest,
    Earliest,
    At(Timestamp),
}

/// How a record becomes events.
#[derive(Debug, Clone)]
pub struct Decode {
    pub format: Format,
    /// Keycloak: ids of users or clients whose calls are our own (the daemon's service accounts).
    pub own_accounts: Vec<Text>,
    /// Zone of log lines that name none; IANA name. Absent: UTC.
    pub timezone: Option<Text>,
}

#[derive(Debug, Clone)]
pub enum Format {
    Tokenwarden,
    Keycloak,
    Auth0,
    Mapping(Mapping),
}

/// User-written: which member of the record gives which member of the event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mapping {
    /// By member of the canonical event.
    pub fields: BTreeMap<Text, MappingField>,
}

/// Where one member comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct MappingField {
    pub from: MappingValue,
    /// Translates the provider's values; a value that is not listed rejects the record, unless `otherwise` is given.
    pub values: BTreeMap<Text, Text>,
    pub otherwise: Option<Text>,
    /// The value could be presented as a token: replace it by a keyed hash.
    pub secret: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum MappingValue {
    /// RFC 6901 JSON pointer, or a column name (taken as `/name`).
    Pointer(Text),
    Constant(Text),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSource {
    pub brokers: Text,
    pub topics: Vec<Text>,
    pub group: Text,
    /// Any other librdkafka property. Values given as `NAME_file` have been read already.
    pub properties: BTreeMap<Text, Secret>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlSource {
    pub database: Database,
    /// `postgres://`, `mysql://` or `sqlite://`.
    pub url: Secret,
    pub layout: SqlLayout,
    /// Pause between polls that found nothing.
    pub poll_every: Duration,
    /// A statement of ours that takes longer is cancelled.
    pub statement_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    Postgres,
    /// MySQL or MariaDB.
    Mysql,
    Sqlite,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlLayout {
    /// `event_entity` and `admin_event_entity` of the realms named; none named means all.
    Keycloak {
        schema: Option<Text>,
        realms: Vec<Text>,
    },
    /// An application's own token table, read again and compared.
    RefreshTokens { table: Text, columns: ColumnMap },
    /// Any table or query, one row a record.
    Rows {
        /// A table name, or a query in parentheses' place; ours is `SELECT ... FROM (query) AS source`.
        table: Text,
        query: bool,
        cursor: SqlCursor,
        /// One column that holds the JSON record; absent: the row itself, as a JSON object by column name.
        json_column: Option<Text>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlCursor {
    /// A growing integer id, with gap tracking.
    Id {
        column: Text,
        time_column: Option<Text>,
    },
    /// A time and an id: read again over an overlap, repeats ignored by id.
    Time {
        column: Text,
        id_column: Text,
        overlap: Duration,
    },
}

/// Column names of a refresh token table; the defaults are the names of the layout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnMap {
    /// By our name (`id`, `user_id`, `token_hash`, `family_id`, `device_id`, `ip_address`, `user_agent`, `issued_at`,
    /// `expires_at`, `used_at`, `revoked_at`, `used`, `revoked`, `last_used_at`, `refresh_count`, `client_id`): the column there.
    pub columns: BTreeMap<Text, Text>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSource {
    pub auth: WebhookAuth,
    /// Largest request body in bytes.
    pub body_bytes_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookAuth {
    /// `Authorization: Bearer SECRET`, or the bare secret as Auth0 sends it.
    Bearer(Secret),
    /// HMAC-SHA256 in hex of the body, or of `TIMESTAMP.body` where a timestamp header is named.
    Hmac {
        secret: Secret,
        header: Text,
        timestamp_header: Option<Text>,
        tolerance: Duration,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    pub path: PathBuf,
    pub poll_every: Duration,
}
