//! How things are called in mails: actions and their states, times, names of evidence members with their units.

use crate::model::{ActionKind, ActionRecord, ActionState, Decision, Timestamp, Value, span};

use super::clean;

/// What an incident's reader wants to know first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Specimen,
    /// Something could not be done.
    Failed,
    /// Something waits for a person.
    Waiting,
    /// Something is being done.
    UnderWay,
    /// The server says that it has ended; nothing has shown it yet.
    Answered,
    /// What had to end has ended.
    Contained,
    /// Something was found, nothing had to end or may be ended.
    Alert,
}

impl Standing {
    pub(super) fn of(actions: &[ActionRecord], is_specimen: bool) -> Self {
        let any = |is: &dyn Fn(&ActionRecord) -> bool| {
            actions
                .iter()
                .any(|record| record.action.kind.is_deed() && is(record))
        };
        if is_specimen {
            Self::Specimen
        } else if any(&has_failed) {
            Self::Failed
        } else if any(&|r| r.state == ActionState::Held) {
            Self::Waiting
        } else if any(&|r| matches!(r.state, ActionState::Ready | ActionState::Leased)) {
            Self::UnderWay
        } else if any(&|r| r.state == ActionState::Answered) {
            Self::Answered
        } else if any(&|r| r.state == ActionState::Done && r.action.kind.ends_something()) {
            Self::Contained
        } else {
            Self::Alert
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Specimen => "SPECIMEN",
            Self::Failed => "FAILED",
            Self::Waiting => "WAITS FOR YOU",
            Self::UnderWay => "UNDER WAY",
            Self::Answered => "ENDED, UNVERIFIED",
            Self::Contained => "CONTAINED",
            Self::Alert => "ALERT",
        }
    }
}

/// A challenge that nobody is set up to make is no failure: what had to end may have ended all the same.
fn has_failed(record: &ActionRecord) -> bool {
    match record.state {
        ActionState::Parked => true,
        ActionState::Expired => record.action.kind.ends_something(),
        _ => false,
    }
}

/// One sentence about one action and what became of it.
pub(super) fn deed(record: &ActionRecord) -> String {
    let (to_do, done) = match record.action.undoes {
        Some(_) => taken_back(record.action.kind),
        None => names(record.action.kind),
    };
    let outcome = record.outcome.as_deref().map(clean::value);
    let reason = clean::value(&record.action.reason);
    let with = |text: &Option<String>| match text {
        Some(text) => format!(": {text}"),
        None => String::new(),
    };
    match record.state {
        ActionState::Done | ActionState::Answered => {
            let when = record
                .finished_at
                .map_or_else(String::new, |time| format!(" at {}", moment(time)));
            let what = match record.state {
                ActionState::Answered => "ANSWERED, NOT YET VERIFIED",
                _ => "DONE",
            };
            format!("{what}: {done}{when}{}", with(&outcome))
        }
        ActionState::Parked => format!("FAILED: {to_do}{}", with(&outcome)),
        ActionState::Expired => format!("NOT DONE: {to_do}{}", with(&outcome)),
        ActionState::Held => format!("WAITS FOR YOU: {to_do} ({reason})"),
        ActionState::Offered => format!("OFFERED: {to_do}"),
        ActionState::Ready | ActionState::Leased => {
            format!("UNDER WAY: {to_do}{}", with(&outcome))
        }
        ActionState::Suppressed if record.action.decision == Decision::Observe => {
            format!("NOT DONE, only observing: {to_do} ({reason})")
        }
        // One that was tried says what came of it.
        ActionState::Suppressed if record.attempts > 0 => {
            format!("NOT DONE: {to_do}{}", with(&outcome))
        }
        ActionState::Suppressed => format!("NOT DONE: {to_do} ({reason})"),
    }
}

/// What an action is, as something still to do.
pub(super) const fn to_do(kind: ActionKind) -> &'static str {
    names(kind).0
}

const fn names(kind: ActionKind) -> (&'static str, &'static str) {
    match kind {
        ActionKind::RevokeFamily => (
            "end the login (revoke its token family)",
            "login ended (its token family revoked)",
        ),
        ActionKind::RevokeUser => (
            "end all sessions of the user",
            "all sessions of the user ended",
        ),
        ActionKind::LockUser => ("lock the user", "user locked and logged out"),
        ActionKind::Challenge => (
            "ask more of the user at the next login",
            "more is asked of the user at the next login",
        ),
        ActionKind::Throttle => ("slow the client down", "client slowed down"),
        ActionKind::BlockIp => ("block the address", "address blocked"),
        ActionKind::Review => ("look at it", "listed for review"),
        ActionKind::Notify => ("tell people", "people told"),
    }
}

/// The end of a measure.
const fn taken_back(kind: ActionKind) -> (&'static str, &'static str) {
    match kind {
        ActionKind::Throttle => (
            "slow the client down no more",
            "client no longer slowed down",
        ),
        ActionKind::BlockIp => ("block the address no more", "address no longer blocked"),
        _ => ("take the measure back", "measure taken back"),
    }
}

/// `2026-11-20 10:20:00 UTC`; with milliseconds where there are any, because races are decided by them.
pub(super) fn moment(time: Timestamp) -> String {
    let format = if time.subsec_millisecond() == 0 {
        "%Y-%m-%d %H:%M:%S UTC"
    } else {
        "%Y-%m-%d %H:%M:%S.%3f UTC"
    };
    time.strftime(format).to_string()
}

/// `speed_km_per_h` and 74300.4 become `speed` and `74300 km/h`, `idle_seconds` and 864000 `idle` and `10 days`.
pub(super) fn member(name: &str, value: &Value) -> (String, String) {
    const UNITS: [(&str, &str); 5] = [
        ("_km_per_h", " km/h"),
        ("_per_h", " per hour"),
        ("_km", " km"),
        ("_ms", " ms"),
        ("_percent", " %"),
    ];
    if let (Some(name), Value::Integer(seconds)) = (of_seconds(name), value) {
        return (label(name), span(seconds.saturating_mul(1000)));
    }
    let is_number = matches!(value, Value::Integer(_) | Value::Number(_));
    let (name, unit) = UNITS
        .iter()
        .filter(|_| is_number)
        .find_map(|(end, unit)| Some((name.strip_suffix(end)?, *unit)))
        .unwrap_or((name, ""));
    (label(name), format!("{}{unit}", plain(value)))
}

/// What a number of seconds is of.
fn of_seconds(name: &str) -> Option<&str> {
    match name {
        "seconds_after" => Some("after"),
        name => name.strip_suffix("_seconds"),
    }
}

/// A member's name in words; what is at the least and at the most is a limit.
pub(super) fn label(name: &str) -> String {
    let words = match name {
        "own_branch" => "owner",
        "foreign_branch" => "thief",
        "presenter" => "now",
        "network.prefix" => "network",
        name => name.strip_prefix("event.").unwrap_or(name),
    };
    let (words, limit) = match (words.strip_suffix("_min"), words.strip_suffix("_max")) {
        (Some(words), _) => (words, " at least"),
        (_, Some(words)) => (words, " at most"),
        _ => (words, ""),
    };
    clean::value(&format!("{}{limit}", words.replace(['_', '.'], " ")))
}

/// A value on one line.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) if number.abs() >= 100.0 => format!("{number:.0}"),
        Value::Number(number) => format!("{number:.2}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        Value::Text(text) => match text.parse::<Timestamp>() {
            Ok(time) => moment(time),
            Err(_) => clean::value(text),
        },
        Value::List(list) => {
            let items: Vec<String> = list.iter().map(plain).collect();
            let have_commas = items.iter().any(|item| item.contains(','));
            clean::line(&items.join(if have_commas { "; " } else { ", " }))
        }
        Value::Map(map) => {
            let members = map.0.iter().map(|(name, value)| {
                let (name, value) = member(name, value);
                format!("{name} {value}")
            });
            clean::line(&members.collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Evidence;
    use crate::model::{Action, Target};

    #[test]
    fn members_are_shown_with_their_units() {
        let show = |name: &str, value: Value| {
            let (name, value) = member(name, &value);
            format!("{name}: {value}")
        };
        assert_eq!(show("speed_km_per_h", 74300.44.into()), "speed: 74300 km/h");
        assert_eq!(show("distance_km", 7.5.into()), "distance: 7.5 km");
        assert_eq!(show("generation_gap", 1.into()), "generation gap: 1");
        assert_eq!(show("answers", "2 s".into()), "answers: 2 s");
        assert_eq!(show("idle_seconds", 864_000.into()), "idle: 10 days");
        assert_eq!(show("seconds_after", 240.into()), "after: 4 min");
        assert_eq!(show("returns_min", 2.into()), "returns at least: 2");
        assert_eq!(show("event.user_id", "u".into()), "user id: u");
        let time = show("first_seen", "2026-11-20T10:20:00.5Z".into());
        assert_eq!(time, "first seen: 2026-11-20 10:20:00.500 UTC");
        let nested = Evidence::new()
            .with("ip_address", "192.0.2.1")
            .with("tokens", 2);
        assert_eq!(
            show("other", nested.into()),
            "other: ip address 192.0.2.1, tokens 2"
        );
    }

    #[test]
    fn a_challenge_that_nobody_makes_is_no_failure() {
        let record = |kind, state| ActionRecord {
            verified: None,
            action: Action {
                id: "a".into(),
                kind,
                target: Target {
                    issuer: "server".into(),
                    tenant: None,
                    family_id: None,
                    user_id: None,
                    client_id: None,
                    session_id: None,
                    token_kind: None,
                    network: None,
                },
                detection_ids: Vec::new(),
                incident_id: "i".into(),
                rule: "r".into(),
                decision: Decision::Execute,
                reason: "".into(),
                event_time: Timestamp::UNIX_EPOCH,
                undoes: None,
            },
            state,
            attempts: 0,
            finished_at: None,
            outcome: Some("no revoker does challenge".into()),
        };
        let challenge = record(ActionKind::Challenge, ActionState::Expired);
        let words = "NOT DONE: ask more of the user at the next login: no revoker does challenge";
        assert_eq!(deed(&challenge), words);
        let revoked = record(ActionKind::RevokeFamily, ActionState::Done);
        let standing = |actions: &[ActionRecord]| Standing::of(actions, false);
        assert_eq!(
            standing(&[challenge.clone(), revoked.clone()]),
            Standing::Contained
        );
        let expired = record(ActionKind::RevokeFamily, ActionState::Expired);
        assert_eq!(standing(&[revoked, expired]), Standing::Failed);
        assert_eq!(standing(&[challenge]), Standing::Alert);
    }
}
