//! Whether the ids of a table have begun again below those that were read.
//!
//! `TRUNCATE TABLE` of MySQL lets its ids begin again, as `RESTART IDENTITY` and a restored backup do. `id > last` then finds
//! nothing for as long as the table takes to grow as long as it was, and looks like a quiet one meanwhile. So now and then
//! the highest id that there is is compared with the highest that was read. Below it for a while, it has begun again: a
//! replica that is behind for a moment has caught up by then.
//!
//! Where only the newest rows were deleted nothing was lost, and it looks the same. It is treated alike, because reading
//! a row a second time does no harm: its event id is known, or the event is too late to be acted on, and detections and
//! actions have the ids that they had. Stopping until a person comes was the other way: nobody would be watched meanwhile.
//!
//! Pure: the caller asks the table and reads the clock.

use crate::model::limits;

/// When the table was looked at, in ms since 1970.
#[derive(Debug, Default)]
pub(super) struct Watch {
    looked_ms: Option<i64>,
    /// Its highest id has been below the highest that was read since then.
    below_since_ms: Option<i64>,
}

/// What a look has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Growing,
    /// It may have begun again: what is there may not have been read.
    Below,
    BegunAgain,
}

impl Watch {
    /// Is it time to look? Only asked where nothing new was found.
    pub(super) fn is_due(&self, now_ms: i64) -> bool {
        let looked = self.looked_ms.is_some_and(|looked| !has_passed(looked, now_ms));
        self.below_since_ms.is_some() || !looked
    }

    /// Ids above those that were read have come.
    pub(super) fn grew(&mut self) {
        self.below_since_ms = None;
    }

    /// `newest`: the highest id there is, none in an empty table, which has nothing to be lost.
    pub(super) fn look(&mut self, newest: Option<i64>, high: i64, now_ms: i64) -> Seen {
        self.looked_ms = Some(now_ms);
        if newest.is_none_or(|newest| newest >= high) {
            self.below_since_ms = None;
            return Seen::Growing;
        }
        let since = *self.below_since_ms.get_or_insert(now_ms);
        if has_passed(since, now_ms) {
            self.below_since_ms = None;
            return Seen::BegunAgain;
        }
        Seen::Below
    }
}

/// A clock that was set back must not put it off for ever.
fn has_passed(since_ms: i64, now_ms: i64) -> bool {
    let every_ms = u64::try_from(limits::SQL_LAG_EVERY.as_millis()).unwrap_or(u64::MAX);
    now_ms.abs_diff(since_ms) >= every_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_stays_below_what_was_read_has_begun_again() {
        let mut watch = Watch::default();
        assert!(watch.is_due(0));
        assert_eq!(watch.look(Some(50), 50, 0), Seen::Growing);
        assert!(!watch.is_due(9_999) && watch.is_due(10_000));
        assert_eq!(watch.look(Some(3), 50, 10_000), Seen::Below);
        assert!(watch.is_due(10_001), "not to be put off now");
        assert_eq!(watch.look(Some(7), 50, 19_999), Seen::Below);
        assert_eq!(watch.look(Some(7), 50, 20_000), Seen::BegunAgain);
        assert_eq!(watch.look(Some(8), 8, 20_001), Seen::Growing);
    }

    #[test]
    fn a_replica_that_catches_up_has_not() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(Some(3), 50, 0), Seen::Below);
        assert_eq!(watch.look(Some(50), 50, 9_000), Seen::Growing);
        assert_eq!(watch.look(Some(49), 50, 19_000), Seen::Below);
        watch.grew();
        assert_eq!(watch.look(Some(51), 52, 29_000), Seen::Below);
    }

    #[test]
    fn an_empty_table_has_not_and_waits_for_its_first_row() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(None, 50, 0), Seen::Growing);
        assert_eq!(watch.look(None, 50, 60_000), Seen::Growing);
        assert_eq!(watch.look(Some(1), 50, 70_000), Seen::Below);
    }

    #[test]
    fn a_clock_set_back_does_not_blind_it() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(Some(3), 50, 1_000_000), Seen::Below);
        assert_eq!(watch.look(Some(3), 50, 0), Seen::BegunAgain);
    }
}
