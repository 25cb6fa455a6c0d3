//! What must hold at the end of a world in which everything failed.
//!
//! Every action ended exactly once, and as done only when that was shown (O3, O6); no two tries overlapped but for a lease that
//! ran out (O5); nothing went beyond its budget (S5), and nobody was touched who never may be; a login that lived on was ended
//! once more, then all of its user's; of every incident somebody was told or is about to see that nobody could be; nobody was
//! told the same twice; and no target was asked more than it may be, or while it failed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokenwarden::model::{
    Action, ActionKind, ActionRecord, ActionState, Decision, NoEffect, OwnEvent, OwnEventKind,
    ShownBy, Text, Timestamp, limits,
};

use super::outbox::{ACT_WITHIN, BUDGET, World};
use super::servers::Answer;
use super::targets::Watchman;

/// How long nobody is told the same again, less what the clock may go back.
const SAME_AGAIN: Duration = Duration::from_mins(4 * 60 - 10);

/// Budgets count what was begun in so long.
const WINDOW: Duration = Duration::from_mins(10);

/// So long a revocation is surely watched: a minute less than it is meant to be.
const WATCHED: Duration = Duration::from_mins(24 * 60 - 1);

/// What the own events tell of.
#[derive(Default)]
struct Told {
    ends: BTreeMap<Text, Vec<OwnEventKind>>,
    without_effect: Vec<NoEffect>,
}

pub(crate) async fn of(world: &World) -> Vec<String> {
    let actions = world.actions().await;
    let mut told = Told::default();
    for row in world.own_events(0).await {
        if let Ok(failed) = serde_json::from_slice::<NoEffect>(&row.payload) {
            told.without_effect.push(failed);
        } else if let Ok(event) = serde_json::from_slice::<OwnEvent>(&row.payload) {
            told.ends
                .entry(event.action_id)
                .or_default()
                .push(event.kind);
        }
    }
    let mut faults = Vec::new();
    for record in &actions {
        faults.extend(end(world, record, &told));
        faults.extend(verified(world, record));
    }
    let lived_on = told.without_effect.iter();
    faults.extend(lived_on.filter_map(|failed| stepped_up(failed, &actions)));
    faults.extend(world.servers.overlaps.lock().expect("overlaps").clone());
    faults.extend(world.servers.watchmen.values().flat_map(Watchman::faults));
    faults.extend(budgets(world));
    faults.extend(too_late(world));
    faults.extend(untouched(world));
    faults.extend(somebody_was_told(world, &actions));
    faults.extend(nobody_was_told_the_same(world));
    faults
}

/// The own events tell of an end exactly where there was one; a person who has it tried again, and a login that lived on, has
/// one more of them.
fn end(world: &World, record: &ActionRecord, told: &Told) -> Option<String> {
    let id = &record.action.id;
    let ends = told.ends.get(id).map_or(&[][..], Vec::as_slice);
    let count = |kind: OwnEventKind| ends.iter().filter(|it| **it == kind).count();
    let (done, parked) = (count(OwnEventKind::Done), count(OwnEventKind::Parked));
    let answers = answers(world, id);
    let again = answers
        .iter()
        .filter(|it| {
            let used = world
                .logins
                .lived_on(&record.action, it.at, None, &BTreeMap::new());
            used.is_some()
        })
        .count();
    let by_hand = usize::from(world.approved.contains(id));
    let given_up = told
        .without_effect
        .iter()
        .filter(|it| it.no_effect.id == *id)
        .count();
    let fits = match record.state {
        ActionState::Done => done >= 1,
        ActionState::Parked => parked + given_up >= 1,
        // Once more it may wait for a person who does not come.
        ActionState::Suppressed | ActionState::Expired => done == 0 || again > 0,
        _ => false,
    };
    let is_once = given_up <= again / 2 && done <= 1 + again && (parked <= 1 || by_hand > 0);
    let kind = record.action.kind;
    let is_ours = !matches!(kind, ActionKind::Notify | ActionKind::Review);
    if record.state == ActionState::Done && is_ours && answers.is_empty() {
        return Some(format!("{kind} {id} counts as done and was never done"));
    }
    (!fits || !is_once).then(|| {
        let state = record.state;
        format!("{kind} {id} is {state}, told {ends:?}, given up {given_up} times")
    })
}

fn answers(world: &World, action: &Text) -> Vec<Answer> {
    let answers = world.servers.answers.lock().expect("answers");
    let of_action = answers.iter().filter(|it| it.action == *action);
    of_action.cloned().collect()
}

/// Done is what was shown to be done, and was not used after that.
fn verified(world: &World, record: &ActionRecord) -> Option<String> {
    let (action, id) = (&record.action, &record.action.id);
    if record.state != ActionState::Done || !action.kind.ends_something() {
        return None;
    }
    let fault = |what: &str| Some(format!("{} {id} is done, {what}", action.kind));
    let Some((verified, finished)) = record.verified.zip(record.finished_at) else {
        return fault("and nothing has shown it");
    };
    let answers = answers(world, id);
    // The clock may have been set back meanwhile.
    let begun = world.servers.begun.lock().expect("begun");
    let begun = begun.iter().filter(|deed| deed.action.id == *id);
    let times = begun.map(|deed| deed.at);
    let first = times.chain(answers.iter().map(|it| it.at)).min()?;
    let since = first - limits::REVOCATION_PROPAGATES - Duration::from_mins(1);
    let (told, refused) = world.logins.shown(action, since);
    let is_shown = match verified.by {
        ShownBy::Check => answers.iter().any(|it| it.checked),
        ShownBy::Event => told,
        ShownBy::Refusal => refused,
        ShownBy::Silence => verified.at >= finished + limits::VERIFY_FOR,
    };
    if !is_shown {
        return fault(&format!(
            "and {:?} has not shown it at {}: answered at {finished}, of {answers:?}; {}",
            verified.by,
            verified.at,
            world.logins.story(action)
        ));
    }
    let before = &answers.last()?.uses;
    let used = world
        .logins
        .lived_on(action, finished, Some(WATCHED), before)?;
    fault(&format!(
        "answered at {finished}, and was used at {used} (shown by {:?} at {}), of {answers:?}; {}",
        verified.by,
        verified.at,
        world.logins.story(action)
    ))
}

/// Twice without effect: people are told, and all sessions of the user are next.
fn stepped_up(failed: &NoEffect, actions: &[ActionRecord]) -> Option<String> {
    let revocation = &failed.no_effect;
    let of_incident = || {
        let those = actions.iter().map(|it| &it.action);
        those.filter(|it| it.incident_id == revocation.incident_id)
    };
    let is_told = of_incident().any(|it| {
        it.kind == ActionKind::Notify
            && it.decision == Decision::Execute
            && it.reason.starts_with(NoEffect::LIVES_ON)
    });
    let is_next = revocation.kind != ActionKind::RevokeFamily
        || of_incident().any(|it| {
            it.kind == ActionKind::RevokeUser && it.target.user_id == revocation.target.user_id
        });
    (!is_told || !is_next).then(|| {
        format!(
            "{} {} had no effect twice: told {is_told}, stepped up {is_next}",
            revocation.kind, revocation.id
        )
    })
}

/// First calls of what nobody approved, in any ten minutes of wall time; what a use showed to be needed once more is called
/// first again. Of one person only a few are charged to all.
fn budgets(world: &World) -> Vec<String> {
    let begun = world.servers.begun.lock().expect("begun");
    let mut first: BTreeMap<(&Text, Timestamp), (Timestamp, Duration, &Action)> = BTreeMap::new();
    for deed in begun.iter() {
        let action = &deed.action;
        if !world.approved.contains(&action.id) {
            let need = (&action.id, action.event_time);
            first.entry(need).or_insert((deed.at, deed.passed, action));
        }
    }
    let mut faults = Vec::new();
    for (from, passed, action) in first.values() {
        let to = *from + WINDOW;
        // Where the clock was set back, the same ten minutes come again.
        let is_near = |at: &Duration| at.abs_diff(*passed) < WINDOW;
        let target = &action.target;
        let charged = |is_of: &dyn Fn(&Action) -> bool| {
            let within = (first.values())
                .filter(|(at, passed, _)| at >= from && *at < to && is_near(passed));
            let mut people: BTreeMap<&Option<Text>, usize> = BTreeMap::new();
            for (_, _, it) in within.filter(|(_, _, it)| is_of(it)) {
                *people.entry(&it.target.user_id).or_default() += 1;
            }
            let most = limits::ACTIONS_SHARED_PER_PERSON;
            people.values().map(|it| most.min(*it)).sum::<usize>()
        };
        let is_of_tenant = |it: &Action| it.target.tenant == target.tenant;
        let is_of_client =
            |it: &Action| is_of_tenant(it) && it.target.client_id == target.client_id;
        for (whose, number, most) in [
            ("a client", charged(&is_of_client), BUDGET.per_client),
            ("a tenant", charged(&is_of_tenant), BUDGET.per_tenant),
            ("all", charged(&|_| true), BUDGET.global),
        ] {
            if number > most as usize {
                faults.push(format!(
                    "{number} calls of {whose} within 10 min from {from}"
                ));
            }
        }
    }
    faults
}

/// What nobody approved is not begun when its cause has long been over.
fn too_late(world: &World) -> Vec<String> {
    let begun = world.servers.begun.lock().expect("begun");
    let mut seen = BTreeSet::new();
    let first = begun.iter().filter(|it| seen.insert(&it.action.id));
    let late = first.filter(|it| {
        let id = &it.action.id;
        !world.approved.contains(id) && it.at > it.action.event_time + ACT_WITHIN
    });
    late.map(|it| format!("{} {} comes too late", it.action.kind, it.action.id))
        .collect()
}

fn untouched(world: &World) -> Vec<String> {
    let begun = world.servers.begun.lock().expect("begun");
    let touched = begun.iter().enumerate().filter(|(call, it)| {
        let user = it.action.target.user_id.as_ref();
        let since = user.and_then(|user| world.forbidden.get(user));
        since.is_some_and(|since| call >= since)
    });
    touched
        .map(|(_, it)| {
            let (kind, id) = (it.action.kind, &it.action.id);
            format!("{kind} {id} was asked for somebody never to be acted on")
        })
        .collect()
}

/// By a message, in a summary of what came too late, or visibly not: the notice was given up and says why.
fn somebody_was_told(world: &World, actions: &[ActionRecord]) -> Vec<String> {
    let told = world.servers.told.lock().expect("told");
    let told: BTreeSet<&Text> = told.iter().map(|it| &it.incident).collect();
    let is_told = |incident: &Text| {
        let notices = actions.iter().filter(|it| {
            it.action.kind == ActionKind::Notify
                && it.action.decision == Decision::Execute
                && it.action.incident_id == *incident
        });
        let mut notices = notices.peekable();
        notices.peek().is_some()
            && (told.contains(incident)
                || notices.any(|it| {
                    let summed_up = world.servers.summed_up.load(Ordering::SeqCst) > 0;
                    it.state == ActionState::Parked || (summed_up && it.state != ActionState::Done)
                }))
    };
    let untold = world.incidents.iter().filter(|incident| !is_told(incident));
    untold
        .map(|incident| format!("nobody was told of incident {incident}"))
        .collect()
}

/// Two messages of one incident say different things, unless people are reminded after hours; and none comes twice. When people
/// were last told counts by who took a message first: a receiver that took it late may hear the same again.
fn nobody_was_told_the_same(world: &World) -> Vec<String> {
    let told = world.servers.told.lock().expect("told");
    let mut faults = Vec::new();
    let heard: Vec<_> = told.iter().filter(|it| it.heard).collect();
    // The daemon may have heard of one that came while its clock went on.
    let is_first = |one: &super::servers::Told| {
        let mut earlier = told.iter().filter(|it| it.id == one.id);
        !earlier.any(|it| it.at + Duration::from_secs(2) < one.at)
    };
    for (n, one) in heard.iter().enumerate() {
        let mut before = heard
            .iter()
            .take(n)
            .filter(|it| it.receiver == one.receiver);
        let same = before.find(|it| {
            (it.id == one.id && it.stalls == one.stalls)
                || (it.id != one.id
                    && is_first(it)
                    && it.incident == one.incident
                    && it.said == one.said
                    && one.at < it.at + SAME_AGAIN)
        });
        if let Some(same) = same {
            let receiver = &one.receiver;
            let story = told.iter().filter(|it| it.incident == one.incident);
            let story: Vec<String> = story.map(ToString::to_string).collect();
            faults.push(format!(
                "{receiver} was told the same by {} at {} and {} at {}: {}; of it were told:\n    {}",
                same.id, same.at, one.id, one.at, one.said, story.join("\n    ")
            ));
        }
    }
    faults
}
