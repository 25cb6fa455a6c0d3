//! What a notification asks of its reader: each task with a command to copy, of this program where it can do it.
//!
//! Commands name ids of ours and words that mean themselves in a shell; whatever else comes from outside is never put
//! into one. The server's own command stands beside ours where the daemon has failed: somebody may have to go round it.

use serde::Serialize;

use crate::model::limits::MAIL_HELD_MAX;
use crate::model::{ActionKind, ActionRecord, ActionState, Subject};

use super::words::{self, Standing};
use super::{Asked, Notification, word};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Task {
    pub(super) text: String,
    pub(super) command: Option<String>,
}

impl Task {
    fn text(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            command: None,
        }
    }

    fn by(text: String, command: String) -> Self {
        Self {
            text,
            command: Some(command),
        }
    }
}

/// A command of this program that changes something, as its reader would type it.
pub(super) fn command(words: &str) -> String {
    format!("tokenwarden {words} --note \"...\" --token-file me.token")
}

/// What there is to do, the most urgent first.
pub(super) fn to_do(notification: &Notification, asked: &Asked, standing: Standing) -> Vec<Task> {
    let mut tasks = Vec::new();
    for record in &notification.actions {
        tasks.extend(by_hand(record, asked));
    }
    tasks.extend(held(notification));
    match standing {
        Standing::Answered => tasks.push(Task::text(
            "Nothing now: what the events show is watched for a day, and you are told again only if the login lives on.",
        )),
        Standing::Contained => tasks.push(Task::text(
            "Nothing more needs to be ended. Access tokens issued before may work until they expire; ask the user and find out how the token got out.",
        )),
        Standing::Specimen => tasks.push(Task::text("Nothing: this mail only shows that mails arrive.")),
        Standing::UnderWay if tasks.is_empty() => tasks.push(Task::text(
            "Nothing yet: it is tried on for a quarter of an hour, and you are told again only if it fails.",
        )),
        _ if tasks.is_empty() => tasks.push(decide(notification, asked)),
        _ => {}
    }
    tasks.extend(offered(notification));
    if matches!(standing, Standing::Waiting | Standing::Failed) {
        tasks.extend(take_on(notification));
    }
    tasks
}

/// Nobody but the reader does what failed, or what the daemon may only watch.
fn by_hand(record: &ActionRecord, asked: &Asked) -> Vec<Task> {
    let (id, state, kind) = (&record.action.id, record.state, record.action.kind);
    let is_over = matches!(
        state,
        ActionState::Parked | ActionState::Expired | ActionState::Suppressed
    );
    let to_do = words::to_do(kind);
    let mut tasks = Vec::new();
    if let Some(id) = word(id).filter(|_| state == ActionState::Parked) {
        let retry = command(&format!("actions retry {id}"));
        tasks.push(Task::by(
            format!("To try once more to {to_do}, when the cause is mended:"),
            retry,
        ));
    }
    let at_the_server = asked.by_hand.iter().find(|(of, _)| of == id);
    if let Some((_, command)) = at_the_server.filter(|_| is_over) {
        tasks.push(Task::by(format!("To {to_do} by hand:"), command.clone()));
    } else if matches!(state, ActionState::Parked | ActionState::Expired) && kind.ends_something() {
        tasks.push(Task::text(&format!(
            "To {to_do} by hand at the authorization server: it is still alive."
        )));
    }
    tasks
}

/// What waits is for a person to let go or not; of many, the reader looks at the list first.
fn held(notification: &Notification) -> Vec<Task> {
    let records = notification.actions.iter();
    let held: Vec<&ActionRecord> = records
        .filter(|record| record.state == ActionState::Held)
        .collect();
    let (Some(first), Some(incident)) = (held.first(), word(&notification.incident.id)) else {
        return Vec::new();
    };
    let ids: Vec<&str> = held.iter().filter_map(|it| word(&it.action.id)).collect();
    if held.len() > MAIL_HELD_MAX || ids.len() < held.len() {
        let list = format!(
            "tokenwarden actions list --state held --incident {incident} --token-file me.token"
        );
        let text = format!(
            "Nothing of what waits happens by itself. Look at whom it would end ({} here), then approve or refuse each by its id:",
            held.len()
        );
        let one = word(&first.action.id).unwrap_or("ID");
        return vec![
            Task::by(text, list),
            Task::by(
                "To let one of them go:".to_owned(),
                command(&format!("actions approve {one}")),
            ),
        ];
    }
    let approve = |(record, id): (&&ActionRecord, &str)| {
        Task::by(
            format!(
                "To {}; or not, with `refuse` in place of `approve`:",
                words::to_do(record.action.kind)
            ),
            command(&format!("actions approve {id}")),
        )
    };
    held.iter().zip(ids).map(approve).collect()
}

/// What the reader may have done besides.
fn offered(notification: &Notification) -> Vec<Task> {
    let records = notification.actions.iter();
    let offered = records.filter(|record| record.state == ActionState::Offered);
    let tasks = offered.filter_map(|record| {
        let id = word(&record.action.id)?;
        let text = format!(
            "If the account itself may be in other hands: to {}{}. Within the hour:",
            words::to_do(record.action.kind),
            what_it_means(record.action.kind)
        );
        Some(Task::by(text, command(&format!("actions approve {id}"))))
    });
    tasks.collect()
}

fn what_it_means(kind: ActionKind) -> &'static str {
    match kind {
        ActionKind::LockUser => {
            ", which disables the account and ends every session, offline ones too"
        }
        ActionKind::RevokeUser => ", in every client and offline ones too",
        _ => "",
    }
}

fn take_on(notification: &Notification) -> Option<Task> {
    let id = word(&notification.incident.id)?;
    Some(Task::by(
        "To take it on, so that nobody is reminded of it:".to_owned(),
        command(&format!("incidents ack {id}")),
    ))
}

/// Nothing was ended, and perhaps nothing has to be: that is for the reader.
fn decide(notification: &Notification, asked: &Asked) -> Task {
    let Notification {
        action, incident, ..
    } = notification;
    let knows_user = action.target.user_id.is_some() || incident.user_id.is_some();
    if let Some(command) = &asked.to_end {
        let ask = if knows_user {
            "Decide by what stands above; where it hangs on the user, ask them. To end the login:"
        } else {
            "Decide by what stands above, and by who and where below. To end the login:"
        };
        return Task::by(ask.to_owned(), command.clone());
    }
    Task::text(match incident.subject {
        Subject::Family(_) | Subject::User(_) if knows_user => {
            "Decide by what stands above; where it hangs on the user, ask them. What has to end, end at the authorization server."
        }
        Subject::Family(_) | Subject::User(_) => {
            "Decide by what stands above, and by who and where below. What has to end, end at the authorization server."
        }
        Subject::Client(_) | Subject::Network(_) | Subject::Key(_) => {
            "No one user is meant: decide by what stands above."
        }
    })
}
