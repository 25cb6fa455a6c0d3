//! What each day brought, in UTC: detections by rule, pages, families to be revoked.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::model::limits::SUMMARY_DAYS_MAX;
use crate::model::{Text, Timestamp};

/// One day, or all before the days that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Day {
    pub detections: BTreeMap<Text, u64>,
    pub pages: u64,
    pub revocations: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Days {
    days: BTreeMap<Date, Day>,
    earlier: Option<Day>,
}

impl Days {
    pub(super) fn at(&mut self, time: Timestamp) -> &mut Day {
        let date = time.to_zoned(TimeZone::UTC).date();
        let oldest = self.days.first_key_value().map(|(date, _)| *date);
        if !self.days.contains_key(&date) && self.days.len() >= SUMMARY_DAYS_MAX {
            if oldest.is_some_and(|oldest| date < oldest) {
                return self.earlier.get_or_insert_default();
            }
            if let Some((_, day)) = self.days.pop_first() {
                self.earlier.get_or_insert_default().add(&day);
            }
        }
        self.days.entry(date).or_default()
    }

    /// Oldest first; without a date what was before.
    pub(super) fn into_rows(self) -> Vec<(Option<Date>, Day)> {
        let earlier = self.earlier.map(|day| (None, day));
        let days = self.days.into_iter().map(|(date, day)| (Some(date), day));
        earlier.into_iter().chain(days).collect()
    }
}

impl Day {
    pub fn add(&mut self, other: &Self) {
        for (rule, count) in &other.detections {
            *self.detections.entry(rule.clone()).or_default() += count;
        }
        self.pages += other.pages;
        self.revocations += other.revocations;
    }

    pub fn total(&self) -> u64 {
        self.detections.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_before_the_newest_are_summed_up() {
        let mut days = Days::default();
        let more = 20;
        for day in 0..SUMMARY_DAYS_MAX + more {
            let second = i64::try_from(day).unwrap() * 86_400;
            days.at(Timestamp::from_second(second).unwrap()).pages += 1;
        }
        days.at(Timestamp::UNIX_EPOCH).pages += 1;
        let rows = days.into_rows();
        assert_eq!(rows.len(), SUMMARY_DAYS_MAX + 1);
        assert_eq!((rows[0].0, rows[0].1.pages), (None, more as u64 + 1));
        assert_eq!(rows[1].0.unwrap().to_string(), "1970-01-21");
    }
}
