//! The population: the same seed gives the same bytes, the truth agrees with the events, and the shipped rules find thefts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use tokenwarden::app::parts;
use tokenwarden::app::replay::{Listener, Replay, Summary, replay_key};
use tokenwarden::cli::{self, Exit, Terminal};
use tokenwarden::config::Config;
use tokenwarden::decode::encode;
use tokenwarden::model::{EventType, Outcome, Output, Reason, Reject, Text, Timestamp};
use tokenwarden::simulate::population::{
    Attack, Cause, Folder, Moment, Oddity, Population, Proof, Sender, Settings, Source, Truth,
    Unproved,
};

fn settings(users: u32, days: u32, source: Source) -> Settings {
    Settings {
        users,
        days,
        seed: 11,
        source,
        ..Settings::default()
    }
}

fn lived(settings: Settings) -> (Vec<Moment>, Truth) {
    let mut population = Population::new(settings);
    let moments: Vec<Moment> = population.by_ref().collect();
    (moments, population.into_truth())
}

fn bytes(settings: Settings) -> Vec<u8> {
    let mut bytes = Vec::new();
    for moment in Population::new(settings) {
        encode(&moment.event, &mut bytes).unwrap();
    }
    bytes
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let small = || settings(150, 3, Source::Full);
    assert_eq!(bytes(small()), bytes(small()));
    assert_ne!(
        bytes(small()),
        bytes(Settings {
            seed: 12,
            ..small()
        })
    );
}

#[test]
fn events_are_in_order_have_ids_of_their_own_and_stay_within_the_days() {
    let settings = settings(300, 4, Source::Full);
    let (start, end) = (
        settings.start,
        settings.start + jiff::SignedDuration::from_hours(4 * 24),
    );
    let (moments, truth) = lived(settings);
    assert!(moments.is_sorted_by_key(|moment| moment.event.time));
    assert!(
        moments
            .iter()
            .all(|moment| (start..end).contains(&moment.event.time))
    );
    let ids: BTreeSet<&Text> = moments
        .iter()
        .map(|moment| &moment.event.event_id)
        .collect();
    assert_eq!(ids.len(), moments.len());
    assert_eq!(truth.events, moments.len() as u64);
}

#[test]
fn people_refresh_as_often_as_people_do() {
    let (moments, _) = lived(Settings {
        attacks: 0,
        ..settings(1000, 7, Source::Full)
    });
    let refreshes = moments
        .iter()
        .filter(|moment| moment.event.kind == EventType::Refresh)
        .count();
    let each_day = refreshes / 7000;
    assert!((5..=12).contains(&each_day), "{each_day}");
    let refused = |moment: &&Moment| moment.event.reason == Some(Reason::Reuse);
    let reuses = moments.iter().filter(refused).count();
    assert!(
        (150..600).contains(&reuses),
        "{reuses} refused reuses in 7000 user-days"
    );
    assert!(
        moments
            .iter()
            .all(|moment| moment.truth.sender != Sender::Stranger)
    );
}

#[test]
fn every_attack_and_every_twin_occurs() {
    let (moments, truth) = lived(settings(1200, 14, Source::Full));
    for attack in Attack::ALL {
        assert!(
            truth.attacks.contains_key(attack),
            "{attack}: {:?}",
            truth.attacks
        );
        let seen = moments
            .iter()
            .any(|moment| moment.truth.cause == Cause::Attack(*attack));
        assert!(seen, "nobody presented anything: {attack}");
        let twin = attack.twin();
        assert!(
            truth.oddities.contains_key(&twin),
            "{attack}: {twin}: {:?}",
            truth.oddities
        );
    }
    for oddity in Oddity::ALL {
        assert!(
            truth.oddities.contains_key(oddity),
            "{oddity}: {:?}",
            truth.oddities
        );
    }
}

#[test]
fn twice_the_oddities_are_about_twice_as_many_and_no_more_attacks() {
    let usual = lived(settings(1000, 7, Source::Full)).1;
    let odd = lived(Settings {
        oddities: 2,
        ..settings(1000, 7, Source::Full)
    })
    .1;
    assert_eq!(usual.attacks, odd.attacks);
    for oddity in [Oddity::TwoTabs, Oddity::LostAnswer, Oddity::Update] {
        let (once, twice) = (usual.oddities[&oddity], odd.oddities[&oddity]);
        assert!(
            twice * 10 > once * 15 && twice * 10 < once * 28,
            "{oddity}: {once} {twice}"
        );
    }
}

#[test]
fn the_truth_agrees_with_the_events() {
    for source in Source::ALL {
        let (moments, truth) = lived(settings(800, 10, *source));
        let mut strangers = HashMap::new();
        for moment in &moments {
            if moment.truth.sender == Sender::Stranger
                && let Some(family) = moment.truth.family
            {
                strangers.entry(family).or_insert(moment.event.time);
            }
        }
        assert!(truth.thefts().count() >= 20);
        for theft in truth.thefts() {
            let first = strangers.get(&theft.key).copied();
            assert_eq!(theft.first_stranger, first, "{theft:?}");
            assert_eq!(
                theft.proved.is_some(),
                theft.unproved.is_none(),
                "{theft:?}"
            );
            if let Some((proved, _)) = theft.proved {
                assert!(
                    Some(proved) >= theft.first_stranger && theft.stolen_at < Some(proved),
                    "{theft:?}"
                );
            }
        }
        for family in &truth.families {
            assert_eq!(
                family.is_honest(),
                !strangers.contains_key(&family.key),
                "{family:?}"
            );
        }
        for (family, _) in strangers {
            assert!(
                truth
                    .family(family)
                    .is_some_and(|family| family.attack.is_some())
            );
        }
        let raids: BTreeSet<Attack> = truth.raids.iter().map(|raid| raid.attack).collect();
        assert!(raids.iter().all(|attack| !attack.is_theft()), "{raids:?}");
    }
}

#[test]
fn a_poorer_source_tells_less_of_the_same_life() {
    let of = |source| lived(settings(400, 5, source));
    let (full, rich) = of(Source::Full);
    let (no_device, middle) = of(Source::NoDevice);
    let (address_only, poor) = of(Source::AddressOnly);
    assert_eq!(full.len(), no_device.len());
    assert_eq!(full.len(), address_only.len());
    for ((one, two), three) in full.iter().zip(&no_device).zip(&address_only) {
        assert_eq!((one.truth, one.event.time), (two.truth, two.event.time));
        assert_eq!(
            (one.truth, one.event.ip_address),
            (three.truth, three.event.ip_address)
        );
        assert_eq!(one.event.user_agent, two.event.user_agent);
        assert_eq!((&two.event.device_id, &two.event.ja4), (&None, &None));
        assert_eq!(
            (&three.event.user_agent, &three.event.family_id),
            (&None, &None)
        );
        if three.event.kind == EventType::Refresh && three.event.outcome == Outcome::Failure {
            assert_eq!(three.event.user_id, None);
        }
    }
    let proved = |truth: &Truth| {
        truth
            .thefts()
            .filter(|theft| theft.proved.is_some())
            .count()
    };
    assert!(proved(&rich) >= proved(&middle) && proved(&middle) >= proved(&poor));
}

#[test]
fn a_family_is_a_chain_and_what_a_strict_server_accepted_twice_is_listed() {
    let (moments, truth) = lived(settings(1000, 7, Source::Full));
    let mut used: HashMap<Text, usize> = HashMap::new();
    for moment in moments.iter().filter(|moment| moment.event.succeeded()) {
        if let (EventType::Refresh, Some(token)) = (moment.event.kind, &moment.event.token_id) {
            *used.entry(token.clone()).or_default() += 1;
        }
    }
    for moment in &moments {
        let (event, family) = (&moment.event, moment.truth.family);
        let strict = event.client_id.as_deref() == Some("web-shop")
            || event.client_id.as_deref() == Some("desk-app");
        if let (true, Some(token)) = (strict && event.succeeded(), &event.token_id) {
            assert_eq!(used[token], 1, "{event:?}");
        }
        if let (Some(token), Some(family)) = (&event.token_id, family)
            && used.get(token).is_some_and(|times| *times > 1)
            && event.client_id.as_deref() != Some("tv-app")
            && event.client_id.as_deref() != Some("api-gateway")
        {
            assert!(truth.family(family).is_some(), "{event:?}");
        }
    }
}

#[test]
fn each_kind_is_as_provable_as_it_is_meant_to_be() {
    let settings = Settings {
        attacks: 45,
        ..settings(2000, 10, Source::Full)
    };
    let full = lived(settings.clone()).1;
    let poor = lived(Settings {
        source: Source::AddressOnly,
        ..settings
    })
    .1;
    let share = |truth: &Truth, attack: Attack| {
        let of_kind: Vec<_> = truth
            .thefts()
            .filter(|theft| theft.attack == Some(attack))
            .collect();
        assert!(of_kind.len() >= 5, "{attack}: {}", of_kind.len());
        of_kind
            .iter()
            .filter(|theft| theft.proved.is_some())
            .count()
            * 100
            / of_kind.len()
    };
    assert!(share(&full, Attack::ThiefFirst) > 70);
    assert!(share(&full, Attack::SameNetwork) > 70);
    // But for owners who are on a trip meanwhile, or whose old phone wakes up.
    assert!(share(&poor, Attack::SameNetwork) < 20);
    // But for owners whose old phone or sleeping tab comes back to that family all the same: three of these twelve.
    let gone = share(&full, Attack::PatientOwnerGone);
    assert!(gone <= 33, "{gone} %");
    assert!(share(&poor, Attack::HonouredDead) > 60);
    let reasons: BTreeSet<Unproved> = poor.thefts().filter_map(|theft| theft.unproved).collect();
    assert!(
        reasons.contains(&Unproved::Alike) && reasons.contains(&Unproved::OneHolder),
        "{reasons:?}"
    );
    let proofs: BTreeSet<Proof> = full
        .thefts()
        .filter_map(|theft| Some(theft.proved?.1))
        .collect();
    assert!(
        proofs.contains(&Proof::Device) && proofs.contains(&Proof::ClientKind),
        "{proofs:?}"
    );
    let proofs: BTreeSet<Proof> = poor
        .thefts()
        .filter_map(|theft| Some(theft.proved?.1))
        .collect();
    assert!(
        proofs.contains(&Proof::Travel) && proofs.contains(&Proof::DeadTokenHonoured),
        "{proofs:?}"
    );
}

#[derive(Default)]
struct Found(Vec<(Text, Timestamp)>);

impl Listener for Found {
    fn output(&mut self, output: &Output) -> anyhow::Result<()> {
        for detection in &output.detections {
            if let (true, Some(family)) = (&*detection.rule == "token-reuse", &detection.family_id)
                && detection.severity == tokenwarden::model::Severity::Critical
            {
                self.0.push((family.clone(), detection.time));
            }
        }
        Ok(())
    }

    fn rejected(&mut self, reject: &Reject) -> anyhow::Result<()> {
        panic!("rejected: {}", reject.message)
    }

    fn progress(&mut self, _: u64) {}
}

fn replay(config: &Path, events: &Path) -> (Found, Summary) {
    let config = Config::load(config).unwrap();
    let mut found = Found::default();
    let replay = Replay {
        config: &config,
        rules: parts::rule_set(&config, None).unwrap(),
        files: vec![events.to_owned()],
        decoder: parts::named_decoder("tokenwarden", None, replay_key()).unwrap(),
        source: "replay".into(),
    };
    let summary = replay.run(&mut found).unwrap();
    (found, summary)
}

#[test]
fn the_shipped_rules_find_thefts_in_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let settings = settings(1000, 7, Source::Full);
    let written = Folder { path, gzip: true }
        .write(settings, |_, _| {})
        .unwrap();
    let (found, summary) = replay(&written.config, &written.events);
    assert_eq!(
        (summary.events, summary.rejected, summary.late),
        (written.known.events, 0, 0)
    );
    let by_id: BTreeMap<&Text, _> = written
        .known
        .families
        .iter()
        .map(|family| (&family.family_id, family))
        .collect();
    let caught: BTreeSet<&Text> = found.0.iter().map(|(family, _)| family).collect();
    let thefts = caught
        .iter()
        .filter(|id| by_id.get(**id).is_some_and(|family| !family.is_honest()))
        .count();
    assert!(
        thefts >= 8,
        "{thefts} of {}",
        written.known.thefts().count()
    );
}

fn simulate(arguments: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let line = ["tokenwarden", "simulate"]
        .iter()
        .chain(arguments)
        .map(Into::into);
    let exit = cli::main(
        line,
        &mut Terminal {
            out: &mut out,
            err: &mut err,
        },
    );
    (
        exit,
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    )
}

#[test]
fn the_command_writes_a_folder_once_and_says_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("world");
    let shown = out.display().to_string();
    let arguments = [
        "--users",
        "120",
        "--days",
        "2",
        "--source",
        "address-only",
        "--out",
        &shown,
    ];
    let (exit, said, complaint) = simulate(&arguments);
    assert_eq!((exit, &*complaint), (Exit::Success, ""));
    assert!(
        said.contains("stolen families, of which an observer of these events could prove"),
        "{said}"
    );
    for file in [
        "events.jsonl",
        "truth.jsonl",
        "tokenwarden.yaml",
        "geoip/city.mmdb",
    ] {
        assert!(out.join(file).exists(), "{file}");
    }
    let truth = std::fs::read_to_string(out.join("truth.jsonl")).unwrap();
    let types: BTreeSet<String> = truth
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["type"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        types.iter().map(String::as_str).collect::<Vec<_>>(),
        ["event", "family", "population", "raid", "summary"]
    );

    let (exit, _, complaint) = simulate(&arguments);
    assert_eq!(exit, Exit::Unusable);
    assert!(
        complaint.contains("is not empty; name a new or an empty one"),
        "{complaint}"
    );
}

#[test]
fn what_cannot_be_simulated_is_refused_with_what_can() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("world").display().to_string();
    for (arguments, expected) in [
        (["--users", "0"], "0 users: expected 1 to 10000000"),
        (["--days", "401"], "401 days: expected 1 to 400"),
        (["--oddities", "11"], "oddities 11: expected 1 to 10"),
        (["--attacks", "51"], "expected 0 to 50"),
        (
            ["--start", "yesterday"],
            "invalid value 'yesterday' for '--start <TIME>'",
        ),
    ] {
        let (exit, _, complaint) = simulate(&[&arguments[..], &["--out", &out]].concat());
        assert_eq!(exit, Exit::Unusable, "{arguments:?}");
        assert!(complaint.contains(expected), "{complaint}");
    }
}
