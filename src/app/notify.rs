//! Sends a specimen to one receiver, for `notify test`: the same way as a real notification, with an incident made up.

use crate::actions::{Attempt, Revokers, Surroundings, notifier, specimen};
use crate::clock;
use crate::config::Receiver;
use crate::model::limits;

/// How the receiver's server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// It has taken the specimen.
    Accepted(String),
    /// It has not, or it cannot be asked.
    Refused(String),
}

/// Sends one specimen. No other server is asked, so names in it are made up too.
pub async fn send_specimen(receiver: &Receiver) -> Sent {
    let surroundings = Surroundings {
        now: clock::now,
        revokers: Revokers::default(),
    };
    let notifier = match notifier(receiver, surroundings) {
        Ok(notifier) => notifier,
        Err(why) => return Sent::Refused(why),
    };
    let now = clock::now();
    // Another id each time: mail programs fold what has the same one.
    let notification = specimen(&format!("specimen-{}", now.as_microsecond()), now);
    let sending = notifier.notify(&notification);
    match tokio::time::timeout(limits::NOTIFICATION_TIMEOUT, sending).await {
        Ok(Attempt::Done { detail, .. }) => Sent::Accepted(detail.to_string()),
        Ok(attempt) => Sent::Refused(attempt.reason().to_owned()),
        Err(_) => Sent::Refused(format!(
            "no answer within {} s",
            limits::NOTIFICATION_TIMEOUT.as_secs()
        )),
    }
}
