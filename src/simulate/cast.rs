//! Who lives in the simulated world: names, apps, homes, and the thieves' tools, all drawn from the seed.

use super::app::{App, Internet};
use super::attackers::{Attack, Thief, thief_name};
use super::people::{Habit, Person};
use super::places::{self, Locality};
use super::random::Random;
use super::{LEGACY, MOBILE, WEB};

/// Makes people and thieves out of the seed.
pub(super) struct Cast {
    pub internet: Internet,
    pub seed: u64,
}

const NAMES: &[&str] = &[
    "anna", "ben", "carla", "david", "emma", "farid", "greta", "hugo", "ines", "jonas", "kira",
    "leo", "maya", "noah", "olga", "paul", "quinn", "rosa", "samir", "tara", "uwe", "vera", "wim",
    "xenia", "yusuf", "zoe",
];

const BROWSERS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0",
];

const PHONE_APPS: &[&str] = &[
    "ExampleApp/3.2 (iPhone; iOS 17.4) CFNetwork/1494.0.7 Darwin/23.4.0",
    "ExampleApp/3.2 (Android 14; Pixel 8)",
];

const THIEF_TOOLS: &[&str] = &["python-requests/2.31.0", "Go-http-client/1.1", "curl/8.5.0"];

const THIEF_PLACES: &[Locality] = &[
    places::FRANKFURT_SERVERS,
    places::SINGAPORE_CLOUD,
    places::SAO_PAULO_LINE,
    places::BERLIN_LINE,
];

impl Cast {
    pub(super) fn person(&self, number: u32, habit: Habit) -> Person {
        let client_id = match habit {
            Habit::AppUpdate | Habit::HandOver | Habit::RefreshLoop => MOBILE,
            Habit::LenientRetry => LEGACY,
            Habit::Ordinary => [WEB, MOBILE, LEGACY][number as usize % 3],
            _ => WEB,
        };
        let mut person = self.inhabitant(
            number,
            client_id,
            &[
                places::NEW_YORK_HOMES,
                places::CHICAGO_HOMES,
                places::LONDON_HOMES,
            ],
        );
        if habit == Habit::HandOver {
            person.places = vec![
                places::NEW_YORK_HOMES.household(number),
                places::NEW_YORK_CARRIER.household(number),
            ];
        }
        person
    }

    pub(super) fn victim(&self, number: u32, attack: Attack) -> Person {
        let client_id = match attack {
            Attack::LateReplay | Attack::LocalScript | Attack::FarAway => WEB,
            Attack::ThiefFirst | Attack::Burst => MOBILE,
            Attack::HonouredTwice => LEGACY,
        };
        self.inhabitant(number, client_id, &[places::NEW_YORK_HOMES])
    }

    fn inhabitant(&self, number: u32, client_id: &'static str, homes: &[Locality]) -> Person {
        let mut random = Random::part(self.seed, 1 + u64::from(number));
        let name = NAMES[number as usize % NAMES.len()];
        let user_id = format!("{name}-{number:02}");
        let phone = client_id == MOBILE;
        let app = App {
            internet: self.internet.clone(),
            client_id,
            user_agent: (*random.pick(if phone { PHONE_APPS } else { BROWSERS })).to_owned(),
            device_id: phone.then(|| format!("device-{}", random.hex())),
            actor: format!("owner: {user_id}"),
        };
        let home = random.pick(homes).household(number);
        Person::new(user_id, app, vec![home], random)
    }

    /// No network is that of more than two thefts: these thieves do not know each other.
    pub(super) fn thief(&self, number: u32, attack: Attack) -> Thief {
        let mut random = Random::part(self.seed, 1_000_000 + u64::from(number));
        let victim = self.victim(number, attack).app;
        let locality = match attack {
            Attack::LocalScript => places::NEW_YORK_CAFE,
            _ => THIEF_PLACES[(number as usize + random_offset(self.seed)) % THIEF_PLACES.len()],
        };
        let user_agent = match attack {
            Attack::FarAway => victim.user_agent.clone(),
            Attack::LateReplay => other_browser(&victim.user_agent).to_owned(),
            _ => (*random.pick(THIEF_TOOLS)).to_owned(),
        };
        let app = App {
            user_agent,
            device_id: None,
            actor: thief_name(attack),
            ..victim
        };
        Thief {
            app,
            place: locality.address(random.below(60)),
        }
    }
}

/// Other seeds, other countries.
fn random_offset(seed: u64) -> usize {
    Random::part(seed, 2_000_000).below(4) as usize
}

fn other_browser(user_agent: &str) -> &'static str {
    BROWSERS
        .iter()
        .find(|browser| **browser != user_agent)
        .copied()
        .unwrap_or(BROWSERS[0])
}
