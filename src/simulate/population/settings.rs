//! What a population is made of.

use crate::model::{Timestamp, limits};

/// How much of what happens a source tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Like plain Keycloak: address and time, token chain and session; no family, and no user on refusals.
    AddressOnly,
    /// The user agent and the family too, but no device id and no TLS fingerprint.
    NoDevice,
    Full,
}

impl Source {
    pub const ALL: &'static [Self] = &[Self::Full, Self::NoDevice, Self::AddressOnly];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::NoDevice => "no-device",
            Self::AddressOnly => "address-only",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub users: u32,
    pub days: u32,
    /// The same settings and seed give the same events, byte by byte, on every machine.
    pub seed: u64,
    pub source: Source,
    /// How many times as often as usual every honest oddity happens.
    pub oddities: u32,
    /// Attacks of each kind per 10,000 users and week, and as many of its honest twin; at least one of each unless 0.
    pub attacks: u32,
    /// Where the log begins.
    pub start: Timestamp,
}

/// 2026-03-02, a Monday. Fixed, so that two runs with the same seed are the same.
const START_SECONDS: i64 = 1_772_409_600;

impl Default for Settings {
    fn default() -> Self {
        Self {
            users: 1000,
            days: 7,
            seed: 1,
            source: Source::Full,
            oddities: 1,
            attacks: 2,
            start: Timestamp::from_second(START_SECONDS).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }
}

impl Settings {
    /// What cannot be simulated, in words for whoever asked for it.
    pub fn fault(&self) -> Option<String> {
        let (users, days) = (limits::SIMULATED_USERS_MAX, limits::SIMULATED_DAYS_MAX);
        if !(1..=users).contains(&self.users) {
            return Some(format!("{} users: expected 1 to {users}", self.users));
        }
        if !(1..=days).contains(&self.days) {
            return Some(format!("{} days: expected 1 to {days}", self.days));
        }
        if !(1..=ODDITIES_MAX).contains(&self.oddities) {
            return Some(format!(
                "oddities {}: expected 1 to {ODDITIES_MAX} times as many",
                self.oddities
            ));
        }
        if self.attacks > ATTACKS_MAX {
            return Some(format!(
                "{} attacks of each kind per 10,000 users and week: expected 0 to {ATTACKS_MAX}",
                self.attacks
            ));
        }
        let end = self
            .start
            .as_second()
            .saturating_add(i64::from(self.days) * 86_400);
        if self.start.as_second() < 0 || Timestamp::from_second(end).is_err() {
            return Some(format!(
                "start {}: expected a time after 1970 that leaves room for the days",
                self.start
            ));
        }
        None
    }
}

/// Beyond, nobody's life would have an ordinary day.
const ODDITIES_MAX: u32 = 10;
/// One in ten users is a victim each week then.
const ATTACKS_MAX: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_said_with_what_can() {
        let fault = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.fault().unwrap_or_default()
        };
        assert_eq!(fault(|_| {}), "");
        assert!(fault(|s| s.users = 0).starts_with("0 users: expected 1 to"));
        assert!(fault(|s| s.days = 100_000).starts_with("100000 days: expected 1 to"));
        assert!(fault(|s| s.oddities = 0).contains("expected 1 to 10"));
        assert!(fault(|s| s.attacks = 51).contains("expected 0 to 50"));
        assert!(fault(|s| s.start = Timestamp::MAX).contains("leaves room"));
    }
}
