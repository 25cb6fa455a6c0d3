//! Ten incidents as people are told of them: the same for mails and for what services are sent.

use tokenwarden::actions::{Notification, Remark, RuleNote, specimen};
use tokenwarden::model::{
    ActionKind, ActionState, Evidence, IncidentState, Severity, Subject, Timestamp, Value,
};

/// What hostile clients call themselves.
pub(crate) const HOSTILE: &str = "x\r\nBcc: thief@evil.example\r\n\r\n<script>alert(1)</script>\"'>`*_~<!channel>&amp;\u{1b}[2J\u{202e}http://evil.example/ {{ 7*6007 }}";

pub(crate) fn now() -> Timestamp {
    "2026-11-20T10:20:07Z".parse().unwrap()
}

/// All of them, by name.
pub(crate) fn all() -> Vec<(&'static str, Notification)> {
    vec![
        ("contained", offered()),
        ("under_way", with_state(ActionState::Ready, None)),
        ("failed", failed()),
        ("waits", waits()),
        ("alert", alert()),
        ("graver", graver()),
        ("reminder", reminder()),
        ("stand_in", stand_in()),
        ("storm", storm()),
        ("hostile", hostile()),
    ]
}

/// A theft whose family has been revoked.
pub(crate) fn contained() -> Notification {
    let mut story = specimen("n1", now());
    story.specimen = false;
    story.incident.id = "5f0c9a0e77aa41b2".into();
    story.rules[0].runbook = Some("https://wiki.example.com/runbooks/token-reuse".into());
    story.actions[0].outcome = Some(
        "online session 5f0c9a0e deleted, and with it the sessions of the clients web, app".into(),
    );
    story
}

/// The same, and the account may be locked as well.
fn offered() -> Notification {
    let mut story = contained();
    let mut lock = story.actions[0].clone();
    (lock.state, lock.attempts) = (ActionState::Offered, 0);
    (lock.finished_at, lock.outcome) = (None, None);
    lock.action.kind = ActionKind::LockUser;
    lock.action.id = "9b1f3c5d77aa41b2".into();
    story.actions.push(lock);
    story
}

fn with_state(state: ActionState, outcome: Option<&str>) -> Notification {
    let mut story = contained();
    story.incident.state = IncidentState::Open;
    let record = &mut story.actions[0];
    (record.state, record.outcome) = (state, outcome.map(Into::into));
    record.finished_at = None;
    story
}

/// The server lets us do nothing.
pub(crate) fn failed() -> Notification {
    let why =
        "403 Forbidden: the service account lacks the role `manage-users` of realm-management";
    with_state(ActionState::Parked, Some(why))
}

/// The budget is used up.
fn waits() -> Notification {
    let mut story = with_state(ActionState::Held, None);
    story.actions[0].action.reason = "budget of client web used up: 20 in 10 min".into();
    story
}

/// Something to know, and nothing that had to end.
fn alert() -> Notification {
    let mut story = contained();
    story.incident.state = IncidentState::Open;
    story.incident.severity = Severity::Medium;
    story.incident.summary = "60 refreshes within 5 min, far more than expected".into();
    story.actions.clear();
    let found = &mut story.detections[0];
    (found.rule, found.severity) = ("refresh-velocity".into(), Severity::Medium);
    found.summary = story.incident.summary.clone();
    found.evidence = Evidence::new()
        .with("refreshes", 61)
        .with("limit", 60)
        .with("window_seconds", 300);
    story.action.rule = "refresh-velocity".into();
    story.rules = vec![RuleNote {
        rule: "refresh-velocity".into(),
        description: "A family refreshes far more often than its access tokens expire.".into(),
        runbook: None,
    }];
    story
}

/// Velocity was told; now it is a theft.
fn graver() -> Notification {
    let mut story = contained();
    story.detections.insert(0, alert().detections.remove(0));
    story.action.reason = "it has become critical".into();
    story
}

fn reminder() -> Notification {
    let mut story = waits();
    story.remarks = vec![Remark::Again];
    story
}

fn stand_in() -> Notification {
    let mut story = failed();
    story.remarks = vec![
        Remark::InPlaceOf {
            receiver: "pager".into(),
            why: "pagerduty pager: events.pagerduty.com answered 400: Invalid routing key".into(),
        },
        Remark::HeldBack { incidents: 3 },
        Remark::LastForNow { per_hour_max: 60 },
    ];
    story
}

/// Many people of one client at once, more than the budget allows to end.
fn storm() -> Notification {
    let mut story = contained();
    story.incident.subject = Subject::Client("sso/corp/web".into());
    story.incident.state = IncidentState::Open;
    story.incident.user_id = None;
    story.incident.detections = 5000;
    story.incident.summary =
        "Consumed refresh tokens of 5000 families of client web were presented again".into();
    story.action.target.user_id = None;
    let done = story.actions[0].clone();
    let mut held = done.clone();
    held.state = ActionState::Held;
    held.finished_at = None;
    held.action.id = "held".into();
    held.action.reason = "budget of client web used up: 20 in 10 min".into();
    let mut lock = held.clone();
    (lock.action.id, lock.action.kind) = ("lock".into(), ActionKind::LockUser);
    story.actions = vec![done, held, lock];
    story
}

/// Whatever comes from outside is the attacker's.
pub(crate) fn hostile() -> Notification {
    let mut story = with_state(ActionState::Parked, Some(HOSTILE));
    story.action.target.user_id = Some(HOSTILE.into());
    story.action.target.client_id = Some(HOSTILE.into());
    story.action.target.tenant = Some(HOSTILE.into());
    story.incident.summary = HOSTILE.into();
    story.incident.user_id = Some(HOSTILE.replace('x', "y").into());
    story.incident.client_id = Some(HOSTILE.into());
    story.incident.tenant = Some(HOSTILE.into());
    story.remarks = vec![Remark::InPlaceOf {
        receiver: "pager".into(),
        why: HOSTILE.into(),
    }];
    let found = &mut story.detections[0];
    found.summary = HOSTILE.into();
    found.evidence = Evidence::new()
        .with(HOSTILE, HOSTILE)
        .with("owner", Evidence::new().with("agent", HOSTILE))
        .with("thief", Evidence::new().with(HOSTILE, "y"))
        .with(
            "timeline",
            vec![Value::Map(Evidence::new().with("agent", HOSTILE))],
        );
    story
}

/// As long as rules and servers can make it.
pub(crate) fn huge() -> Notification {
    let mut story = hostile();
    let long = HOSTILE.repeat(20);
    let rows: Vec<Value> = (0..50)
        .map(|_| Value::Map(Evidence::new().with("agent", long.as_str())))
        .collect();
    let mut evidence = Evidence::new().with("timeline", rows);
    for n in 0..100 {
        evidence = evidence.with(format!("fact {n} {long}").as_str(), long.as_str());
    }
    story.detections[0].evidence = evidence;
    story.detections = vec![story.detections[0].clone(); 20];
    let mut record = story.actions[0].clone();
    record.outcome = Some(long.into());
    story.actions = (0..300)
        .map(|n| {
            let mut record = record.clone();
            record.action.id = format!("a{n}").into();
            record.outcome = Some(format!("{n} {}", HOSTILE.repeat(100)).into());
            record
        })
        .collect();
    story
}
