//! What the simulated clients are, as a server sees them: user agent and TLS fingerprint.
//!
//! A kind of client has versions; an update is the next one. Whether two kinds are told apart is the business of
//! `enrich::agent`; the test below makes sure that it sees as many kinds as there are here.

use crate::model::Text;

/// A kind of client at a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agent {
    pub kind: AgentKind,
    pub version: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AgentKind {
    ChromeOnWindows,
    EdgeOnWindows,
    FirefoxOnLinux,
    SafariOnMac,
    ChromeOnAndroid,
    AppOnIphone,
    AppOnAndroid,
    AppOnTablet,
    Television,
    Server,
    Robot,
    /// What thieves bring.
    Script,
    Library,
}

use AgentKind as Kind;

impl AgentKind {
    const ALL: [Self; 13] = [
        Kind::ChromeOnWindows,
        Kind::EdgeOnWindows,
        Kind::FirefoxOnLinux,
        Kind::SafariOnMac,
        Kind::ChromeOnAndroid,
        Kind::AppOnIphone,
        Kind::AppOnAndroid,
        Kind::AppOnTablet,
        Kind::Television,
        Kind::Server,
        Kind::Robot,
        Kind::Script,
        Kind::Library,
    ];

    fn user_agent(self, version: u8) -> String {
        let major = 120 + u32::from(version);
        let minor = version;
        match self {
            Kind::ChromeOnWindows => format!(
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{major}.0.0.0 Safari/537.36"
            ),
            Kind::EdgeOnWindows => format!(
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{major}.0.0.0 Safari/537.36 Edg/{major}.0.0.0"
            ),
            Kind::FirefoxOnLinux => format!(
                "Mozilla/5.0 (X11; Linux x86_64; rv:{major}.0) Gecko/20100101 Firefox/{major}.0"
            ),
            Kind::SafariOnMac => format!(
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.{minor} Safari/605.1.15"
            ),
            Kind::ChromeOnAndroid => format!(
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{major}.0.0.0 Mobile Safari/537.36"
            ),
            Kind::AppOnIphone => {
                format!("ExampleApp/3.{minor} (iPhone; iOS 17.{minor}; Scale/3.00)")
            }
            Kind::AppOnAndroid => format!("ExampleApp/3.{minor} (Android 14; Pixel 8)"),
            Kind::AppOnTablet => format!("ExampleApp/3.{minor} (iPad; iOS 17.{minor}; Scale/2.00)"),
            Kind::Television => format!("ExampleTV/1.{minor} (Linux; Android 11; BRAVIA)"),
            Kind::Server => format!("ExampleGateway/2.{minor}"),
            Kind::Robot => format!("Go-http-client/2.{minor}"),
            Kind::Script => format!("python-requests/2.{minor}"),
            Kind::Library => format!("curl/8.{minor}.0"),
        }
    }
}

/// Versions of each kind; an update of the newest starts over, as no test needs more.
const VERSIONS: u8 = 16;

/// The texts, made once.
pub(super) struct Agents {
    user_agents: Vec<Text>,
    fingerprints: Vec<Text>,
}

impl Agents {
    pub(super) fn new() -> Self {
        let user_agents = AgentKind::ALL
            .iter()
            .flat_map(|kind| (0..VERSIONS).map(|version| Text::from(kind.user_agent(version))));
        let fingerprints = (0..AgentKind::ALL.len()).flat_map(|kind| {
            (0..VERSIONS / 4).map(move |generation| {
                Text::from(format!(
                    "t13d15{kind:02}h2_8daaf6152771_{:012x}",
                    0xe5_62f9_u32 + u32::from(generation)
                ))
            })
        });
        Self {
            user_agents: user_agents.collect(),
            fingerprints: fingerprints.collect(),
        }
    }

    pub(super) fn user_agent(&self, agent: Agent) -> Text {
        let at =
            agent.kind as usize * usize::from(VERSIONS) + usize::from(agent.version % VERSIONS);
        self.user_agents[at].clone()
    }

    /// The TLS library changes with every fourth version.
    pub(super) fn ja4(&self, agent: Agent) -> Text {
        let generations = usize::from(VERSIONS / 4);
        let generation = usize::from(agent.version % VERSIONS) / 4;
        self.fingerprints[agent.kind as usize * generations + generation].clone()
    }
}

impl Agent {
    pub(super) fn updated(self) -> Self {
        Self {
            version: (self.version + 1) % VERSIONS,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::parse_agent;

    #[test]
    fn kinds_are_told_apart_and_versions_are_not() {
        let agents = Agents::new();
        let parsed = |kind, version| {
            parse_agent(&agents.user_agent(Agent { kind, version })).expect("a client")
        };
        for one in AgentKind::ALL {
            assert_eq!(parsed(one, 0), parsed(one, VERSIONS - 1), "{one:?}");
            for other in AgentKind::ALL {
                let differ = parsed(one, 0).is_another_kind_than(&parsed(other, 0));
                assert_eq!(differ, one != other, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn an_update_changes_the_user_agent_and_seldom_the_fingerprint() {
        let agents = Agents::new();
        let old = Agent {
            kind: AgentKind::ChromeOnWindows,
            version: 1,
        };
        assert_ne!(agents.user_agent(old), agents.user_agent(old.updated()));
        assert_eq!(agents.ja4(old), agents.ja4(old.updated()));
        assert_ne!(agents.ja4(old), agents.ja4(Agent { version: 4, ..old }));
    }
}
