//! What changed in an application's own token table, as events in the canonical format. Pure.
//!
//! Such a table tells states, not events: a row appears, is marked used, is revoked. Each state becomes an event with an
//! id derived from the row and the value, so that reading it again gives the same event. In a family (rows with one
//! `family_id`) the first row is an issue and each later one a refresh of the row before it; the mark `used` of that row
//! is part of the same refresh. A use that no new row explains is the interesting one: it waits for one more scan,
//! because an application may write the two rows in two transactions, and is then an event of its own.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::model::Timestamp;

/// Two times of one refresh, written by one application: its rows are this close.
const SAME_MOMENT_US: i64 = 5_000_000;

/// A row as the table has it now.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TokenRow {
    pub(super) id: String,
    /// A hash of the token; never the token.
    pub(super) token: Option<String>,
    pub(super) family: Option<String>,
    /// Members of the event as the table has them: `user_id`, `client_id`.
    pub(super) who: Vec<(&'static str, String)>,
    /// `ip_address`, `user_agent`, `device_id`.
    pub(super) context: Vec<(&'static str, String)>,
    pub(super) issued_us: Option<i64>,
    pub(super) used_us: Option<i64>,
    pub(super) last_used_us: Option<i64>,
    pub(super) revoked_us: Option<i64>,
    pub(super) used: bool,
    pub(super) revoked: bool,
    pub(super) refresh_count: Option<i64>,
}

/// Something that has come to be true.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fact {
    pub(super) event_id: String,
    pub(super) time_us: i64,
    /// The table says when; else it is the time of looking.
    pub(super) is_timed: bool,
    pub(super) payload: Vec<u8>,
}

/// What is known of every row.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    rows: HashMap<String, Known>,
    has_scanned: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Known {
    token: Option<String>,
    use_value: Option<String>,
    /// A use seen in the scan before, which no new row has explained so far.
    unexplained: Option<String>,
    revoked: bool,
}

impl Ledger {
    /// Compares with the scan before; the first scan gives everything that is true. In order of time.
    pub(super) fn scan(&mut self, rows: &[TokenRow], now_us: i64) -> Vec<Fact> {
        let families = Families::of(rows);
        let mut known = HashMap::with_capacity(rows.len());
        let mut facts = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let before = self.rows.remove(&row.id);
            let after = self.compare(row, before, &families.around(at), now_us, &mut facts);
            known.insert(row.id.clone(), after);
        }
        self.rows = known;
        self.has_scanned = true;
        facts.sort_by(|a, b| (a.time_us, &a.event_id).cmp(&(b.time_us, &b.event_id)));
        facts
    }

    fn compare(&self, row: &TokenRow, before: Option<Known>, around: &Around<'_>, now_us: i64, facts: &mut Vec<Fact>) -> Known {
        let is_new = before.is_none();
        let before = before.unwrap_or_default();
        if is_new {
            facts.push(appeared(row, around.parent, now_us));
        }
        let use_value = row.use_value().filter(|_| !around.explains(row));
        let mut unexplained = None;
        if let Some(value) = use_value.clone().filter(|value| before.use_value.as_ref() != Some(value)) {
            let waits = self.has_scanned && around.has_family && before.unexplained.as_ref() != Some(&value);
            if waits {
                unexplained = Some(value);
            } else {
                facts.push(used(row, before.token.as_deref(), around, &value, now_us));
            }
        }
        let revoked = row.revoked || row.revoked_us.is_some();
        if revoked && !before.revoked {
            facts.push(revocation(row, now_us));
        }
        Known {
            token: row.token.clone(),
            use_value: if unexplained.is_some() { before.use_value } else { use_value },
            unexplained,
            revoked,
        }
    }
}

impl TokenRow {
    /// Names this use among all uses of the row.
    fn use_value(&self) -> Option<String> {
        let count = self.refresh_count.filter(|count| *count > 0);
        let time = self.use_us().map(|time| time.to_string());
        count.map(|count| count.to_string()).or(time).or(self.used.then(|| "true".to_owned()))
    }

    fn use_us(&self) -> Option<i64> {
        self.last_used_us.or(self.used_us)
    }

    /// The row itself goes on after a use, and its address is that of the last use.
    fn is_used_in_place(&self) -> bool {
        self.last_used_us.is_some() || self.refresh_count.is_some()
    }

    fn token_id(&self) -> String {
        self.token.clone().unwrap_or_else(|| self.id.clone())
    }
}

/// Rows by family, in order of issue.
struct Families<'a> {
    rows: &'a [TokenRow],
    by_family: HashMap<&'a str, Vec<usize>>,
}

/// A row's relatives.
struct Around<'a> {
    parent: Option<&'a TokenRow>,
    /// Rows of the family that were issued later.
    later: Vec<&'a TokenRow>,
    has_family: bool,
}

impl<'a> Families<'a> {
    fn of(rows: &'a [TokenRow]) -> Self {
        let mut by_family: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            if let Some(family) = &row.family {
                by_family.entry(family).or_default().push(at);
            }
        }
        for members in by_family.values_mut() {
            members.sort_by_key(|at| (rows[*at].issued_us, *at));
        }
        Self { rows, by_family }
    }

    fn around(&self, at: usize) -> Around<'a> {
        let row = &self.rows[at];
        let members = row.family.as_deref().and_then(|family| self.by_family.get(family));
        let Some(members) = members else {
            return Around { parent: None, later: Vec::new(), has_family: false };
        };
        let place = members.iter().position(|member| *member == at).unwrap_or_default();
        let (earlier, later) = (&members[..place], &members[place + 1..]);
        // The row that was used when this one was issued; else the one before.
        let used_then = |member: &&usize| row.is_child_of(&self.rows[**member]);
        let parent = earlier.iter().rev().find(used_then).or(earlier.last());
        Around {
            parent: parent.map(|member| &self.rows[*member]),
            later: later.iter().map(|member| &self.rows[*member]).collect(),
            has_family: true,
        }
    }
}

impl TokenRow {
    fn is_child_of(&self, parent: &Self) -> bool {
        let close = |(issued, used): (i64, i64)| issued.abs_diff(used) <= SAME_MOMENT_US.unsigned_abs();
        self.issued_us.zip(parent.use_us()).is_some_and(close)
    }
}

impl Around<'_> {
    /// Whether a row that was issued then stands for the use; without a time of use any later row does.
    fn explains(&self, row: &TokenRow) -> bool {
        match row.use_us() {
            Some(_) => self.later.iter().any(|child| child.is_child_of(row)),
            None => !self.later.is_empty(),
        }
    }
}

fn appeared(row: &TokenRow, parent: Option<&TokenRow>, now_us: i64) -> Fact {
    let mut event = row.event(true);
    event.insert("new_token_id".into(), row.token_id().into());
    let (kind, what) = match parent {
        Some(_) => ("refresh", "rotated"),
        None => ("issue", "issued"),
    };
    event.insert("type".into(), kind.into());
    event.extend(parent.map(|parent| ("token_id".into(), parent.token_id().into())));
    fact(event, format!("rt:{}:{what}", row.id), row.issued_us, now_us)
}

fn used(row: &TokenRow, token_before: Option<&str>, around: &Around<'_>, value: &str, now_us: i64) -> Fact {
    let mut event = row.event(row.is_used_in_place());
    event.insert("type".into(), "refresh".into());
    match (token_before, &row.token) {
        // The row got another token in place.
        (Some(before), Some(now)) if before != now => {
            event.insert("token_id".into(), before.into());
            event.insert("new_token_id".into(), now.as_str().into());
        }
        // The first look at it: the token may be the one that the use gave, and is not called used before it is.
        (None, Some(now)) if row.is_used_in_place() && around.later.is_empty() => {
            event.insert("new_token_id".into(), now.as_str().into());
        }
        _ => drop(event.insert("token_id".into(), row.token_id().into())),
    }
    fact(event, format!("rt:{}:used:{value}", row.id), row.use_us(), now_us)
}

fn revocation(row: &TokenRow, now_us: i64) -> Fact {
    let mut event = row.event(false);
    event.insert("type".into(), "revoke".into());
    event.insert("token_id".into(), row.token_id().into());
    let value = row.revoked_us.map_or("true".to_owned(), |time| time.to_string());
    fact(event, format!("rt:{}:revoked:{value}", row.id), row.revoked_us, now_us)
}

impl TokenRow {
    /// What every event of the row says; the row's address only where it is that of the event.
    fn event(&self, with_context: bool) -> Map<String, Value> {
        let context = self.context.iter().filter(|_| with_context);
        let mut event: Map<String, Value> = self.who.iter().chain(context)
            .map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        event.insert("outcome".into(), "success".into());
        let family = self.family.clone().unwrap_or_else(|| self.id.clone());
        event.insert("family_id".into(), family.into());
        event
    }
}

fn fact(mut event: Map<String, Value>, event_id: String, time_us: Option<i64>, now_us: i64) -> Fact {
    let at = time_us.unwrap_or(now_us);
    event.insert("event_id".into(), event_id.as_str().into());
    let time = Timestamp::from_microsecond(at).map_or_else(|_| json!(at), |time| json!(time.to_string()));
    event.insert("time".into(), time);
    Fact {
        event_id,
        time_us: at,
        is_timed: time_us.is_some(),
        payload: Value::Object(event).to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn row(id: &str, family: &str, issued_s: i64) -> TokenRow {
        TokenRow {
            id: id.into(),
            token: Some(format!("h{id}")),
            family: (!family.is_empty()).then(|| family.into()),
            context: vec![("ip_address", "192.0.2.1".into())],
            issued_us: Some(issued_s * SECOND),
            ..TokenRow::default()
        }
    }

    /// `event_id token_id>new_token_id` of each fact.
    fn told(facts: &[Fact]) -> Vec<String> {
        let one = |fact: &Fact| {
            let event: Value = serde_json::from_slice(&fact.payload).unwrap();
            let member = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
            format!("{} {}>{}", fact.event_id, member("token_id"), member("new_token_id"))
        };
        facts.iter().map(one).collect()
    }

    #[test]
    fn a_rotation_is_one_refresh_however_it_is_written() {
        let mut ledger = Ledger::default();
        let first = row("1", "f", 10);
        assert_eq!(told(&ledger.scan(std::slice::from_ref(&first), 0)), ["rt:1:issued ->h1"]);
        let used = TokenRow { used_us: Some(20 * SECOND), ..first };
        // The mark comes first, the new row with the next scan.
        assert!(ledger.scan(std::slice::from_ref(&used), 0).is_empty());
        let rows = [used, row("2", "f", 20)];
        assert_eq!(told(&ledger.scan(&rows, 0)), ["rt:2:rotated h1>h2"]);
        assert!(ledger.scan(&rows, 0).is_empty());
    }

    #[test]
    fn a_use_that_no_new_row_explains_is_an_event_after_one_more_scan() {
        let mut ledger = Ledger::default();
        let used = |at: i64| TokenRow { used_us: Some(at * SECOND), ..row("1", "f", 10) };
        let next = row("2", "f", 20);
        ledger.scan(&[used(20), next.clone()], 0);
        let again = [used(300), next];
        assert!(ledger.scan(&again, 0).is_empty());
        assert_eq!(told(&ledger.scan(&again, 0)), ["rt:1:used:300000000 h1>-"]);
        assert!(ledger.scan(&again, 0).is_empty());
    }

    #[test]
    fn booleans_and_counts_in_place_are_refreshes_of_the_row() {
        let mut ledger = Ledger::default();
        let counted = |count: i64, token: &str| TokenRow {
            refresh_count: Some(count),
            last_used_us: Some(count * 60 * SECOND),
            token: Some(token.into()),
            ..row("1", "", 10)
        };
        ledger.scan(&[counted(0, "a")], 0);
        assert_eq!(told(&ledger.scan(&[counted(1, "b")], 0)), ["rt:1:used:1 a>b"]);
        assert_eq!(told(&ledger.scan(&[counted(2, "b")], 0)), ["rt:1:used:2 b>-"]);
    }

    #[test]
    fn a_token_first_seen_after_a_use_in_place_is_not_taken_for_the_one_that_was_used() {
        let counted = |count: i64, token: &str| TokenRow {
            refresh_count: Some(count),
            last_used_us: Some(count * 60 * SECOND),
            token: Some(token.into()),
            ..row("1", "", 10)
        };
        let mut after_restart = Ledger::default();
        let first = after_restart.scan(&[counted(3, "c")], 0);
        assert_eq!(told(&first), ["rt:1:issued ->c", "rt:1:used:3 ->c"]);
        assert_eq!(told(&after_restart.scan(&[counted(4, "d")], 0)), ["rt:1:used:4 c>d"]);
        // Where each token has a row of its own, a use after the next row is one of this token.
        let replayed = TokenRow { last_used_us: Some(300 * SECOND), ..row("1", "f", 10) };
        let rows = [replayed, row("2", "f", 20)];
        assert!(told(&Ledger::default().scan(&rows, 0)).contains(&"rt:1:used:300000000 h1>-".to_owned()));
    }

    #[test]
    fn a_revocation_without_a_time_is_told_once() {
        let mut ledger = Ledger::default();
        ledger.scan(&[row("1", "f", 10)], 0);
        let revoked = TokenRow { revoked: true, ..row("1", "f", 10) };
        let facts = ledger.scan(std::slice::from_ref(&revoked), 77);
        assert_eq!(told(&facts), ["rt:1:revoked:true h1>-"]);
        assert_eq!((facts[0].time_us, facts[0].is_timed), (77, false));
        assert!(ledger.scan(&[revoked], 99).is_empty());
    }

    #[test]
    fn the_address_of_the_issue_is_not_passed_off_as_that_of_a_later_use() {
        let mut ledger = Ledger::default();
        let facts = ledger.scan(&[TokenRow { used_us: Some(99 * SECOND), ..row("1", "", 10) }], 0);
        let text = |at: usize| String::from_utf8(facts[at].payload.clone()).unwrap();
        assert!(text(0).contains("192.0.2.1"), "{}", text(0));
        assert!(text(1).contains("used") && !text(1).contains("192.0.2.1"), "{}", text(1));
    }
}
