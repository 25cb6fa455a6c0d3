//! A population in a folder: the events, the truth, and what `replay` needs to judge them.
//!
//! | file | holds |
//! |---|---|
//! | `events.jsonl` | the canonical events in order of time; `events.jsonl.gz` when packed |
//! | `truth.jsonl` | what really happened, see [`TruthWriter`] |
//! | `geoip/*.mmdb` | where the addresses are |
//! | `tokenwarden.yaml` | networks, clients and tenants as their operator declares them |

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};

use super::kinds::{Attack, Oddity};
use super::proof::Unproved;
use super::settings::Settings;
use super::truth::{Cause, FamilyTruth, Moment, Raid, Sender, Truth};
use super::{Population, localities};
use crate::decode::encode;
use crate::model::Timestamp;
use crate::simulate::places::write_city_asn;

/// What a daemon has to be told of the simulated world; paths are relative to the folder.
pub const WORLD_CONFIG: &str = include_str!("world.yaml");

const HEAD: &str = "\
# Written by `tokenwarden simulate`. `tokenwarden replay -c` takes it as it is.

";

/// Where a population is written.
#[derive(Debug, Clone)]
pub struct Folder {
    pub path: PathBuf,
    /// Packs the events.
    pub gzip: bool,
}

/// What has been written.
#[derive(Debug)]
pub struct Written {
    pub config: PathBuf,
    pub events: PathBuf,
    pub truth: PathBuf,
    pub known: Truth,
}

impl Folder {
    /// Lives the population and writes everything; `progress` is told how much of the time has passed, and the events.
    pub fn write(
        &self,
        settings: Settings,
        mut progress: impl FnMut(f64, u64),
    ) -> anyhow::Result<Written> {
        let geoip = self.path.join("geoip");
        fs::create_dir_all(&geoip)
            .with_context(|| format!("make the folder {}", geoip.display()))?;
        write_city_asn(&geoip, &localities(), settings.start)?;
        let config = self.path.join("tokenwarden.yaml");
        fs::write(&config, format!("{HEAD}{WORLD_CONFIG}")).with_context(|| wrote(&config))?;
        let events = self.path.join(if self.gzip {
            "events.jsonl.gz"
        } else {
            "events.jsonl"
        });
        let truth = self.path.join("truth.jsonl");

        let mut population = Population::new(settings);
        let mut out = Events::create(&events, self.gzip).with_context(|| wrote(&events))?;
        let mut truths = TruthWriter(BufWriter::new(
            File::create(&truth).with_context(|| wrote(&truth))?,
        ));
        truths
            .opens(population.settings())
            .with_context(|| wrote(&truth))?;
        while let Some(moment) = population.next() {
            encode(&moment.event, &mut out).with_context(|| wrote(&events))?;
            truths.moment(&moment).with_context(|| wrote(&truth))?;
            if population.truth().events.is_multiple_of(PROGRESS_EVERY) {
                progress(population.progress(), population.truth().events);
            }
        }
        out.finish().with_context(|| wrote(&events))?;
        let known = population.into_truth();
        truths.closes(&known).with_context(|| wrote(&truth))?;
        Ok(Written {
            config,
            events,
            truth,
            known,
        })
    }
}

/// Events between two looks at the progress.
const PROGRESS_EVERY: u64 = 1 << 14;

fn wrote(file: &Path) -> String {
    format!("write {}", file.display())
}

enum Events {
    Plain(BufWriter<File>),
    Packed(Box<GzEncoder<BufWriter<File>>>),
}

impl Events {
    fn create(path: &Path, gzip: bool) -> io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 18, File::create(path)?);
        Ok(if gzip {
            Self::Packed(Box::new(GzEncoder::new(file, Compression::fast())))
        } else {
            Self::Plain(file)
        })
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(mut file) => file.flush(),
            Self::Packed(packed) => packed.finish()?.flush(),
        }
    }
}

impl Write for Events {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Packed(packed) => packed.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Packed(packed) => packed.flush(),
        }
    }
}

/// The truth as lines of JSON, told apart by `type`:
///
/// - `population`: the settings, first.
/// - `event`: of an event that was no ordinary one, in order: `event_id`, `sender` (`owner`, `stranger`, `operator`),
///   `cause` (an attack or an oddity), and the `family` if the token belonged to one. Every other event was sent by the
///   owner in the ordinary course of life, as it is lived there (`simulate::population::Oddity::is_habit`).
/// - `family`: of a family that a stranger had a token of, or with which its owner did something odd. Every other one is
///   honest. A family is `honest` as long as no stranger has presented one of its tokens. `proved` is when, and by what,
///   any observer of this source could first prove the theft; `unproved` says why nobody could.
/// - `raid`: of an attack that is not the theft of one token; `unproved` as above.
/// - `summary`: counts, last. Of an oddity that is a way of life, it counts events.
struct TruthWriter<W>(W);

impl<W: Write> TruthWriter<W> {
    fn line(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.0, "{value}")
    }

    fn opens(&mut self, settings: &Settings) -> io::Result<()> {
        self.line(&json!({
            "type": "population", "users": settings.users, "days": settings.days, "seed": settings.seed,
            "source": settings.source.as_str(), "oddities": settings.oddities, "attacks": settings.attacks,
            "start": settings.start.to_string(),
        }))
    }

    fn moment(&mut self, moment: &Moment) -> io::Result<()> {
        let truth = &moment.truth;
        let cause = match truth.cause {
            Cause::Ordinary => return Ok(()),
            Cause::Oddity(oddity) if oddity.is_habit() => return Ok(()),
            Cause::Oddity(oddity) => oddity.as_str(),
            Cause::Attack(attack) => attack.as_str(),
        };
        self.line(&without_nulls(json!({
            "type": "event", "event_id": moment.event.event_id, "sender": truth.sender.as_str(), "cause": cause,
            "family": truth.family.map(|key| format!("{}/{}", key.user, key.number)),
        })))
    }

    fn closes(&mut self, truth: &Truth) -> io::Result<()> {
        for family in &truth.families {
            self.line(&family_line(family))?;
        }
        for raid in &truth.raids {
            self.line(&raid_line(raid))?;
        }
        self.line(&summary_line(truth))?;
        self.0.flush()
    }
}

fn family_line(family: &FamilyTruth) -> Value {
    let oddities: Vec<&str> = family
        .oddities
        .iter()
        .map(|oddity| oddity.as_str())
        .collect();
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    without_nulls(json!({
        "type": "family", "family": format!("{}/{}", family.key.user, family.key.number),
        "family_id": family.family_id, "first_token_id": family.first_token, "user_id": family.user_id,
        "client_id": family.client_id, "honest": family.is_honest(), "attack": family.attack.map(Attack::as_str),
        "oddities": oddities, "stolen_at": time(family.stolen_at), "first_stranger": time(family.first_stranger),
        "proved": family.proved.map(|(at, proof)| json!({"at": at.to_string(), "by": proof.as_str()})),
        "unproved": family.unproved.map(Unproved::as_str),
        "dead_token_honoured": time(family.dead_token_honoured),
    }))
}

fn raid_line(raid: &Raid) -> Value {
    without_nulls(json!({
        "type": "raid", "attack": raid.attack.as_str(), "from": raid.from.to_string(), "to": raid.to.to_string(),
        "user_id": raid.user_id, "addresses": raid.addresses, "clients": raid.clients, "events": raid.events,
        "unproved": raid.unproved.map(Unproved::as_str),
    }))
}

fn summary_line(truth: &Truth) -> Value {
    let attacks: Map<String, Value> = truth
        .attacks
        .iter()
        .map(|(kind, n)| (kind.to_string(), json!(n)))
        .collect();
    let named = |(kind, n): (&Oddity, &u64)| (kind.to_string(), json!(n));
    let oddities: Map<String, Value> = truth.oddities.iter().map(named).collect();
    json!({
        "type": "summary", "events": truth.events, "thefts": truth.thefts().count(),
        "provable_thefts": truth.thefts().filter(|family| family.proved.is_some()).count(),
        "attacks": attacks, "oddities": oddities,
    })
}

fn without_nulls(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, member| !member.is_null());
    }
    value
}

impl Sender {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Stranger => "stranger",
            Self::Operator => "operator",
        }
    }
}
