//! Reads an address as servers and proxies write it.
//!
//! A port, brackets and a zone are taken off; an IPv4-mapped address becomes IPv4. Anything else is no address: the
//! servers pass on whatever a header said, so a guess here would be a forged place later.

use std::net::{IpAddr, Ipv6Addr, SocketAddrV4};

/// The address in the text, or nothing.
pub(super) fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(with_port) = text.parse::<SocketAddrV4>() {
        return Some(IpAddr::V4(*with_port.ip()));
    }
    let bare = match text.strip_prefix('[') {
        Some(open) => open.split_once(']').filter(|(_, port)| is_port(port))?.0,
        None => text,
    };
    let without_zone = bare.split_once('%').map_or(bare, |(address, _)| address);
    without_zone
        .parse::<Ipv6Addr>()
        .ok()
        .map(|v6| IpAddr::V6(v6).to_canonical())
}

fn is_port(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_what_servers_write() {
        for (text, expected) in [
            ("192.0.2.10", "192.0.2.10"),
            (" 192.0.2.10 ", "192.0.2.10"),
            ("192.0.2.10:51234", "192.0.2.10"),
            ("::ffff:192.0.2.10", "192.0.2.10"),
            ("[::ffff:192.0.2.10]:443", "192.0.2.10"),
            ("2001:db8:a::5", "2001:db8:a::5"),
            ("2001:0db8:000a:0000:0000:0000:0000:0005", "2001:db8:a::5"),
            ("[2001:db8:a::5]", "2001:db8:a::5"),
            ("[2001:db8:a::5]:51234", "2001:db8:a::5"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:80", "fe80::1"),
        ] {
            assert_eq!(
                parse(text).map(|address| address.to_string()).as_deref(),
                Some(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn guesses_nothing() {
        for text in [
            "",
            "unknown",
            "localhost",
            "192.0.2.10, 198.51.100.1",
            "192.0.2",
            "1921681",
            "0192.0.2.10",
            "192.0.2.10:99999",
            "[2001:db8::1",
            "[2001:db8::1]x",
            "[192.0.2.1]x",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
