//! What one user's life writes into: the events of the present hour, projected to what the source tells, and the truth.

use crate::model::{Event, EventType, Initiator, Outcome, Reason, Text, Timestamp};

use super::agents::Agents;
use super::context::Context;
use super::server::{ACCESS_TOKEN_TTL, App, Family, Restarts};
use super::settings::{Settings, Source};
use super::truth::{FamilyKey, Moment, Presented, Truth};

pub(super) struct Stage<'a> {
    pub settings: &'a Settings,
    pub names: &'a Names,
    /// Nothing is told of a time before; what came before has been given out.
    pub from: i64,
    /// The log ends here; what would come later is not told.
    pub end: i64,
    pub told: &'a mut Vec<Option<Moment>>,
    pub truth: &'a mut Truth,
}

/// Texts and facts that all events share.
pub(super) struct Names {
    pub agents: Agents,
    pub restarts: Restarts,
    nothing: Text,
    issuer: Text,
    tenant: Text,
    clients: Vec<Text>,
}

impl Names {
    pub(super) fn new(restarts: Restarts) -> Self {
        let client = |app: &App| Text::from(app.setting().client_id);
        Self {
            agents: Agents::new(),
            restarts,
            nothing: "".into(),
            issuer: "https://id.example".into(),
            tenant: "example".into(),
            clients: App::ALL.iter().map(client).collect(),
        }
    }
}

/// What the server writes down about one request or deed.
pub(super) struct Fact<'a> {
    pub at: i64,
    pub kind: EventType,
    pub refused: Option<(Reason, &'static str)>,
    pub user_id: Option<&'a Text>,
    pub app: Option<App>,
    pub family: Option<&'a Family>,
    pub presented: Option<Text>,
    pub issued: Option<Text>,
    pub context: Option<&'a Context>,
    pub initiator: Option<Initiator>,
    pub truth: Presented,
}

impl<'a> Fact<'a> {
    pub(super) fn new(at: i64, kind: EventType, truth: Presented) -> Self {
        Self {
            at,
            kind,
            refused: None,
            user_id: None,
            app: None,
            family: None,
            presented: None,
            issued: None,
            context: None,
            initiator: None,
            truth,
        }
    }

    pub(super) fn about(mut self, family: &'a Family) -> Self {
        self.app = Some(family.app);
        self.family = Some(family);
        self
    }
}

impl Stage<'_> {
    pub(super) fn source(&self) -> Source {
        self.settings.source
    }

    pub(super) fn tell(&mut self, fact: &Fact<'_>) {
        let at = fact.at.max(self.from);
        if at >= self.end {
            return;
        }
        let event = self.event(at, fact);
        self.told.push(Some(Moment {
            event,
            truth: fact.truth,
        }));
    }

    fn event(&self, at: i64, fact: &Fact<'_>) -> Event {
        let names = self.names;
        let outcome = if fact.refused.is_none() {
            Outcome::Success
        } else {
            Outcome::Failure
        };
        let time = Timestamp::from_millisecond(at).unwrap_or_default();
        let mut event = Event::new(
            names.nothing.clone(),
            time,
            fact.kind,
            outcome,
            names.issuer.clone(),
        );
        event.tenant = Some(names.tenant.clone());
        event.user_id = fact.user_id.cloned();
        event.client_id = fact
            .app
            .and_then(|app| names.clients.get(app as usize))
            .cloned();
        event.session_id = fact.family.map(|family| family.session_id.clone());
        event.family_id = fact
            .family
            .filter(|_| is_of_a_family(fact.kind))
            .map(|family| family.id.clone());
        event.token_id.clone_from(&fact.presented);
        event.access_token_ttl = fact
            .issued
            .as_ref()
            .or(fact.presented.as_ref())
            .map(|_| ACCESS_TOKEN_TTL);
        event.new_token_id.clone_from(&fact.issued);
        event.initiator = fact.initiator;
        if let Some((reason, text)) = fact.refused {
            event.reason = Some(reason);
            event.error = Some(text.into());
            event.access_token_ttl = None;
        }
        if let Some(context) = fact.context {
            event.ip_address = Some(context.address);
            event.user_agent = Some(names.agents.user_agent(context.agent));
            event.ja4 = Some(names.agents.ja4(context.agent));
            event.device_id.clone_from(&context.device);
        }
        project(&mut event, self.source());
        event
    }
}

fn is_of_a_family(kind: EventType) -> bool {
    matches!(
        kind,
        EventType::Issue | EventType::Refresh | EventType::Revoke
    )
}

/// Takes away what the source does not tell. The life is the same at every source.
fn project(event: &mut Event, source: Source) {
    if source < Source::Full {
        event.device_id = None;
        event.ja4 = None;
    }
    if source < Source::NoDevice {
        event.user_agent = None;
        event.family_id = None;
        if event.kind == EventType::Refresh && event.outcome == Outcome::Failure {
            event.user_id = None;
            // A token that cannot be read names nobody; one that has ended is not looked at any further.
            if matches!(event.reason, Some(Reason::UnknownToken | Reason::Expired)) {
                event.token_id = None;
                event.session_id = None;
            }
        }
    }
}

/// The id of a family's token. Sixteen hexadecimal digits that say nothing.
pub(super) fn token_id(seed: u64, key: FamilyKey, serial: u32) -> Text {
    let family = (u64::from(key.user) << 32) | u64::from(key.number);
    hex16(mixed(
        mixed(seed ^ mixed(family)).wrapping_add(serial.into()),
    ))
}

/// A text of sixteen hexadecimal digits, in one allocation.
pub(super) fn hex16(number: u64) -> Text {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0_u8; 16];
    for (at, digit) in digits.iter_mut().enumerate() {
        let nibble = (number >> (60 - 4 * at)) & 15;
        *digit = DIGITS[usize::try_from(nibble).unwrap_or(0)];
    }
    std::str::from_utf8(&digits).unwrap_or_default().into()
}

/// Spreads a number over all bits; no two numbers become one.
pub(super) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_by_seed_user_family_and_serial() {
        let id = |seed, user, number, serial| token_id(seed, FamilyKey { user, number }, serial);
        let all = [
            id(1, 1, 1, 1),
            id(2, 1, 1, 1),
            id(1, 2, 1, 1),
            id(1, 1, 2, 1),
            id(1, 1, 1, 2),
        ];
        let different: std::collections::BTreeSet<&Text> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(&*hex16(0x1a), "000000000000001a");
    }
}
