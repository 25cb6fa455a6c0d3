//! What is on this machine: ports to listen on, GeoIP files.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::app::parts;
use crate::clock;
use crate::config::{Config, Http};
use crate::enrich::{GeoTable, Tables};
use crate::model::Finding;

/// Vendors build twice a week or monthly; addresses move between places faster than that.
const GEOIP_AGE_MAX: Duration = Duration::from_hours(24 * 45);

pub(super) fn listeners(http: &Http) -> Vec<Finding> {
    let wanted = [
        ("ops", http.ops.as_ref().map(|ops| ops.listen)),
        ("api", http.api.as_ref().map(|api| api.listen)),
        ("ingest", http.ingest.as_ref().map(|ingest| ingest.listen)),
    ];
    let named = |(name, address): (&'static str, Option<SocketAddr>)| Some((name, address?));
    wanted
        .into_iter()
        .filter_map(named)
        .map(|(name, address)| listener(name, address))
        .collect()
}

fn listener(name: &str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::fine(format!("{name} can listen on {address}")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Finding::advice(
            format!("{address} for {name} is in use: well if by the daemon, which is then running"),
            format!("see by whom: ss -ltnp 'sport = :{}'", address.port()),
        ),
        Err(error) => Finding::fault(
            format!("{name} cannot listen on {address}: {error}"),
            format!(
                "correct `http.{name}.listen`; a port below 1024 needs the capability CAP_NET_BIND_SERVICE"
            ),
        ),
    }
}

pub(super) async fn geoip(config: &Config) -> Vec<Finding> {
    let params = parts::tables_params(config);
    // Whole files are read.
    let loaded = tokio::task::spawn_blocking(move || Tables::load(&params)).await;
    let Ok((tables, warnings)) = loaded else {
        return vec![Finding::fault(
            "the GeoIP files cannot be read",
            "see the log",
        )];
    };
    let built = tables.built();
    let ages = built.into_iter().map(|(table, built)| age(table, built));
    let broken = warnings.into_iter().map(|what| {
        Finding::fault(
            what,
            "put the file there, readable by the daemon's user, or take it out of `geoip`",
        )
    });
    broken.chain(ages).collect()
}

fn age(table: GeoTable, built: Duration) -> Finding {
    let now = u64::try_from(clock::now().as_second()).unwrap_or_default();
    let age = Duration::from_secs(now.saturating_sub(built.as_secs()));
    let days = age.as_secs() / 86_400;
    let what = format!("the {} file was built {days} days ago", table.as_str());
    if age > GEOIP_AGE_MAX {
        Finding::advice(
            what,
            "fetch a new one, for example by geoipupdate from a timer; it is read without a restart",
        )
    } else {
        Finding::fine(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Gravity;

    #[test]
    fn a_port_in_use_may_be_our_own_and_a_foreign_address_cannot_be() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = listener("ops", taken.local_addr().unwrap());
        assert_eq!(found.gravity, Gravity::Advice);
        // An address for documentation, which no interface here has.
        let found = listener("ops", "192.0.2.1:0".parse().unwrap());
        assert_eq!(found.gravity, Gravity::Fault, "{found:?}");
        let free = listener("ops", "127.0.0.1:0".parse().unwrap());
        assert_eq!(free.gravity, Gravity::Fine);
    }

    #[test]
    fn an_old_file_is_told_and_a_new_one_is_fine() {
        let now = Duration::from_secs(u64::try_from(clock::now().as_second()).unwrap());
        let day = Duration::from_hours(24);
        assert_eq!(
            age(GeoTable::City, now.saturating_sub(3 * day)).gravity,
            Gravity::Fine
        );
        let old = age(GeoTable::City, now.saturating_sub(100 * day));
        assert_eq!(old.gravity, Gravity::Advice);
        assert!(old.what.contains("100 days"), "{old:?}");
    }
}
