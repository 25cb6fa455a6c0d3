//! L1: enrichment looks addresses and user agents up in read-only tables.
//!
//! Uses `model` only. The tables are immutable snapshots: a reload builds new ones and the pipeline swaps them as a whole.
//! Nothing here can fail once the tables are loaded: what they do not know is absent, and [`Tables::blind`] says which
//! knowledge is missing altogether, so that rules can say that they are blind.
//!
//! In: an event. Out: the event with its network, place and agent, each absent where the tables do not know.

mod agent;
mod cache;
mod geo;
mod geo_record;
mod network;
mod tables;

pub use agent::parse_agent;
pub use geo::{GeoFiles, GeoTable, Records};
pub use network::{DeclaredRange, is_internal};
pub use tables::{Tables, TablesParams};

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{Agent, Enriched, Event, Network, Place, Text, limits};
use cache::Slots;

/// Looks events up in one snapshot of the tables and remembers recent answers. One per decoding thread.
pub struct Enricher {
    tables: Arc<Tables>,
    addresses: Slots<IpAddr, (Network, Option<Place>)>,
    records: Records,
    agents: Slots<Text, Option<Agent>>,
    names: Slots<Text, Text>,
}

impl Enricher {
    pub fn new(tables: Arc<Tables>) -> Self {
        Self {
            tables,
            addresses: Slots::new(limits::ADDRESS_CACHE_SLOTS),
            records: Records::default(),
            agents: Slots::new(limits::AGENT_CACHE_SLOTS),
            names: Slots::new(limits::NAME_CACHE_SLOTS),
        }
    }

    /// Continues with other tables; answers of the former ones are forgotten.
    pub fn replace(&mut self, tables: Arc<Tables>) {
        self.tables = tables;
        self.addresses.clear();
        self.records.clear();
    }

    pub fn enrich(&mut self, mut event: Event) -> Enriched {
        let shared = [&mut event.tenant, &mut event.client_id, &mut event.scope];
        for name in shared.into_iter().flatten().chain([&mut event.issuer]) {
            share(&mut self.names, name);
        }
        let located = event.ip_address.map(|address| self.locate(address));
        let (network, place) =
            located.map_or((None, None), |(network, place)| (Some(network), place));
        let agent = event.user_agent.as_ref().and_then(|text| {
            let parsed = self.agents.get_or_insert(text, || parse_agent(text));
            parsed.clone()
        });
        Enriched {
            event,
            network,
            place,
            agent,
        }
    }

    fn locate(&mut self, address: IpAddr) -> (Network, Option<Place>) {
        let address = address.to_canonical();
        let (tables, records, names) = (&self.tables, &mut self.records, &mut self.names);
        let found = self.addresses.get_or_insert(&address, || {
            let (mut network, mut place) = tables.locate(address, records);
            let place_names = place.iter_mut().flat_map(|p| [&mut p.country, &mut p.city]);
            for name in place_names.chain([&mut network.organisation]).flatten() {
                share(names, name);
            }
            (network, place)
        });
        found.clone()
    }
}

/// Millions of families remember the same few names: each is kept once, not once an event.
fn share(names: &mut Slots<Text, Text>, name: &mut Text) {
    *name = names.get_or_insert(name, || name.clone()).clone();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventType, NetworkClass, Outcome, Timestamp};

    fn event(address: &str, user_agent: &str) -> Event {
        let mut event = Event::new(
            "e1",
            Timestamp::UNIX_EPOCH,
            EventType::Refresh,
            Outcome::Success,
            "t",
        );
        event.ip_address = address.parse().ok();
        event.user_agent = Some(user_agent.into());
        event
    }

    fn tables(name: &str) -> Arc<Tables> {
        let office = DeclaredRange {
            name: name.into(),
            class: NetworkClass::Egress,
            cidrs: vec!["203.0.113.64/26".parse().expect("a network")],
            asns: Vec::new(),
        };
        let params = TablesParams {
            networks: vec![office],
            ..TablesParams::default()
        };
        Arc::new(Tables::load(&params).0)
    }

    #[test]
    fn a_remembered_answer_equals_the_first_until_the_tables_change() {
        let mut enricher = Enricher::new(tables("office"));
        let first = enricher.enrich(event("203.0.113.70", "curl/8.1"));
        assert_eq!(first, enricher.enrich(event("203.0.113.70", "curl/8.1")));
        assert_eq!(
            first.agent.as_ref().map(|agent| agent.automation),
            Some(true)
        );
        let declared = first.network.and_then(|network| network.declared);
        assert_eq!(declared.as_deref(), Some("office"));

        enricher.replace(tables("head office"));
        let again = enricher.enrich(event("203.0.113.70", "curl/8.1")).network;
        assert_eq!(
            again.and_then(|network| network.declared).as_deref(),
            Some("head office")
        );
    }

    #[test]
    fn what_many_events_name_is_kept_once() {
        let mut enricher = Enricher::new(Arc::default());
        let mut issuer = || enricher.enrich(event("192.0.2.1", "-")).event.issuer;
        assert!(Arc::ptr_eq(&issuer(), &issuer()));
    }

    #[test]
    fn without_address_and_agent_nothing_is_invented() {
        let mut enricher = Enricher::new(Arc::default());
        let enriched = enricher.enrich(event("not an address", "-"));
        assert_eq!(
            (enriched.network, enriched.place, enriched.agent),
            (None, None, None)
        );
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_network() {
        let mut enricher = Enricher::new(tables("office"));
        let mapped = enricher.enrich(event("::ffff:203.0.113.70", "-")).network;
        assert_eq!(mapped, enricher.enrich(event("203.0.113.70", "-")).network);
    }
}
