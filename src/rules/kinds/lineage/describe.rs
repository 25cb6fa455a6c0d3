//! Puts lineage judgements into words and evidence: what happened, which branch is whose, and why.

use std::sync::Arc;

use super::super::super::case::FamilyCase;
use super::super::super::context::Context;
use super::super::super::finding::{Ask, Finding};
use super::super::super::ledger::Entry;
use super::super::super::words::{instant, place_name, who};
use super::verdict::{Judgement, Row, Verdict};
use super::view::View;
use crate::model::{Evidence, Severity, Value};

/// Presentations listed in the evidence; the rest of the ledger stays in the engine.
const TIMELINE_MAX: usize = 8;

/// The findings that these judgements are, but for those that were told before; client faults are worth an alert from
/// `fault_repeats` within a day on.
pub(super) fn news(
    case: &FamilyCase<'_>,
    view: &View<'_>,
    judged: &[Judgement],
    fault_repeats: usize,
) -> Vec<Finding> {
    let accounts = judged.iter().map(|judged| Account { case, view, judged });
    let findings = accounts.filter_map(|account| {
        let about = account.judged.about(case.id);
        let is_news = !case.told.has(&about);
        is_news.then(|| account.finding(about.into(), fault_repeats))
    });
    findings.collect()
}

struct Account<'a> {
    case: &'a FamilyCase<'a>,
    view: &'a View<'a>,
    judged: &'a Judgement,
}

impl Account<'_> {
    fn finding(&self, about: Vec<String>, fault_repeats: usize) -> Finding {
        let judged = self.judged;
        let completed = self.entry(judged.completed);
        let may_revoke = judged.revokes();
        let thief = judged.thief.map(|i| self.context(i));
        Finding {
            about,
            time: completed.time,
            event_id: completed.event_id().cloned(),
            at_most: self.at_most(fault_repeats),
            ask: match judged.verdict {
                Verdict::Theft => Ask::Response,
                Verdict::Suspected => Ask::Review,
                Verdict::ClientFault if judged.repeats >= fault_repeats => Ask::Review,
                Verdict::ClientFault => Ask::Nothing,
            },
            may_revoke: may_revoke && judged.verdict == Verdict::Theft,
            confidence: match judged.verdict {
                // What the server accepted is no offence where it may not rotate, and never part of what ends a family.
                Verdict::Theft if !may_revoke => 0.0,
                Verdict::Theft => 1.0,
                // Not a page together with a place alone.
                Verdict::Suspected => 0.3,
                Verdict::ClientFault => 0.0,
            },
            presenter: Arc::clone(thief.unwrap_or_else(|| self.context(judged.presented))),
            foreign_network: thief.and_then(|c| c.network.as_ref()).map(|n| n.prefix),
            summary: self.summary(),
            evidence: self.evidence(),
        }
    }

    fn entry(&self, index: usize) -> &Entry {
        &self.case.ledger.entries()[index]
    }

    fn context(&self, index: usize) -> &Arc<Context> {
        self.case.context(self.entry(index))
    }

    fn at_most(&self, fault_repeats: usize) -> Severity {
        match self.judged.verdict {
            Verdict::Theft if self.judged.row == Row::OtherDevice => Severity::High,
            Verdict::Theft if self.judged.may_revoke => Severity::Critical,
            // The server may rotate or not: people should look, nothing should be cut off.
            Verdict::Theft => Severity::Medium,
            Verdict::Suspected => Severity::Low,
            Verdict::ClientFault if self.judged.repeats >= fault_repeats => Severity::Low,
            Verdict::ClientFault => Severity::Info,
        }
    }

    fn summary(&self) -> String {
        let judged = self.judged;
        let from = place_name(self.context(judged.presented));
        let what = judged.row.sentence();
        let stolen = if judged.may_revoke {
            "stolen"
        } else {
            "stolen if this server replaces used tokens (`rotation` is not declared)"
        };
        match (judged.verdict, judged.thief) {
            (Verdict::Theft, Some(thief)) => {
                let thief = place_name(self.context(thief));
                let owner = judged.owner.map(|owner| place_name(self.context(owner)));
                let whence = match owner {
                    Some(owner) if owner == thief => format!("thief and owner both at {thief}"),
                    Some(owner) => format!("thief at {thief}, owner at {owner}"),
                    None => format!("thief at {thief}"),
                };
                format!("Refresh token {stolen}, {whence}: {what}")
            }
            (Verdict::Theft, None) => {
                format!("Refresh token {stolen}, presented from {from}: {what}")
            }
            (Verdict::Suspected, _) => {
                format!("Refresh token perhaps stolen (not proved), presented from {from}: {what}")
            }
            (Verdict::ClientFault, _) => format!(
                "No theft: the server refused its own client at {from}, which repeated a token that had been replaced"
            ),
        }
    }

    fn evidence(&self) -> Evidence {
        let judged = self.judged;
        let branch = |index: usize| self.branch(self.context(index));
        Evidence::new()
            .with("verdict", judged.verdict.as_str())
            .with("what", judged.row.as_str())
            .with("basis", judged.basis.as_str())
            .with_some("presented_token", judged.token.as_ref())
            .with("answer", self.entry(judged.presented).answer.as_str())
            .with("generation_gap", self.view.gap(judged.presented))
            .with_some("foreign_branch", judged.thief.map(branch))
            .with_some("own_branch", judged.owner.map(branch))
            .with("timeline", self.timeline())
    }

    /// All that came from one context.
    fn branch(&self, context: &Context) -> Evidence {
        let ledger = self.case.ledger;
        let theirs: Vec<&Entry> = ledger
            .entries()
            .iter()
            .filter(|e| ledger.context(e).same_as(context))
            .collect();
        let mut tokens: Vec<Value> = theirs
            .iter()
            .filter_map(|e| e.names()?.token.clone())
            .map(Value::Text)
            .collect();
        tokens.dedup();
        who(context)
            .with_some("first_seen", theirs.first().map(|e| instant(e.time)))
            .with_some("last_seen", theirs.last().map(|e| instant(e.time)))
            .with(
                "tokens",
                tokens
                    .into_iter()
                    .rev()
                    .take(TIMELINE_MAX)
                    .rev()
                    .collect::<Vec<_>>(),
            )
    }

    /// The presentations around the dispute, oldest first.
    fn timeline(&self) -> Vec<Value> {
        let ledger = self.case.ledger;
        let until = self.judged.completed.max(self.judged.presented) + 1;
        let entries = &ledger.entries()[..until.min(ledger.entries().len())];
        entries[entries.len().saturating_sub(TIMELINE_MAX)..]
            .iter()
            .map(|entry| {
                let line = Evidence::new()
                    .with("time", instant(entry.time))
                    .with("answer", entry.answer.as_str())
                    .with_some("token", entry.token_name())
                    .with_some(
                        "issued",
                        entry.names().and_then(|names| names.issued.as_ref()),
                    )
                    .with_some("event_id", entry.event_id());
                Value::Map(Evidence([line.0, who(ledger.context(entry)).0].concat()))
            })
            .collect()
    }
}
