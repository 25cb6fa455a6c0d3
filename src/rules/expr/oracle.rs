//! The same conditions by another reader: what both languages have means the same in CEL.
//!
//! The other one needs megabytes of stack for a dozen brackets, which is why it judges here and does not work there.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::tests::{compiled, condition, hostile_event};
use super::*;
use crate::rules::fields::{FIELDS, Value};

/// Enough for the deepest condition that is made here.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// What CEL says: an error, also one for a missing value, is no match.
fn by_the_other(source: &str, event: &Enriched, facts: &Facts) -> Result<bool, String> {
    let program = cel::Program::compile(source).map_err(|error| error.to_string())?;
    let mut groups: HashMap<&str, HashMap<String, cel::Value>> = HashMap::new();
    for field in FIELDS {
        let (group, member) = field.name.split_once('.').ok_or("no group")?;
        let members = groups.entry(group).or_default();
        if let Some(value) = field.read(event, facts) {
            members.insert(member.to_owned(), of_theirs(value));
        }
    }
    let mut context = cel::Context::default();
    for (group, members) in groups {
        context.add_variable_from_value(group, members);
    }
    match program.execute(&context) {
        Ok(cel::Value::Bool(truth)) => Ok(truth),
        Ok(other) => Err(format!("{other:?}")),
        Err(_) => Ok(false),
    }
}

fn of_theirs(value: Value<'_>) -> cel::Value {
    match value {
        Value::Integer(number) => cel::Value::Int(number),
        Value::Number(number) => cel::Value::Float(number),
        Value::Truth(truth) => cel::Value::Bool(truth),
        other => cel::Value::from(other.to_string()),
    }
}

#[test]
fn what_both_languages_have_means_the_same() {
    let judge = || {
        let conditions = condition().prop_filter("CEL has it", |source| !source.contains("split"));
        let mut runner = TestRunner::new(Config::with_cases(400));
        let judged = runner.run(
            &(conditions, hostile_event()),
            |(source, (event, facts))| {
                let ours = compiled(&source).matches(&event, &facts).unwrap_or(false);
                prop_assert_eq!(
                    by_the_other(&source, &event, &facts),
                    Ok(ours),
                    "{}",
                    source
                );
                Ok(())
            },
        );
        judged.map_err(|failure| failure.to_string())
    };
    let judging = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(judge);
    assert_eq!(judging.unwrap().join().unwrap(), Ok(()));
}
