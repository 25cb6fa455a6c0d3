//! The JSON Schema of the configuration, for editors.
//!
//! Written by hand beside the readers, which cannot describe themselves: they check what no schema can say (names that must
//! be known elsewhere, files that must be there). A test asks every reader which keys it knows and compares.

use serde_json::Value;

const SCHEMA: &str = include_str!("schema.json");

/// JSON Schema 2020-12 of a configuration file; what stands behind `overrides` is for the rules to say.
pub fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap_or_default()
}
