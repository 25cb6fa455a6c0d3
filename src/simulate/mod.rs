//! People, apps and attackers, and the authorization server of the demo.
//!
//! Everything here is on the other side of the product: it makes the traffic that the daemon has to judge, keeps the
//! truth about it where the daemon cannot see it, and is written so that tests can use its parts one by one.
//!
//! In: a seed. Out: real HTTP requests, an audit table, small GeoIP files, and afterwards the truth.
//!
//! The demo's world is small and lives in real time. [`population`] is the large one: weeks of thousands of users as a
//! stream of events, for measuring how well theft is told from accident.

mod app;
mod attackers;
mod audit;
mod authorization_server;
mod cast;
mod geo_files;
mod grants;
mod people;
pub mod places;
pub mod population;
mod random;
mod scenario;
mod truth;

pub use app::{Answer, App, Internet};
pub use attackers::{Attack, Planted};
pub use authorization_server::AuthorizationServer;
pub use grants::{ClientSetting, ReusePolicy, token_id};
pub use people::{Habit, HonestFamily};
pub use random::Random;
pub use scenario::{Pace, Report, Scenario, Story};
pub use truth::{Entry, TruthLog};

/// Clients of the simulated server. The last one is the victim of a bug that real servers have had.
pub const CLIENTS: &[ClientSetting] = &[
    ClientSetting {
        client_id: WEB,
        reuse: ReusePolicy::RefuseToken,
    },
    ClientSetting {
        client_id: MOBILE,
        reuse: ReusePolicy::RefuseToken,
    },
    ClientSetting {
        client_id: LEGACY,
        reuse: ReusePolicy::AcceptByMistake,
    },
];

pub const WEB: &str = "web-shop";
pub const MOBILE: &str = "mobile-app";
pub const LEGACY: &str = "legacy-portal";

/// Short, because the demo packs a working day into half a minute: apps refresh about as often.
pub const ACCESS_TOKEN_TTL_SECONDS: u32 = 2;

/// The part of the daemon's configuration that describes the simulated world; the GeoIP files stand beside it.
pub const WORLD_CONFIG: &str = include_str!("world.yaml");
