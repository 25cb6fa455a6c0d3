//! How a file of rule tests is written.
//!
//! ```yaml
//! version: 1
//! places: simulated                      # GeoIP of the simulated world in place of `geoip` in the configuration
//! config: { clients: { default: { rotation: enforced } } }   # as in the configuration; mode is enforce unless given
//! with: [device-change]                  # rule files beside this one whose findings these rules read; they run too, untested
//! event: { user_id: u1, client_id: web } # members that every event has unless it says otherwise
//! tests:
//!   - name: a stolen token is refused
//!     events:                            # canonical events, `at` in place of `time`; outcome is success unless given
//!       - { at: 0s, type: issue, new_token_id: a }
//!       - { at: 1m, type: refresh, token_id: a, new_token_id: b, times: 5, every: 10s }
//!     expect:                            # exactly these, in any order; only `rule` and `severity` must be said
//!       - rule: token-reuse
//!         severity: critical
//!         actions: [revoke_family, notify]   # those that would be sent
//!         subject: { family: f1 }            # or user, client, network
//!         at: 12m                            # when, after the start
//!         event: 4                           # the event that completes the proof: its number, or its `event_id`
//!         evidence: { verdict: theft }       # members that it has among others; `~` for one that it must not have
//! ```
//!
//! Events arrive in order of time. A test may have `config` and `event` of its own: its configuration replaces the file's, its members go on top.
//!
//! A benign case names the one fact that makes it benign, and a twin: the same events without that fact, which must be a
//! hit. A rule that is silent for another reason than the one named is so found out. The twin is written as what differs:
//!
//! ```yaml
//!   - name: an update of the browser
//!     events:
//!       - { at: 0s, type: issue, new_token_id: a }
//!       - { at: 5m, type: refresh, token_id: a, new_token_id: b, user_agent: Firefox/145.0 }
//!     expect: []
//!     benign: only the version of the browser is another one
//!     twin:
//!       name: another program              # how the twin is called; left out: `twin of ...`
//!       change:                            # members that replace those of an event, `~` takes one away
//!         - { event: 2, user_agent: curl/8.14.1 }
//!       expect:                            # graver than above, for at least one rule: a finding where there is none, of a
//!         - { rule: device-change, severity: low }   # higher severity, or of the same with an action more
//! ```
//!
//! Besides `change` a twin takes `drop: [3]` (events that did not happen), `add: [...]` (events that did), `event` (goes on top) and `config` (replaces).

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map as Members, Value};

use super::super::{parts, replay::replay_key};
use super::events::{self, EventMembers, Line};
use super::expect::{self, Expected};
use super::save::Written;
use super::{Suite, Test};
use crate::config::Config;
use crate::decode::Decoder;
use crate::model::Text;
use crate::rules::{self, RuleSet};
use crate::yaml::{Fault, Faults, Map, Node, nearest};

/// The rules that are tested, as text: each test may override them.
pub(super) struct RuleFile<'a> {
    file: PathBuf,
    text: Cow<'a, str>,
}

impl<'a> RuleFile<'a> {
    pub(super) fn new(file: &Path, text: impl Into<Cow<'a, str>>) -> Self {
        Self {
            file: file.to_owned(),
            text: text.into(),
        }
    }

    /// Another rule file in the same folder; of shipped rules another shipped one.
    fn beside(&self, name: &str) -> Result<RuleFile<'static>, Fault> {
        let file = self.file.with_file_name(format!("{name}.yaml"));
        let is_shipped = |name: &str| Path::new(name) == file;
        match rules::SHIPPED.iter().find(|s| is_shipped(s.name)) {
            Some(shipped) if !file.exists() => Ok(RuleFile::new(&file, shipped.rules)),
            _ => rules::text_of(&file).map(|text| RuleFile::new(&file, text)),
        }
    }
}

fn parse(files: &[RuleFile<'_>], config: Option<&Config>) -> Result<RuleSet, Vec<Fault>> {
    let texts: Vec<(&Path, &str)> = files.iter().map(|f| (&*f.file, &*f.text)).collect();
    rules::parse(&texts, config.map_or(&[], |config| &config.overrides))
}

/// What all tests of a file share.
struct Common<'a> {
    /// The tested file first.
    rules: &'a [RuleFile<'a>],
    /// As they are without overrides.
    known: RuleSet,
    config: Option<&'a Node>,
    event: EventMembers,
    simulated_places: bool,
    decoder: Arc<dyn Decoder>,
}

pub(super) fn suite(
    text: &str,
    file: &Path,
    rules: RuleFile<'_>,
    faults: &mut Faults,
) -> Option<Suite> {
    let node = Node::parse(text, file, faults)?;
    let mut map = node.mapping(faults)?;
    let others = map.or("with", Vec::new(), faults, |node, faults| {
        node.list(faults, |node, faults| {
            let beside = rules.beside(&node.text(faults)?);
            let why = |fault: Fault| node.fault(format!("{}: {}", fault.place, fault.message));
            beside.map_err(|fault| faults.push(why(fault))).ok()
        })
    });
    let mut all = vec![rules];
    all.extend(others);
    let known = parse(&all[..1], None)
        .map_err(|found| found.into_iter().for_each(|fault| faults.push(fault)))
        .ok()?;
    map.required("version", faults, |node, faults| {
        node.integer(1..=1, faults)
    });
    let decoder = parts::named_decoder("tokenwarden", None, replay_key())
        .map_err(|why| faults.push(node.fault(why)))
        .ok()?;
    let common = Common {
        rules: &all,
        known,
        config: map.get("config"),
        event: map.or("event", Members::new(), faults, events::shared),
        simulated_places: simulated_places(&mut map, faults),
        decoder,
    };
    let tests = map.required("tests", faults, |node, faults| {
        node.list(faults, |node, faults| test(node, &common, faults))
    });
    map.finish(faults);
    Some(Suite {
        file: file.to_owned(),
        rules: names(&common.known),
        tests: tests?.into_iter().flatten().collect(),
    })
}

pub(super) fn names(rules: &RuleSet) -> Vec<Text> {
    rules.rules.iter().map(|rule| rule.name.clone()).collect()
}

fn simulated_places(map: &mut Map<'_>, faults: &mut Faults) -> bool {
    map.optional("places", faults, |node, faults| {
        node.one_of(&[("simulated", true)], faults)
    })
    .unwrap_or(false)
}

/// A test, and the twin that follows from it.
fn test<'a>(node: &'a Node, common: &Common<'a>, faults: &mut Faults) -> Option<Vec<Test>> {
    let mut map = node.mapping(faults)?;
    let name = map.required("name", faults, Node::text);
    let setting = Setting::read(&mut map, None, common, faults);
    let lines = map.required("events", faults, |node, faults| {
        events::lines(node, 0, faults)
    });
    let expected = map.required("expect", faults, |node, faults| {
        expected(node, common, faults)
    });
    let benign = map.optional("benign", faults, Node::text);
    let twin = map.get("twin");
    map.finish(faults);
    check_pair(node, benign.is_some(), twin.is_some(), faults);
    let lines = lines?;
    let of_twin = twin.and_then(|node| {
        let (name, expected) = (name.as_ref()?, expected.as_ref()?);
        let case = Case {
            name,
            setting: &setting,
            lines: &lines,
            expected,
        };
        case.twin(node, common, faults)
    });
    let mut tests = vec![setting.test(node, name, &lines, expected, common, faults)?];
    tests[0].benign = benign;
    tests.extend(of_twin);
    Some(tests)
}

fn check_pair(node: &Node, benign: bool, twin: bool, faults: &mut Faults) {
    let (there, missing) = match (benign, twin) {
        (true, false) => ("benign", "twin"),
        (false, true) => ("twin", "benign"),
        _ => return,
    };
    let fault = node.fault(format!("`{there}` without `{missing}`"));
    faults.push(fault.with_hint("`benign` names the fact that exculpates, `twin` the same events without it: a pair of tests that proves the fact"));
}

fn expected(node: &Node, common: &Common<'_>, faults: &mut Faults) -> Option<Vec<Expected>> {
    node.list(faults, |node, faults| {
        expect::read(node, &common.known, faults)
    })
}

/// What stands around the events of a test.
struct Setting<'a> {
    config: Option<&'a Node>,
    event: EventMembers,
}

impl<'a> Setting<'a> {
    /// What is not said is as it stands above: in the benign case for a twin, else in the file.
    fn read(
        map: &mut Map<'a>,
        above: Option<&Self>,
        common: &Common<'a>,
        faults: &mut Faults,
    ) -> Self {
        let (config, event) = match above {
            Some(above) => (above.config, &above.event),
            None => (common.config, &common.event),
        };
        let mut event = event.clone();
        event.extend(map.or("event", Members::new(), faults, events::shared));
        Self {
            config: map.get("config").or(config),
            event,
        }
    }

    fn test(
        &self,
        node: &Node,
        name: Option<Text>,
        lines: &[Line<'_>],
        expected: Option<Vec<Expected>>,
        common: &Common<'_>,
        faults: &mut Faults,
    ) -> Option<Test> {
        let place = self.config.unwrap_or(node);
        // All of it is read before anything is given up: a fault hides no other.
        let events = events::played(lines, &self.event, &*common.decoder, faults);
        let (said, config) = configuration(self.config, node, faults)?;
        let rules = overridden(common.rules, &config, place, faults)?;
        Some(Test {
            name: name?,
            line: node.place().line,
            benign: None,
            twin_of: None,
            expected: expected?,
            config,
            rules,
            written: Written {
                config: said,
                rules: common
                    .rules
                    .iter()
                    .map(|file| file.text.to_string())
                    .collect(),
            },
            tested: names(&common.known),
            simulated_places: common.simulated_places,
            events,
        })
    }
}

/// What of a twin may differ from its benign case; one of these must.
const DIFFERING: &[&str] = &["change", "drop", "add", "event", "config"];

/// A benign case, as far as its twin needs it.
struct Case<'c, 'a> {
    name: &'c Text,
    setting: &'c Setting<'a>,
    lines: &'c [Line<'a>],
    expected: &'c [Expected],
}

impl<'a> Case<'_, 'a> {
    fn twin(&self, node: &'a Node, common: &Common<'a>, faults: &mut Faults) -> Option<Test> {
        let mut map = node.mapping(faults)?;
        let name = map.optional("name", faults, Node::text);
        let setting = Setting::read(&mut map, Some(self.setting), common, faults);
        let lines = events::altered(self.lines.to_vec(), &mut map, faults);
        let expected = map.required("expect", faults, |node, faults| {
            expected(node, common, faults)
        });
        map.finish(faults);
        if !DIFFERING.iter().any(|key| node.member(key).is_some()) {
            let fault = node.fault("this twin has every fact of its benign case");
            faults.push(fault.with_hint(format!("say what differs: {}", DIFFERING.join(", "))));
        }
        let expected = expected?;
        self.check_graver(node, &expected, faults);
        let name = name.unwrap_or_else(|| format!("twin of {}", self.name).into());
        let mut test = setting.test(node, Some(name), &lines, Some(expected), common, faults)?;
        test.twin_of = Some(self.name.clone());
        Some(test)
    }

    /// Else the fact that the benign case names would exculpate nobody.
    fn check_graver(&self, node: &Node, of_twin: &[Expected], faults: &mut Faults) {
        let graver = |more: &Expected| {
            let mut same_rule = self.expected.iter().filter(|less| less.rule == more.rule);
            same_rule.all(|less| more.is_graver_than(less))
        };
        if !of_twin.iter().any(graver) {
            let fault = node.fault("this twin expects nothing graver than its benign case");
            faults.push(fault.with_hint(
                "without the fact a rule must fire that is silent with it, or with a higher severity or more `actions`",
            ));
        }
    }
}

/// The configuration is read as any other, so that a test says what an operator would write; with its members.
fn configuration(
    node: Option<&Node>,
    test: &Node,
    faults: &mut Faults,
) -> Option<(Members<String, Value>, Config)> {
    let place = node.unwrap_or(test).place();
    let mut members = match node.map(json) {
        None | Some(Value::Null) => Members::new(),
        Some(Value::Object(members)) => members,
        Some(_) => {
            faults.push(place.fault("expected a mapping (`key: value`), as in the configuration"));
            return None;
        }
    };
    members.entry("mode").or_insert_with(|| "enforce".into());
    let text = format!("{:#}", Value::Object(members.clone()));
    let config = Config::parse(&text, &place.file)
        .map_err(|found| moved(found, node.unwrap_or(test), faults))
        .ok()?;
    Some((members, config))
}

fn overridden(
    rules: &[RuleFile<'_>],
    config: &Config,
    node: &Node,
    faults: &mut Faults,
) -> Option<RuleSet> {
    parse(rules, Some(config))
        .map_err(|found| moved(found, node, faults))
        .ok()
}

/// Faults of a generated text stand where it was generated from.
fn moved(found: Vec<Fault>, node: &Node, faults: &mut Faults) {
    for fault in found {
        faults.push(Fault {
            place: node.place().clone(),
            ..fault
        });
    }
}

pub(super) fn json(node: &Node) -> Value {
    if let Some(text) = node.as_str() {
        return text.into();
    }
    if node.is_null() {
        return Value::Null;
    }
    // What is no list stands as its own only item.
    let items = node.items();
    if !items.first().is_some_and(|item| std::ptr::eq(item, node)) {
        return items.iter().map(json).collect();
    }
    let member = |(_, name, value): &(_, Text, Node)| (name.to_string(), json(value));
    Value::Object(node.members().iter().map(member).collect())
}

pub(super) fn check_name(node: &Node, name: &str, rules: &RuleSet, faults: &mut Faults) {
    if rules.rules.iter().any(|rule| *rule.name == *name) {
        return;
    }
    let fault = node.fault(format!(
        "the rule file has no rule `{}`",
        name.escape_debug()
    ));
    let names = rules.rules.iter().map(|rule| &*rule.name);
    faults.push(match nearest(name, names) {
        Some(near) => fault.with_hint(format!("did you mean `{near}`?")),
        None => fault,
    });
}
