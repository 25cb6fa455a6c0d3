//! What expressions mean, what is refused and with which words, and that nothing written makes them fail or linger.

use proptest::prelude::*;

use super::haste::soon;
use super::sample::{bare, full};
use super::*;
use crate::model::{NetworkClass, Timestamp};

pub(super) fn compiled(source: &str) -> Expression {
    Expression::compile(source).unwrap_or_else(|problems| panic!("{source}: {problems:?}"))
}

/// Over the event that tells everything.
fn holds(source: &str) -> bool {
    let (event, facts) = full();
    compiled(source).matches(&event, &facts).unwrap()
}

/// Over the event that tells only what it must.
fn holds_of_bare(source: &str) -> bool {
    let (event, facts) = bare();
    compiled(source).matches(&event, &facts).unwrap()
}

fn problems(source: &str) -> String {
    match Expression::compile(source) {
        Ok(_) => panic!("{source} was taken"),
        Err(problems) => problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

#[test]
fn the_example_of_the_manual_holds_where_it_should() {
    let expression = compiled("event.type == \"refresh\" && network.class == \"hosting\"");
    let (mut event, facts) = full();
    assert_eq!(expression.matches(&event, &facts), Ok(true));
    event.network.as_mut().unwrap().class = Some(NetworkClass::Mobile);
    assert_eq!(expression.matches(&event, &facts), Ok(false));
    event.network = None;
    assert_eq!(expression.matches(&event, &facts), Ok(false));
    let fields: Vec<&str> = expression.fields().iter().map(|field| field.name).collect();
    assert_eq!(fields, ["event.type", "network.class"]);
    assert_eq!(expression.clues().collect::<Vec<_>>(), [Clue::IpAddress]);
    assert!(expression.can_match());
}

#[test]
fn everything_of_the_language_means_what_it_says() {
    for source in [
        "true",
        "!false",
        "!!true",
        "event.type != \"issue\"",
        "event.type in [\"issue\", \"refresh\"]",
        "!(event.type in [\"issue\"])",
        "event.type.startsWith(\"ref\")",
        "event.user_agent.contains(\"Windows\") && event.user_agent.endsWith(\"140.0\")",
        "event.user_agent.matches(r\"Firefox/\\d+\\.\")",
        "matches(event.user_agent, \"(?i)firefox\")",
        "event.user_agent.lowerAscii().startsWith('mozilla')",
        "[\"curl\", \"Firefox\"].exists(tool, event.user_agent.contains(tool))",
        "[\"Mozilla\", \"Firefox\"].all(tool, event.user_agent.contains(tool))",
        "\"offline_access\" in event.scope.split(\" \")",
        "!(\"offline\" in event.scope.split(\" \"))",
        "size(event.user_id) == 2 && event.user_id.size() == 2",
        "event.latest_generation - event.generation == 1",
        "event.generation * 2 + 1 > 6 && 7 / 2 == 3 && 7 % 2 == 1 && -7 / 2 == -3",
        "-event.generation == -3",
        "place.latitude > 52 && place.latitude < 52.6 && place.latitude / 2.0 < 27.0",
        "event.ip_address == \"203.0.113.7\" && event.ip_address == \"::ffff:203.0.113.7\"",
        "event.ip_address in [\"192.0.2.1\", \"203.0.113.7\"]",
        "cidr(\"203.0.113.0/24\", event.ip_address)",
        "!cidr(\"2001:db8::/32\", event.ip_address)",
        "[\"192.0.2.0/24\", \"203.0.113.0/24\"].exists(net, cidr(net, event.ip_address))",
        "network.prefix == \"203.0.113.0/24\"",
        "network.asn in [64496, 64497]",
        "network.internal == false && !network.anonymous",
        "event.time.getHours() == 0 && event.time.getDayOfWeek() == 4 && event.time.getMinutes() == 0",
        "event.time.getHours(\"Europe/Berlin\") == 1",
        "event.time < timestamp(\"2026-01-31T08:00:00Z\")",
        "client.type == \"public\" && client.rotation == \"enforced\"",
        "facts.token_known && facts.family_known && facts.context == \"own\" && facts.generation_gap == 1",
        "event.type == \"issue\" ? false : true",
        "(event.type == \"refresh\") == (event.outcome == \"success\")",
        "event.reason == \"other\" // a comment\n || false",
        "has(event.user_agent) && has(network.asn)",
    ] {
        assert!(holds(source), "{source}");
    }
}

#[test]
fn a_missing_value_is_unknown_and_never_different() {
    for source in [
        "event.user_id == \"u1\"",
        "event.user_id != \"u1\"",
        "!(event.user_id == \"u1\")",
        "!(event.user_id != \"u1\")",
        "event.user_id in [\"u1\"]",
        "!(event.user_id in [\"u1\"])",
        "event.user_agent.startsWith(\"x\") || !event.user_agent.startsWith(\"x\")",
        "network.internal || !network.internal",
        "cidr(\"203.0.113.0/24\", event.ip_address) || !cidr(\"203.0.113.0/24\", event.ip_address)",
        "event.generation < 3 || event.generation >= 3",
        "event.generation - event.latest_generation == 0",
        "has(event.user_id)",
        "network.internal ? true : true",
        "(event.user_id == \"u1\") == (event.user_id == \"u1\")",
        "\"x\" in event.scope.split(\" \")",
        "event.user_agent.matches(\"x\") || size(event.user_agent) > 0",
    ] {
        assert!(!holds_of_bare(source), "{source}");
    }
    for source in [
        "!has(event.user_id)",
        "event.user_id == \"u1\" || event.type == \"refresh\"",
        "!(event.user_id == \"u1\" && event.type == \"issue\")",
        "!has(event.device_id) || event.device_id != \"d1\"",
        "!facts.token_known",
    ] {
        assert!(holds_of_bare(source), "{source}");
    }
}

#[test]
fn every_problem_is_told_with_its_place_and_what_mends_it() {
    let all: Vec<String> = [
        "",
        "event.typ == \"refresh\"",
        "type == \"refresh\"",
        "event.type == \"refersh\"",
        "event.type in [\"refresh\", \"isue\"]",
        "event.type == event.outcome",
        "event.user_id",
        "event.generation == \"3\"",
        "event.user_id < \"u1\"",
        "event.ip_address == \"203.0.113.0/24\"",
        "event.ip_address.startsWith(\"203.\")",
        "network.prefix == \"203.0.113.7/24\"",
        "cidr(\"203.0.113.0\", event.ip_address)",
        "cidr(\"203.0.113.0/24\", event.user_id)",
        "event.user_agent.matches(\"(\")",
        "event.user_agent.matches(\"\\\\w{200}\")",
        "event.user_agent.startswith(\"curl\")",
        "event.user_agent.contains()",
        "event.time > \"2026-01-31T08:00:00Z\"",
        "event.time.getHours(\"Berlin\") == 3",
        "event.user_id == null",
        "event.type = \"refresh\"",
        "event.type == \"refresh\" and true",
        "(event.type == \"refresh\"",
        "event.type == \"refresh\")",
        "event.type == \"refresh",
        "event.type in [\"refresh\"",
        "event.type in \"refresh\"",
        "event.user_id in [event.client_id]",
        "event.scope[0] == \"x\"",
        "event.user_id + \"x\" == \"ux\"",
        "event.generation + 0.5 > 1.0",
        "[\"a\"].map(x, x) == [\"a\"]",
        "event.scope.split(\" \").exists(s, s == \"admin\")",
        "1 / 0 == 1",
        "event.type ==\n  \"refresh\" &&\n  event.usr_id == \"ü\" && agent.os == \"x\"",
    ]
    .iter()
    .map(|source| format!("{source}\n  {}", problems(source).replace('\n', "\n  ")))
    .collect();
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn what_nothing_can_make_true_is_told() {
    for source in [
        "false",
        "event.type == \"issue\" && event.type == \"refresh\"",
        "event.user_id == \"u1\" && event.user_id in [\"u2\", \"u3\"]",
        "event.generation > 3 && event.generation < 4",
        "has(event.user_id) && !has(event.user_id)",
        "event.user_agent.contains(\"x\") && event.type in []",
        "event.type.startsWith(\"refersh\")",
        "network.internal && !network.internal",
        "place.latitude > 3.0 && place.latitude < 3.0",
        "\"a\" == \"b\"",
    ] {
        assert!(!compiled(source).can_match(), "{source}");
    }
    for source in [
        "true",
        "event.user_id == \"nobody has this name\"",
        "event.user_id != \"u1\" && event.user_id != \"u2\"",
        "event.generation > 3 && event.generation < 5",
        "place.latitude > 3.0 && place.latitude < 3.5",
        "event.user_agent.contains(\"a\") && !event.user_agent.contains(\"b\")",
        "event.user_id == event.client_id",
        "event.ip_address == \"192.0.2.254\" || cidr(\"10.0.0.0/8\", event.ip_address)",
        "event.type.startsWith(\"user_\")",
        "event.time > timestamp(\"2090-01-01T00:00:00Z\")",
    ] {
        assert!(compiled(source).can_match(), "{source}");
    }
}

#[test]
fn an_error_at_run_time_is_an_answer() {
    let (mut event, facts) = full();
    event.event.generation = Some(u64::MAX);
    let run = |source: &str| compiled(source).matches(&event, &facts);
    assert_eq!(
        run("event.generation + event.generation > 0"),
        Err(RunError::Overflow)
    );
    assert_eq!(
        run("1 / (event.latest_generation - 4) == 1"),
        Err(RunError::DivisionByZero)
    );
    assert_eq!(
        run("event.generation + 1 > 0 || event.type == \"refresh\""),
        Ok(true)
    );
    assert_eq!(
        run("event.generation + 1 > 0 && event.type == \"issue\""),
        Ok(false)
    );
    event.event.user_agent = Some("x".repeat(5000).into());
    let searched = compiled("event.user_agent.matches(\"y\")").matches(&event, &facts);
    assert_eq!(searched, Err(RunError::TextTooLong));
}

#[test]
fn whatever_is_long_deep_or_large_is_refused_and_soon() {
    let repeat = |text: &str, times: usize| text.repeat(times);
    let hostile = [
        repeat("(", 4000),
        format!("{}true{}", repeat("(", 2000), repeat(")", 2000)),
        format!("{}true", repeat("!(", 1000)),
        format!("1{} == 1", repeat("+1", 2000)),
        format!("event{}", repeat(".a", 2000)),
        format!("event.user_id{}", repeat(".f()", 900)),
        format!("{}true", repeat("true?true:", 400)),
        format!("1{}", repeat("<1", 2000)),
        repeat("[", 4000),
        repeat("f(", 2000),
        format!("1 in [{}]", repeat("1,", 2000)),
        format!("true{}", repeat("&&true", 1_000_000)),
        repeat("[1,1,1,1,1,1,1,1,1,1].exists(x, ", 100),
        format!(
            "{}true{}",
            repeat("[1,1,1,1,1,1,1,1,1,1].exists(x, ", 20),
            repeat(")", 20)
        ),
        format!("event.user_id.matches(\"{}\")", repeat("(a{99}){99}", 20)),
        format!("event.user_id.matches(\"{}\")", repeat("(", 200)),
        "event.user_agent.matches(\"((((a{100}){100}){100}){100})\")".to_owned(),
        "[\"a\"].exists(x, [x].exists(x, x == \"b\"))".to_owned(),
    ];
    for source in hostile {
        assert!(!soon(|| problems(&source)).is_empty());
    }
}

#[test]
fn the_largest_conditions_still_run() {
    let long = vec!["event.type == \"refresh\""; 150].join(" && ");
    assert!(holds(&long));
    let list: Vec<String> = (0..450).map(|number| format!("{number}")).collect();
    assert!(!holds(&format!(
        "event.generation in [{}] && false",
        list.join(",")
    )));
    let deep = format!("{}true{}", "(".repeat(20), ")".repeat(20));
    assert!(holds(&deep));
    assert!(holds(&format!("{}true", "!".repeat(1000))));
    // The slowest that there is: many patterns over the longest text.
    let patterns = vec!["event.user_agent.matches(\"(x+x+)+y\")"; 16].join(" || ");
    let (mut event, facts) = full();
    event.event.user_agent = Some("x".repeat(4096).into());
    let expression = compiled(&patterns);
    assert_eq!(soon(|| expression.matches(&event, &facts)), Ok(false));
}

/// Parts of which sources are put together: often nearly right, which reaches further than noise does.
fn fragment() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "event.type",
        "event.user_id",
        "event.user_agent",
        "event.generation",
        "event.ip_address",
        "event.time",
        "network.prefix",
        "network.class",
        "place.latitude",
        "facts.context",
        "client.type",
        "event.scope",
        "x",
        "\"refresh\"",
        "\"u1\"",
        "\"203.0.113.7\"",
        "r\"a+\"",
        "1",
        "0",
        "2.5",
        "9223372036854775807",
        "true",
        "false",
        "==",
        "!=",
        "<",
        ">=",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "?",
        ":",
        ",",
        "(",
        ")",
        "[",
        "]",
        " in ",
        "has(",
        "size(",
        ".size()",
        ".startsWith(",
        ".contains(",
        ".matches(",
        ".split(\" \")",
        "cidr(\"10.0.0.0/8\",",
        ".exists(x,",
        ".all(x,",
        ".getHours()",
        "timestamp(",
        ".lowerAscii()",
        "ü",
        "\n",
        "//",
        "\\",
        "'",
    ]);
    prop_oneof![9 => words.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)]
}

/// Sources that are right: every shape of the grammar over fields of every kind.
pub(super) fn condition() -> impl Strategy<Value = String> {
    let atom = prop::sample::select(vec![
        "true",
        "event.type == \"refresh\"",
        "event.type in [\"issue\", \"login\"]",
        "has(event.user_id)",
        "event.user_id != \"u1\"",
        "event.generation >= 3",
        "event.latest_generation - event.generation == 1",
        "network.asn == 64497",
        "network.internal",
        "event.user_agent.startsWith(\"Mozilla\")",
        "event.user_agent.contains(\"x\")",
        "size(event.user_agent) > 10",
        "\"openid\" in event.scope.split(\" \")",
        "[\"u1\", \"u2\"].exists(u, event.user_id == u)",
        "[\"u\", \"1\"].all(u, event.user_id.contains(u))",
        "place.latitude < 50.5",
        "event.generation % 2 == 1",
        "-event.generation < 0",
        "event.generation / 0 == 1",
    ]);
    atom.prop_map(str::to_owned)
        .prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
                inner.clone().prop_map(|a| format!("!({a})")),
                (inner.clone(), inner.clone(), inner)
                    .prop_map(|(a, b, c)| format!("(({a}) ? {b} : {c})")),
            ]
        })
}

/// Events at the edges of what a decoder lets through.
pub(super) fn hostile_event() -> impl Strategy<Value = (Enriched, Facts)> {
    let text = prop::option::of(prop_oneof![
        Just(String::new()),
        Just("\u{0}\u{feff}\u{202e}".to_owned()),
        Just("a".repeat(1024)),
        any::<String>(),
    ]);
    let number = prop::option::of(prop::sample::select(vec![
        0,
        1,
        3,
        i64::MAX.unsigned_abs(),
        u64::MAX,
    ]));
    (
        text.clone(),
        text.clone(),
        text,
        number.clone(),
        number,
        any::<i64>(),
        any::<f64>(),
    )
        .prop_map(|(user, agent, scope, generation, latest, time, latitude)| {
            let (mut event, mut facts) = full();
            event.event.user_id = user.map(Into::into);
            event.event.user_agent = agent.map(Into::into);
            event.event.scope = scope.map(Into::into);
            event.event.generation = generation;
            event.event.latest_generation = latest;
            event.event.time =
                Timestamp::from_second(time % 300_000_000_000).unwrap_or(Timestamp::MAX);
            event.place.as_mut().unwrap().latitude = latitude;
            facts.generation_gap = latest;
            (event, facts)
        })
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic_or_linger(
        parts in prop::collection::vec(fragment(), 0..60),
        (event, facts) in hostile_event(),
    ) {
        let source: String = parts.concat();
        match soon(|| Expression::compile(&source)) {
            Ok(expression) => drop(soon(|| expression.matches(&event, &facts))),
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                for problem in problems {
                    let line = source.lines().nth(problem.line as usize - 1).unwrap_or_default();
                    prop_assert!(problem.column as usize <= line.chars().count() + 1, "{problem}");
                }
            }
        }
    }

    #[test]
    fn what_holds_of_an_event_was_never_said_to_be_impossible(
        source in condition(),
        (event, facts) in hostile_event(),
    ) {
        if let Ok(expression) = Expression::compile(&source) {
            if expression.matches(&event, &facts) == Ok(true) {
                prop_assert!(expression.can_match(), "{source}");
            }
            // What its type, outcome and client leave open of a condition answers as the whole, save where an error is decided away.
            let (kind, outcome) = (event.event.kind, event.event.outcome);
            let whole = expression.matches(&event, &facts);
            if let Some(open) = expression.given(kind, outcome, &facts) {
                let answer = open.matches(&event, &facts);
                prop_assert!(answer == whole || whole.is_err(), "{source}: {answer:?}");
            } else {
                prop_assert_ne!(whole, Ok(true), "{}", source);
            }
            // Twice not is the same, also where something is unknown or fails.
            let twice = compiled(&format!("!!({source})"));
            prop_assert_eq!(twice.matches(&event, &facts), expression.matches(&event, &facts));
        }
    }
}
