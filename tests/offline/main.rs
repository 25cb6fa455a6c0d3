//! Tests that need no server: `cargo test` runs them.

mod geo;
