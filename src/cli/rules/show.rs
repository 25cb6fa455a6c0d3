//! `tokenwarden rules show NAME`: everything about one rule, with where each value was set.

use std::io::{self, Write};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::super::{Exit, Terminal, report};
use super::{Form, Known, Which, response, set_by};
use crate::rules::parameters::{self, Describer, Parameter};
use crate::rules::{Exception, Rule};
use crate::yaml::nearest;

/// Show everything about one rule, with where each value was set
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Name of the rule
    name: String,
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let known = match Known::load(&arguments.which) {
        Ok(known) => known,
        Err(faults) => return report(&faults, terminal),
    };
    let mut rules = known.rules.rules.iter();
    let Some(rule) = rules.find(|rule| *rule.name == *arguments.name) else {
        return not_found(&known, &arguments.name, terminal);
    };
    match arguments.which.output {
        Form::Text => write_text(&known, rule, terminal.out)?,
        Form::Json => writeln!(terminal.out, "{}", object(&known, rule))?,
    }
    Ok(Exit::Success)
}

fn not_found(known: &Known, name: &str, terminal: &mut Terminal<'_>) -> anyhow::Result<Exit> {
    let names = || known.rules.rules.iter().map(|rule| &*rule.name);
    let hint = match nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are: {}", names().collect::<Vec<_>>().join(", ")),
    };
    let name = name.escape_debug();
    writeln!(
        terminal.err,
        "tokenwarden: there is no rule `{name}`\n  hint: {hint}"
    )?;
    Ok(Exit::Negative)
}

fn write_text(known: &Known, rule: &Arc<Rule>, out: &mut dyn Write) -> io::Result<()> {
    let (mode, why) = known.mode(rule);
    let classes: Vec<&str> = rule.classes.iter().map(|class| class.as_str()).collect();
    writeln!(out, "{}\n  {}\n", rule.name, rule.description)?;
    let kind = format!("{} (evidence: {})", rule.detect.kind(), classes.join(", "));
    let version = format!("since version {}, {}", rule.since, rule.maturity);
    let suppress = rule.suppress.map(|suppress| suppress.to_string());
    let facts = [
        ("kind", kind),
        ("file", format!("{}, {version}", rule.written.place)),
        ("mode", format!("{mode} ({why})")),
        (
            "severity",
            of_key(rule, "severity", &rule.severity.to_string()),
        ),
        ("response", of_key(rule, "response", &response(rule))),
        ("risk", of_key(rule, "risk", &rule.risk.to_string())),
        (
            "suppress",
            of_key(
                rule,
                "suppress",
                &suppress.unwrap_or_else(|| "-".to_owned()),
            ),
        ),
        ("runbook", rule.runbook.as_deref().unwrap_or("-").to_owned()),
    ];
    for (name, fact) in facts {
        writeln!(out, "  {name:<10} {fact}")?;
    }
    write_list("labels", rule.labels.lines(), out)?;
    write_list("does not fire on", texts(&rule.not_fired_on), out)?;
    write_list("known false positives", texts(&rule.false_positives), out)?;
    writeln!(out, "\n  parameters")?;
    for parameter in parameters(rule) {
        write_parameter(rule, &parameter, out)?;
    }
    write_list("exceptions", rule.exceptions.iter().map(|it| told(it)), out)?;
    for (of, name, variant) in variants(rule) {
        let differences = differences(rule, variant).into_iter();
        let lines =
            differences.map(|(key, value)| format!("{key}: {value} ({})", set_by(variant, &key)));
        write_list(&format!("for {of} {name}"), lines, out)?;
    }
    Ok(())
}

fn of_key(rule: &Rule, key: &str, value: &str) -> String {
    format!("{value} ({})", set_by(rule, key))
}

fn texts(texts: &[crate::model::Text]) -> impl Iterator<Item = String> {
    texts.iter().map(ToString::to_string)
}

fn told(exception: &Exception) -> String {
    let Exception {
        matches,
        reason,
        owner,
        expires,
        place,
    } = exception;
    format!("{matches}: {reason} ({owner}, until {expires}; {place})")
}

/// A heading with its lines, or nothing at all.
fn write_list(
    heading: &str,
    lines: impl IntoIterator<Item = String>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_none() {
        return Ok(());
    }
    writeln!(out, "\n  {heading}")?;
    for line in lines {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

fn write_parameter(rule: &Rule, parameter: &Parameter, out: &mut dyn Write) -> io::Result<()> {
    let Parameter {
        key,
        about,
        form,
        value,
    } = parameter;
    writeln!(out, "    {key}: {value} ({})", set_by(rule, key))?;
    writeln!(out, "        {about} {}", bounds(form))
}

fn bounds(form: &parameters::Form) -> String {
    match form {
        parameters::Form::Duration => "A duration above zero.".to_owned(),
        parameters::Form::Count(range) => format!("{} to {}.", range.start(), range.end()),
        parameters::Form::Number(range) => format!("{} to {}.", range.start(), range.end()),
        parameters::Form::Flag => "`true` or `false`.".to_owned(),
        parameters::Form::Choice(names) => format!("One of {}.", names.join(", ")),
        parameters::Form::Texts => "A list of texts.".to_owned(),
        parameters::Form::Condition => "A condition (`tokenwarden rules fields`).".to_owned(),
        parameters::Form::Field { many: false } => {
            "A field (`tokenwarden rules fields`).".to_owned()
        }
        parameters::Form::Field { many: true } => {
            "One field or several (`tokenwarden rules fields`).".to_owned()
        }
        parameters::Form::Group(_) => "A mapping.".to_owned(),
        parameters::Form::Groups(range, _) => {
            format!("A list of {} to {} mappings.", range.start(), range.end())
        }
    }
}

fn parameters(rule: &Rule) -> Vec<Parameter> {
    let mut describer = Describer::default();
    rule.detect.clone().parameters(&mut describer);
    describer.parameters
}

/// What the rule is for some, by client and then by tenant.
fn variants(rule: &Rule) -> Vec<(&'static str, &str, &Arc<Rule>)> {
    let clients = rule.variants.by_client().into_iter();
    let tenants = rule.variants.by_tenant().into_iter();
    let others = rule
        .variants
        .others()
        .map(|rule| ("client", "default", rule));
    let named = clients.map(|(name, rule)| ("client", &**name, rule));
    let named = named.chain(tenants.map(|(name, rule)| ("tenant", &**name, rule)));
    others.into_iter().chain(named).collect()
}

/// What a variant has other than the rule.
fn differences(rule: &Rule, variant: &Rule) -> Vec<(String, String)> {
    let suppress = |rule: &Rule| rule.suppress.map_or("-".to_owned(), |it| it.to_string());
    let offer = |rule: &Rule| {
        let names: Vec<&str> = rule.offer.iter().map(|kind| kind.as_str()).collect();
        names.join(", ")
    };
    let keys = |rule: &Rule| {
        let mut values = vec![
            ("mode".to_owned(), rule.mode.to_string()),
            ("severity".to_owned(), rule.severity.to_string()),
            ("response".to_owned(), response(rule)),
            ("offer".to_owned(), offer(rule)),
            ("risk".to_owned(), rule.risk.to_string()),
            ("suppress".to_owned(), suppress(rule)),
        ];
        values.extend(
            parameters(rule)
                .into_iter()
                .map(|it| (it.key.to_owned(), it.value)),
        );
        values
    };
    let pairs = keys(variant).into_iter().zip(keys(rule));
    pairs
        .filter(|(is, was)| is != was)
        .map(|(is, _)| is)
        .collect()
}

fn object(known: &Known, rule: &Arc<Rule>) -> Value {
    let (mode, why) = known.mode(rule);
    let response: Vec<&str> = rule.response.iter().map(|kind| kind.as_str()).collect();
    let classes: Vec<&str> = rule.classes.iter().map(|class| class.as_str()).collect();
    let parameters = parameters(rule).into_iter().map(|it| {
        json!({"name": it.key, "value": it.value, "about": it.about, "bounds": bounds(&it.form), "set_by": set_by(rule, it.key)})
    });
    let exceptions = rule.exceptions.iter().map(|it| {
        json!({
            "match": it.matches.to_string(),
            "reason": it.reason,
            "owner": it.owner,
            "expires": it.expires.to_string(),
            "place": it.place.to_string(),
        })
    });
    let variants = variants(rule).into_iter().map(|(of, name, variant)| {
        let values: serde_json::Map<String, Value> = differences(rule, variant)
            .into_iter()
            .map(|(key, value)| (key, value.into()))
            .collect();
        json!({"for": of, "name": name, "values": values})
    });
    let labels = &rule.labels;
    json!({
        "type": "rule",
        "name": rule.name,
        "description": rule.description,
        "kind": rule.detect.kind(),
        "classes": classes,
        "mode": mode.as_str(),
        "why": why,
        "severity": rule.severity.as_str(),
        "response": response,
        "offer": rule.offer.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        "risk": rule.risk,
        "suppress": rule.suppress.map(|suppress| suppress.to_string()),
        "runbook": rule.runbook,
        "place": rule.written.place.to_string(),
        "since": rule.since,
        "maturity": rule.maturity.as_str(),
        "labels": {"confidence": labels.confidence, "spoofable": labels.spoofable, "mitre": labels.mitre, "others": labels.others},
        "not_fired_on": rule.not_fired_on,
        "false_positives": rule.false_positives,
        "parameters": parameters.collect::<Vec<_>>(),
        "exceptions": exceptions.collect::<Vec<_>>(),
        "variants": variants.collect::<Vec<_>>(),
    })
}
