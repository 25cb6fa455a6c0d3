//! Tests that need no server: `cargo test` runs them.
mod config;
mod decode;

mod geo;

mod delivery;
mod store;
#[path = "../support/store_suite.rs"]
mod store_suite;

mod file_source;
mod kafka_outage;
mod own_table;
#[path = "../support/source_harness.rs"]
mod source_harness;
mod webhook;

mod actions;
mod demo;
mod replay;
mod simulation_world;

mod admin;
mod dashboards;
mod deploy;
mod sql;
#[path = "../support/sql_suite.rs"]
mod sql_suite;
