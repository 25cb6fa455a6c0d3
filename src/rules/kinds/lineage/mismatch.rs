//! What client and binding mismatches share: a presentation that the family's own first one contradicts.

use std::time::Duration;

use super::super::super::case::{At, FamilyCase};
use super::super::super::context::Basis;
use super::super::super::finding::Finding;
use super::super::super::ledger::{Answer, Entry};
use super::super::super::trace::Trace;
use super::describe::news;
use super::dispute::{first_accepted, judgement};
use super::verdict::{Row, Verdict, keep_gravest};
use super::view::{Bounds, Scope, View};
use crate::model::Evidence;

/// Judges every presentation against the family's first accepted one; `row` says whether and how they contradict.
pub(super) fn judge(
    case: &FamilyCase<'_>,
    at: At,
    settle: Duration,
    trace: &mut Trace,
    row: impl Fn(&View<'_>, usize, usize) -> Option<Row>,
) -> Vec<Finding> {
    let bounds = Bounds {
        settle,
        ..Bounds::default()
    };
    let view = View::new(bounds, case, Scope::Settled(at.cut));
    let Some(first) = first_accepted(&view) else {
        trace.note(|| {
            (
                "nothing was ever accepted of this family".to_owned(),
                Evidence::new(),
            )
        });
        return Vec::new();
    };
    let judged = view
        .entries()
        .filter(|(i, e)| *i != first && e.answer != Answer::Issued && !view.is_aftermath(e))
        .filter(|(_, e)| e.answer.accepted() || (!e.answer.dead() && is_own_token(&view, e)))
        .filter_map(|(i, _)| {
            let row = row(&view, first, i)?;
            Some(judgement(&view, Verdict::Theft, row, i).blaming(
                Some(i),
                Some(first),
                basis(&view, row, i),
            ))
        })
        .collect();
    let judged = keep_gravest(judged);
    if judged.is_empty() {
        trace.note(|| {
            (
                "every presentation agrees with the family's first".to_owned(),
                Evidence::new(),
            )
        });
    }
    news(case, &view, &judged, usize::MAX)
}

fn basis(view: &View<'_>, row: Row, index: usize) -> Basis {
    let entry = view.entry(index);
    match row {
        Row::OtherKey => Basis::Key,
        Row::OtherDevice => Basis::Device,
        _ => {
            let known = view.known(entry.token, entry.generation, index);
            view.standing(index, &known).1
        }
    }
}

/// Whether the family is known to have held the presented token: anybody can present garbage.
fn is_own_token(view: &View<'_>, entry: &Entry) -> bool {
    let token = entry.token;
    let holds = |e: &Entry| e.issued == token || e.token == token;
    token.is_some() && view.entries().any(|(_, e)| e.answer.accepted() && holds(e))
}
