//! Keys of the tables: a hash of the server and tenant within which a name counts, of what it names, and of the name.
//!
//! An event needs some twenty keys within one issuer and tenant. So these two are hashed once an event, and each key goes
//! on from there. Found by counting instructions (`valgrind --tool=callgrind` on `throughput rules`): hashing both anew
//! for every key was a seventh of an event.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::model::Event;

/// A key in the making. Each part is hashed with the hash of all before it as its seed, so that no two lists of parts run
/// together and nothing is copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key(u64);

/// The issuer and tenant of an event, hashed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope {
    issuer: u64,
    whole: u64,
}

/// What a name is the name of: the same name of two things gives two keys.
#[derive(Debug, Clone, Copy)]
enum Of {
    Event = 1,
    Token,
    Family,
    SessionAtClient,
    User,
    Client,
    Network,
    EndedSession,
    EndedUser,
    EndedConsent,
    Thefts,
}

impl Key {
    /// Of what is in no scope.
    pub(super) fn new(what: &str) -> Self {
        Self(xxh3_64(what.as_bytes()))
    }

    pub(super) fn add(&mut self, part: &[u8]) {
        self.0 = xxh3_64_with_seed(part, self.0);
    }

    #[must_use]
    pub(super) fn with(mut self, part: &str) -> Self {
        self.add(part.as_bytes());
        self
    }

    pub(super) const fn hash(self) -> u64 {
        self.0
    }
}

impl Scope {
    pub(super) fn new(issuer: &str, tenant: Option<&str>) -> Self {
        let issuer = Key::new(issuer);
        Self {
            issuer: issuer.hash(),
            whole: issuer.with(tenant.unwrap_or("")).hash(),
        }
    }

    pub(super) fn of(event: &Event) -> Self {
        Self::new(&event.issuer, event.tenant.as_deref())
    }

    pub(super) fn token(self, id: &str) -> u64 {
        self.within(Of::Token).with(id).hash()
    }

    /// As the server names it.
    pub(super) fn family(self, id: &str) -> u64 {
        self.within(Of::Family).with(id).hash()
    }

    /// The client's part of a session, which stands for a family where a source names neither families nor tokens.
    pub(super) fn session(self, session: &str, client: &str) -> u64 {
        let key = self.within(Of::SessionAtClient);
        key.with(session).with(client).hash()
    }

    pub(super) fn user(self, id: &str) -> u64 {
        self.within(Of::User).with(id).hash()
    }

    pub(super) fn client(self, id: &str) -> u64 {
        self.within(Of::Client).with(id).hash()
    }

    pub(super) fn network(self, prefix: &[u8]) -> u64 {
        let mut key = self.within(Of::Network);
        key.add(prefix);
        key.hash()
    }

    pub(super) fn thefts(self, user: &str) -> u64 {
        self.within(Of::Thefts).with(user).hash()
    }

    /// Where a rule keeps what it remembers of something.
    pub(super) const fn rule(self, rule: Key) -> Key {
        Key(self.whole ^ rule.0)
    }

    /// Within the issuer only, as are the ends: an operator's act can stand in a log line that does not name the tenant
    /// acted upon.
    pub(super) fn event(self, id: &str) -> u64 {
        self.within_issuer(Of::Event).with(id).hash()
    }

    pub(super) fn ended_session(self, id: &str) -> u64 {
        self.within_issuer(Of::EndedSession).with(id).hash()
    }

    pub(super) fn ended_user(self, id: &str) -> u64 {
        self.within_issuer(Of::EndedUser).with(id).hash()
    }

    /// What a user let one client do.
    pub(super) fn ended_consent(self, user: &str, client: &str) -> u64 {
        let key = self.within_issuer(Of::EndedConsent);
        key.with(user).with(client).hash()
    }

    const fn within(self, what: Of) -> Key {
        Key(self.whole ^ what as u64)
    }

    const fn within_issuer(self, what: Of) -> Key {
        Key(self.issuer ^ what as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        let key = |what: &str, parts: &[&str]| {
            let key = Key::new(what);
            parts.iter().fold(key, |key, part| key.with(part)).hash()
        };
        let keys = [
            key("t", &["a", "bc"]),
            key("t", &["ab", "c"]),
            key("t", &["abc"]),
            key("t", &["", "abc"]),
            key("t", &["abc", ""]),
            key("ta", &["bc"]),
        ];
        assert_eq!(HashSet::from(keys).len(), keys.len());
    }

    #[test]
    fn one_name_gives_another_key_for_each_thing_server_and_tenant() {
        let scopes = [("s", None), ("s", Some("t")), ("t", None), ("st", None)];
        let scopes = scopes.map(|(issuer, tenant)| Scope::new(issuer, tenant));
        let keys = |scope: Scope| {
            [
                scope.token("x"),
                scope.family("x"),
                scope.session("x", ""),
                scope.user("x"),
                scope.client("x"),
                scope.network(b"x"),
                scope.thefts("x"),
                scope.rule(Key::new("x")).with("x").hash(),
            ]
        };
        let different: HashSet<u64> = scopes.into_iter().flat_map(keys).collect();
        assert_eq!(different.len(), scopes.len() * 8);
        let of_issuer = |scope: Scope| {
            [
                scope.event("x"),
                scope.ended_session("x"),
                scope.ended_user("x"),
                scope.ended_consent("x", ""),
            ]
        };
        let different: HashSet<u64> = scopes.into_iter().flat_map(of_issuer).collect();
        assert_eq!(
            different.len(),
            3 * 4,
            "two of the scopes are of one issuer"
        );
    }
}
