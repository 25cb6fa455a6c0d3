//! `reuse`: a consumed token presented again: a stolen token, or a retrying client.

use std::time::Duration;

use super::super::super::case::{At, FamilyCase, FamilyKind};
use super::super::super::context::TravelBounds;
use super::super::super::finding::Finding;
use super::super::super::needs::Need;
use super::super::super::parameters::Parameters;
use super::super::super::trace::Trace;
use super::super::Kind;
use super::describe::news;
use super::dispute;
use super::verdict::{Judgement, keep_gravest};
use super::view::{Bounds, HORIZON_MS, Scope, View};
use crate::model::{Clue, Evidence, Rotation};

/// Parameters of a reuse rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Reuse {
    /// How long a question waits, in event time, for a fact that may still come: rows of real servers stand up to
    /// 200 ms out of order, so that two seconds are ten times what was seen.
    pub settle: Duration,
    /// A lost answer is retried when a laptop wakes: 5 minutes were too short in practice, 30 cover it.
    pub lost_response: Duration,
    /// Within this time the networks of two holders must alternate.
    pub proof_window: Duration,
    /// From how many client faults of one family within a day they are worth an alert.
    pub fault_repeats: u32,
    /// A login takes a minute or two; five leave ten of the quarter of an hour within which a response is carried out by default.
    pub new_device_login: Duration,
    pub travel: TravelBounds,
}

impl Default for Reuse {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(2),
            lost_response: Duration::from_mins(30),
            proof_window: Duration::from_mins(10),
            fault_repeats: 3,
            new_device_login: Duration::from_mins(5),
            travel: TravelBounds::default(),
        }
    }
}

impl Kind for Reuse {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.settle(&mut self.settle);
        p.duration("lost_response", "A client may repeat a token this long after its answer was lost, while the successor is unused.", &mut self.lost_response);
        p.duration(
            "proof_window",
            "Within this time the networks of two holders must alternate.",
            &mut self.proof_window,
        );
        p.count(
            "fault_repeats",
            "Client faults of one family within a day from which they are worth a low alert.",
            1..=1000,
            &mut self.fault_repeats,
        );
        p.wait(
            "new_device_login",
            "A token that is refused on another device, all else being the family's own, waits this long for its user to log in there, or he did that long before: then it is suspected, else a theft. `1s` does not wait.",
            &mut self.new_device_login,
        );
        self.travel.parameters(p);
    }

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::all(&[Clue::TokenId, Clue::Generation]),
            Need::part(&[Clue::Refusals], "replays that the server refused"),
            Need::part(
                Clue::WHO,
                "who presented a token, so that a theft is rarely proved",
            ),
            Need::part(
                &[Clue::City],
                "two holders by places that no one person can reach in the time",
            ),
        ]
    }
}

impl FamilyKind for Reuse {
    fn settle(&self) -> Duration {
        self.settle
    }

    fn settle_max(&self) -> Duration {
        self.settle + self.new_device_login
    }

    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        case.ledger.disputed() && case.client.rotation != Rotation::Off
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        if case.client.rotation == Rotation::Off {
            trace.note(|| {
                (
                    "a repeated token is normal: `rotation: off` for this client".to_owned(),
                    Evidence::new(),
                )
            });
            return Vec::new();
        }
        self.judge_in(case, Scope::Settled(at.cut), trace)
    }

    fn judge_now(&self, case: &FamilyCase<'_>, now: i64) -> Vec<Finding> {
        self.judge_in(case, Scope::Certain(now), &mut Trace::off())
    }
}

impl Reuse {
    fn judge_in(&self, case: &FamilyCase<'_>, scope: Scope, trace: &mut Trace) -> Vec<Finding> {
        let bounds = Bounds {
            settle: self.settle,
            lost_response: self.lost_response,
            proof_window: self.proof_window,
            new_device_login: self.new_device_login,
            travel: self.travel,
        };
        let view = View::new(bounds, case, scope).with_closed(trace.is_on());
        let judged = with_repeats(&view, keep_gravest(dispute::disputes(&view, trace)));
        news(case, &view, &judged, self.fault_repeats as usize)
    }
}

/// Counts how many tokens of the family were judged alike within a day.
fn with_repeats(view: &View<'_>, mut judged: Vec<Judgement>) -> Vec<Judgement> {
    let alike = |of: &Judgement| {
        let day_before = |other: &&Judgement| {
            let apart = view.entry(of.presented).time - view.entry(other.presented).time;
            other.verdict == of.verdict && (0..=HORIZON_MS).contains(&apart)
        };
        judged.iter().filter(day_before).count()
    };
    let repeats: Vec<usize> = judged.iter().map(alike).collect();
    for (judgement, repeats) in judged.iter_mut().zip(repeats) {
        judgement.repeats = repeats;
    }
    judged
}
