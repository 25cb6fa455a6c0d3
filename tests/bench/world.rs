//! A folder with GeoIP files and a configuration of the shipped rules, as a user would write it.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use tempfile::TempDir;
use tokenwarden::config::Config;
use tokenwarden::model::Timestamp;
use tokenwarden::simulate::places;

use crate::input;

/// Reuse, travel, velocity and device.
pub(crate) const FOUR_RULES: [&str; 4] = [
    "token-reuse.yaml",
    "impossible-travel.yaml",
    "refresh-velocity.yaml",
    "device-change.yaml",
];
/// The whole folder.
pub(crate) const ALL_RULES: [&str; 1] = [""];

pub(crate) struct World {
    folder: TempDir,
}

impl World {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        write_geoip(folder.path())?;
        Ok(Self { folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Every rule is on; `more` is YAML that comes on top.
    pub(crate) fn config(&self, more: &str) -> anyhow::Result<Config> {
        self.config_of(&ALL_RULES, more)
    }

    /// With some of the rule files.
    pub(crate) fn config_of(&self, rules: &[&str], more: &str) -> anyhow::Result<Config> {
        let path: PathBuf = self.folder.path().join("config.yaml");
        Config::parse(&text_of(rules, more), &path).map_err(|faults| anyhow!("{faults:?}"))
    }
}

/// What the addresses of the traffic are looked up in, beside the configuration.
pub(crate) fn write_geoip(folder: &Path) -> anyhow::Result<()> {
    places::write_city_asn(folder, &input::localities(), Timestamp::now())?;
    Ok(())
}

/// A configuration with some of the rule files.
pub(crate) fn text_of(rules: &[&str], more: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let paths = rules.iter().map(|file| folder.join(file));
    let paths: Vec<String> = paths.map(|path| path.display().to_string()).collect();
    format!(
        "mode: enforce\nrules: [{}]\n\
             geoip: {{ city: city.mmdb, asn: asn.mmdb, anonymous_ip: anonymous-ip.mmdb }}\n\
             clients: {{ default: {{ type: public, rotation: enforced, access_token_ttl: 5m }} }}\n{more}",
        paths.join(", ")
    )
}
