//! Names that came up lately, in bounded memory: two sets, of which the older is forgotten when the newer is full.

use std::collections::HashSet;

use crate::model::Text;
use crate::model::limits::INCIDENTS_OPEN_MAX;

#[derive(Debug, Default)]
pub(super) struct Recent {
    newer: HashSet<Text>,
    older: HashSet<Text>,
}

impl Recent {
    /// Whether the name has not come up lately. One that keeps coming up is never forgotten.
    pub(super) fn is_new(&mut self, name: &Text) -> bool {
        if self.newer.contains(name) {
            return false;
        }
        // As many as incidents can be open: an older one has closed, and is not told of again.
        if self.newer.len() >= INCIDENTS_OPEN_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
        let known = self.older.contains(name);
        self.newer.insert(name.clone());
        !known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_coming_up_stays_known_and_memory_is_bounded() {
        let mut recent = Recent::default();
        let busy: Text = "busy".into();
        assert!(recent.is_new(&busy));
        for turn in 0..3 * INCIDENTS_OPEN_MAX {
            assert!(recent.is_new(&format!("rare {turn}").into()));
            assert!(!recent.is_new(&busy));
        }
        assert!(recent.newer.len() + recent.older.len() <= 2 * INCIDENTS_OPEN_MAX);
    }
}
