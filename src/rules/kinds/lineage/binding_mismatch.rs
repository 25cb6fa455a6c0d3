//! `binding_mismatch`: a token presented with another proof key than its family's, or from another device where the
//! client's device ids are known to be stable.
//!
//! A family is bound to its first DPoP key or client certificate (RFC 9449, RFC 8705): a new key comes with a new login,
//! which begins a new family. A device id binds only by the operator's word: apps make new ones when they are installed
//! again, and some make one a start.

use std::time::Duration;

use super::super::super::case::{At, FamilyCase, FamilyKind};
use super::super::super::context::{Basis, Standing};
use super::super::super::finding::Finding;
use super::super::super::needs::Need;
use super::super::super::parameters::Parameters;
use super::super::super::trace::Trace;
use super::super::Kind;
use super::mismatch;
use super::verdict::Row;
use super::view::View;
use crate::model::{Clue, Text};

/// Parameters of a binding-mismatch rule.
#[derive(Debug, Clone, PartialEq)]
pub struct BindingMismatch {
    pub settle: Duration,
    /// Clients whose device ids stay the same for the life of an installation.
    pub stable_device_id: Vec<Text>,
}

impl Default for BindingMismatch {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(2),
            stable_device_id: Vec::new(),
        }
    }
}

impl Kind for BindingMismatch {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.settle(&mut self.settle);
        p.texts(
            "stable_device_id",
            "Clients whose device ids stay the same for the life of an installation.",
            &mut self.stable_device_id,
        );
    }

    fn needs(&self) -> Vec<Need> {
        let mut needs = vec![Need::all(&[Clue::KeyThumbprint, Clue::DeviceId])];
        needs.push(Need::part(
            &[Clue::KeyThumbprint],
            "tokens presented with another proof key",
        ));
        needs
    }
}

impl FamilyKind for BindingMismatch {
    fn settle(&self) -> Duration {
        self.settle
    }

    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        let contexts = || case.ledger.contexts();
        case.ledger.varies()
            && (differ(contexts().map(|c| c.key_thumbprint.as_ref()))
                || differ(contexts().map(|c| c.device_id.as_ref())))
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        mismatch::judge(case, at, self.settle, trace, |view, first, index| {
            self.row(view, first, index)
        })
    }
}

/// Whether there are two values that are not the same.
fn differ<'a>(values: impl Iterator<Item = Option<&'a Text>>) -> bool {
    let mut values = values.flatten();
    let first = values.next();
    values.any(|value| Some(value) != first)
}

impl BindingMismatch {
    fn row(&self, view: &View<'_>, first: usize, index: usize) -> Option<Row> {
        let entry = view.entry(index);
        let known = view.known(entry.token, entry.generation, index);
        if view.standing(index, &known) == (Standing::Foreign, Basis::Key) {
            return Some(Row::OtherKey);
        }
        let bound = entry.is_of_one_of(&self.stable_device_id)
            || view.entry(first).is_of_one_of(&self.stable_device_id);
        let device = |i: usize| view.seen(i).context.device_id.as_ref();
        let differs = device(index).is_some()
            && device(first).is_some()
            && known
                .iter()
                .all(|seen| seen.context.device_id.as_ref() != device(index));
        (bound && differs).then_some(Row::OtherDevice)
    }
}
