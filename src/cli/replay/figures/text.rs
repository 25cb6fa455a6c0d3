//! The figures for a person: tables of at most a hundred columns, each with what follows from it.

use std::io::{self, Write};
use std::sync::Arc;

use indicatif::HumanCount;

use crate::app::replay::Summary;
use crate::app::replay::figures::{
    Advice, ClientRow, Day, Declaration, NetworkRow, Nuisance, Report, Who,
};
use crate::cli::clean;
use crate::model::{Mode, Text};
use crate::rules::Exception;

/// Rules with a column of their own; the others share one.
const RULES_SHOWN: usize = 8;
/// Newest days with a row of their own.
const DAYS_SHOWN: usize = 31;
/// Rows of the other tables.
const ROWS_SHOWN: usize = 10;

pub(super) fn write(
    mode: Mode,
    summary: &Summary,
    report: &Report,
    out: &mut dyn Write,
) -> io::Result<()> {
    write_head(summary, report, out)?;
    write_days(report, out)?;
    write_actions(mode, report, out)?;
    write_revocations(report, out)?;
    write_clients(report, out)?;
    write_networks(report, out)?;
    write_blind(report, out)?;
    write_nuisances(&report.nuisances, out)?;
    write_unused(&report.unused, out)?;
    write_declarations(&report.declarations, out)
}

fn write_head(summary: &Summary, report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let (Some(first), Some(last)) = (report.first, report.last) else {
        return writeln!(out, "No events ({} rejected)", summary.rejected);
    };
    writeln!(
        out,
        "{} events of {} users, {first:.0} to {last:.0}",
        number(summary.events),
        estimate(report.users, report.users_exact)
    )?;
    writeln!(
        out,
        "{} records rejected, {} repeats, {} late\n",
        number(summary.rejected),
        number(summary.duplicates),
        number(summary.late)
    )
}

fn write_days(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.total.total() == 0 {
        return writeln!(out, "No rule fired.\n");
    }
    writeln!(out, "Detections, pages and revoked families per day (UTC)")?;
    let mut rules: Vec<(&Text, u64)> = report
        .total
        .detections
        .iter()
        .map(|(r, n)| (r, *n))
        .collect();
    rules.sort_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
    let more = rules.len().saturating_sub(RULES_SHOWN);
    rules.truncate(RULES_SHOWN);
    let columns = Columns {
        rules: &rules,
        more,
    };
    columns.write_title(out)?;
    let (earlier, shown) = report
        .days
        .split_at(report.days.len().saturating_sub(DAYS_SHOWN));
    let mut before = Day::default();
    for (_, day) in earlier {
        before.add(day);
    }
    if !earlier.is_empty() {
        columns.write_row("earlier", &before, out)?;
    }
    for (date, day) in shown {
        let date = date.map_or("earlier".to_owned(), |date| date.to_string());
        columns.write_row(&date, day, out)?;
    }
    columns.write_row("total", &report.total, out)?;
    for (letter, (rule, _)) in ('A'..).zip(&rules) {
        writeln!(out, "  {letter} = {rule}")?;
    }
    writeln!(out)
}

/// A letter for each rule: their names are too long to stand beside each other.
struct Columns<'a> {
    rules: &'a [(&'a Text, u64)],
    /// How many rules share the column `others`.
    more: usize,
}

impl Columns<'_> {
    fn write_title(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "  {:<10}", "")?;
        for (letter, _) in ('A'..).zip(self.rules) {
            write!(out, " {letter:>7}")?;
        }
        if self.more > 0 {
            write!(out, " {:>7}", "others")?;
        }
        writeln!(out, " {:>8} {:>6} {:>7}", "all", "pages", "revoked")
    }

    fn write_row(&self, name: &str, day: &Day, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "  {name:<10}")?;
        let mut shown = 0;
        for (rule, _) in self.rules {
            let count = day.detections.get(*rule).copied().unwrap_or(0);
            shown += count;
            write!(out, " {count:>7}")?;
        }
        let all = day.total();
        if self.more > 0 {
            write!(out, " {:>7}", all - shown)?;
        }
        writeln!(out, " {all:>8} {:>6} {:>7}", day.pages, day.revocations)
    }
}

fn write_actions(mode: Mode, report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.actions.is_empty() {
        return Ok(());
    }
    writeln!(out, "Actions, as decided under `mode: {mode}`")?;
    for ((kind, decision), count) in &report.actions {
        writeln!(
            out,
            "  {:<16} {:<9} {:>9}",
            kind.as_str(),
            decision.as_str(),
            number(*count)
        )?;
    }
    if mode < Mode::Enforce {
        writeln!(
            out,
            "  What is only observed knows no budget: try `mode: enforce` in the configuration."
        )?;
    }
    writeln!(out)
}

fn write_revocations(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let it = &report.revocations;
    if it.families == 0 {
        return writeln!(out, "No family would be revoked.\n");
    }
    writeln!(
        out,
        "Families that would be revoked: {} ({} at once, {} after a person's consent, {} under a higher mode)",
        number(it.families),
        number(it.executed),
        number(it.held),
        number(it.observed)
    )?;
    for (client, count) in it.clients.iter().take(ROWS_SHOWN) {
        writeln!(out, "  {:<40} {:>9}", cut(client, 40), number(*count))?;
    }
    writeln!(out, "  for example:")?;
    for example in &it.examples {
        let name = |text: &Option<Text>| text.as_ref().map_or("-".to_owned(), |t| cut(t, 24));
        writeln!(
            out,
            "    {:.0} {:<20} user {}, family {}",
            example.time,
            cut(&example.rule, 20),
            name(&example.user_id),
            name(&example.family_id)
        )?;
    }
    writeln!(out)
}

fn write_clients(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.clients.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "{:<42} {:>10} {:>10} {:>10} {:>10}",
        "Busiest clients", "refreshes", "refused", "detections", "revoked"
    )?;
    for ClientRow {
        client,
        refreshes,
        about,
    } in report.clients.iter().take(ROWS_SHOWN)
    {
        writeln!(
            out,
            "  {:<40} {:>10} {:>10} {:>10} {:>10}",
            cut(client, 40),
            number(*refreshes),
            number(about.refused),
            number(about.detections),
            number(about.revocations)
        )?;
    }
    write_bound(report.clients.len(), report.missed_max.0, out)
}

fn write_networks(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.networks.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "{:<42} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "Busiest networks", "users", "refreshes", "refused", "detections", "revoked"
    )?;
    for row in report.networks.iter().take(ROWS_SHOWN) {
        writeln!(
            out,
            "  {:<40} {:>10} {:>10} {:>10} {:>10} {:>10}",
            cut(&network_name(row), 40),
            estimate(row.users, row.users_exact),
            number(row.refreshes),
            number(row.about.refused),
            number(row.about.detections),
            number(row.about.revocations)
        )?;
    }
    write_bound(report.networks.len(), report.missed_max.1, out)
}

fn network_name(row: &NetworkRow) -> String {
    let class = row.class.map(|class| format!(" {class}"));
    let organisation = row.organisation.as_ref().map(|name| format!(" {name}"));
    format!(
        "{}{}{}",
        row.network,
        class.unwrap_or_default(),
        organisation.unwrap_or_default()
    )
}

fn write_bound(rows: usize, missed_max: u64, out: &mut dyn Write) -> io::Result<()> {
    if rows > ROWS_SHOWN {
        writeln!(out, "  and others that are less busy")?;
    }
    if missed_max > 0 {
        writeln!(
            out,
            "  (each may have up to {} refreshes more)",
            number(missed_max)
        )?;
    }
    writeln!(out)
}

fn write_blind(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let all = report.shares.first().map_or(0, |share| share.presentations);
    if all == 0 {
        return Ok(());
    }
    writeln!(out, "What the presentations of tokens carried")?;
    let shown: Vec<String> = report
        .shares
        .iter()
        .filter(|share| !share.clue.is_looked_up())
        .map(|share| format!("{} {} %", share.clue.as_str(), share.carried * 100 / all))
        .collect();
    for line in shown.chunks(4) {
        writeln!(out, "  {}", line.join(", "))?;
    }
    writeln!(out)?;
    if report.unmet.is_empty() {
        return writeln!(out, "No rule is blind.\n");
    }
    writeln!(out, "Blind rules")?;
    for unmet in &report.unmet {
        let clues: Vec<&str> = unmet.need.one_of.iter().map(|clue| clue.as_str()).collect();
        let to = unmet.need.blind_to.map(|what| format!(", to {what}"));
        wrapped(
            &format!(
                "{}{}: no {}",
                unmet.rule,
                to.unwrap_or_default(),
                clues.join(" or ")
            ),
            out,
        )?;
    }
    writeln!(out)
}

fn write_nuisances(nuisances: &[Nuisance], out: &mut dyn Write) -> io::Result<()> {
    if nuisances.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "Exceptions to think about (look at some of the findings first)"
    )?;
    for it in nuisances {
        let (who, matched) = match &it.who {
            Who::Client(client) => (
                format!("client {}", clean(client)),
                format!("client_id: {}", named(client)),
            ),
            Who::Network(network) => (format!("network {network}"), format!("network: {network}")),
        };
        let (some, all) = (number(it.detections), number(it.of));
        wrapped(
            &format!("{}: {some} of {all} mild findings are of {who}", it.rule),
            out,
        )?;
        writeln!(
            out,
            "    overrides: {{ {}: {{ exceptions: [{{ match: {{ {matched} }},",
            it.rule
        )?;
        writeln!(out, "      reason: ..., owner: ..., expires: ... }}] }} }}")?;
    }
    writeln!(out)
}

fn write_unused(unused: &[(Text, Arc<Exception>)], out: &mut dyn Write) -> io::Result<()> {
    if unused.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "Exceptions that covered nothing here (remove what nobody needs)"
    )?;
    for (rule, it) in unused {
        let (reason, owner) = (clean(&it.reason), clean(&it.owner));
        let (place, expires) = (&it.place, it.expires);
        wrapped(
            &format!("{rule}: {reason} ({owner}, until {expires}), {place}"),
            out,
        )?;
    }
    writeln!(out)
}

fn write_declarations(declarations: &[Declaration], out: &mut dyn Write) -> io::Result<()> {
    if declarations.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "Addresses that many users share (declare them only if you know whose they are)"
    )?;
    for it in declarations.iter().take(ROWS_SHOWN) {
        let addresses: Vec<String> = it.addresses.iter().map(ToString::to_string).collect();
        let subject = match it.count {
            1 => "1 address serves".to_owned(),
            count => format!("{} addresses serve", number(count)),
        };
        let of = it
            .organisation
            .as_ref()
            .map(|name| format!(" ({})", clean(name)));
        wrapped(
            &format!(
                "{subject} {} users{}: {}",
                estimate(it.users, it.users_exact),
                of.unwrap_or_default(),
                addresses.join(", ")
            ),
            out,
        )?;
        writeln!(out, "    {}", advice(it))?;
    }
    writeln!(out)
}

fn advice(it: &Declaration) -> String {
    let cidrs: Vec<String> = it
        .addresses
        .iter()
        .take(2)
        .map(ToString::to_string)
        .collect();
    let more = if it.count > 2 { ", ..." } else { "" };
    let networks = |class: &str| {
        format!(
            "networks: [{{ name: ..., class: {class}, cidrs: [{}{more}] }}]",
            cidrs.join(", ")
        )
    };
    match &it.advice {
        Advice::ForwardClients => {
            "private addresses: the server sees its own proxy; make it forward the clients' addresses".to_owned()
        }
        Advice::Backend(client) => {
            format!("{}, if they are servers of {}", networks("backend"), named(client))
        }
        Advice::Egress => networks("egress"),
    }
}

/// As it is written in YAML.
fn named(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(plain) {
        name.to_owned()
    } else {
        clean(&serde_json::Value::from(name).to_string())
    }
}

/// A paragraph of at most a hundred columns.
fn wrapped(text: &str, out: &mut dyn Write) -> io::Result<()> {
    const COLUMNS: usize = 100;
    let mut line = String::from(" ");
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > COLUMNS {
            writeln!(out, "{line}")?;
            line = String::from("   ");
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(out, "{line}")
}

fn cut(text: &str, chars: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= chars {
        return text;
    }
    let kept: String = text.chars().take(chars.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn number(count: u64) -> String {
    HumanCount(count).to_string()
}

fn estimate(count: u64, exact: bool) -> String {
    let about = if exact { "" } else { "~" };
    format!("{about}{}", number(count))
}
