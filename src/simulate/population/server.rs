//! The authorization server of the population: what it does with a presented token, client by client.
//!
//! Pure. Beside the demo's token store (`simulate::grants`), which keeps every token for real HTTP requests, this one
//! keeps of a family only its live tokens: whatever else was issued has been consumed. So a family costs the same after a
//! month as after an hour.

use crate::model::{Reason, Text};

/// The clients of the simulated company; `world.yaml` declares them with the same properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum App {
    /// Rotation enforced; a reuse cuts the family (as Keycloak does).
    WebShop,
    /// Rotation with a grace period, in which a consumed token is honoured.
    Mobile,
    /// A reuse is refused and nothing else happens.
    Desk,
    /// Forgets consumed tokens at a restart, and accepts two presentations within one second.
    LegacyPortal,
    /// Without rotation: the same token for ever.
    Television,
    /// A back end that refreshes for its users.
    ApiGateway,
    /// Builds and other robots.
    BuildRobots,
}

pub(super) struct Setting {
    pub client_id: &'static str,
    pub rotates: bool,
    cuts_after_reuse: bool,
    grace_ms: i64,
    has_bugs: bool,
}

/// Of every access token, in seconds.
pub(super) const ACCESS_TOKEN_TTL: u32 = 3600;
/// A refresh token that was not used for so long has expired.
const IDLE_MAX_MS: i64 = 60 * DAY;
/// Tokens of one family that may be live at a time: branches of a server that honours consumed tokens.
const LIVE_MAX: usize = 6;

pub(super) const SECOND: i64 = 1000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

const STRICT: Setting = Setting {
    client_id: "web-shop",
    rotates: true,
    cuts_after_reuse: true,
    grace_ms: 0,
    has_bugs: false,
};
const MOBILE: Setting = Setting {
    client_id: "mobile-app",
    grace_ms: 30 * SECOND,
    ..STRICT
};
const DESK: Setting = Setting {
    client_id: "desk-app",
    cuts_after_reuse: false,
    ..STRICT
};
const LEGACY: Setting = Setting {
    client_id: "legacy-portal",
    has_bugs: true,
    ..STRICT
};
const TV: Setting = Setting {
    client_id: "tv-app",
    rotates: false,
    ..STRICT
};
const GATEWAY: Setting = Setting {
    client_id: "api-gateway",
    grace_ms: 10 * SECOND,
    ..STRICT
};
const ROBOTS: Setting = Setting {
    client_id: "build-robots",
    ..STRICT
};

impl App {
    pub(super) const ALL: [Self; 7] = [
        Self::WebShop,
        Self::Mobile,
        Self::Desk,
        Self::LegacyPortal,
        Self::Television,
        Self::ApiGateway,
        Self::BuildRobots,
    ];

    pub(super) const fn setting(self) -> &'static Setting {
        match self {
            Self::WebShop => &STRICT,
            Self::Mobile => &MOBILE,
            Self::Desk => &DESK,
            Self::LegacyPortal => &LEGACY,
            Self::Television => &TV,
            Self::ApiGateway => &GATEWAY,
            Self::BuildRobots => &ROBOTS,
        }
    }
}

/// What the server keeps of a family.
#[derive(Debug, Clone)]
pub(super) struct Family {
    pub number: u32,
    pub app: App,
    pub id: Text,
    pub session: u32,
    pub session_id: Text,
    /// Of the first token that the log can name.
    pub first_serial: u32,
    /// Of the next token to be issued.
    next_serial: u32,
    live: Vec<Live>,
    refreshed_at: i64,
    pub end: Option<End>,
    /// Somebody else has a copy of one of its tokens, or the owner did something odd with it.
    pub listed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Live {
    serial: u32,
    parent: Option<u32>,
    /// When the parent was first used: a grace period is counted from there, however many siblings follow.
    since: i64,
}

/// Why a family lives no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Reuse,
    Logout,
    Revoked,
    /// Until the user is enabled again: the old tokens then work on, as with Keycloak.
    Disabled,
    /// A fault of the server: it does not know its own token any more.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted {
        /// Absent where the server does not rotate.
        issued: Option<u32>,
        /// Consumed, and its successor too: no honest server would have taken it.
        dead: bool,
    },
    Refused(Reason, &'static str),
}

impl Family {
    /// A family with its first token live. One from before the log begins has a history that nobody saw.
    pub(super) fn new(number: u32, app: App, ids: (Text, u32, Text), serial: u32, at: i64) -> Self {
        let (id, session, session_id) = ids;
        Self {
            number,
            app,
            id,
            session,
            session_id,
            first_serial: serial,
            next_serial: serial + 1,
            live: vec![Live {
                serial,
                parent: None,
                since: at,
            }],
            refreshed_at: at,
            end: None,
            listed: false,
        }
    }

    /// A token is presented.
    pub(super) fn present(&mut self, serial: u32, at: i64, restarts: &Restarts) -> Verdict {
        if let Some(end) = self.end {
            let (reason, text) = end.refusal();
            return Verdict::Refused(reason, text);
        }
        if at - self.refreshed_at > IDLE_MAX_MS {
            return Verdict::Refused(Reason::Expired, "Token is not active");
        }
        let setting = self.app.setting();
        if !setting.rotates {
            self.refreshed_at = at;
            return Verdict::Accepted {
                issued: None,
                dead: false,
            };
        }
        if let Some(found) = self.live.iter().position(|live| live.serial == serial) {
            self.live.remove(found);
            return self.issue(serial, at, at, false);
        }
        let sibling = self
            .live
            .iter()
            .find(|live| live.parent == Some(serial))
            .copied();
        let forgotten = setting.has_bugs && restarts.any_between(self.refreshed_at, at);
        if forgotten || sibling.is_some_and(|sibling| is_tolerated(setting, &sibling, at)) {
            let since = sibling.map_or(at, |sibling| sibling.since);
            return self.issue(serial, at, since, sibling.is_none());
        }
        if setting.cuts_after_reuse {
            self.end = Some(End::Reuse);
        }
        let text = match sibling {
            Some(_) => "Maximum allowed refresh token reuse exceeded",
            None => "Stale token",
        };
        Verdict::Refused(Reason::Reuse, text)
    }

    fn issue(&mut self, parent: u32, at: i64, since: i64, dead: bool) -> Verdict {
        let serial = self.next_serial;
        self.next_serial += 1;
        if self.live.len() >= LIVE_MAX {
            self.live.remove(0);
        }
        self.live.push(Live {
            serial,
            parent: Some(parent),
            since,
        });
        self.refreshed_at = at;
        Verdict::Accepted {
            issued: Some(serial),
            dead,
        }
    }
}

fn is_tolerated(setting: &Setting, sibling: &Live, at: i64) -> bool {
    let in_grace = setting.grace_ms > 0 && at - sibling.since <= setting.grace_ms;
    let same_second = at.div_euclid(SECOND) == sibling.since.div_euclid(SECOND);
    in_grace || (setting.has_bugs && same_second)
}

impl End {
    /// As Keycloak words it.
    fn refusal(self) -> (Reason, &'static str) {
        match self {
            Self::Reuse => (Reason::SessionEnded, "Session doesn't have required client"),
            Self::Logout => (Reason::SessionEnded, "Session not active"),
            Self::Revoked => (Reason::Revoked, "Session not active"),
            Self::Disabled => (Reason::UserDisabled, "User disabled"),
            Self::Lost => (Reason::UnknownToken, "Invalid refresh token"),
        }
    }
}

/// When the server was started again, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Restarts(pub Vec<i64>);

impl Restarts {
    fn any_between(&self, after: i64, until: i64) -> bool {
        self.next(after).is_some_and(|restart| restart <= until)
    }

    pub(super) fn next(&self, after: i64) -> Option<i64> {
        let at = self.0.partition_point(|restart| *restart <= after);
        self.0.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(app: App) -> Family {
        Family::new(0, app, ("f".into(), 0, "s".into()), 0, 0)
    }

    fn accepted(verdict: Verdict) -> (Option<u32>, bool) {
        match verdict {
            Verdict::Accepted { issued, dead } => (issued, dead),
            Verdict::Refused(reason, text) => panic!("refused: {reason} {text}"),
        }
    }

    fn refused(verdict: Verdict) -> Reason {
        match verdict {
            Verdict::Refused(reason, _) => reason,
            Verdict::Accepted { .. } => panic!("accepted"),
        }
    }

    #[test]
    fn a_strict_client_loses_its_family_by_a_reuse() {
        let none = Restarts::default();
        let mut family = family(App::WebShop);
        assert_eq!(accepted(family.present(0, 10, &none)), (Some(1), false));
        assert_eq!(refused(family.present(0, 20, &none)), Reason::Reuse);
        assert_eq!(refused(family.present(1, 30, &none)), Reason::SessionEnded);
    }

    #[test]
    fn a_lenient_server_refuses_the_token_alone() {
        let none = Restarts::default();
        let mut family = family(App::Desk);
        family.present(0, 10, &none);
        assert_eq!(refused(family.present(0, 20, &none)), Reason::Reuse);
        assert_eq!(accepted(family.present(1, 30, &none)), (Some(2), false));
    }

    #[test]
    fn grace_honours_the_direct_predecessor_for_its_seconds_only() {
        let none = Restarts::default();
        let mut family = family(App::Mobile);
        family.present(0, 0, &none);
        assert_eq!(
            accepted(family.present(0, 30 * SECOND, &none)),
            (Some(2), false)
        );
        assert_eq!(
            refused(family.present(0, 61 * SECOND, &none)),
            Reason::Reuse
        );
    }

    #[test]
    fn a_restart_forgets_until_the_next_refresh() {
        let restarts = Restarts(vec![HOUR]);
        let mut family = family(App::LegacyPortal);
        family.present(0, SECOND, &restarts);
        family.present(1, 2 * SECOND, &restarts);
        assert_eq!(
            accepted(family.present(0, 2 * HOUR, &restarts)),
            (Some(3), true)
        );
        assert_eq!(
            refused(family.present(1, 3 * HOUR, &restarts)),
            Reason::Reuse
        );
    }

    #[test]
    fn two_presentations_in_one_second_both_pass_at_the_portal() {
        let none = Restarts::default();
        let mut family = family(App::LegacyPortal);
        family.present(0, 100, &none);
        assert_eq!(accepted(family.present(0, 900, &none)), (Some(2), false));
        assert_eq!(refused(family.present(0, 1100, &none)), Reason::Reuse);
    }

    #[test]
    fn without_rotation_the_token_stays() {
        let none = Restarts::default();
        let mut family = family(App::Television);
        for at in [1, 2, DAY] {
            assert_eq!(accepted(family.present(0, at, &none)), (None, false));
        }
        assert_eq!(refused(family.present(0, 62 * DAY, &none)), Reason::Expired);
    }

    #[test]
    fn an_end_says_why_and_a_disabled_user_comes_back() {
        let none = Restarts::default();
        let mut family = family(App::WebShop);
        family.end = Some(End::Disabled);
        assert_eq!(refused(family.present(0, 1, &none)), Reason::UserDisabled);
        family.end = None;
        assert_eq!(accepted(family.present(0, 2, &none)), (Some(1), false));
    }
}
