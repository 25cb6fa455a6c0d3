//! The report, as the README shows it, and the goals.

use std::collections::BTreeMap;

use tokenwarden::simulate::population::{Attack, Source};

use crate::score::{Found, Score, share};

pub(crate) fn print(scores: &[Score]) {
    overall(scores);
    by_kind(scores);
}

/// Every lane, richness and frequency of oddities: the worst of the seeds.
fn overall(scores: &[Score]) {
    println!(
        "| rules | source | oddities | recall | honest families ended per 10,000 users and week | the same, dead token honoured | pages a day | false pages a day per 100,000 users | median delay |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for ((lane, source, oddities), of) in grouped(scores) {
        let worst = |value: fn(&Score) -> f64| of.iter().map(|s| value(s)).fold(0.0_f64, f64::max);
        let recall = of.iter().map(|s| s.recall()).fold(1.0_f64, f64::min);
        let delay = of
            .iter()
            .filter_map(|s| s.delay_s())
            .fold(0.0_f64, f64::max);
        println!(
            "| {lane} | {source} | x{oddities} | {:.1} % | {:.2} | {:.2} | {:.1} | {:.2} | {delay:.0} s |",
            recall * 100.0,
            worst(Score::honest_per_10k_week),
            worst(Score::dead_honoured_per_10k_week),
            worst(Score::pages_per_day),
            worst(Score::false_pages_per_100k_day),
        );
    }
}

type Group<'a> = ((&'static str, &'static str, u32), Vec<&'a Score>);

fn grouped(scores: &[Score]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for score in scores {
        let key = (score.lane, score.source.as_str(), score.oddities);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, of)) => of.push(score),
            None => groups.push((key, vec![score])),
        }
    }
    groups
}

/// Recall of the shipped rules by kind of attack and richness of the source, over all seeds and oddities.
fn by_kind(scores: &[Score]) {
    println!("\n| attack | {} |", Source::ALL.map_names().join(" | "));
    println!("|---|{}", "---|".repeat(Source::ALL.len()));
    for attack in Attack::ALL {
        let cells = Source::ALL.iter().map(|source| {
            let of = scores
                .iter()
                .filter(|s| s.lane == "shipped rules" && s.source == *source);
            let sum = of
                .filter_map(|s| s.attacks.get(attack))
                .fold(Found::default(), add);
            cell(sum)
        });
        println!("| {attack} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
}

trait Names {
    fn map_names(&self) -> Vec<&'static str>;
}

impl Names for &[Source] {
    fn map_names(&self) -> Vec<&'static str> {
        self.iter().map(|source| source.as_str()).collect()
    }
}

fn add(sum: Found, one: &Found) -> Found {
    Found {
        happened: sum.happened + one.happened,
        provable: sum.provable + one.provable,
        told: sum.told + one.told,
        ended: sum.ended + one.ended,
        beyond: sum.beyond + one.beyond,
    }
}

fn cell(sum: Found) -> String {
    if sum.happened == 0 {
        return "-".to_owned();
    }
    let unprovable = sum.happened - sum.provable;
    let mut cell = format!(
        "{:.0} % of {}",
        share(sum.told, sum.provable) * 100.0,
        sum.provable
    );
    if sum.provable == 0 {
        "none provable".clone_into(&mut cell);
    }
    if unprovable > 0 {
        let beyond = sum.beyond;
        return format!("{cell}; {unprovable} not provable, {beyond} found");
    }
    cell
}

/// The goals: at most one honest family per 10,000 users and week in the hardest setting and none in the ordinary one, nearly
/// every provable theft, at most one false page a day per 100,000 users.
pub(crate) fn check(scores: &[Score]) -> anyhow::Result<()> {
    let mut missed = BTreeMap::new();
    for score in scores.iter().filter(|s| s.lane == "shipped rules") {
        let allowed = if score.oddities > 1 { 1.0 } else { 0.0 };
        let goals = [
            ("recall of 95 %", score.recall() >= 0.95),
            ("honest families", score.honest_per_10k_week() <= allowed),
            ("false pages", score.false_pages_per_100k_day() <= 1.0),
        ];
        for (goal, met) in goals {
            if !met {
                missed.insert(goal, score.one_line());
            }
        }
    }
    anyhow::ensure!(missed.is_empty(), "goals missed: {missed:#?}");
    Ok(())
}
