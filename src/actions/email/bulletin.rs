//! What a digest and a summary of incidents say, in words.
//!
//! A digest proves what `observe` would have done: first what would have been revoked and what became of it, since that
//! decides whether to go on; then what waits; then how to go on. A summary says first what is held and that nothing
//! happens by itself.

use crate::actions::word;
use crate::model::limits::HELD_EXPIRES;
use crate::model::{
    ActionState, Bulletin, ClientDay, Digest, ListedIncident, Mode, More, News, Text, TooLate,
    Waiting,
};

use super::letter::{Item, Letter, Section};
use crate::actions::clean;
use crate::actions::tasks::command;
use crate::actions::words::{moment, to_do};

pub(in crate::actions) fn letter(bulletin: &Bulletin) -> Letter {
    let (state, headline, mut sections, closing) = match &bulletin.news {
        News::Digest(digest) => (
            "DIGEST",
            digest_headline(digest),
            digest_sections(digest),
            "This comes once a day when there is something to tell, and once a week otherwise. To end it: `digest: off` at the receiver.",
        ),
        News::TooLate(late) => (
            if late.held.is_empty() {
                "TOLD LATE"
            } else {
                "WAITS FOR YOU"
            },
            late_headline(late),
            late_sections(late),
            "One summary tells of all that came too late; at most one comes in an hour.",
        ),
        News::More(more) => (
            "MORE",
            more_headline(more),
            more_sections(more),
            "How many messages this receiver takes within an hour: `per_hour_max` beside its name.",
        ),
    };
    sections.retain(|section| !section.is_empty());
    Letter {
        state,
        headline,
        lead: lead(bulletin),
        sections,
        closing: closing.to_owned(),
    }
}

fn lead(bulletin: &Bulletin) -> String {
    let (since, until) = (moment(bulletin.since), moment(bulletin.until));
    match &bulletin.news {
        News::Digest(digest) => format!("{since} to {until}, mode {}", digest.mode),
        News::TooLate(_) => format!("Found until {until}; the oldest event is of {since}"),
        News::More(_) => format!("{since} to {until}"),
    }
}

fn digest_headline(digest: &Digest) -> String {
    let would = digest.would_be_revocations();
    let done: u64 = digest
        .performed
        .iter()
        .filter(|performed| performed.kind.ends_something() && performed.state == ActionState::Done)
        .map(|performed| performed.actions)
        .sum();
    let waiting: u64 = digest.waiting.iter().map(|waiting| waiting.new).sum();
    let found: u64 = digest.rules.iter().map(|rule| rule.detections).sum();
    let mut parts = Vec::new();
    if would > 0 {
        parts.push(format!(
            "{} would have been made",
            count(would, "revocation")
        ));
    }
    if done > 0 {
        parts.push(format!("{} made", count(done, "revocation")));
    }
    if waiting > 0 {
        parts.push(format!("{} held", count(waiting, "action")));
    }
    match (parts.is_empty(), found) {
        (false, _) => parts.join(", "),
        (true, 0) => "nothing was found".to_owned(),
        (true, _) => format!(
            "{}, none of which asks for a revocation",
            count(found, "detection")
        ),
    }
}

fn digest_sections(digest: &Digest) -> Vec<Section> {
    vec![
        Section::of_items("What would have been revoked", would_have(digest)),
        Section::of_items("In doubt, for a look", in_doubt(digest)),
        Section::of_items("What was done", performed(digest)),
        waiting("What waits for a person", &digest.waiting),
        for_review(digest),
        Section::of_table(
            "What was found, by rule",
            &["detections", "gravest", "rule"],
            digest
                .rules
                .iter()
                .map(|rule| {
                    vec![
                        rule.detections.to_string(),
                        rule.gravest.to_string(),
                        clean::value(&rule.rule),
                    ]
                })
                .collect(),
        ),
        Section::of_table(
            "Records that could not be read",
            &["records", "reason", "source"],
            digest
                .rejected
                .iter()
                .map(|rejected| {
                    vec![
                        rejected.records.to_string(),
                        clean::value(&rejected.reason),
                        clean::value(&rejected.source),
                    ]
                })
                .collect(),
        ),
        Section::of_items("How to go on", how_to_go_on(digest)),
        Section::of_table(
            "Sources",
            &["last read", "source"],
            digest
                .sources
                .iter()
                .map(|source| vec![moment(source.at), clean::value(&source.source)])
                .collect(),
        ),
        Section::of_items("Audit log", audit(digest)),
    ]
}

/// The mail is where nobody who can write to the store can change it.
fn audit(digest: &Digest) -> Vec<Item> {
    let noted = digest.audit.iter().map(|head| {
        Item::new(format!(
            "It has {} up to here. Keep this mail: it proves later that none of them was changed or cut off. \
             tokenwarden audit verify -c FILE --head {head}",
            count(head.seq, "record")
        ))
    });
    noted.collect()
}

fn would_have(digest: &Digest) -> Vec<Item> {
    let is_concerned = |day: &&ClientDay| day.revocations + day.other_measures > 0;
    let mut items: Vec<Item> = digest
        .clients
        .iter()
        .filter(is_concerned)
        .map(|day| Item {
            text: would_have_at(day),
            details: what_became(day),
        })
        .collect();
    if digest.more_clients > 0 {
        items.push(Item::new(format!(
            "... and {}.",
            count(digest.more_clients, "more client")
        )));
    }
    items
}

fn would_have_at(day: &ClientDay) -> String {
    let name = client(day.client_id.as_ref());
    let by_rule: Vec<String> = day
        .rules
        .iter()
        .map(|(rule, actions)| format!("{} {actions}", clean::value(rule)))
        .collect();
    let mut parts = Vec::new();
    if day.revocations > 0 {
        parts.push(format!(
            "{} ({})",
            count(day.revocations, "revocation"),
            by_rule.join(", ")
        ));
    }
    if day.other_measures > 0 {
        parts.push(format!(
            "{} (challenge, throttle, block)",
            count(day.other_measures, "lesser measure")
        ));
    }
    format!("{name}: {}", parts.join(" and "))
}

/// What became of those that were let be. Networks tell whose a use was, so it says "from", never "by".
fn what_became(day: &ClientDay) -> Vec<String> {
    let fates = &day.fates;
    let told = [
        (
            fates.used_by_foreign,
            "used again from the thief's network: somebody goes on with a stolen token",
        ),
        (
            fates.used_by_unknown,
            "used again, from a network that tells neither owner nor thief",
        ),
        (
            fates.used_by_own,
            "used again, from the owner's network alone: look at these first, a revocation would have logged somebody out",
        ),
        (
            fates.closed,
            "ended without us: only refused since, or logged out",
        ),
        (fates.silent, "not seen since"),
        (fates.unknown, "no longer remembered: nothing can be told"),
    ];
    let lines = told.into_iter().filter(|(families, _)| *families > 0);
    lines
        .map(|(families, what)| format!("{families} {what}"))
        .collect()
}

fn in_doubt(digest: &Digest) -> Vec<Item> {
    let doubtful = digest
        .clients
        .iter()
        .filter(|day| day.suspected + day.client_faults > 0);
    doubtful
        .map(|day| {
            let mut parts = Vec::new();
            if day.suspected > 0 {
                parts.push(format!(
                    "{} suspected (two holders are not proved)",
                    day.suspected
                ));
            }
            if day.client_faults > 0 {
                parts.push(format!(
                    "{} of its own honest use (a fault of the client, not a theft)",
                    count(day.client_faults, "refusal")
                ));
            }
            Item::new(format!(
                "{}: {}",
                client(day.client_id.as_ref()),
                parts.join(", ")
            ))
        })
        .collect()
}

fn performed(digest: &Digest) -> Vec<Item> {
    let said = |state: ActionState| match state {
        ActionState::Done => "done",
        ActionState::Answered => "answered, not yet verified",
        ActionState::Parked => "FAILED and given up, see /api/v1/actions?state=parked",
        _ => "not done",
    };
    let performed = digest.performed.iter();
    performed
        .map(|all| {
            Item::new(format!(
                "{}: {} {}",
                to_do(all.kind),
                all.actions,
                said(all.state)
            ))
        })
        .collect()
}

/// What was found and is not proved: nobody was woken for it, so this is where it is seen.
fn for_review(digest: &Digest) -> Section {
    const TITLE: &str = "Listed for review";
    const LIST: &str = "tokenwarden incidents list --review --state open";
    if digest.review_total == 0 {
        return Section::of_items(TITLE, Vec::new());
    }
    let close = command("incidents close ID --as benign");
    let how = format!(
        "{LIST} names each; close it with what it was (benign, contained, false_positive): {close}"
    );
    let mut section = incidents(TITLE, &digest.review, digest.review_total, LIST);
    section.items.push(Item::new(how));
    section
}

fn waiting(title: &'static str, waiting: &[Waiting]) -> Section {
    let rows: Vec<Vec<String>> = waiting
        .iter()
        .map(|held| {
            vec![
                held.actions.to_string(),
                to_do(held.kind).to_owned(),
                client(held.client_id.as_ref()),
                clean::value(&held.rule),
                moment(held.oldest),
            ]
        })
        .collect();
    let notes = if rows.is_empty() {
        Vec::new()
    } else {
        vec![Item::new(held_by_hand())]
    };
    Section::of_table(
        title,
        &["actions", "what", "client", "rule", "oldest event"],
        rows,
    )
    .with_items(notes)
}

/// What can be done about held actions.
fn held_by_hand() -> String {
    format!(
        "Nothing of it happens by itself. tokenwarden actions list --state held names each; to let one go (or `refuse`): {}. \
         What nobody let go expires after {} min: then it is for you to end at the authorization server.",
        command("actions approve ID"),
        HELD_EXPIRES.as_secs() / 60
    )
}

/// The next step of the ramp, for the mode that it is in.
fn how_to_go_on(digest: &Digest) -> Vec<Item> {
    let would = digest.would_be_revocations();
    let mut items = Vec::new();
    if would > 0 {
        items.push(Item::new(
            "Look at each: /api/v1/actions?decision=observe&action=revoke_family names the detections behind it.",
        ));
        items.push(Item::new(
            "Where one was honest, declare what explains it (`networks`, `clients`); then it is not found again.",
        ));
    }
    let one_client = one_client(digest);
    let next = match digest.mode {
        Mode::Off | Mode::Observe if would == 0 => {
            "Nothing would have been revoked. After a week like this: `mode: alert` (people are told, nothing is revoked).".to_owned()
        }
        Mode::Off | Mode::Observe => {
            "When a week has shown nothing that you would not have wanted: `mode: alert` (people are told, nothing is revoked).".to_owned()
        }
        Mode::Alert => format!(
            "When nobody is woken in vain: `mode: enforce` with clients: {{ default: {{ mode: alert }}, {one_client}: {{ mode: enforce }} }}, one client first."
        ),
        Mode::Enforce if would > 0 => {
            "A rule, client or tenant has a lower `mode` than the daemon: raise it where you agree with these.".to_owned()
        }
        Mode::Enforce => return items,
    };
    items.push(Item::new(next));
    items
}

/// One whose name can stand in YAML as it is.
fn one_client(digest: &Digest) -> &str {
    let mut names = digest.clients.iter().filter(|day| day.revocations > 0);
    names
        .find_map(|day| word(day.client_id.as_deref()?))
        .unwrap_or("YOUR-FIRST-CLIENT")
}

fn late_headline(late: &TooLate) -> String {
    let held: u64 = late.held.iter().map(|held| held.actions).sum();
    let minutes = late.act_within_s.div_ceil(60);
    let incidents = count(late.incidents_total, "incident");
    if held == 0 {
        return format!("{incidents} found late: events older than {minutes} min");
    }
    let are = if held == 1 { "is" } else { "are" };
    format!(
        "{} of {incidents} {are} held: events older than {minutes} min",
        count(held, "action")
    )
}

fn late_sections(late: &TooLate) -> Vec<Section> {
    vec![
        waiting("What is held", &late.held),
        Section::of_items("What to do now", what_to_do(late)),
        incidents(WHICH, &late.incidents, late.incidents_total, ALL_INCIDENTS),
    ]
}

fn more_headline(more: &More) -> String {
    let incidents = count(more.incidents_total, "more incident");
    match more.per_hour_max {
        Some(most) => format!("{incidents}, not told one by one: {most} messages an hour are sent"),
        None => format!("{incidents}, not told one by one"),
    }
}

fn more_sections(more: &More) -> Vec<Section> {
    let look = "Look at the gravest first. So many incidents at a time are one attack, one broken client, or a rule that does not fit.";
    vec![
        incidents(WHICH, &more.incidents, more.incidents_total, ALL_INCIDENTS),
        Section::of_items("What to do now", vec![Item::new(look)]),
    ]
}

const WHICH: &str = "Which incidents";
const ALL_INCIDENTS: &str = "/api/v1/incidents";

/// The gravest, and how many there are besides, with where all are listed.
fn incidents(title: &'static str, incidents: &[ListedIncident], total: u64, list: &str) -> Section {
    let named = u64::try_from(incidents.len()).unwrap_or(u64::MAX);
    let more = total.saturating_sub(named);
    let mut notes = Vec::new();
    if more > 0 {
        notes.push(Item::new(format!(
            "... and {}: {list}",
            count(more, "more incident")
        )));
    }
    Section::of_table(
        title,
        &["since", "severity", "client", "user", "incident", "what"],
        incidents.iter().map(incident).collect(),
    )
    .with_items(notes)
}

fn what_to_do(late: &TooLate) -> Vec<Item> {
    let mut items = vec![Item::new(
        "Events this old come from a first start over old data, an outage, or a restored backup. After a first start nothing may need to be done.",
    )];
    if !late.held.is_empty() {
        items.push(Item::new(
            "After an outage, look whether they go on, the gravest first. While an incident is open (24 h after its last detection) neither the same action nor a mail about it comes again.",
        ));
    }
    items.push(Item::new(format!(
        "How old an event may be: `response.act_within`, now {} min.",
        late.act_within_s.div_ceil(60)
    )));
    items
}

fn incident(incident: &ListedIncident) -> Vec<String> {
    let short = clean::value(&incident.id).chars().take(8).collect();
    vec![
        moment(incident.opened_at),
        incident.severity.to_string(),
        client(incident.client_id.as_ref()),
        incident
            .user_id
            .as_deref()
            .map_or_else(|| "-".to_owned(), clean::value),
        short,
        clean::value(&incident.summary),
    ]
}

fn client(client_id: Option<&Text>) -> String {
    client_id.map_or_else(|| "no client".to_owned(), |id| clean::value(id))
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
