//! `exceptions:` findings that somebody answers for.
//!
//! An exception matches members of a detection, and every member that it names must match. What it matches stays visible
//! as a detection; its actions are left undone and name reason, owner and date. Nothing is excepted for ever or by nobody:
//! an exception without an owner outlives whoever knew why.

use std::fmt;

use ipnet::IpNet;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::context::Context;
use crate::model::{Detection, Text, Timestamp, limits};
use crate::yaml::{Faults, Map, Node, Place};

/// One exception of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    pub matches: Match,
    pub reason: Text,
    pub owner: Text,
    /// The last day, in UTC, on which it applies.
    pub expires: Date,
    /// Where it stands.
    pub place: Place,
}

/// Members of a detection; of each any of the values. At least one member is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    issuer: Vec<Text>,
    tenant: Vec<Text>,
    client_id: Vec<Text>,
    user_id: Vec<Text>,
    family_id: Vec<Text>,
    session_id: Vec<Text>,
    network: Vec<IpNet>,
    asn: Vec<u32>,
    device: Vec<Text>,
    country: Vec<Text>,
}

/// How an exception stands on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Distant,
    /// In so many days it applies no more.
    Near(i32),
    Past,
}

impl Exception {
    /// Whether the finding is excepted, in event time.
    pub fn covers(&self, detection: &Detection, presenter: &Context) -> bool {
        detection.time < self.end() && self.matches.fits(detection, presenter)
    }

    /// What the excepted actions say.
    pub fn why(&self) -> String {
        format!(
            "excepted: {} ({}, until {})",
            self.reason, self.owner, self.expires
        )
    }

    pub fn expiry(&self, now: Timestamp) -> Expiry {
        let today = now.to_zoned(TimeZone::UTC).date();
        let days = today
            .until(self.expires)
            .map_or(i32::MAX, |left| left.get_days());
        match days {
            ..0 => Expiry::Past,
            days if days <= limits::EXCEPTION_NEAR_DAYS => Expiry::Near(days),
            _ => Expiry::Distant,
        }
    }

    /// The first instant at which it applies no more.
    fn end(&self) -> Timestamp {
        let next = self.expires.tomorrow();
        next.and_then(|day| day.to_zoned(TimeZone::UTC))
            .map_or(Timestamp::MAX, |midnight| midnight.timestamp())
    }
}

impl Match {
    fn fits(&self, detection: &Detection, presenter: &Context) -> bool {
        let place = presenter.place.as_ref();
        let network = presenter.network.as_ref();
        let address = detection.ip_address.map(IpNet::from);
        let within = |of: &IpNet| address.is_some_and(|address| of.contains(&address));
        any(&self.issuer, Some(&detection.issuer))
            && any(&self.tenant, detection.tenant.as_ref())
            && any(&self.client_id, detection.client_id.as_ref())
            && any(&self.user_id, detection.user_id.as_ref())
            && any(&self.family_id, detection.family_id.as_ref())
            && any(&self.session_id, detection.session_id.as_ref())
            && any(&self.device, presenter.device_id.as_ref())
            && any(
                &self.country,
                place.and_then(|place| place.country.as_ref()),
            )
            && any(&self.asn, network.and_then(|network| network.asn).as_ref())
            && (self.network.is_empty() || self.network.iter().any(within))
    }
}

/// A member that the exception does not name fits whatever it is; one that it names must be there.
fn any<T: PartialEq>(wanted: &[T], is: Option<&T>) -> bool {
    wanted.is_empty() || is.is_some_and(|is| wanted.contains(is))
}

/// As it was written: `client_id web, network 203.0.113.0/24`.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(name: &str, of: &[T]) -> Option<String> {
            let of: Vec<String> = of.iter().map(ToString::to_string).collect();
            (!of.is_empty()).then(|| format!("{name} {}", of.join(" or ")))
        }
        let members = [
            list("issuer", &self.issuer),
            list("tenant", &self.tenant),
            list("client_id", &self.client_id),
            list("user_id", &self.user_id),
            list("family_id", &self.family_id),
            list("session_id", &self.session_id),
            list("network", &self.network),
            list("asn", &self.asn),
            list("device", &self.device),
            list("country", &self.country),
        ];
        let members: Vec<String> = members.into_iter().flatten().collect();
        f.write_str(&members.join(", "))
    }
}

pub(super) fn read_all(node: &Node, faults: &mut Faults) -> Option<Vec<Exception>> {
    let exceptions = node.list(faults, read)?;
    if exceptions.len() > limits::EXCEPTIONS_MAX {
        let fault = node.fault(format!("more than {} exceptions", limits::EXCEPTIONS_MAX));
        faults.push(fault.with_hint("one exception takes lists: `client_id: [a, b]`"));
        return None;
    }
    Some(exceptions)
}

fn read(node: &Node, faults: &mut Faults) -> Option<Exception> {
    let mut map = node.mapping(faults)?;
    let matches = map.required("match", faults, matcher);
    let reason = map.required("reason", faults, line);
    let owner = map.required("owner", faults, line);
    let expires = map.required("expires", faults, Node::date);
    map.finish(faults);
    Some(Exception {
        matches: matches?,
        reason: reason?,
        owner: owner?,
        expires: expires?,
        place: node.place().clone(),
    })
}

fn matcher(node: &Node, faults: &mut Faults) -> Option<Match> {
    let mut map = node.mapping(faults)?;
    let before = faults.len();
    let matches = Match {
        issuer: list(&mut map, "issuer", faults, Node::text),
        tenant: list(&mut map, "tenant", faults, Node::text),
        client_id: list(&mut map, "client_id", faults, Node::text),
        user_id: list(&mut map, "user_id", faults, Node::text),
        family_id: list(&mut map, "family_id", faults, Node::text),
        session_id: list(&mut map, "session_id", faults, Node::text),
        network: list(&mut map, "network", faults, network),
        asn: list(&mut map, "asn", faults, |n, f| n.integer(1..=u32::MAX, f)),
        device: list(&mut map, "device", faults, Node::text),
        country: list(&mut map, "country", faults, country),
    };
    map.finish(faults);
    if faults.len() > before {
        return None;
    }
    if matches == Match::default() {
        let fault = node.fault("`match` names no member: it would except everything");
        faults.push(fault.with_hint("to silence a rule as a whole, set its `mode`"));
        return None;
    }
    Some(matches)
}

fn list<T>(
    map: &mut Map<'_>,
    key: &'static str,
    faults: &mut Faults,
    read: impl FnMut(&Node, &mut Faults) -> Option<T>,
) -> Vec<T> {
    let Some(node) = map.get(key) else {
        return Vec::new();
    };
    let values = node.one_or_list(faults, read).unwrap_or_default();
    if node.items().is_empty() {
        // An empty list would say nothing and so match everything.
        faults.push(node.fault(format!("`{key}` lists no value")));
    } else if values.len() > limits::MATCH_VALUES_MAX {
        faults.push(node.fault(format!("lists more than {}", limits::MATCH_VALUES_MAX)));
    }
    values
}

fn network(node: &Node, faults: &mut Faults) -> Option<IpNet> {
    let network = node.cidr(faults)?;
    if network.prefix_len() == 0 {
        let fault = node.fault(format!("`{network}` is every address"));
        faults.push(fault.with_hint("to silence a rule as a whole, set its `mode`"));
        return None;
    }
    Some(network)
}

fn country(node: &Node, faults: &mut Faults) -> Option<Text> {
    let text = node.text(faults)?;
    if text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) {
        return Some(text);
    }
    faults.push(node.unexpected("a country by ISO 3166-1 alpha-2, such as DE"));
    None
}

/// Stands in a reason of one line.
fn line(node: &Node, faults: &mut Faults) -> Option<Text> {
    let text = node.text(faults)?;
    if text.len() <= limits::LABEL_BYTES_MAX && !text.contains('\n') {
        return Some(text);
    }
    let most = limits::LABEL_BYTES_MAX;
    faults.push(node.fault(format!("expected one line of at most {most} bytes")));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exception(text: &str) -> Result<Exception, String> {
        let mut faults = Faults::default();
        let node = Node::parse(text, "f".as_ref(), &mut faults).unwrap();
        let read = read(&node, &mut faults);
        faults.finish(read).map(|(read, _)| read).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            faults.join("\n")
        })
    }

    fn until(date: &str) -> Exception {
        let text =
            format!("{{ match: {{ client_id: web }}, reason: r, owner: o, expires: {date} }}");
        exception(&text).unwrap()
    }

    #[test]
    fn the_last_day_counts_whole() {
        let exception = until("2027-01-31");
        assert_eq!(exception.end().to_string(), "2027-02-01T00:00:00Z");
        let on = |day: &str| exception.expiry(day.parse().unwrap());
        assert_eq!(on("2027-01-10T00:00:00Z"), Expiry::Distant);
        assert_eq!(on("2027-01-17T23:00:00Z"), Expiry::Near(14));
        assert_eq!(on("2027-01-31T23:59:59Z"), Expiry::Near(0));
        assert_eq!(on("2027-02-01T00:00:00Z"), Expiry::Past);
    }

    #[test]
    fn who_why_and_until_when_must_be_said() {
        assert_eq!(
            exception("match: { client_id: web }").unwrap_err(),
            "f:1:1: `reason` is missing\nf:1:1: `owner` is missing\nf:1:1: `expires` is missing"
        );
    }

    #[test]
    fn nothing_excepts_everything() {
        for all in ["{}", "{ client_id: [] }", "{ network: 0.0.0.0/0 }"] {
            let text = format!("{{ match: {all}, reason: r, owner: o, expires: 2027-01-31 }}");
            assert!(exception(&text).is_err(), "{all}");
        }
    }

    #[test]
    fn it_is_told_as_it_was_written() {
        let text = "{ match: { client_id: [web, app], network: 203.0.113.0/24, country: DE }, reason: r, owner: o, expires: 2027-01-31 }";
        assert_eq!(
            exception(text).unwrap().matches.to_string(),
            "client_id web or app, network 203.0.113.0/24, country DE"
        );
    }
}
