//! `velocity`: more refreshes than the access token's lifetime explains.
//!
//! Counts in buckets of one minute of event time, so that the counts do not depend on the order of arrival, and a late
//! event lands where it belongs. Why not a leaky bucket: it forgets how many there were, which is the first thing the
//! person who is woken asks, and it judges a late event too strictly.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::case::{RateCase, Who};
use super::super::finding::{Ask, Finding};
use super::super::needs::Need;
use super::super::parameters::Parameters;
use super::super::trace::Trace;
use super::super::words::{counted, instant};
use super::Kind;
use crate::model::{Clue, Evidence, Severity};

const BUCKET_MS: i64 = 60_000;
/// Longest time that a rule may look back, in buckets; `lasts` is the longest.
const BUCKETS_MAX: i32 = 64;

/// Parameters of a velocity rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Velocity {
    pub by: By,
    pub window: Duration,
    /// The limit is never below this many refreshes in the window.
    pub limit_min: u32,
    /// Refreshes that are ordinary within one lifetime of the access token: tabs, retries, focus refreshes.
    pub per_lifetime: u32,
    /// Assumed where neither the event nor the configuration names a lifetime (Keycloak's default is five minutes).
    pub lifetime_default: Duration,
    /// More than this many in `gross_window` pages whoever it is.
    pub gross: u32,
    pub gross_window: Duration,
    /// Above the limit for this long pages too.
    pub lasts: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum By {
    Family,
    User,
    Client,
    Network,
}

impl By {
    pub const ALL: &'static [Self] = &[Self::Family, Self::User, Self::Client, Self::Network];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Family => "family",
            Self::User => "user",
            Self::Client => "client",
            Self::Network => "network",
        }
    }

    /// In a sentence about one of them.
    fn of(self, id: Who<'_>) -> String {
        match self {
            // Nobody knows its id by heart.
            Self::Family => "in one login".to_owned(),
            Self::User => format!("of user {id}"),
            Self::Client => format!("of client {id}"),
            Self::Network => format!("from network {id}"),
        }
    }
}

impl Default for Velocity {
    fn default() -> Self {
        Self {
            by: By::Family,
            window: Duration::from_mins(10),
            limit_min: 10,
            per_lifetime: 6,
            lifetime_default: Duration::from_mins(5),
            gross: 60,
            gross_window: Duration::from_mins(5),
            lasts: Duration::from_mins(30),
        }
    }
}

impl Kind for Velocity {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        let names = By::ALL.iter().map(|by| by.as_str()).collect::<Vec<_>>();
        let mut by = By::ALL.iter().position(|by| *by == self.by).unwrap_or(0);
        p.choice("by", "Whose refreshes are counted.", &names, &mut by);
        self.by = By::ALL.get(by).copied().unwrap_or(self.by);
        let count = 1..=10_000_000;
        p.duration(
            "window",
            "The time in which refreshes are counted.",
            &mut self.window,
        );
        p.count(
            "limit_min",
            "The limit is never below this many refreshes in the window.",
            count.clone(),
            &mut self.limit_min,
        );
        p.count(
            "per_lifetime",
            "Refreshes that are ordinary within one lifetime of the access token.",
            count.clone(),
            &mut self.per_lifetime,
        );
        p.duration(
            "lifetime_default",
            "Lifetime assumed where neither the event nor the configuration names one.",
            &mut self.lifetime_default,
        );
        p.count(
            "gross",
            "More than this many in `gross_window` pages whoever it is.",
            count,
            &mut self.gross,
        );
        p.duration(
            "gross_window",
            "The window of `gross`.",
            &mut self.gross_window,
        );
        p.duration(
            "lasts",
            "Above the limit for this long pages too.",
            &mut self.lasts,
        );
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::all(match self.by {
            By::Family => &[Clue::FamilyId, Clue::TokenId, Clue::SessionId],
            By::User => &[Clue::UserId],
            By::Network => &[Clue::IpAddress],
            By::Client => &[Clue::ClientId],
        })]
    }
}

/// How grave it is; each is its own detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Level {
    AboveLimit,
    Lasting,
    Gross,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::AboveLimit => "above_limit",
            Self::Lasting => "lasting",
            Self::Gross => "gross",
        }
    }
}

/// More than is ordinary, with the numbers that a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Excess {
    level: Level,
    /// Hour since 1970 in which the window ends: each is found once, whatever event showed it.
    hour: i32,
    count: u32,
    limit: u32,
    window: Duration,
}

/// Refreshes of one key by minute; sparse, because most keys refresh every few minutes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// (minute since 1970, count), in order of time.
    buckets: Vec<(i32, u32)>,
}

impl Counts {
    pub fn add(&mut self, time: i64) {
        let bucket = bucket_of(time);
        match self.buckets.binary_search_by_key(&bucket, |(b, _)| *b) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(1),
            Err(at) => self.buckets.insert(at, (bucket, 1)),
        }
        self.forget_old();
    }

    fn forget_old(&mut self) {
        let newest = self.buckets.last().map_or(i32::MIN, |(b, _)| *b);
        let is_old = |(b, _): &(i32, u32)| newest.saturating_sub(*b) >= BUCKETS_MAX;
        let old = self.buckets.partition_point(is_old);
        self.buckets.drain(..old);
    }

    /// Adds the counts of another key that turned out to be the same.
    pub fn absorb(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            match self.buckets.binary_search_by_key(bucket, |(b, _)| *b) {
                Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(*count),
                Err(at) => self.buckets.insert(at, (*bucket, *count)),
            }
        }
        self.forget_old();
    }

    fn total(&self) -> u32 {
        self.buckets.iter().map(|(_, n)| *n).sum()
    }

    /// Refreshes in the `width` buckets that end with `last`.
    fn sum(&self, last: i32, width: i32) -> u32 {
        let first = last - width + 1;
        self.buckets
            .iter()
            .filter(|(b, _)| (first..=last).contains(b))
            .map(|(_, n)| *n)
            .sum()
    }

    /// Windows of `width` buckets that contain `bucket` and end with one that counted something, with their sums.
    fn windows_around(&self, bucket: i32, width: i32) -> impl Iterator<Item = (i32, u32)> {
        self.buckets
            .iter()
            .map(|(b, _)| *b)
            .filter(move |last| (bucket..bucket + width).contains(last))
            .map(move |last| (last, self.sum(last, width)))
    }
}

impl Velocity {
    /// Allowed refreshes in the window, for an access token of this lifetime.
    pub fn limit(&self, lifetime: Option<Duration>) -> u32 {
        let lifetime = lifetime.unwrap_or(self.lifetime_default).as_secs().max(1);
        let scaled = u64::from(self.per_lifetime) * self.window.as_secs() / lifetime;
        self.limit_min
            .max(u32::try_from(scaled).unwrap_or(u32::MAX))
    }

    /// Whether it could find anything, whatever the lifetime: most subjects are far from any limit.
    pub fn concerns(&self, counts: &Counts) -> bool {
        counts.total() > self.limit_min.min(self.gross)
    }

    /// Judges the windows around `time`, gravest finding last.
    pub fn judge(&self, case: &RateCase<'_>, time: i64, trace: &mut Trace) -> Vec<Finding> {
        let limit = self.limit(case.access_token_ttl);
        let excesses = self.excesses(case.counts, time, limit);
        if excesses.is_empty() {
            trace.note(|| {
                let count = case.counts.sum(bucket_of(time), width(self.window));
                let values = Evidence::new()
                    .with("count", count)
                    .with("limit", limit)
                    .with("window_seconds", self.window.as_secs())
                    .with("gross", self.gross);
                (
                    "no more refreshes than the lifetime of the access token explains".to_owned(),
                    values,
                )
            });
        }
        let describe = |excess: &Excess| self.describe(case, time, excess);
        excesses.iter().map(describe).collect()
    }

    fn describe(&self, case: &RateCase<'_>, time: i64, excess: &Excess) -> Finding {
        let grave = match excess.level {
            Level::Gross => true,
            Level::Lasting => !case.own_addresses,
            Level::AboveLimit => false,
        };
        let (at_most, ask) = match (grave, case.own_addresses) {
            (true, _) => (Severity::Critical, Ask::Response),
            (false, true) => (Severity::Info, Ask::Nothing),
            (false, false) => (Severity::Low, Ask::Throttle),
        };
        // The limit of what lasts is that of each window in it.
        let each = if excess.level == Level::Lasting {
            format!(" in each {} min", self.window.as_secs() / 60)
        } else {
            String::new()
        };
        Finding {
            about: vec![excess.level.as_str().to_owned(), excess.hour.to_string()],
            time,
            event_id: Some(case.event_id.clone()),
            at_most,
            ask,
            may_revoke: false,
            confidence: if at_most == Severity::Info { 0.0 } else { 1.0 },
            presenter: case.presenter.clone(),
            foreign_network: None,
            summary: format!(
                "{} within {} min {} (limit {}{each})",
                counted(excess.count, "refresh", "refreshes"),
                excess.window.as_secs() / 60,
                self.by.of(case.subject),
                excess.limit,
            ),
            evidence: Evidence::new()
                .with("level", excess.level.as_str())
                .with("count", excess.count)
                .with("limit", excess.limit)
                .with("window_seconds", excess.window.as_secs())
                .with("by", self.by.as_str())
                .with("last_seen", instant(time)),
        }
    }

    fn excesses(&self, counts: &Counts, time: i64, limit: u32) -> Vec<Excess> {
        if counts.total() <= limit.min(self.gross) {
            return Vec::new();
        }
        let bucket = bucket_of(time);
        let mut findings = Vec::new();
        for (last, count) in counts.windows_around(bucket, width(self.window)) {
            if count > limit {
                add(
                    &mut findings,
                    Level::AboveLimit,
                    last,
                    (count, limit),
                    self.window,
                );
            }
        }
        for (last, _) in counts.windows_around(bucket, width(self.lasts)) {
            if self.lasted(counts, last, limit) {
                let count = counts.sum(last, width(self.lasts));
                add(
                    &mut findings,
                    Level::Lasting,
                    last,
                    (count, limit),
                    self.lasts,
                );
            }
        }
        for (last, count) in counts.windows_around(bucket, width(self.gross_window)) {
            if count > self.gross {
                add(
                    &mut findings,
                    Level::Gross,
                    last,
                    (count, self.gross),
                    self.gross_window,
                );
            }
        }
        findings
    }

    /// Whether every whole window in the last `lasts` was above the limit.
    fn lasted(&self, counts: &Counts, bucket: i32, limit: u32) -> bool {
        let step = width(self.window);
        let steps = (width(self.lasts) / step).max(1);
        (0..steps).all(|back| counts.sum(bucket - back * step, step) > limit)
    }
}

/// One finding a level and hour, with the largest count.
fn add(
    findings: &mut Vec<Excess>,
    level: Level,
    last: i32,
    (count, limit): (u32, u32),
    window: Duration,
) {
    let hour = last.div_euclid(60);
    match findings
        .iter_mut()
        .find(|f| f.level == level && f.hour == hour)
    {
        Some(finding) => finding.count = finding.count.max(count),
        None => findings.push(Excess {
            level,
            hour,
            count,
            limit,
            window,
        }),
    }
}

fn bucket_of(time: i64) -> i32 {
    i32::try_from(time.div_euclid(BUCKET_MS)).unwrap_or(i32::MAX)
}

fn width(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs() / 60).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(minutes: &[(i64, u32)]) -> Counts {
        let mut counts = Counts::default();
        for (minute, n) in minutes {
            for _ in 0..*n {
                counts.add(minute * BUCKET_MS + 7);
            }
        }
        counts
    }

    #[test]
    fn the_limit_follows_the_lifetime_of_the_access_token() {
        let rule = Velocity::default();
        assert_eq!(rule.limit(Some(Duration::from_hours(1))), 10);
        assert_eq!(rule.limit(Some(Duration::from_mins(1))), 60);
        assert_eq!(rule.limit(None), 12);
    }

    #[test]
    fn twenty_an_hour_are_ordinary() {
        let rule = Velocity::default();
        let counts = counts(&(0..20).map(|i| (i * 3, 1)).collect::<Vec<_>>());
        assert_eq!(rule.excesses(&counts, 57 * BUCKET_MS, rule.limit(None)), []);
    }

    #[test]
    fn a_busy_client_is_counted_to_its_limit() {
        let rule = Velocity {
            gross: u32::MAX,
            ..Velocity::default()
        };
        let counts = counts(&(0..10).map(|m| (m, 100_001)).collect::<Vec<_>>());
        let found = rule.excesses(&counts, 9 * BUCKET_MS, 1_000_000);
        assert_eq!(found.first().map(|f| f.count), Some(1_000_010));
    }

    #[test]
    fn the_count_does_not_depend_on_the_order_of_arrival() {
        let mut backwards = Counts::default();
        for minute in (0..30).rev() {
            backwards.add(minute * BUCKET_MS);
        }
        assert_eq!(
            backwards,
            counts(&(0..30).map(|m| (m, 1)).collect::<Vec<_>>())
        );
    }

    #[test]
    fn an_hour_is_found_whichever_event_comes_last() {
        let rule = Velocity::default();
        let times: Vec<i64> = (0..13).map(|i| (54 + i) * BUCKET_MS).collect();
        let hours = |order: &[i64]| {
            let mut counts = Counts::default();
            let mut hours = std::collections::BTreeSet::new();
            for time in order {
                counts.add(*time);
                let limit = 8;
                hours.extend(rule.excesses(&counts, *time, limit).iter().map(|f| f.hour));
            }
            hours
        };
        let backwards: Vec<i64> = times.iter().rev().copied().collect();
        assert_eq!(hours(&times), hours(&backwards));
        assert_eq!(hours(&times).into_iter().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_gross_burst_and_a_lasting_excess_are_told_apart() {
        let rule = Velocity::default();
        let burst = counts(&[(100, 61)]);
        let levels = |c: &Counts, m: i64, limit| {
            rule.excesses(c, m * BUCKET_MS, limit)
                .iter()
                .map(|f| f.level)
                .collect::<Vec<_>>()
        };
        assert_eq!(levels(&burst, 100, 100), [Level::Gross]);
        let lasting = counts(&(70..=100).map(|m| (m, 2)).collect::<Vec<_>>());
        assert_eq!(
            levels(&lasting, 100, 12),
            [Level::AboveLimit, Level::Lasting]
        );
    }
}
