//! The goals of the pipeline beside what this machine reaches, from the same measurements that the other paths print.
//!
//! What takes processes to be killed, or servers that are not here, is named with the command that shows it.

use crate::families::{self, Case};
use crate::listeners::Mark;
use crate::table::{self, percentile, sorted};
use crate::{again, kafka, latency, tail};

/// So many families are what large numbers are compared with.
const FEW: u32 = 100_000;

struct Goal {
    what: &'static str,
    wanted: &'static str,
    measured: String,
    is_met: bool,
}

pub(crate) fn run(
    broker: &str,
    postgres: &str,
    events: u32,
    many: u32,
    runs: u32,
) -> anyhow::Result<()> {
    let mut goals = of_kafka(broker, events, many, runs)?;
    goals.extend(of_families(many)?);
    goals.extend(of_latency(broker, events)?);
    goals.extend(of_again(broker, events, many, runs)?);
    goals.extend(of_tail(postgres, events, runs)?);
    table::line("")?;
    table::line(&format!("goals, with {many} families"))?;
    table::line("| what | goal | measured | met |")?;
    table::line("|---|---|---|---|")?;
    for goal in goals {
        let met = if goal.is_met { "yes" } else { "no" };
        table::line(&format!(
            "| {} | {} | {} | {met} |",
            goal.what, goal.wanted, goal.measured
        ))?;
    }
    table::line("")?;
    table::line("not measured here: kills (`TOKENWARDEN_KILLS=1000 tests/run kills::`)")?;
    Ok(())
}

fn of_kafka(broker: &str, events: u32, many: u32, runs: u32) -> anyhow::Result<Vec<Goal>> {
    let ratios = kafka::run(broker, events, many, runs)?;
    let goal = |what, wanted, least: f64, ratio: f64| Goal {
        what,
        wanted,
        measured: format!("{ratio:.3}"),
        is_met: ratio >= least,
    };
    Ok(vec![
        goal(
            "daemon of a bare consumer, four rules",
            ">= 0.50",
            0.5,
            ratios.of_four,
        ),
        goal(
            "the same, all shipped rules",
            ">= 0.35",
            0.35,
            ratios.of_all,
        ),
    ])
}

fn of_families(many: u32) -> anyhow::Result<Vec<Goal>> {
    let case = |families, four_rules| Case {
        families,
        refreshes: 1,
        four_rules,
    };
    let (few, of_all) = (
        families::apart(case(FEW, false))?,
        families::apart(case(many, false))?,
    );
    let of_four = families::apart(case(many, true))?;
    let at_most = |what, wanted, unit: &str, most: f64, measured: f64| Goal {
        what,
        wanted,
        measured: format!("{measured:.0} {unit}"),
        is_met: measured <= most,
    };
    let a_family = |cost: &families::Cost| cost.grown_bytes() / f64::from(many);
    let slower = of_all.rate / few.rate;
    Ok(vec![
        Goal {
            what: "engine's rate, of that with 100,000 families",
            wanted: ">= 0.60",
            measured: format!("{slower:.2}"),
            is_met: slower >= 0.6,
        },
        at_most(
            "memory per family, four rules",
            "<= 320 B",
            "B",
            320.0,
            a_family(&of_four),
        ),
        at_most(
            "memory per family, all shipped rules",
            "<= 900 B",
            "B",
            900.0,
            a_family(&of_all),
        ),
        at_most(
            "longest stall of the engine: an event, growth included",
            "<= 10 ms",
            "ms",
            10.0,
            of_all.longest_ms,
        ),
        Goal {
            what: "longest stall of the engine: making its saved form while events go on",
            wanted: "<= 10 ms",
            measured: format!(
                "{:.0} ms (the rate is {:.0} % lower meanwhile)",
                of_all.save_ms,
                of_all.lost * 1e2
            ),
            is_met: of_all.save_ms <= 10.0,
        },
        at_most(
            "taking the saved form over at a restart, for each million families",
            "<= 600 ms",
            "ms",
            600.0,
            of_all.restore_ms * 1e6 / f64::from(many),
        ),
    ])
}

fn of_latency(broker: &str, events: u32) -> anyhow::Result<Vec<Goal>> {
    let lanes = latency::run(broker, events)?;
    let [honoured, _] = &lanes;
    let p99 = |from, to| percentile(&sorted(honoured.between(from, to).into_iter()), 99);
    let goal = |what, wanted, most: f64, measured: f64| Goal {
        what,
        wanted,
        measured: format!("{measured:.0} ms"),
        is_met: measured <= most,
    };
    Ok(vec![
        goal(
            "event readable to finding durable, half load, p99 (where the server took the used token)",
            "<= 120 ms",
            120.0,
            p99(Mark::Readable, Mark::Durable),
        ),
        goal(
            "the same, to the revocation call",
            "<= 200 ms",
            200.0,
            p99(Mark::Readable, Mark::Revoked),
        ),
        goal(
            "from the call to the mail, p99",
            "<= 2 s",
            2000.0,
            p99(Mark::Revoked, Mark::Mailed),
        ),
    ])
}

fn of_again(broker: &str, events: u32, many: u32, runs: u32) -> anyhow::Result<Vec<Goal>> {
    let again = again::run(broker, events, many, runs)?;
    Ok(vec![
        Goal {
            what: "rate of reading again after a kill, of the rate of reading",
            wanted: ">= 1.2",
            measured: format!("{:.2}", again.of_live),
            is_met: again.of_live >= 1.2,
        },
        Goal {
            what: "time on no core while records wait",
            wanted: "<= 10 %",
            measured: format!("{:.0} %", again.idle * 100.0),
            is_met: again.idle <= 0.1,
        },
    ])
}

fn of_tail(postgres: &str, rows: u32, runs: u32) -> anyhow::Result<Vec<Goal>> {
    let tail = tail::run(postgres, rows, runs)?;
    let p99 = percentile(&tail.delays, 99);
    let most = tail::POLL_EVERY.as_secs_f64() * 1000.0 + 10.0;
    Ok(vec![
        Goal {
            what: "a table's tail beside eight writers: rows lost, and told twice",
            wanted: "0",
            measured: format!("{}, {}", tail.lost, tail.twice),
            is_met: tail.lost + tail.twice == 0,
        },
        Goal {
            what: "the same: from a row's commit to its arrival, polled every 100 ms, p99",
            wanted: "<= 110 ms",
            measured: format!("{p99:.0} ms"),
            is_met: p99 <= most,
        },
        Goal {
            what: "a table of rows that wait: rows a second",
            wanted: ">= 300,000",
            measured: format!("{:.0} ({:.2} of a bare SELECT)", tail.drained, tail.of_bare),
            is_met: tail.drained >= 300_000.0,
        },
    ])
}
