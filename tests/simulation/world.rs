//! A small world made from a seed: families of tokens, their owners, thieves, and servers that answer well or badly.
//!
//! It knows nothing of the daemon: it only produces what a server would have recorded, event by event, in true order.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use tokenwarden::enrich::{Enricher, Tables, TablesParams};
use tokenwarden::model::{Enriched, Event, EventType, Initiator, Outcome, Reason, Text, Timestamp};
use tokenwarden::simulate::Random;
use tokenwarden::simulate::places::{WORLD, write_city_asn};

/// What happened, in order of event time; no two events of the world share a millisecond.
pub(crate) struct World {
    pub(crate) events: Vec<Happening>,
}

#[derive(Clone)]
pub(crate) struct Happening {
    /// Which family it belongs to; none for what cannot be tied to one.
    pub(crate) family: Option<usize>,
    pub(crate) event: Enriched,
}

impl Happening {
    pub(crate) fn time(&self) -> i64 {
        self.event.event.time.as_millisecond()
    }
}

const START: i64 = 1_795_000_000_000;
/// Pauses between two doings, in milliseconds: the edges of every time that a rule knows, and what lies between.
const PAUSES: &[i64] = &[
    40, 150, 300, 900, 2_500, 8_000, 29_000, 33_000, 120_000, 290_000, 540_000, 660_000, 1_500_000,
    1_900_000, 4_000_000, 21_000_000,
];

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut enricher = Enricher::new(tables(random.below(3) > 0));
        let mut events: Vec<(Option<usize>, Event)> = Vec::new();
        for family in 0..1 + random.below(4) as usize {
            let story = Story::new(&mut random, family).play();
            events.extend(
                story
                    .into_iter()
                    .map(|(own, event)| (own.then_some(family), event)),
            );
        }
        events.sort_by(|(_, a), (_, b)| (a.time, &a.event_id).cmp(&(b.time, &b.event_id)));
        let mut last = i64::MIN;
        let events = events
            .into_iter()
            .enumerate()
            .map(|(n, (family, mut event))| {
                last = event.time.as_millisecond().max(last + 1);
                event.time = Timestamp::from_millisecond(last).unwrap();
                event.event_id = format!("e{n}").into();
                Happening {
                    family,
                    event: enricher.enrich(event),
                }
            })
            .collect();
        Self { events }
    }
}

fn tables(located: bool) -> Arc<Tables> {
    static LOCATED: OnceLock<Arc<Tables>> = OnceLock::new();
    if !located {
        return Arc::default();
    }
    let load = || {
        let folder = tempfile::tempdir().unwrap();
        let files = write_city_asn(folder.path(), WORLD, Timestamp::UNIX_EPOCH).unwrap();
        let params = TablesParams {
            files,
            ..TablesParams::default()
        };
        Arc::new(Tables::load(&params).0)
    };
    Arc::clone(LOCATED.get_or_init(load))
}

/// How the server treats a token that was used before.
#[derive(Clone, Copy, PartialEq)]
enum Policy {
    Refuse,
    /// Refuses, and everything of the family afterwards.
    CutChain,
    /// Takes the direct predecessor for 30 s.
    Grace,
    /// Takes everything.
    Broken,
}

/// How the source names a family.
#[derive(Clone, Copy, PartialEq)]
enum Naming {
    Family,
    Chain,
    ChainInSession,
}

#[derive(Clone)]
struct Who {
    address: Option<&'static str>,
    agent: Option<&'static str>,
    device: Option<Text>,
    key: Option<Text>,
    client: Text,
}

/// Somebody with a copy of a token.
struct Holder {
    who: Who,
    token: usize,
}

struct Token {
    /// When it was used first, and from which on its successor was known.
    used: Option<i64>,
    successor_used: bool,
}

/// One family's life.
struct Story<'a> {
    random: &'a mut Random,
    family: usize,
    policy: Policy,
    naming: Naming,
    user: Text,
    reuse_reason: Option<Reason>,
    now: i64,
    tokens: Vec<Token>,
    parent: Vec<Option<usize>>,
    holders: Vec<Holder>,
    /// Refused from now on, whatever is presented.
    ended: Option<Reason>,
    told: Vec<(bool, Event)>,
}

const HOMES: &[&str] = &["192.0.2.10", "192.0.2.130", "203.0.113.5", "2001:db8:1::5"];
const ELSEWHERE: &[&str] = &[
    "192.0.2.70",
    "198.51.100.20",
    "198.51.100.70",
    "198.51.100.130",
    "203.0.113.130",
    "192.0.2.11",
    "203.0.113.70",
];
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
const LIBRARY: &str = "python-requests/2.32.3";

impl<'a> Story<'a> {
    fn new(random: &'a mut Random, family: usize) -> Self {
        let policies = [
            Policy::Refuse,
            Policy::CutChain,
            Policy::Grace,
            Policy::Broken,
        ];
        let namings = [Naming::Family, Naming::Chain, Naming::ChainInSession];
        let reasons = [
            Some(Reason::Reuse),
            Some(Reason::Other),
            Some(Reason::UnknownToken),
            Some(Reason::Revoked),
            None,
        ];
        let clients: &[&str] = &["web", "lax"];
        let carries = random.below(16);
        let who = Who {
            address: (random.below(12) > 0).then(|| *random.pick(HOMES)),
            agent: (carries & 1 > 0).then_some(BROWSER),
            device: (carries & 2 > 0).then(|| format!("device of {family}").into()),
            key: (carries & 12 == 12).then(|| format!("key of {family}").into()),
            client: (*random.pick(clients)).into(),
        };
        Self {
            policy: *random.pick(&policies),
            naming: *random.pick(&namings),
            user: format!("u{}", random.below(3)).into(),
            reuse_reason: *random.pick(&reasons),
            now: START + i64::from(random.below(600_000)),
            tokens: Vec::new(),
            parent: Vec::new(),
            holders: vec![Holder { who, token: 0 }],
            ended: None,
            told: Vec::new(),
            family,
            random,
        }
    }

    fn play(mut self) -> Vec<(bool, Event)> {
        self.issue();
        for _ in 0..2 + self.random.below(14) {
            self.now += *self.random.pick(PAUSES);
            match self.random.below(22) {
                0..=5 => self.refresh(0),
                6 | 7 => self.two_tabs(),
                8 | 9 => self.lost_answer(),
                10 => {
                    self.holders[0].who.address = self.holders[0]
                        .who
                        .address
                        .map(|_| *self.random.pick(HOMES))
                }
                11 => {
                    self.holders[0].who.address = self.holders[0]
                        .who
                        .address
                        .map(|_| *self.random.pick(ELSEWHERE))
                }
                12 | 13 => self.steal(),
                14..=16 => self.thief_refreshes(),
                17 => self.end(),
                18 => self.other_client(),
                19 | 20 => self.new_phone(),
                _ => self.garbage(),
            }
        }
        self.told
    }

    fn issue(&mut self) {
        self.make_token(None);
        let mut event = self.event(
            EventType::Issue,
            Outcome::Success,
            &self.holders[0].who.clone(),
        );
        event.new_token_id = Some(self.name(0));
        event.user_id = Some(self.user.clone());
        self.told.push((true, event));
    }

    fn make_token(&mut self, parent: Option<usize>) -> usize {
        self.tokens.push(Token {
            used: None,
            successor_used: false,
        });
        self.parent.push(parent);
        self.tokens.len() - 1
    }

    fn name(&self, token: usize) -> Text {
        format!("f{}t{token}", self.family).into()
    }

    fn event(&self, kind: EventType, outcome: Outcome, who: &Who) -> Event {
        let mut event = Event::new(
            "",
            Timestamp::from_millisecond(self.now).unwrap(),
            kind,
            outcome,
            "server",
        );
        event.client_id = Some(who.client.clone());
        event.ip_address = who.address.map(|a| a.parse::<IpAddr>().unwrap());
        event.user_agent = who.agent.map(Into::into);
        event.device_id.clone_from(&who.device);
        event.key_thumbprint.clone_from(&who.key);
        match self.naming {
            Naming::Family => event.family_id = Some(format!("family {}", self.family).into()),
            Naming::Chain => {}
            Naming::ChainInSession => {
                event.session_id = Some(format!("session {}", self.family).into())
            }
        }
        event
    }

    /// The server answers; gives the successor if it was accepted.
    fn present(&mut self, token: usize, who: &Who) -> Option<usize> {
        let refusal = self.refusal(token);
        let outcome = if refusal.is_some() {
            Outcome::Failure
        } else {
            Outcome::Success
        };
        let mut event = self.event(EventType::Refresh, outcome, who);
        event.token_id = Some(self.name(token));
        let issued = if let Some(reason) = refusal {
            event.reason = reason;
            None
        } else {
            if let Some(parent) = self.parent[token] {
                self.tokens[parent].successor_used = true;
            }
            self.tokens[token].used.get_or_insert(self.now);
            let issued = self.make_token(Some(token));
            event.new_token_id = Some(self.name(issued));
            event.user_id = Some(self.user.clone());
            Some(issued)
        };
        self.told.push((true, event));
        issued
    }

    /// Why the server refuses the token now, if it does.
    fn refusal(&mut self, token: usize) -> Option<Option<Reason>> {
        if let Some(reason) = self.ended {
            return Some(Some(reason));
        }
        let used = self.tokens[token].used?;
        let in_grace = self.now - used <= 30_000 && !self.tokens[token].successor_used;
        match self.policy {
            Policy::Broken => None,
            Policy::Grace if in_grace => None,
            Policy::CutChain => {
                let reasons = [Reason::SessionEnded, Reason::Other];
                self.ended = Some(*self.random.pick(&reasons));
                Some(self.reuse_reason)
            }
            Policy::Refuse | Policy::Grace => Some(self.reuse_reason),
        }
    }

    fn refresh(&mut self, holder: usize) {
        let (token, who) = (self.holders[holder].token, self.holders[holder].who.clone());
        if let Some(issued) = self.present(token, &who) {
            self.holders[holder].token = issued;
        }
    }

    /// Two requests with one token; the refusal can stand before the success.
    fn two_tabs(&mut self) {
        let pause = i64::from(self.random.below(190));
        self.refresh_with_old(pause);
        let last = self.told.len() - 1;
        let both = last > 0 && !self.told[last].1.succeeded() && self.told[last - 1].1.succeeded();
        if both && self.random.below(2) == 0 {
            let (a, b) = (self.told[last].1.time, self.told[last - 1].1.time);
            self.told[last].1.time = b;
            self.told[last - 1].1.time = a;
        }
    }

    fn lost_answer(&mut self) {
        let pauses = [
            900, 20_000, 31_000, 290_000, 1_740_000, 1_860_000, 10_800_000,
        ];
        let pause = *self.random.pick(&pauses);
        self.refresh_with_old(pause);
    }

    fn refresh_with_old(&mut self, pause: i64) {
        let (token, who) = (self.holders[0].token, self.holders[0].who.clone());
        let first = self.present(token, &who);
        self.now += pause;
        let second = self.present(token, &who);
        if let Some(issued) = second.or(first) {
            self.holders[0].token = issued;
        }
    }

    /// Copies the owner's token, or one from an old backup.
    fn steal(&mut self) {
        let current = self.holders[0].token;
        let token = if self.random.below(2) == 0 {
            current
        } else {
            self.random.below(u32::try_from(self.tokens.len()).unwrap()) as usize
        };
        let owner = self.holders[0].who.clone();
        let who = Who {
            address: owner.address.map(|own| {
                if self.random.below(6) == 0 {
                    own
                } else {
                    *self.random.pick(ELSEWHERE)
                }
            }),
            agent: owner.agent.and_then(|own| match self.random.below(4) {
                0 => Some(LIBRARY),
                1 => None,
                _ => Some(own),
            }),
            device: owner.device.and_then(|own| match self.random.below(4) {
                0 => None,
                1 => Some(own),
                _ => Some("device of a thief".into()),
            }),
            key: owner.key.and_then(|own| match self.random.below(4) {
                0 => None,
                1 => Some(own),
                _ => Some("key of a thief".into()),
            }),
            client: owner.client,
        };
        self.holders.push(Holder { who, token });
    }

    fn thief_refreshes(&mut self) {
        if self.holders.len() > 1 {
            let thieves = u32::try_from(self.holders.len() - 1).unwrap();
            let thief = 1 + self.random.below(thieves) as usize;
            self.refresh(thief);
        }
    }

    /// A person ends the family, the session or everything of the user.
    fn end(&mut self) {
        let who = self.holders[0].who.clone();
        let (kind, reason) = *self.random.pick(&[
            (EventType::Logout, Reason::SessionEnded),
            (EventType::Revoke, Reason::Other),
            (EventType::UserDisable, Reason::UserDisabled),
        ]);
        let mut event = self.event(kind, Outcome::Success, &who);
        event.initiator = Some(if kind == EventType::Logout {
            Initiator::User
        } else {
            Initiator::Admin
        });
        if self.naming == Naming::Chain || kind == EventType::UserDisable {
            event.user_id = Some(self.user.clone());
        }
        if kind == EventType::UserDisable {
            (event.family_id, event.session_id) = (None, None);
        }
        // Not every server keeps its word, and a user who was disabled comes back.
        if self.random.below(4) > 0 {
            self.ended = Some(reason);
        }
        self.told.push((false, event));
    }

    /// One that was set up from the owner's repeats a token, whose answer may have been lost; perhaps the owner logs in there.
    fn new_phone(&mut self) {
        let (token, owner) = (self.holders[0].token, self.holders[0].who.clone());
        if owner.device.is_none() {
            return;
        }
        let who = Who {
            device: Some(format!("new device of {}", self.family).into()),
            ..owner.clone()
        };
        if self.random.below(4) > 0 {
            self.present(token, &owner);
        }
        self.now += 1_000_000;
        self.present(token, &who);
        self.repeat(token, &who);
        if self.random.below(3) > 0 {
            self.now += *self.random.pick(&[0, 1_000, 150_000, 299_000, 301_000]);
            let mut login = self.event(EventType::Issue, Outcome::Success, &who);
            let number = self.told.len();
            login.family_id = Some(format!("family {} there {number}", self.family).into());
            // In the session it is a token exchanged for another, and no login.
            login.session_id = login.session_id.filter(|_| self.random.below(4) == 0);
            login.new_token_id = Some(format!("n{}l{number}", self.family).into());
            login.user_id = Some(self.user.clone());
            self.told.push((false, login));
            self.repeat(token, &who);
        }
    }

    /// Most try once; some programs go on until they are let in.
    fn repeat(&mut self, token: usize, who: &Who) {
        for _ in 0..*self.random.pick(&[0, 0, 0, 3, 25]) {
            self.now += 10_000;
            if self.present(token, who).is_some() {
                break;
            }
        }
    }

    fn other_client(&mut self) {
        let mut who = self.holders[0].who.clone();
        who.client = "another".into();
        let token = self.holders[0].token;
        let reasons = [Reason::ClientMismatch, Reason::Expired, Reason::Other];
        let mut event = self.event(EventType::Refresh, Outcome::Failure, &who);
        event.token_id = Some(self.name(token));
        event.reason = Some(*self.random.pick(&reasons));
        self.told.push((true, event));
    }

    fn garbage(&mut self) {
        let who = self.holders[0].who.clone();
        let mut event = self.event(EventType::Refresh, Outcome::Failure, &who);
        event.family_id = None;
        event.session_id = None;
        event.token_id = Some(format!("garbage {}", self.random.hex()).into());
        event.reason = Some(Reason::UnknownToken);
        self.told.push((false, event));
    }
}
