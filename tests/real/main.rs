//! Tests on real servers, started by `tests/run`; each is `#[ignore]`d so that `cargo test` alone needs none.

#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    clippy::format_collect,
    clippy::duration_suboptimal_units,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::needless_pass_by_value,
    clippy::cast_possible_truncation,
    clippy::cloned_ref_to_slice_refs,
    clippy::useless_format,
    reason = "a test may panic, that is how it fails; and it is read for what it says, not for what it costs"
)]
#![allow(
    dead_code,
    reason = "support files are shared with the other test binary, which uses more of them"
)]

mod ailing;
mod alertmanager;
mod check_online;
#[path = "../support/daemon.rs"]
mod daemon;
mod digest;
mod flagship_run;
mod healthy;
mod kafka;
mod kafka_flagship;
mod keycloak_flagship;
mod keycloak_lives_on;
mod keycloak_realm;
mod keycloak_revoker;
mod kills;
mod mail;
mod mail_flagship;
mod prometheus;
mod prometheus_server;
mod proxy;
mod refreshes;
mod silent_store;
#[path = "../support/source_harness.rs"]
mod source_harness;
mod sql;
mod sql_flagship;
mod sql_keycloak;
#[path = "../support/sql_suite.rs"]
mod sql_suite;
mod standby;
mod store;
#[path = "../support/store_suite/mod.rs"]
mod store_suite;
mod stub_api;
mod traffic;
