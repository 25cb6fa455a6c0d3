//! The daemon's own check, at its start and once an hour: metrics, log, and revokers that must not act.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{PartReport, inspect_running};
use crate::app::control::Controls;
use crate::clock;
use crate::model::{Finding, Gravity, Text, limits};

/// Runs until cancelled.
pub(in crate::app) async fn watch(controls: Arc<Controls>, cancel: CancellationToken) {
    let mut told = BTreeMap::new();
    loop {
        let loaded = controls.loaded();
        let check = inspect_running(&loaded.config, &loaded.performers, &controls.store);
        let reports = tokio::select! {
            () = cancel.cancelled() => return,
            reports = check => reports,
        };
        controls.checked(&reports, clock::now());
        controls.withheld.replace(contradictions(&reports));
        told = tell(&reports, &told);
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(limits::CHECK_EVERY) => {}
        }
    }
}

/// Why a revoker must not act, by its name.
fn contradictions(reports: &[PartReport]) -> BTreeMap<Text, Text> {
    let of_revoker = |report: &PartReport| {
        let name = report.part.strip_prefix("revoker ")?;
        let is_contradiction = |finding: &&Finding| finding.gravity == Gravity::Contradiction;
        let finding = report.findings.iter().find(is_contradiction)?;
        let mend = finding.mend.as_deref().unwrap_or_default();
        Some((name.into(), format!("{}; {mend}", finding.what).into()))
    };
    reports.iter().filter_map(of_revoker).collect()
}

/// Logs what is new and what is gone since the last time; the same fault is not told every hour.
fn tell(
    reports: &[PartReport],
    told: &BTreeMap<(Text, String), Gravity>,
) -> BTreeMap<(Text, String), Gravity> {
    let mut now = BTreeMap::new();
    for report in reports {
        let faults = report
            .findings
            .iter()
            .filter(|finding| finding.gravity >= Gravity::Fault);
        for finding in faults {
            let key = (report.part.clone(), finding.what.clone());
            if !told.contains_key(&key) {
                log(&report.part, finding);
            }
            now.insert(key, finding.gravity);
        }
    }
    for (part, what) in told.keys().filter(|key| !now.contains_key(*key)) {
        tracing::info!(%part, what, "A fault that the online check had found is gone");
    }
    now
}

fn log(part: &Text, finding: &Finding) {
    let mend = finding.mend.as_deref().unwrap_or_default();
    if finding.gravity == Gravity::Contradiction {
        tracing::error!(%part, mend, "{}; what this part would revoke is held until that is mended", finding.what);
    } else {
        tracing::warn!(%part, mend, "The online check found a fault: {}", finding.what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(part: &str, findings: Vec<Finding>) -> PartReport {
        PartReport {
            part: part.into(),
            findings,
        }
    }

    #[test]
    fn only_a_revoker_in_contradiction_is_held() {
        let reports = [
            report(
                "revoker shop",
                vec![
                    Finding::fine("a"),
                    Finding::contradiction("no rotation", "switch it on"),
                ],
            ),
            report("revoker blog", vec![Finding::fault("no role", "grant it")]),
            report("source shop", vec![Finding::contradiction("b", "c")]),
        ];
        let held = contradictions(&reports);
        let expected = BTreeMap::from([("shop".into(), "no rotation; switch it on".into())]);
        assert_eq!(held, expected);
    }

    #[test]
    fn what_was_told_is_remembered_until_it_is_gone() {
        let faulty = [report("store", vec![Finding::fault("down", "start it")])];
        let told = tell(&faulty, &BTreeMap::new());
        assert_eq!(told.len(), 1);
        assert_eq!(tell(&faulty, &told), told);
        assert!(tell(&[report("store", vec![Finding::fine("up")])], &told).is_empty());
    }
}
