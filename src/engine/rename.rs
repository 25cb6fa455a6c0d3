//! Stage zero, at work only after a change of the token key: an id that is a keyed hash goes on under its first name.
//!
//! While two keys are configured, an event tells its hashes under both. What is known under the earlier hash keeps that
//! name for good: the later one becomes a link to it, so that the chain stays one, ids already given out stand, and
//! nothing of a family has to be rewritten. The links outlive the earlier key. A token that is unknown under both begins under
//! the later hash and needs no link; of users, sessions, families and devices it is not known where they are remembered,
//! and they are few beside tokens, so that these are linked whenever they are seen.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::key::{Key, Scope};
use super::resolve::Resolve;
use super::table::{Aged, Table};
use crate::model::{Enriched, Event, Rehashed, Text, limits};

#[derive(Debug, Clone)]
pub(super) struct Renamed {
    pub(super) links: Table<Link>,
    /// Nothing was ever linked: nearly always, and then nobody looks.
    pub(super) unused: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Link {
    first_name: Text,
    last_seen: i64,
    /// Stood in an event that the server accepted: what callers make up goes first.
    proven: bool,
}

impl Aged for Link {
    fn last_seen(&self) -> i64 {
        self.last_seen
    }

    fn provisional(&self) -> bool {
        !self.proven
    }
}

impl Renamed {
    pub(super) fn new() -> Self {
        Self {
            links: Table::new(limits::FAMILIES_MAX),
            unused: true,
        }
    }

    pub(super) fn cap(&mut self, families_max: usize) {
        self.links.cap(families_max);
    }

    /// The event with every id under the name by which it is known.
    pub(super) fn known_as<'a>(
        &mut self,
        event: &'a Enriched,
        resolve: &Resolve,
        time: i64,
    ) -> Cow<'a, Enriched> {
        for rehashed in &event.event.rehashed {
            self.link(&event.event, rehashed, resolve, time);
        }
        let mut links = ids(&event.event).into_iter().flatten();
        if self.unused || !links.any(|id| self.links.get(link_key(id)).is_some()) {
            return Cow::Borrowed(event);
        }
        let mut event = event.clone();
        for id in ids_mut(&mut event.event) {
            if let Some(first_name) = id.as_ref().and_then(|id| self.first_name(id, time)) {
                *id = Some(first_name);
            }
        }
        Cow::Owned(event)
    }

    fn link(&mut self, event: &Event, rehashed: &Rehashed, resolve: &Resolve, time: i64) {
        let Rehashed { now, before } = rehashed;
        if let Some(link) = self.links.get_mut(link_key(now)) {
            link.last_seen = link.last_seen.max(time);
            link.proven |= event.succeeded();
            return;
        }
        // The earlier key may itself have followed another.
        let first_name = self
            .first_name(before, time)
            .unwrap_or_else(|| before.clone());
        let scope = Scope::of(event);
        let knows = |name: &Text| resolve.knows(scope.token(name));
        let token = [&event.token_id, &event.new_token_id].contains(&&Some(now.clone()));
        let new = token && (knows(now) || !knows(&first_name));
        if new || first_name == *now {
            return;
        }
        self.unused = false;
        self.links.get_or_insert_with(link_key(now), || Link {
            first_name,
            last_seen: time,
            proven: event.succeeded(),
        });
    }

    fn first_name(&mut self, id: &Text, time: i64) -> Option<Text> {
        let link = self.links.get_mut(link_key(id))?;
        link.last_seen = link.last_seen.max(time);
        Some(link.first_name.clone())
    }
}

/// A keyed hash is the same in every member and for every issuer.
fn link_key(id: &Text) -> u64 {
    Key::new("renamed").with(id).hash()
}

/// The members that can be keyed hashes.
fn ids(event: &Event) -> [Option<&Text>; 7] {
    [
        event.token_id.as_ref(),
        event.new_token_id.as_ref(),
        event.family_id.as_ref(),
        event.session_id.as_ref(),
        event.user_id.as_ref(),
        event.device_id.as_ref(),
        event.key_thumbprint.as_ref(),
    ]
}

fn ids_mut(event: &mut Event) -> [&mut Option<Text>; 7] {
    [
        &mut event.token_id,
        &mut event.new_token_id,
        &mut event.family_id,
        &mut event.session_id,
        &mut event.user_id,
        &mut event.device_id,
        &mut event.key_thumbprint,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Client, Clients, Rotation};
    use crate::engine::parts::Part as _;
    use crate::engine::{Engine, Found};
    use crate::model::{EventType, Input, Outcome, Reason, Timestamp};

    fn engine() -> Engine {
        let rules = crate::rules::load(&[], &[]).expect("the shipped rules");
        let mut clients = Clients::default();
        clients.default = Client {
            rotation: Rotation::Enforced,
            ..clients.default
        };
        Engine::new(&rules, clients, limits::LATENESS_DEFAULT)
    }

    /// Which key hashes are made with, and which one hashed before it.
    type Keys = (&'static str, Option<&'static str>);

    /// A refresh of one device with real tokens, as a decoder gives it under these keys.
    fn refresh((now, before): Keys, second: i64, device: &str, tokens: [Option<&str>; 2]) -> Event {
        let time = Timestamp::from_second(1_795_000_000 + second).unwrap();
        let mut event = Event::new(
            format!("e{second}"),
            time,
            EventType::Refresh,
            Outcome::Success,
            "app",
        );
        let mut hash = |text: &str| -> Text {
            let hash: Text = format!("{now}({text})").into();
            event.rehashed.extend(before.map(|key| Rehashed {
                now: hash.clone(),
                before: format!("{key}({text})").into(),
            }));
            hash
        };
        let device = hash(device);
        let [token, new_token] = tokens.map(|token| token.map(&mut hash));
        event.client_id = Some("web".into());
        event.device_id = Some(device);
        (event.token_id, event.new_token_id) = (token, new_token);
        event
    }

    fn take(engine: &mut Engine, event: Event) -> Vec<Found> {
        let mut found = Vec::new();
        let event = Enriched {
            event,
            network: None,
            place: None,
            agent: None,
        };
        let input = Input::Event {
            partition: 0,
            event: Box::new(event),
            muted: false,
            arrived_at: None,
        };
        engine.apply(&input, &mut found);
        engine.apply(
            &Input::Tick {
                partition: 0,
                time: Timestamp::from_second(1_795_900_000).unwrap(),
            },
            &mut found,
        );
        found
    }

    /// As a restart: the memory alone goes over.
    fn restarted(engine: &Engine) -> Engine {
        let mut again = super::tests::engine();
        assert!(again.restore(&engine.snapshot()));
        again
    }

    fn thefts(found: &[Found]) -> Vec<&str> {
        found
            .iter()
            .map(|found| &*found.rule.name)
            .filter(|rule| *rule == "token-reuse")
            .collect()
    }

    fn refused(event: Event) -> Event {
        Event {
            outcome: Outcome::Failure,
            reason: Some(Reason::Other),
            ..event
        }
    }

    #[test]
    fn a_token_of_before_the_rotation_is_recognised_during_it_and_after() {
        const OLD: Keys = ("k1", None);
        const BOTH: Keys = ("k2", Some("k1"));
        const NEW: Keys = ("k2", None);
        const OTHER: Keys = ("k3", None);
        let mut engine = engine();
        take(
            &mut engine,
            refresh(OLD, 0, "phone", [Some("a"), Some("b")]),
        );
        take(
            &mut engine,
            refresh(OLD, 300, "phone", [Some("b"), Some("c")]),
        );
        let mut engine = restarted(&engine);
        // The same chain and device go on under the new key.
        let found = take(
            &mut engine,
            refresh(BOTH, 600, "phone", [Some("c"), Some("d")]),
        );
        assert_eq!(thefts(&found), [""; 0]);
        assert_eq!(engine.sizes().families, 1);
        // A key that the store has never seen would find nothing: the test can fail.
        let mut blind = restarted(&engine);
        let stolen = |keys| refused(refresh(keys, 900, "thief", [Some("b"), None]));
        assert_eq!(thefts(&take(&mut blind, stolen(OTHER))), [""; 0]);
        let mut during = restarted(&engine);
        let found = take(&mut during, stolen(BOTH));
        assert_eq!(thefts(&found), ["token-reuse"]);
        assert_eq!(found[0].detection.family_id.as_deref(), Some("k1(a)"));
        // Presented during the rotation, it is known afterwards too; and so is the device.
        let mut after = restarted(&engine);
        let found = take(
            &mut after,
            refused(refresh(NEW, 900, "thief", [Some("c"), None])),
        );
        assert_eq!(thefts(&found), ["token-reuse"]);
        let found = take(
            &mut after,
            refresh(NEW, 1200, "phone", [Some("d"), Some("e")]),
        );
        assert_eq!(thefts(&found), [""; 0]);
        assert_eq!(after.sizes().families, 1);
    }

    #[test]
    fn a_second_rotation_and_a_way_back_lead_to_the_same_names() {
        let mut engine = engine();
        take(
            &mut engine,
            refresh(("k1", None), 0, "phone", [Some("a"), Some("b")]),
        );
        take(
            &mut engine,
            refresh(("k2", Some("k1")), 300, "phone", [Some("b"), Some("c")]),
        );
        take(
            &mut engine,
            refresh(("k3", Some("k2")), 600, "phone", [Some("b"), Some("c")]),
        );
        take(
            &mut engine,
            refresh(("k2", Some("k3")), 900, "phone", [Some("b"), Some("c")]),
        );
        take(
            &mut engine,
            refresh(("k1", Some("k2")), 1200, "phone", [Some("b"), Some("c")]),
        );
        assert_eq!(engine.sizes().families, 1);
        // a, b, c, each once.
        assert_eq!(engine.sizes().tokens, 3);
    }

    #[test]
    fn tokens_first_seen_during_a_rotation_take_no_link() {
        let mut engine = engine();
        for second in 0..50 {
            let [token, next] = [second, second + 1].map(|number| format!("t{number}"));
            take(
                &mut engine,
                refresh(
                    ("k2", Some("k1")),
                    second,
                    "phone",
                    [Some(&token), Some(&next)],
                ),
            );
        }
        // One of the device.
        assert_eq!(engine.state.renamed.links.len(), 1);
    }
}
