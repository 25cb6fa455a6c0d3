//! Restraint: why the actions of a finding are left undone although its rule asks for them.
//!
//! Somebody answers for it (an exception), or the rule has just acted about the same thing (suppression). Both leave the
//! detection as it is. An excepted finding opens no window: what nobody minds must not hide what somebody does.
//!
//! A window begins with the earliest finding in it, also when that comes last: events may be out of order by less than a
//! window is long, so that every order gives as many actions. Findings of another severity or mode have windows of their
//! own: a mild finding hides no grave one, and what was only observed has told nobody.

use serde::{Deserialize, Serialize};

use crate::engine::Found;
use crate::model::{Mode, Prefix, Subject, Text, limits};
use crate::rules::{Exception, Suppress, SuppressBy};

use super::ageing::Ageing;
use super::{incidents, name_of};

/// Windows remembered of one thing: the newest, and one before it for what comes late.
const WINDOWS_MAX: usize = 3;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Windows {
    /// Beginnings of windows in event time, in order.
    of: Ageing<Text, Vec<i64>>,
    evicted: u64,
}

/// Why a finding is not acted upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Restraint {
    Excepted(Text),
    Suppressed(Text),
    /// Only nobody is told.
    Silenced(Text),
}

impl Restraint {
    pub(super) const fn reason(&self) -> &Text {
        match self {
            Self::Excepted(why) | Self::Suppressed(why) | Self::Silenced(why) => why,
        }
    }

    /// Sets the ids of what is left undone apart, so that it takes nothing away from what is done.
    pub(super) const fn variant(&self) -> &'static str {
        match self {
            Self::Excepted(_) => "excepted",
            Self::Suppressed(_) => "suppressed",
            Self::Silenced(_) => "silenced",
        }
    }
}

impl Windows {
    /// Windows forgotten before their time.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Whether the rule has acted about the same thing; else this finding begins a window.
    pub(super) fn suppress(&mut self, found: &Found, mode: Mode) -> Option<Restraint> {
        let suppress = found.rule.suppress.filter(|_| !found.late)?;
        let time = found.detection.time.as_millisecond();
        let length = i64::try_from(suppress.length.as_millis()).unwrap_or(i64::MAX);
        self.forget(time);
        let key = key(found, suppress, mode)?;
        let windows = self.of.touch(&key, time, Vec::new);
        let began = begin_or_join(windows, time, length)?;
        let ago = time.abs_diff(began) / 60_000;
        let why = format!(
            "the rule acted on this {} {ago} min before ({suppress})",
            suppress.by
        );
        Some(Restraint::Suppressed(why.into()))
    }

    fn forget(&mut self, time: i64) {
        let longest = i64::try_from(limits::SUPPRESS_MAX.as_millis()).unwrap_or(i64::MAX);
        while self.of.pop_until(time.saturating_sub(longest)).is_some() {}
        while self.of.len() > limits::SUPPRESSED_MAX && self.of.pop_oldest().is_some() {
            self.evicted += 1;
        }
    }
}

/// The beginning of the window that `time` falls into; `None` when it begins one.
fn begin_or_join(windows: &mut Vec<i64>, time: i64, length: i64) -> Option<i64> {
    let next = windows.partition_point(|began| *began <= time);
    if let Some(began) = next.checked_sub(1).map(|before| windows[before])
        && time - began < length
    {
        return Some(began);
    }
    if let Some(began) = windows.get_mut(next)
        && *began - time < length
    {
        return Some(std::mem::replace(began, time));
    }
    windows.insert(next, time);
    if windows.len() > WINDOWS_MAX {
        windows.remove(0);
    }
    None
}

/// What is the same thing; `None` where the finding does not tell, and then nothing is suppressed.
fn key(found: &Found, suppress: Suppress, mode: Mode) -> Option<Text> {
    let detection = &found.detection;
    let subject = match suppress.by {
        SuppressBy::Subject => detection.subject.clone(),
        SuppressBy::Family => Subject::Family(detection.family_id.clone()?),
        SuppressBy::User => Subject::User(detection.user_id.clone()?),
        SuppressBy::Client => Subject::Client(detection.client_id.clone()?),
        SuppressBy::Network => {
            let prefix = Prefix::of(detection.ip_address?);
            Subject::Network(prefix.to_string().into())
        }
    };
    let whom = name_of(&incidents::scoped(found, subject));
    let severity = detection.severity;
    Some(format!("{} {severity} {mode} {whom}", detection.rule).into())
}

/// The first exception of the rule that covers a finding.
pub(super) fn exception(found: &Found) -> Option<&Exception> {
    let mut exceptions = found.rule.exceptions.iter();
    exceptions
        .find(|exception| exception.covers(&found.detection, &found.presenter))
        .map(AsRef::as_ref)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: i64 = 60;

    /// How many of the times begin a window, when they come in this order.
    fn acts(times: &[i64]) -> usize {
        let mut windows = Vec::new();
        let begins = |time: &&i64| begin_or_join(&mut windows, **time, LENGTH).is_none();
        times.iter().filter(begins).count()
    }

    #[test]
    fn a_window_holds_what_follows_and_ends() {
        assert_eq!(acts(&[0, 1, 59]), 1);
        assert_eq!(acts(&[0, 60, 119, 120]), 3);
    }

    #[test]
    fn every_order_within_a_window_s_length_gives_as_many_actions() {
        // Each of these came at most 59 after one that is later in event time.
        assert_eq!(acts(&[0, 61, 1, 62]), acts(&[0, 1, 61, 62]));
        assert_eq!(acts(&[5, 0, 62, 61]), acts(&[0, 5, 61, 62]));
        assert_eq!(acts(&[0, 70, 65, 126, 124]), acts(&[0, 65, 70, 124, 126]));
    }
}
