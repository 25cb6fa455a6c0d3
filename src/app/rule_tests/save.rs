//! A test as files, so that `replay` and `explain` can be run over what it is made of.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Map as Members, Value, json};

use super::Test;
use crate::decode;
use crate::model::Timestamp;
use crate::simulate::places;

/// What a test was read from.
pub(super) struct Written {
    pub(super) config: Members<String, Value>,
    /// The texts of the rule files, the tested one first.
    pub(super) rules: Vec<String>,
}

/// Where a test was saved.
pub struct Saved {
    /// A configuration with these rules alone, and the places of the test.
    pub config: PathBuf,
    /// The events in canonical form, in order of time.
    pub log: PathBuf,
}

impl Test {
    /// Writes the test into a folder of its own.
    pub fn save(&self, folder: &Path) -> anyhow::Result<Saved> {
        let mut config = self.written.config.clone();
        let mut rules = Vec::new();
        for (n, text) in self.written.rules.iter().enumerate() {
            let name = format!("rules-{n}.yaml");
            fs::write(folder.join(&name), text).context("write the rules of a test")?;
            rules.push(name);
        }
        config.insert("rules".to_owned(), rules.into());
        if self.simulated_places {
            places::write_city_asn(folder, places::WORLD, Timestamp::UNIX_EPOCH)?;
            let files = json!({"city": "city.mmdb", "asn": "asn.mmdb", "anonymous_ip": "anonymous-ip.mmdb"});
            config.insert("geoip".to_owned(), files);
        }
        let mut log = Vec::new();
        for event in &self.events {
            decode::encode(event, &mut log)?;
        }
        let saved = Saved {
            config: folder.join("config.yaml"),
            log: folder.join("log.jsonl"),
        };
        let config = format!("{:#}\n", Value::Object(config));
        fs::write(&saved.config, config).context("write the configuration of a test")?;
        fs::write(&saved.log, log).context("write the events of a test")?;
        Ok(saved)
    }
}
