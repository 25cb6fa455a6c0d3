//! Tests that need no server: `cargo test` runs them.
mod config;
mod decode;

mod geo;
