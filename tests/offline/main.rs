//! Tests that need no server: `cargo test` runs them.

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
mod config;
mod decode;

mod geo;
mod invariants;

mod archive;
mod audit;
mod canary;
#[path = "../support/daemon.rs"]
mod daemon;
mod delivery;
mod digest;
mod erase;
mod state;
mod store;
#[path = "../support/store_suite/mod.rs"]
mod store_suite;

mod file_source;
mod kafka_outage;
mod log;
mod memory;
mod own_table;
#[path = "../support/source_harness.rs"]
mod source_harness;
mod taken_over;
mod upgraded;
mod webhook;

mod actions;
mod check_online;
mod demo;
mod population;
mod reading;
mod readme;
mod reload;
mod replay;
mod rotation;
mod rule_fields;
mod rule_language;
mod rule_tests;
mod schema;
mod simulation_world;

mod admin;
mod dashboards;
mod deploy;
mod people;
mod sql;
#[path = "../support/sql_suite.rs"]
mod sql_suite;
