//! MaxMind DB files: city, autonomous system, anonymous IP. Read whole into memory, decoded slim.
//!
//! Mapping a file would save memory, but a file that is overwritten in place while mapped is undefined behaviour, and
//! this crate has no `unsafe`. Records are decoded into the few members that rules use: a third of the work of the full record.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use maxminddb::{LookupResult, MaxMindDbError, Reader, WithinOptions};
use serde::Deserialize;

use super::cache::Slots;
use super::geo_record::{AnonymousRecord, AsnRecord, CityRecord};
use crate::model::{Anonymity, Place, Text, limits};

/// Records that are looked at when a file is opened: in a file of another type none of them says anything.
const PROBED_RECORDS: usize = 256;

/// MaxMind DB files, each optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeoFiles {
    pub city: Option<PathBuf>,
    pub asn: Option<PathBuf>,
    pub anonymous_ip: Option<PathBuf>,
}

/// The three tables, named as in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GeoTable {
    City,
    Asn,
    AnonymousIp,
}

impl GeoTable {
    pub const ALL: &'static [Self] = &[Self::City, Self::Asn, Self::AnonymousIp];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::City => "city",
            Self::Asn => "asn",
            Self::AnonymousIp => "anonymous_ip",
        }
    }

    fn path(self, files: &GeoFiles) -> Option<&Path> {
        match self {
            Self::City => files.city.as_deref(),
            Self::Asn => files.asn.as_deref(),
            Self::AnonymousIp => files.anonymous_ip.as_deref(),
        }
    }

    /// Whether the file is of this table's type, by what its records say: vendors name their types as they like.
    fn probe(self, reader: &Reader<Vec<u8>>) -> Result<(), MaxMindDbError> {
        match self {
            Self::City => probe_records(reader, |record: CityRecord<'_>| {
                record.into_place().is_some()
            }),
            Self::Asn => probe_records(reader, |record: AsnRecord<'_>| record.into_asn().is_some()),
            Self::AnonymousIp => probe_records(reader, |record: AnonymousRecord| {
                record.into_anonymity() != Anonymity::default()
            }),
        }
    }
}

/// Records decoded lately, by where they stand in their files: many addresses have the same one, and to decode it costs
/// several times as much as to find it. Of one snapshot of the tables.
pub struct Records {
    places: Slots<usize, Option<Place>>,
    systems: Slots<usize, Option<Asn>>,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            places: Slots::new(limits::GEO_RECORD_CACHE_SLOTS),
            systems: Slots::new(limits::GEO_RECORD_CACHE_SLOTS),
        }
    }
}

impl Records {
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.systems.clear();
    }
}

/// The autonomous system of an address.
#[derive(Clone)]
pub(super) struct Asn {
    pub number: u32,
    pub organisation: Option<Text>,
}

#[derive(Debug, Default)]
pub(super) struct Geo {
    tables: Vec<Slot>,
}

/// A configured file, whether or not it could be read.
#[derive(Debug, Clone)]
struct Slot {
    table: GeoTable,
    path: PathBuf,
    stamp: Option<Stamp>,
    reader: Option<Arc<Reader<Vec<u8>>>>,
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
}

impl Geo {
    pub(super) fn reload(&self, files: &GeoFiles) -> (Self, Vec<String>) {
        let mut next = Self::default();
        let mut warnings = Vec::new();
        for table in GeoTable::ALL {
            let Some(path) = table.path(files) else {
                continue;
            };
            let former = self
                .tables
                .iter()
                .find(|slot| slot.table == *table && slot.path == path);
            next.tables
                .push(Slot::load(*table, path, former, &mut warnings));
        }
        (next, warnings)
    }

    pub(super) fn changed(&self) -> bool {
        self.tables
            .iter()
            .any(|slot| stamp_of(&slot.path) != slot.stamp)
    }

    pub(super) fn has(&self, table: GeoTable) -> bool {
        self.reader(table).is_some()
    }

    pub(super) fn built(&self) -> Vec<(GeoTable, Duration)> {
        let built = |table: &GeoTable| {
            let epoch = self.reader(*table)?.metadata().build_epoch;
            Some((*table, Duration::from_secs(epoch)))
        };
        GeoTable::ALL.iter().filter_map(built).collect()
    }

    pub(super) fn place(&self, address: IpAddr, known: &mut Records) -> Option<Place> {
        let found = self.find(GeoTable::City, address)?;
        let decode = || decoded::<CityRecord<'_>>(&found)?.into_place();
        let place = known.places.get_or_insert(&found.offset()?, decode);
        place.clone()
    }

    pub(super) fn asn(&self, address: IpAddr, known: &mut Records) -> Option<Asn> {
        let found = self.find(GeoTable::Asn, address)?;
        let decode = || decoded::<AsnRecord<'_>>(&found)?.into_asn();
        let asn = known.systems.get_or_insert(&found.offset()?, decode);
        asn.clone()
    }

    /// Of few flags, and nearly no address has any: not worth remembering.
    pub(super) fn anonymity(&self, address: IpAddr) -> Anonymity {
        self.find(GeoTable::AnonymousIp, address)
            .and_then(|found| decoded::<AnonymousRecord>(&found))
            .map_or_else(Anonymity::default, AnonymousRecord::into_anonymity)
    }

    fn find(&self, table: GeoTable, address: IpAddr) -> Option<LookupResult<'_, Vec<u8>>> {
        self.reader(table)?.lookup(address).ok()
    }

    fn reader(&self, table: GeoTable) -> Option<&Reader<Vec<u8>>> {
        let slot = self.tables.iter().find(|slot| slot.table == table)?;
        slot.reader.as_deref()
    }
}

/// A record that does not decode is one that the table does not have: the file was probed when it was opened.
fn decoded<'a, R: Deserialize<'a>>(found: &LookupResult<'a, Vec<u8>>) -> Option<R> {
    found.decode::<R>().ok()?
}

impl Slot {
    fn load(
        table: GeoTable,
        path: &Path,
        former: Option<&Self>,
        warnings: &mut Vec<String>,
    ) -> Self {
        // Taken before reading: a file replaced meanwhile shows as changed next time.
        let stamp = stamp_of(path);
        if let Some(same) = former.filter(|former| former.reader.is_some() && former.stamp == stamp)
        {
            return same.clone();
        }
        let kept = former.and_then(|former| former.reader.clone());
        let reader = match open(table, path) {
            Ok(reader) => Some(Arc::new(reader)),
            Err(error) => {
                warnings.push(warning(table, path, &error, kept.is_some()));
                kept
            }
        };
        let path = path.to_path_buf();
        Self {
            table,
            path,
            stamp,
            reader,
        }
    }
}

fn warning(table: GeoTable, path: &Path, error: &MaxMindDbError, kept: bool) -> String {
    let consequence = if kept {
        "the copy in memory stays in use"
    } else {
        "rules that need it are blind until it is there"
    };
    let (table, path) = (table.as_str(), path.display());
    format!("geoip.{table}: {path} is not a usable MaxMind DB file ({error}): {consequence}")
}

fn open(table: GeoTable, path: &Path) -> Result<Reader<Vec<u8>>, MaxMindDbError> {
    let reader = Reader::open_readfile(path)?;
    table.probe(&reader)?;
    Ok(reader)
}

fn probe_records<'a, R: Deserialize<'a>>(
    reader: &'a Reader<Vec<u8>>,
    says_something: fn(R) -> bool,
) -> Result<(), MaxMindDbError> {
    let mut probed = 0;
    for network in reader
        .networks(WithinOptions::default())?
        .take(PROBED_RECORDS)
    {
        if network?.decode::<R>()?.is_some_and(says_something) {
            return Ok(());
        }
        probed += 1;
    }
    match probed {
        0 => Ok(()),
        _ => Err(MaxMindDbError::Decoding {
            message: format!("none of its first {probed} records is one of such a table"),
            offset: None,
            path: None,
        }),
    }
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    let modified = metadata.modified().ok()?;
    let bytes = metadata.len();
    Some(Stamp { modified, bytes })
}
