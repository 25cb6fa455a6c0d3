//! Readers of single values: each says what it expected and shows how it is written.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::model::Text;
use crate::model::limits::DURATION_MAX;

use super::fault::hint_names;
use super::{Faults, Node};

impl Node {
    /// Any text but the empty one. What looks like a number is taken as it was written.
    pub fn text(&self, faults: &mut Faults) -> Option<Text> {
        match self.as_str() {
            Some(text) if !text.is_empty() => Some(text.into()),
            _ => self.expected("a text", faults),
        }
    }

    pub fn boolean(&self, faults: &mut Faults) -> Option<bool> {
        match self.as_str() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => self.expected("`true` or `false`", faults),
        }
    }

    pub fn integer<T>(&self, range: RangeInclusive<T>, faults: &mut Faults) -> Option<T>
    where
        T: FromStr + PartialOrd + Display,
    {
        self.in_range("a whole number", range, faults)
    }

    /// A number that may have decimals.
    pub fn number(&self, range: RangeInclusive<f64>, faults: &mut Faults) -> Option<f64> {
        self.in_range("a number", range, faults)
    }

    fn in_range<T>(&self, what: &str, range: RangeInclusive<T>, faults: &mut Faults) -> Option<T>
    where
        T: FromStr + PartialOrd + Display,
    {
        let value = self.as_str().and_then(|text| text.parse().ok());
        value.filter(|value| range.contains(value)).or_else(|| {
            let (least, most) = range.into_inner();
            self.expected(&format!("{what} from {least} to {most}"), faults)
        })
    }

    /// `500ms`, `30s`, `10m`, `24h`, `30d`, `1h30m`.
    pub fn duration(&self, faults: &mut Faults) -> Option<Duration> {
        let duration = self.as_str().and_then(parse_duration);
        if duration.is_none() {
            let hint = "write a number with its unit: 500ms, 30s, 10m, 24h, 30d, 1h30m";
            faults.push(self.unexpected("a duration").with_hint(hint));
        }
        duration
    }

    /// Bytes: `2GiB`, `512MiB`, `65536KiB`, or a number alone.
    pub fn size(&self, least: u64, faults: &mut Faults) -> Option<u64> {
        let size = self.as_str().and_then(parse_size);
        size.filter(|size| *size >= least).or_else(|| {
            let least = least.div_ceil(MIB);
            self.expected(
                &format!("a size of at least {least}MiB, such as 2GiB"),
                faults,
            )
        })
    }

    /// A day: `2027-01-31`.
    pub fn date(&self, faults: &mut Faults) -> Option<jiff::civil::Date> {
        let text = self.as_str().unwrap_or_default();
        // The parser would take a time of day too, and leave it out.
        let date = text
            .parse()
            .ok()
            .filter(|_| text.len() == "2027-01-31".len());
        date.or_else(|| self.expected("a day such as 2027-01-31", faults))
    }

    /// A duration above zero.
    pub fn duration_above_zero(&self, faults: &mut Faults) -> Option<Duration> {
        let duration = self.duration(faults)?;
        if duration.is_zero() {
            return self.expected("a duration above zero", faults);
        }
        Some(duration)
    }

    /// One of a few names, given with their values.
    pub fn one_of<T: Copy>(&self, names: &[(&str, T)], faults: &mut Faults) -> Option<T> {
        let found = names
            .iter()
            .find(|(name, _)| self.as_str() == Some(name))
            .map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            let fault = self.unexpected(&format!("one of {}", known.join(", ")));
            faults.push(match self.as_str().map(|text| hint_names(text, &known)) {
                Some(hint) if hint.starts_with("did") => fault.with_hint(hint),
                _ => fault,
            });
        }
        found
    }

    /// One of the names of an enumeration of the model: `node.name(Mode::ALL, Mode::as_str, faults)`.
    pub fn name<T: Copy>(
        &self,
        all: &[T],
        name: impl Fn(T) -> &'static str,
        faults: &mut Faults,
    ) -> Option<T> {
        let names: Vec<_> = all.iter().map(|value| (name(*value), *value)).collect();
        self.one_of(&names, faults)
    }

    /// A path; a relative one starts at the folder of the file it stands in.
    pub fn path(&self, faults: &mut Faults) -> Option<PathBuf> {
        let text = self.text(faults)?;
        let folder = self.place().file.parent().unwrap_or(Path::new(""));
        Some(folder.join(&*text))
    }

    /// `127.0.0.1:9510`, `[::1]:9510`.
    pub fn socket_address(&self, faults: &mut Faults) -> Option<SocketAddr> {
        let address = self.as_str().and_then(|text| text.parse().ok());
        address.or_else(|| {
            self.expected(
                "an address with port, such as 127.0.0.1:9510 or [::1]:9510",
                faults,
            )
        })
    }

    /// `203.0.113.0/24`, `2001:db8::/32`, or one address.
    pub fn cidr(&self, faults: &mut Faults) -> Option<IpNet> {
        let text = self.as_str().unwrap_or_default();
        let network = text
            .parse::<IpNet>()
            .ok()
            .or_else(|| text.parse::<IpAddr>().map(IpNet::from).ok());
        let Some(network) = network else {
            return self.expected("a network such as 203.0.113.0/24 or 2001:db8::/32", faults);
        };
        if network != network.trunc() {
            let message = format!("`{text}` has bits set beyond its prefix");
            let hint = format!("write {}", network.trunc());
            faults.push(self.fault(message).with_hint(hint));
            return None;
        }
        Some(network)
    }

    /// An address of one of the schemes. The fault does not show it: it may hold a password.
    pub fn url(&self, schemes: &[&str], faults: &mut Faults) -> Option<Text> {
        let text = self.text(faults)?;
        if is_url(&text, schemes) {
            return Some(text);
        }
        let schemes = schemes.join(":// or ");
        faults.push(self.fault(format!("expected a URL that starts with {schemes}://")));
        None
    }
}

/// Whether a text is a URL of one of the schemes, with a host.
pub fn is_url(text: &str, schemes: &[&str]) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    // The parser would take the first word of `https:///path` for the host.
    schemes.contains(&scheme)
        && !rest.starts_with('/')
        && url::Url::parse(text).is_ok_and(|url| url.has_host())
}

const MIB: u64 = 1024 * 1024;

/// A whole number of bytes, KiB, MiB, GiB or TiB.
fn parse_size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 5] = [
        ("", 1),
        ("KiB", 1024),
        ("MiB", MIB),
        ("GiB", 1024 * MIB),
        ("TiB", MIB * MIB),
    ];
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*bytes)
}

/// `500ms`, `30s`, `10m`, `24h`, `30d`, or several of them, largest unit first (`1h30m`).
pub fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let mut rest = text;
    let mut units = UNITS.as_slice();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let index = units.iter().position(|(name, _)| *name == unit)?;
        let milliseconds = number.parse::<u64>().ok()?.checked_mul(units[index].1)?;
        total = total.checked_add(milliseconds)?;
        units = &units[index + 1..];
        rest = tail;
    }
    let duration = Duration::from_millis(total);
    (!text.is_empty() && duration <= DURATION_MAX).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("65536KiB", 64 * MIB),
            ("2GiB", 2048 * MIB),
            ("1TiB", MIB * MIB),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "GiB",
            "2GB",
            "2gib",
            "1.5GiB",
            "2 GiB",
            "-1",
            "99999999TiB",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn durations() {
        let ok = |text, milliseconds| {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        };
        ok("500ms", 500);
        ok("30s", 30_000);
        ok("10m", 600_000);
        ok("24h", 86_400_000);
        ok("30d", 2_592_000_000);
        ok("1h30m", 5_400_000);
        ok("1m500ms", 60_500);
        ok("0s", 0);
        for bad in [
            "",
            "5",
            "s",
            "-5s",
            "1.5h",
            "5 s",
            "30m1h",
            "1s1s",
            "5w",
            "5S",
            "99999999999999999999s",
            "18446744073709551615d",
            "40000d",
            "٣s",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    /// Reads the text with the reader; the value, or the first fault.
    fn read<T>(
        text: &str,
        reader: impl FnOnce(&Node, &mut Faults) -> Option<T>,
    ) -> Result<T, String> {
        let mut faults = Faults::default();
        let node = Node::parse(text, "f".as_ref(), &mut faults).unwrap();
        let value = reader(&node, &mut faults);
        faults
            .finish(value)
            .map(|(value, _)| value)
            .map_err(|faults| faults[0].to_string())
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let reader = |node: &Node, faults: &mut Faults| node.integer(1u16..=65535, faults);
        assert_eq!(read("587", reader), Ok(587));
        assert_eq!(
            read("65536", reader),
            Err("f:1:1: expected a whole number from 1 to 65535, found `65536`".into())
        );
        assert!(read("1.5", reader).is_err());
        assert!(read("[1]", reader).is_err());
        let reader = |node: &Node, faults: &mut Faults| node.number(0.0..=1.0, faults);
        assert_eq!(read("0.9", reader), Ok(0.9));
        assert!(read(".nan", reader).is_err());
        assert!(read("NaN", reader).is_err());
    }

    #[test]
    fn names_are_hinted_at() {
        let names = [("enforce", 1), ("observe", 2)];
        assert_eq!(
            read("observe", |node, faults| node.one_of(&names, faults)),
            Ok(2)
        );
        assert_eq!(
            read("enforced", |node, faults| node.one_of(&names, faults)),
            Err("f:1:1: expected one of enforce, observe, found `enforced`\n  hint: did you mean `enforce`?".into())
        );
    }

    #[test]
    fn networks_are_networks() {
        let cidr = |text| read(text, Node::cidr).map(|network| network.to_string());
        assert_eq!(cidr("203.0.113.64/26"), Ok("203.0.113.64/26".into()));
        assert_eq!(cidr("2001:db8::1"), Ok("2001:db8::1/128".into()));
        assert_eq!(
            cidr("10.1.2.3/8"),
            Err(
                "f:1:1: `10.1.2.3/8` has bits set beyond its prefix\n  hint: write 10.0.0.0/8"
                    .into()
            )
        );
        assert!(cidr("10.0.0.0/33").is_err());
    }

    #[test]
    fn a_faulty_url_is_not_shown() {
        let url = |text| read(text, |node, faults| node.url(&["https", "http"], faults));
        assert!(url("https://id.example.com/auth").is_ok());
        let fault = url("ftp://me:hunter2@host").unwrap_err();
        assert_eq!(
            fault,
            "f:1:1: expected a URL that starts with https:// or http://"
        );
    }

    #[test]
    fn relative_paths_start_at_the_file() {
        let mut faults = Faults::default();
        let node = Node::parse("[a.mmdb, /b.mmdb]", "etc/tw/c.yaml".as_ref(), &mut faults).unwrap();
        let paths = node.list(&mut faults, Node::path).unwrap();
        assert_eq!(paths, [Path::new("etc/tw/a.mmdb"), Path::new("/b.mmdb")]);
    }
}
