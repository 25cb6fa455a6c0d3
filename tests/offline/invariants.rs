//! What DESIGN promises of the engine, over the logs of simulated populations with every shipped rule: the same events give the
//! same incidents and actions, however they are delivered (E1, E2, E4, E5).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokenwarden::app::parts;
use tokenwarden::config::Config;
use tokenwarden::engine::{Engine, Held, Made};
use tokenwarden::enrich::Enricher;
use tokenwarden::model::{Decision, Enriched, Input, Output, Timestamp};
use tokenwarden::respond::Policy;
use tokenwarden::rules::{self, RuleSet};
use tokenwarden::simulate::Random;
use tokenwarden::simulate::places::write_city_asn;
use tokenwarden::simulate::population::{Population, Settings, Source, WORLD_CONFIG, localities};

/// A population's log and the configuration it is judged under.
struct Log {
    config: Config,
    rules: RuleSet,
    events: Vec<Enriched>,
    _folder: tempfile::TempDir,
}

/// Rows of real servers stand up to so far out of order; the questions of the rules wait ten times as long.
const DISORDER_MS: u32 = 190;

impl Log {
    fn new(seed: u64, source: Source, users: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings {
            users,
            days: 3,
            seed,
            source,
            attacks: 40,
            ..Settings::default()
        };
        let geoip = folder.path().join("geoip");
        std::fs::create_dir_all(&geoip).expect("a folder");
        write_city_asn(&geoip, &localities(), settings.start).expect("GeoIP files");
        let path = folder.path().join("tokenwarden.yaml");
        std::fs::write(&path, WORLD_CONFIG).expect("written");
        let config = Config::load(&path).expect("a configuration");
        let rules = parts::rule_set(&config, None).expect("the shipped rules");
        let mut enricher = Enricher::new(parts::tables(&config).0);
        let events = Population::new(settings)
            .map(|moment| enricher.enrich(moment.event))
            .collect();
        Self {
            config,
            rules,
            events,
            _folder: folder,
        }
    }

    fn engine(&self) -> Engine {
        parts::engine(&self.config, &self.rules)
    }

    fn policy(&self) -> Policy {
        parts::policy(&self.config)
    }

    /// In order of arrival over three tables, one of which lags behind nearly as far as a source may: two events of one
    /// family stand up to that far out of order, and only the lowest watermark says what may still come.
    fn delivered_by_three(&self, random: &mut Random) -> Vec<(u32, Enriched)> {
        const LAGS_MS: [i64; 3] = [0, 45_000, 110_000];
        let mut arrivals: Vec<(i64, u32, usize)> = Vec::new();
        for (i, event) in self.events.iter().enumerate() {
            let table = random.below(3);
            let arrives = event.event.time.as_millisecond() + LAGS_MS[table as usize];
            arrivals.push((arrives, table, i));
        }
        arrivals.sort_unstable();
        let event = |(_, table, i): (i64, u32, usize)| (table, self.events[i].clone());
        arrivals.into_iter().map(event).collect()
    }

    /// In order of arrival: each event some time after it happened, some twice.
    fn delivered(&self, random: &mut Random, twice: bool) -> Vec<Enriched> {
        let mut arrivals: Vec<(i64, usize)> = Vec::new();
        for (i, event) in self.events.iter().enumerate() {
            let time = event.event.time.as_millisecond();
            arrivals.push((time + i64::from(random.below(DISORDER_MS)), i));
            if twice && random.below(2) == 0 {
                arrivals.push((time + i64::from(random.below(90_000)), i));
            }
        }
        arrivals.sort_unstable();
        let event = |(_, i): (i64, usize)| self.events[i].clone();
        arrivals.into_iter().map(event).collect()
    }
}

/// Who was to be told of what and what was to be done: ids, with the decision.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    incidents: BTreeMap<String, String>,
    actions: BTreeMap<String, String>,
    detections: BTreeMap<String, Vec<String>>,
}

impl Said {
    fn add(&mut self, output: &Output) {
        for incident in &output.incidents {
            let subject = format!("{:?}", incident.subject);
            self.incidents.insert(incident.id.to_string(), subject);
        }
        for action in &output.actions {
            // Which of many actions a spent budget holds depends on the order, by design.
            let decision = match action.decision {
                Decision::Execute | Decision::Hold => "wanted",
                Decision::Observe | Decision::Suppress => "not wanted",
            };
            let what = format!(
                "{} by {} of {:?}: {decision}",
                action.kind, action.rule, action.target.user_id
            );
            self.actions.insert(action.id.to_string(), what);
        }
        for detection in &output.detections {
            let rule = self
                .detections
                .entry(detection.rule.to_string())
                .or_default();
            rule.push(format!("{} {}", detection.id, detection.summary));
        }
    }

    fn finish(mut self) -> Self {
        self.detections
            .values_mut()
            .for_each(|of| of.sort_unstable());
        self
    }

    /// The actions without their ids; of a notice only whom it is about, because the first finding of an incident is named.
    fn wanted(&self) -> BTreeSet<String> {
        let about = |what: &String| match what.split_once(" of ") {
            Some((who, about)) if who.starts_with("notify") => format!("notify of {about}"),
            _ => what.clone(),
        };
        self.actions.values().map(about).collect()
    }

    /// Told so that a failure can be read.
    fn difference(&self, other: &Self) -> Vec<String> {
        let mut told = Vec::new();
        for (id, what) in &self.actions {
            if !other.actions.contains_key(id) {
                told.push(format!("only first: {what}"));
            }
        }
        for (id, what) in &other.actions {
            if !self.actions.contains_key(id) {
                told.push(format!("only second: {what}"));
            }
        }
        if self.incidents != other.incidents {
            told.push(format!(
                "{} and {} incidents",
                self.incidents.len(),
                other.incidents.len()
            ));
        }
        told
    }
}

fn arrived(partition: u32, event: &Enriched) -> Input {
    Input::Event {
        partition,
        event: Box::new(event.clone()),
        muted: false,
        arrived_at: Some(event.event.time),
    }
}

/// Judges events in the order given; `between` may replace engine and policy, as a restart does.
fn judge(log: &Log, events: &[Enriched], between: impl FnMut(&mut Engine, &mut Policy)) -> Said {
    judge_all(log, events.iter().map(|event| (0, event)), 1, between)
}

/// The same over events of several partitions.
fn judge_all<'a>(
    log: &Log,
    events: impl Iterator<Item = (u32, &'a Enriched)>,
    partitions: u32,
    mut between: impl FnMut(&mut Engine, &mut Policy),
) -> Said {
    let (mut engine, mut policy) = (log.engine(), log.policy());
    (0..partitions).for_each(|partition| engine.expect(partition));
    let mut said = Said::default();
    let mut found = Vec::new();
    let mut decide = |engine: &mut Engine, policy: &mut Policy, input: &Input| {
        engine.apply(input, &mut found);
        let mut output = Output::default();
        for found in found.drain(..) {
            policy.decide(found, &mut output);
        }
        said.add(&output);
    };
    for (partition, event) in events {
        decide(&mut engine, &mut policy, &arrived(partition, event));
        between(&mut engine, &mut policy);
    }
    for partition in 0..partitions {
        decide(&mut engine, &mut policy, &Input::Ended { partition });
    }
    said.finish()
}

fn undisturbed(log: &Log) -> Said {
    judge(log, &log.events, |_, _| {})
}

fn assert_same(first: &Said, second: &Said, what: &str) {
    let difference = first.difference(second);
    assert!(difference.is_empty(), "{what}: {difference:#?}");
}

#[test]
fn something_is_found_and_done_in_these_logs() {
    let said = undisturbed(&Log::new(1, Source::Full, 200));
    assert!(said.incidents.len() > 20, "{}", said.incidents.len());
    let fired = said.detections.len();
    assert!(
        fired >= 8,
        "only {fired} rules fired: {:?}",
        said.detections.keys()
    );
}

#[test]
fn disorder_and_repeats_change_neither_incidents_nor_actions() {
    for (seed, source) in (1..).zip(Source::ALL) {
        let log = Log::new(seed, *source, 100);
        let first = undisturbed(&log);
        for n in 0..2 {
            let mut random = Random::part(seed, n);
            let events = log.delivered(&mut random, n > 0);
            let again = judge(&log, &events, |_, _| {});
            assert_same(&first, &again, &format!("{} {seed}/{n}", source.as_str()));
        }
    }
}

#[test]
fn tables_that_lag_by_nearly_the_lateness_change_neither_incidents_nor_actions() {
    for (seed, source) in (11..).zip(Source::ALL) {
        let log = Log::new(seed, *source, 100);
        let first = undisturbed(&log);
        let mut random = Random::new(seed);
        let events = log.delivered_by_three(&mut random);
        let events = events.iter().map(|(table, event)| (*table, event));
        let again = judge_all(&log, events, 3, |_, _| {});
        let what = source.as_str();
        assert_eq!(first.incidents, again.incidents, "{what} {seed}");
        // Before a late event shows that two chains are one, the second goes by a name of its own: what was given out
        // under it stands beside the same under the family's name.
        assert_eq!(first.wanted(), again.wanted(), "{what} {seed}");
    }
}

#[test]
fn a_restart_between_any_two_events_changes_nothing_at_all() {
    let log = Log::new(4, Source::Full, 100);
    let mut judged = 0;
    let mut at_the_end = |engine: &Engine, digest: &mut Option<u128>| {
        judged = judged % log.events.len() + 1;
        if judged == log.events.len() {
            *digest = Some(Held::digest_of(&engine.held(None)));
        }
    };
    let (mut calm, mut restarted) = (None, None);
    let first = judge(&log, &log.events, |engine, _| at_the_end(engine, &mut calm));
    let mut random = Random::new(4);
    let mut restarts = 0;
    let again = judge(&log, &log.events, |engine, policy| {
        at_the_end(engine, &mut restarted);
        if random.below(300) == 0 {
            let (memory, decided) = (engine.snapshot(), policy.snapshot());
            (*engine, *policy) = (log.engine(), log.policy());
            assert!(engine.restore(&memory) && policy.restore(&decided));
            restarts += 1;
        }
    });
    assert!(restarts > 5, "{restarts}");
    assert_eq!(first, again);
    assert!(calm.is_some());
    assert_eq!(calm, restarted, "the memory is another");
}

/// The pieces are made between events, as a daemon makes them between batches.
#[test]
fn a_state_saved_while_events_go_on_is_that_of_the_moment_at_which_it_was_begun() {
    let log = Log::new(4, Source::Full, 100);
    let first = undisturbed(&log);
    let mut random = Random::new(7);
    let (mut moment, mut rounds, mut saved) = (None, 0, Vec::new());
    let again = judge(&log, &log.events, |engine, _| match &moment {
        None if random.below(100) == 0 => {
            moment = Some(engine.snapshot());
            engine.begin_round();
        }
        Some(begun) if random.below(60) == 0 => {
            let made = engine.go_on_with_round();
            saved.extend(made.pieces.concat());
            if made.is_complete {
                let mut restored = log.engine();
                assert!(restored.restore(&std::mem::take(&mut saved)));
                assert!(restored.snapshot() == *begun, "another state");
                (moment, rounds) = (None, rounds + 1);
            }
        }
        _ => {}
    });
    assert!(rounds > 3, "{rounds}");
    assert_eq!(first, again, "nothing changes by being saved");
}

#[test]
fn what_is_being_saved_when_somebody_is_forgotten_is_given_up() {
    let log = Log::new(4, Source::Full, 30);
    let mut engine = log.engine();
    for event in &log.events {
        engine.apply(&arrived(0, event), &mut Vec::new());
    }
    let user = log.events.iter().find_map(|it| it.event.user_id.clone());
    let user = user.expect("a user");
    let names = |saved: &[u8]| {
        saved
            .windows(user.len())
            .any(|part| part == user.as_bytes())
    };
    engine.begin_round();
    assert!(names(&engine.snapshot()));
    engine.forget(&user);
    for _ in 0..1000 {
        assert_eq!(engine.go_on_with_round(), Made::default());
    }
    engine.begin_round();
    let (mut saved, mut is_complete) = (Vec::new(), false);
    while !is_complete {
        let made = engine.go_on_with_round();
        saved.extend(made.pieces.concat());
        is_complete = made.is_complete;
    }
    assert!(!names(&saved));
}

/// What reads the findings of others changes with them: its inputs are listed.
fn reads_findings(rule: &rules::Rule) -> bool {
    matches!(rule.detect.kind(), "composite_risk" | "storm")
}

#[test]
fn a_rule_more_changes_no_other_rule() {
    let log = Log::new(5, Source::NoDevice, 120);
    let all = undisturbed(&log);
    for part in 0..2 {
        let mut some = log.rules.clone();
        let mut at = 0;
        some.rules.retain(|rule| {
            at += 1;
            at % 2 == part && !reads_findings(rule)
        });
        let fewer = Log {
            rules: some,
            config: log.config.clone(),
            events: log.events.clone(),
            _folder: tempfile::tempdir().expect("a folder"),
        };
        let said = undisturbed(&fewer);
        for rule in &fewer.rules.rules {
            let name = rule.name.to_string();
            assert_eq!(
                all.detections.get(&name),
                said.detections.get(&name),
                "{name} without half of the others"
            );
        }
    }
}

/// The time that a log takes: engine time never stands behind its last event for longer than questions wait.
#[test]
fn every_question_is_answered_when_time_has_passed() {
    let log = Log::new(6, Source::Full, 100);
    let mut engine = log.engine();
    let mut found = Vec::new();
    for event in &log.events {
        engine.apply(&arrived(0, event), &mut found);
    }
    let last = log.events.last().expect("events").event.time;
    let later: Timestamp = last + Duration::from_mins(10);
    engine.apply(
        &Input::Tick {
            partition: 0,
            time: later,
        },
        &mut found,
    );
    assert_eq!(engine.sizes().waiting, 0);
}
