//! The snapshot that enrichment reads: GeoIP files and the networks the operator declared, together.
//!
//! Loading never fails: a missing or broken file is a warning and leaves its knowledge out. On a reload a file that did
//! not change is shared with the former snapshot, and one that broke is kept as it was: a download that was interrupted
//! must not blind the rules until somebody wakes up.

use std::net::IpAddr;
use std::time::Duration;

use super::geo::{Geo, GeoFiles, GeoTable, Records};
use super::network::{DeclaredRange, DeclaredRanges, is_internal};
use crate::model::{Anonymity, Network, NetworkClass, Place, Prefix};

/// Where the tables come from. The configuration has its own form of this; `app` converts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TablesParams {
    pub files: GeoFiles,
    pub networks: Vec<DeclaredRange>,
}

/// Immutable once loaded; shared by all workers.
#[derive(Debug, Default)]
pub struct Tables {
    geo: Geo,
    declared: DeclaredRanges,
}

impl Tables {
    /// Reads every file that is named. The second part tells the operator what is missing, one sentence each.
    pub fn load(params: &TablesParams) -> (Self, Vec<String>) {
        Self::default().reload(params)
    }

    /// Reads what changed since this snapshot was taken and gives the next one.
    pub fn reload(&self, params: &TablesParams) -> (Self, Vec<String>) {
        let (geo, warnings) = self.geo.reload(&params.files);
        let declared = DeclaredRanges::new(&params.networks);
        (Self { geo, declared }, warnings)
    }

    /// Whether a file appeared, changed or vanished since it was read, so that the app should reload.
    pub fn changed(&self) -> bool {
        self.geo.changed()
    }

    /// The tables that nothing can be looked up in: not configured, missing or broken.
    pub fn blind(&self) -> Vec<GeoTable> {
        GeoTable::ALL
            .iter()
            .copied()
            .filter(|table| !self.geo.has(*table))
            .collect()
    }

    /// When each loaded file was built by its vendor, since the Unix epoch.
    pub fn built(&self) -> Vec<(GeoTable, Duration)> {
        self.geo.built()
    }

    /// The network and the place of an address; `known` are records of these tables.
    pub fn locate(&self, address: IpAddr, known: &mut Records) -> (Network, Option<Place>) {
        let address = address.to_canonical();
        let internal = is_internal(address);
        // Some tables carry records for private ranges; they describe somebody else's.
        let (asn, anonymity, place) = if internal {
            (None, Anonymity::default(), None)
        } else {
            let geo = &self.geo;
            let (asn, place) = (geo.asn(address, known), geo.place(address, known));
            (asn, geo.anonymity(address), place)
        };
        let (number, organisation) =
            asn.map_or((None, None), |asn| (Some(asn.number), asn.organisation));
        let declared = self.declared.find(address, number);
        let network = Network {
            prefix: Prefix::of(address),
            asn: number,
            organisation,
            class: declared.map_or_else(|| class_of(anonymity), |range| Some(range.class)),
            declared: declared.map(|range| range.name.clone()),
            anonymity,
            internal,
        };
        (network, place)
    }
}

/// What the anonymous-IP table says where the operator said nothing.
fn class_of(anonymity: Anonymity) -> Option<NetworkClass> {
    if anonymity.tor {
        Some(NetworkClass::Tor)
    } else if anonymity.hosting {
        Some(NetworkClass::Hosting)
    } else {
        None
    }
}
