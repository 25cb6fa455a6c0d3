//! A day of made-up refreshes in the canonical format, the same for the same seed: ordinary lives of families, honest
//! oddities, and some thefts. Spread over partitions at random, as a producer without keys does.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokenwarden::model::Timestamp;

/// Less than a day: what is remembered is swept once a day, and the time of day at which a source has come to its end must not decide
/// of what.
const BEGAN: i64 = 23 * 60 * MINUTE_MS;
/// One in so many families is stolen.
const STOLEN: usize = 50;
const MINUTE_MS: i64 = 60_000;

pub(crate) struct Traffic {
    /// In order of arrival: partition and record.
    pub(crate) records: Vec<(i32, String)>,
    /// Users who lost a token.
    pub(crate) robbed: BTreeSet<String>,
    pub(crate) newest: Timestamp,
}

/// xorshift64: nothing here needs more.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

struct Family {
    number: usize,
    time_ms: i64,
    events: Vec<(i64, Value)>,
}

/// A presentation: which token, what came of it, and from where.
struct Presented<'a> {
    token: &'a str,
    answer: Result<&'a str, &'a str>,
    foreign: bool,
    address: Option<String>,
}

impl<'a> Presented<'a> {
    fn own(token: &'a str, answer: Result<&'a str, &'a str>) -> Self {
        Self {
            token,
            answer,
            foreign: false,
            address: None,
        }
    }

    fn foreign(token: &'a str, answer: Result<&'a str, &'a str>) -> Self {
        Self {
            foreign: true,
            ..Self::own(token, answer)
        }
    }
}

/// `families` lives of about 25 events each, within the day before now.
pub(crate) fn traffic(families: usize, seed: u64) -> Traffic {
    let mut dice = Dice(seed);
    let begin = Timestamp::now().as_millisecond() - BEGAN;
    let mut events = Vec::new();
    let mut robbed = BTreeSet::new();
    for number in 0..families {
        let start = i64::try_from(dice.below(20 * 60 * 60_000)).unwrap_or(0);
        let mut family = Family {
            number,
            time_ms: begin + start,
            events: Vec::new(),
        };
        family.live(&mut dice);
        if family.is_stolen() {
            robbed.insert(format!("user-{number}"));
        }
        events.append(&mut family.events);
    }
    let newest = events.iter().map(|(time, _)| *time).max().unwrap_or(begin);
    // Servers write in the order of their clocks, nearly.
    events.sort_by_key(|(time, event)| (*time + jitter(event), event["event_id"].to_string()));
    let records = events
        .iter()
        .map(|(_, event)| (i32::from(dice.below(2) == 1), event.to_string()))
        .collect();
    Traffic {
        records,
        robbed,
        newest: Timestamp::from_millisecond(newest).unwrap_or_default(),
    }
}

/// Up to 1.5 s, by a name that is as good as random.
fn jitter(event: &Value) -> i64 {
    let name = event["event_id"].to_string();
    let sum = name
        .bytes()
        .fold(7_i64, |sum, byte| (sum * 31 + i64::from(byte)) % 100_003);
    sum % 1500
}

impl Family {
    fn is_stolen(&self) -> bool {
        // Not one column of clients and oddities only.
        self.number % STOLEN == (self.number / STOLEN * 7) % STOLEN
    }

    fn token(&self, generation: usize) -> String {
        format!("t-{}-{generation}", self.number)
    }

    fn live(&mut self, dice: &mut Dice) {
        let first = self.token(0);
        self.event(
            "issue",
            json!({"outcome": "success", "new_token_id": first}),
            None,
        );
        for generation in 0..23 {
            self.time_ms += 4 * MINUTE_MS + i64::try_from(dice.below(120_000)).unwrap_or(0);
            let (token, next) = (self.token(generation), self.token(generation + 1));
            if generation == 8 && self.is_stolen() {
                return self.theft(&token, &next);
            }
            if generation == 8 && self.oddity(&token, &next) {
                continue;
            }
            self.present(&Presented::own(&token, Ok(&next)));
        }
    }

    fn theft(&mut self, token: &str, next: &str) {
        let stolen = format!("{next}-stolen");
        if self.number.is_multiple_of(2) {
            self.present(&Presented::own(token, Ok(next)));
            self.time_ms += 70_000;
            self.present(&Presented::foreign(token, Err("reuse")));
        } else {
            self.present(&Presented::foreign(token, Ok(&stolen)));
            self.time_ms += 70_000;
            self.present(&Presented::own(token, Err("reuse")));
            self.time_ms += 5000;
            self.present(&Presented::foreign(&stolen, Err("revoked")));
        }
        self.time_ms += 5000;
        self.present(&Presented::own(next, Err("session_ended")));
    }

    /// What honest clients do; `true` when it has taken the place of the ordinary refresh.
    fn oddity(&mut self, token: &str, next: &str) -> bool {
        let twin = format!("{next}-twin");
        match self.number % 10 {
            // Two tabs at once, within the server's leeway.
            1 => {
                self.present(&Presented::own(token, Ok(&twin)));
                self.time_ms += 300;
                self.present(&Presented::own(token, Ok(next)));
            }
            // A lost answer, asked for again.
            2 => {
                self.present(&Presented::own(token, Ok(&twin)));
                self.time_ms += 20_000;
                self.present(&Presented::own(token, Ok(next)));
            }
            // Two tabs at a strict server: the second is refused.
            3 => {
                self.present(&Presented::own(token, Ok(next)));
                self.time_ms += 200;
                self.present(&Presented::own(token, Err("reuse")));
            }
            // A walk from one network to another.
            4 => {
                let mut walking = Presented::own(token, Ok(next));
                walking.address = Some(format!("31.{}.9.9", self.number % 200));
                self.present(&walking);
            }
            _ => return false,
        }
        true
    }

    fn present(&mut self, presented: &Presented<'_>) {
        let mut event = json!({"token_id": presented.token});
        match presented.answer {
            Ok(next) => {
                event["outcome"] = json!("success");
                event["new_token_id"] = json!(next);
            }
            Err(reason) => {
                event["outcome"] = json!("failure");
                event["reason"] = json!(reason);
            }
        }
        let address = presented.address.clone().or_else(|| {
            let network = format!("45.{}.{}.7", self.number / 200, self.number % 200);
            presented.foreign.then_some(network)
        });
        if presented.foreign {
            event["device_id"] = json!(format!("thief-{}", self.number));
        }
        self.event("refresh", event, address);
    }

    fn event(&mut self, kind: &str, mut event: Value, address: Option<String>) {
        let number = self.number;
        let own = format!("20.{}.{}.10", number / 250, number % 250);
        event["event_id"] = json!(format!("e-{number}-{}", self.events.len()));
        event["time"] = json!(self.time_ms);
        event["type"] = json!(kind);
        event["user_id"] = json!(format!("user-{number}"));
        event["client_id"] = json!(format!("app-{}", number % 25));
        event["session_id"] = json!(format!("s-{number}"));
        event["ip_address"] = json!(address.unwrap_or(own));
        if event["device_id"].is_null() {
            event["device_id"] = json!(format!("device-{number}"));
        }
        // Some servers name the family, some leave the chain to the reader.
        if !number.is_multiple_of(3) {
            event["family_id"] = json!(format!("f-{number}"));
        }
        self.events.push((self.time_ms, event));
    }
}
