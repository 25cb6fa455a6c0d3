//! `tokenwarden rules fields` as a user runs it: the table of what conditions may read.

use std::ffi::OsString;

use tokenwarden::cli::{self, Exit, Terminal};
use tokenwarden::rules::fields::FIELDS;

fn fields(arguments: &[&str]) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
    };
    let mut line: Vec<OsString> = ["tokenwarden", "rules", "fields"].map(Into::into).into();
    line.extend(arguments.iter().map(Into::into));
    assert_eq!(cli::main(line, &mut terminal), Exit::Success);
    assert_eq!(err, b"");
    String::from_utf8(out).unwrap()
}

#[test]
fn the_table_is_for_people() {
    insta::assert_snapshot!(fields(&[]));
}

#[test]
fn every_field_is_a_line_for_programs_too() {
    let printed = fields(&["--output", "json"]);
    let lines: Vec<serde_json::Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_type = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
    assert_eq!(of_type("field"), FIELDS.len());
    assert_eq!(of_type("function"), lines.len() - FIELDS.len());
    insta::assert_snapshot!(printed);
}

/// The contract names the members of an event; none may be missing here.
#[test]
fn every_member_of_the_canonical_event_is_a_field() {
    let written = fields(&[]);
    for member in [
        "event_id",
        "time",
        "type",
        "outcome",
        "reason",
        "error",
        "issuer",
        "tenant",
        "user_id",
        "client_id",
        "session_id",
        "family_id",
        "token_id",
        "new_token_id",
        "generation",
        "latest_generation",
        "ip_address",
        "user_agent",
        "device_id",
        "ja4",
        "key_thumbprint",
        "scope",
        "access_token_ttl",
        "initiator",
    ] {
        assert!(written.contains(&format!(" event.{member} ")), "{member}");
    }
}
