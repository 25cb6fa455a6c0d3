//! `early_refresh`: access tokens are renewed again and again long before they expire.
//!
//! Clients renew shortly before the end: libraries 60 to 300 seconds before. Who holds a copy often does not know the
//! lifetime, or wants to stay ahead of the owner. Many honest clients renew early too (when an app starts, when a window
//! gets the focus, every tab for itself), so that a row of early refreshes is a record that adds to what other rules know.
//!
//! An age is the time since the refresh before. What follows within `burst` of it are tabs and retries: they are neither
//! early nor on time and are left out. Each counted refresh must present another token: where a server does not rotate,
//! only the velocity rules look.

use std::time::Duration;

use super::super::case::{At, FamilyCase, FamilyKind, millis};
use super::super::finding::{Ask, Finding};
use super::super::ledger::{Answer, Entry};
use super::super::needs::Need;
use super::super::parameters::Parameters;
use super::super::trace::Trace;
use super::super::words::{instant, span, who};
use super::Kind;
use crate::model::{Clue, Evidence, Severity, Value};

/// Parameters of an early-refresh rule.
#[derive(Debug, Clone, PartialEq)]
pub struct EarlyRefresh {
    /// Below this share of the access token's lifetime a refresh is early.
    pub share: f64,
    /// Early refreshes in a row, each of another token.
    pub row_min: u32,
    /// Shorter lifetimes are not judged: the clients' own leeway is most of them.
    pub lifetime_min: Duration,
    /// Refreshes that follow this soon are tabs and retries.
    pub burst: Duration,
    pub settle: Duration,
}

impl Default for EarlyRefresh {
    fn default() -> Self {
        Self {
            share: 0.2,
            row_min: 5,
            lifetime_min: Duration::from_mins(5),
            burst: Duration::from_secs(10),
            settle: Duration::from_secs(2),
        }
    }
}

impl Kind for EarlyRefresh {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.number(
            "share",
            "Below this share of the access token's lifetime a refresh is early.",
            0.0..=1.0,
            &mut self.share,
        );
        p.count(
            "row_min",
            "Early refreshes in a row, each of another token.",
            2..=60,
            &mut self.row_min,
        );
        p.duration(
            "lifetime_min",
            "Shorter lifetimes are not judged: the clients' own leeway is most of them.",
            &mut self.lifetime_min,
        );
        p.duration(
            "burst",
            "Refreshes that follow this soon are tabs and retries: left out.",
            &mut self.burst,
        );
        p.settle(&mut self.settle);
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::all(&[Clue::TokenId, Clue::Generation])]
    }
}

/// One record a family and day of event time.
const BUCKET_MS: i64 = 24 * 3_600_000;

impl FamilyKind for EarlyRefresh {
    fn settle(&self) -> Duration {
        self.settle
    }

    /// A row is no longer than its refreshes allow: in most families so short a time holds one or two.
    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        let Some((_, limit)) = self.limit(case) else {
            return false;
        };
        let entries = case.ledger.entries();
        let row = self.row_min as usize;
        let span = limit.saturating_mul(i64::from(self.row_min));
        let starts = entries.len().checked_sub(row + 1);
        starts.is_some_and(|last| {
            (0..=last)
                .rev()
                .any(|i| entries[i + row].time - entries[i].time <= span)
        })
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        let Some(entry) = case.refreshes_at(at.time).last() else {
            return Vec::new();
        };
        let Some((lifetime, limit)) = self.limit(case) else {
            trace.note(|| {
                let lifetime = case.access_token_ttl.map(|ttl| ttl.as_secs());
                let values = Evidence::new()
                    .with_some("lifetime_seconds", lifetime)
                    .with("lifetime_min_seconds", self.lifetime_min.as_secs());
                let why = "the lifetime of access tokens is short, or not known";
                (why.to_owned(), values)
            });
            return Vec::new();
        };
        let row = self.row(case, entry, limit);
        if row.len() < self.row_min as usize {
            trace.note(|| {
                let values = Evidence::new()
                    .with("early_in_a_row", row.len())
                    .with("row_min", self.row_min)
                    .with("early_below", span(limit))
                    .with("left_out_within", span(millis(self.burst)));
                ("too few early refreshes in a row".to_owned(), values)
            });
            return Vec::new();
        }
        vec![describe(case, entry, &row, (lifetime, limit))]
    }
}

impl EarlyRefresh {
    /// The lifetime, and the age in milliseconds below which a refresh is early; `None` where it cannot be told.
    fn limit(&self, case: &FamilyCase<'_>) -> Option<(Duration, i64)> {
        let lifetime = case.access_token_ttl?;
        (lifetime >= self.lifetime_min).then(|| (lifetime, millis(lifetime.mul_f64(self.share))))
    }

    /// Ages of the early refreshes in a row that ends with `last`, the newest first, no more than are needed.
    fn row(&self, case: &FamilyCase<'_>, last: &Entry, limit: i64) -> Vec<i64> {
        let entries = case.ledger.entries();
        let entries = &entries[..entries.partition_point(|e| e.time <= last.time)];
        let accepted: Vec<&Entry> = entries.iter().filter(|e| e.answer.accepted()).collect();
        let (mut ages, mut tokens) = (Vec::new(), Vec::new());
        for pair in accepted.windows(2).rev() {
            let (before, this) = (pair[0], pair[1]);
            let age = this.time - before.time;
            if age < millis(self.burst) {
                continue;
            }
            let rotates = this.token.is_some() && !tokens.contains(&this.token);
            if age >= limit || !rotates || this.answer == Answer::Issued {
                break;
            }
            ages.push(age);
            tokens.push(this.token);
            if ages.len() == self.row_min as usize {
                break;
            }
        }
        ages
    }
}

fn describe(
    case: &FamilyCase<'_>,
    entry: &Entry,
    row: &[i64],
    (lifetime, limit): (Duration, i64),
) -> Finding {
    let lifetime = millis(lifetime);
    let summary = format!(
        "{} refreshes in a row came within {} of the one before, though access tokens live {}",
        row.len(),
        span(limit),
        span(lifetime),
    );
    let ages: Vec<Value> = row.iter().rev().map(|age| span(*age).into()).collect();
    let evidence = Evidence::new()
        .with("ages", ages)
        .with("early_below", span(limit))
        .with("lifetime", span(lifetime))
        .with("until", instant(entry.time))
        .with("presenter", who(case.context(entry)));
    let finding = case.finding(entry, summary, evidence);
    let at_most = if case.client.own_addresses {
        // Servers refresh for many users and on their own schedule.
        Severity::Info
    } else {
        Severity::Low
    };
    Finding {
        about: vec![case.id.to_string(), (entry.time / BUCKET_MS).to_string()],
        at_most,
        ask: Ask::Nothing,
        ..finding
    }
}
