//! The table of fields: what an expression may read and what a rule may be keyed by.
//!
//! One row a field: its name, its kind, what it says, how it is read and which clue a source must carry for it. Checking,
//! evaluation, `rules fields` and the advice about blind rules all read this table, so that none of them can know a
//! field that the others do not. Why not serde over the event: names, kinds and possible values must be known when a rule
//! is read, before there is an event.

use std::borrow::Cow;
use std::net::IpAddr;

use super::context::Standing;
use crate::model::{
    ClientType, Clue, DeviceClass, Enriched, EventType, Initiator, NetworkClass, Outcome, Prefix,
    Reason, Rotation, Text, Timestamp, TokenKind,
};
use crate::yaml::nearest;

/// One field.
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// What it says, in a sentence without a full stop.
    pub about: &'static str,
    /// Without it the field never has a value; absent: every source tells it, or the engine knows it.
    pub clue: Option<Clue>,
    reader: Reader,
}

/// What kind of value a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// One of these names and never anything else.
    Choice(&'static [&'static str]),
    Integer,
    Number,
    Truth,
    Address,
    /// The /24 of an IPv4 address, the /64 of an IPv6 address.
    Prefix,
    Time,
}

/// A value as a field has it at one event.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Text(Cow<'a, str>),
    Integer(i64),
    Number(f64),
    Truth(bool),
    Address(IpAddr),
    Prefix(Prefix),
    Time(Timestamp),
}

/// What the stages of the engine knew of an event before a rule looks at it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each a field of the expression language"
)]
pub struct Facts {
    /// The ledger has seen the presented token issued or used.
    pub token_known: bool,
    /// The ledger has seen the family before.
    pub family_known: bool,
    /// How the context stands to those known of the family; absent where nothing was presented.
    pub context: Option<Standing>,
    /// The same by proof key, device id and kind of client alone: what an address cannot change.
    pub device: Option<Standing>,
    /// The family was used from the presenter's network before.
    pub network_known: bool,
    /// Something about the family is in question: a refusal, a token again, another client or key.
    pub disputed: bool,
    /// How many generations the presented token is behind the newest; absent where it is not known.
    pub generation_gap: Option<u64>,
    /// What the configuration says of the client.
    pub client_type: Option<ClientType>,
    pub rotation: Option<Rotation>,
}

/// How a field is read. What only the engine knows is no key: a key must be the same whatever the engine has seen before.
#[derive(Clone, Copy)]
enum Reader {
    Event(fn(&Enriched) -> Option<Value<'_>>),
    Facts(fn(&Facts) -> Option<Value<'_>>),
}

/// The visible table. A group says what it reads from; a row its name, kind, value, meaning and clue.
macro_rules! fields {
    ($($reader:ident |$row:ident| $it:ident = $from:expr => {
        $($name:literal $kind:expr, $value:expr, $about:literal $(, needs $clue:ident)?;)+
    })+) => {
        /// Every field, in the order in which it is shown.
        pub static FIELDS: &[Field] = &[$($(
            Field {
                name: $name,
                kind: $kind,
                about: $about,
                clue: [$(Some(Clue::$clue),)? None][0],
                reader: Reader::$reader(|$row| { let $it = $from; Some($value) }),
            },
        )+)+];
    };
}

fields! {
    Event |row| event = &row.event => {
        "event.event_id" Kind::Text, text(&event.event_id), "identifier of the event, unique within the issuer";
        "event.time" Kind::Time, Value::Time(event.time), "when it happened";
        "event.type" Kind::Choice(EventType::NAMES), name(event.kind.as_str()), "what happened";
        "event.outcome" Kind::Choice(Outcome::NAMES), name(event.outcome.as_str()), "whether the server accepted it";
        "event.reason" Kind::Choice(Reason::NAMES), name(event.reason?.as_str()), "class of a failure", needs Refusals;
        "event.error" Kind::Text, text(event.error.as_ref()?), "the provider's own error code or text", needs Refusals;
        "event.issuer" Kind::Text, text(&event.issuer), "which authorization server; else the name of the source";
        "event.tenant" Kind::Text, text(event.tenant.as_ref()?), "realm, organisation or user pool";
        "event.user_id" Kind::Text, text(event.user_id.as_ref()?), "whose token it is", needs UserId;
        "event.client_id" Kind::Text, text(event.client_id.as_ref()?), "OAuth client", needs ClientId;
        "event.session_id" Kind::Text, text(event.session_id.as_ref()?), "session at the server", needs SessionId;
        "event.family_id" Kind::Text, text(event.family_id.as_ref()?), "token family, where the server names it", needs FamilyId;
        "event.token_id" Kind::Text, text(event.token_id.as_ref()?), "presented refresh token: id or keyed hash", needs TokenId;
        "event.new_token_id" Kind::Text, text(event.new_token_id.as_ref()?), "refresh token issued: id or keyed hash", needs TokenId;
        "event.generation" Kind::Integer, whole(event.generation?), "position of the presented token in its family", needs Generation;
        "event.latest_generation" Kind::Integer, whole(event.latest_generation?), "position of the newest token of the family", needs Generation;
        "event.ip_address" Kind::Address, Value::Address(event.ip_address?), "address of the presenter", needs IpAddress;
        "event.user_agent" Kind::Text, text(event.user_agent.as_ref()?), "user agent, as the presenter sent it", needs UserAgent;
        "event.device_id" Kind::Text, text(event.device_id.as_ref()?), "device, as the application names it", needs DeviceId;
        "event.ja4" Kind::Text, text(event.ja4.as_ref()?), "TLS client fingerprint", needs Ja4;
        "event.key_thumbprint" Kind::Text, text(event.key_thumbprint.as_ref()?), "thumbprint of the DPoP key or the mTLS certificate", needs KeyThumbprint;
        "event.scope" Kind::Text, text(event.scope.as_ref()?), "scopes, separated by spaces";
        "event.access_token_ttl" Kind::Integer, whole(event.access_token_ttl?), "lifetime in seconds of the access token issued";
        "event.initiator" Kind::Choice(Initiator::NAMES), name(event.initiator?.as_str()), "who caused a revoke or a logout";
        "event.token_kind" Kind::Choice(TokenKind::NAMES), name(event.token_kind?.as_str()), "whether the token needs a live session";
    }
    Event |row| network = row.network.as_ref()? => {
        "network.prefix" Kind::Prefix, Value::Prefix(network.prefix), "the /24 or /64 of the address", needs IpAddress;
        "network.asn" Kind::Integer, whole(network.asn?), "number of the autonomous system", needs IpAddress;
        "network.organisation" Kind::Text, text(network.organisation.as_ref()?), "who runs the autonomous system", needs IpAddress;
        "network.class" Kind::Choice(NetworkClass::NAMES), name(network.class?.as_str()), "declared class, else that of the anonymous-IP table", needs IpAddress;
        "network.declared" Kind::Text, text(network.declared.as_ref()?), "name of the declared network", needs IpAddress;
        "network.internal" Kind::Truth, truth(network.internal), "not routable on the Internet", needs IpAddress;
        "network.anonymous" Kind::Truth, truth(network.anonymity.hides_place()), "a VPN, proxy or Tor exit: says nothing of the place", needs AnonymousIp;
        "network.vpn" Kind::Truth, truth(network.anonymity.vpn), "exit of a VPN", needs AnonymousIp;
        "network.proxy" Kind::Truth, truth(network.anonymity.proxy), "proxy, public or residential", needs AnonymousIp;
        "network.tor" Kind::Truth, truth(network.anonymity.tor), "exit of Tor", needs AnonymousIp;
        "network.hosting" Kind::Truth, truth(network.anonymity.hosting), "address of a hosting provider", needs AnonymousIp;
    }
    Event |row| place = row.place.as_ref()? => {
        "place.country" Kind::Text, text(place.country.as_ref()?), "country, ISO 3166-1 alpha-2", needs City;
        "place.city" Kind::Text, text(place.city.as_ref()?), "city", needs City;
        "place.latitude" Kind::Number, Value::Number(place.latitude), "degrees, north positive", needs City;
        "place.longitude" Kind::Number, Value::Number(place.longitude), "degrees, east positive", needs City;
        "place.radius_km" Kind::Integer, whole(place.radius_km), "kilometres within which the device probably is", needs City;
    }
    Event |row| agent = row.agent.as_ref()? => {
        "agent.os_family" Kind::Text, text(&agent.os_family), "operating system, without its version", needs UserAgent;
        "agent.device" Kind::Choice(DeviceClass::NAMES), name(agent.device.as_str()), "class of device", needs UserAgent;
        "agent.client_app" Kind::Text, text(&agent.client_app), "browser, app or library, without its version", needs UserAgent;
        "agent.automation" Kind::Truth, truth(agent.automation), "a library or tool, nothing that a person holds", needs UserAgent;
    }
    Facts |row| facts = row => {
        "client.type" Kind::Choice(ClientType::NAMES), name(facts.client_type?.as_str()), "what the configuration says of the client", needs ClientId;
        "client.rotation" Kind::Choice(Rotation::NAMES), name(facts.rotation?.as_str()), "whether its refresh tokens rotate", needs ClientId;
        "facts.token_known" Kind::Truth, truth(facts.token_known), "the ledger has seen this token issued or used", needs TokenId;
        "facts.family_known" Kind::Truth, truth(facts.family_known), "the ledger has seen this family before";
        "facts.context" Kind::Choice(Standing::NAMES), name(facts.context?.as_str()), "how the presenter stands to those known of the family";
        "facts.device" Kind::Choice(Standing::NAMES), name(facts.device?.as_str()), "the same by proof key, device id and kind of client alone";
        "facts.network_known" Kind::Truth, truth(facts.network_known), "the family was used from this network before", needs IpAddress;
        "facts.disputed" Kind::Truth, truth(facts.disputed), "a refusal, a repeat or another client puts the family in question";
        "facts.generation_gap" Kind::Integer, whole(facts.generation_gap?), "generations by which the token is behind the newest";
    }
}

impl Field {
    /// The field of this name; names of event members may go without `event.`.
    pub fn find(name: &str) -> Option<&'static Self> {
        let member = |field: &&Self| field.name.strip_prefix("event.") == Some(name);
        Self::named(name).or_else(|| FIELDS.iter().find(member))
    }

    /// The field of exactly this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FIELDS.iter().find(|field| field.name == name)
    }

    /// What was probably meant by a name that no field has.
    pub fn hint(name: &str) -> String {
        let names = || FIELDS.iter().map(|field| field.name);
        let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
        // Rightly written behind the wrong group, or nearly written, or that without its group.
        let meant = names()
            .find(|known| last(known) == last(name))
            .or_else(|| nearest(name, names()))
            .or_else(|| {
                let member = nearest(
                    name,
                    names().filter_map(|known| known.strip_prefix("event.")),
                )?;
                Self::find(member).map(|field| field.name)
            });
        match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => Self::hint_group(name),
        }
    }

    /// What else there is in the group that was written.
    fn hint_group(name: &str) -> String {
        const SHOWN_MAX: usize = 12;
        let group = name.split('.').next().unwrap_or_default();
        let members: Vec<&str> = FIELDS
            .iter()
            .filter(|field| field.name.split('.').next() == Some(group))
            .map(|field| field.name)
            .collect();
        if members.is_empty() || members.len() > SHOWN_MAX {
            return "`tokenwarden rules fields` lists them".to_owned();
        }
        format!("known there: {}", members.join(", "))
    }

    /// Whether only the engine knows it, from what it has seen: an event that comes late may change it.
    pub fn is_fact(&self) -> bool {
        self.name.starts_with("facts.")
    }

    /// Its value, if it is one that the configuration alone tells.
    pub fn read_of_client<'a>(&self, facts: &'a Facts) -> Option<Value<'a>> {
        match self.reader {
            Reader::Facts(read) if !self.is_fact() => read(facts),
            Reader::Facts(_) | Reader::Event(_) => None,
        }
    }

    /// Its value at this event; `None` is a value that nobody told.
    pub fn read<'a>(&self, event: &'a Enriched, facts: &'a Facts) -> Option<Value<'a>> {
        match self.reader {
            Reader::Event(read) => read(event),
            Reader::Facts(read) => read(facts),
        }
    }
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Kind {
    /// The names that a value can have, where they are few and known.
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Choice(names) => names,
            _ => &[],
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Choice(_) => "choice",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Truth => "true or false",
            Self::Address => "address",
            Self::Prefix => "network",
            Self::Time => "time",
        })
    }
}

impl Value<'_> {
    /// The same without a copy of its text.
    pub(super) fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Integer(number) => Value::Integer(*number),
            Self::Number(number) => Value::Number(*number),
            Self::Truth(truth) => Value::Truth(*truth),
            Self::Address(address) => Value::Address(*address),
            Self::Prefix(prefix) => Value::Prefix(*prefix),
            Self::Time(time) => Value::Time(*time),
        }
    }
}

impl std::fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Truth(truth) => truth.fmt(f),
            Self::Address(address) => address.fmt(f),
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Time(time) => time.fmt(f),
        }
    }
}

fn text(text: &Text) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

fn name(name: &'static str) -> Value<'static> {
    Value::Text(Cow::Borrowed(name))
}

fn truth(truth: bool) -> Value<'static> {
    Value::Truth(truth)
}

/// A generation beyond what a signed number holds is as good as the greatest: no server counts so far.
fn whole(number: impl TryInto<i64>) -> Value<'static> {
    Value::Integer(number.try_into().unwrap_or(i64::MAX))
}

/// A field by which a rule keeps its counts apart.
#[derive(Clone, Copy)]
pub struct KeyField {
    field: &'static Field,
    read: fn(&Enriched) -> Option<Value<'_>>,
}

impl KeyField {
    /// By its name; event members may go without `event.`. The fault is a message and a hint.
    pub fn parse(name: &str) -> Result<Self, (String, String)> {
        let Some(field) = Field::find(name) else {
            return Err((format!("there is no field `{name}`"), Field::hint(name)));
        };
        let unfit = |why| {
            Err((
                format!("`{name}` cannot be a key: {why}"),
                KEY_HINT.to_owned(),
            ))
        };
        match (field.reader, field.kind) {
            (Reader::Facts(_), _) => unfit("it depends on what was seen before"),
            (_, Kind::Number | Kind::Time) => unfit("hardly two events have the same value"),
            (Reader::Event(read), _) => Ok(Self { field, read }),
        }
    }

    pub fn field(self) -> &'static Field {
        self.field
    }

    pub fn name(self) -> &'static str {
        self.field.name
    }

    /// The key of this event; `None` where the event does not tell it.
    pub fn of(self, event: &Enriched) -> Option<Cow<'_, str>> {
        Some(match (self.read)(event)? {
            Value::Text(text) => text,
            value => value.to_string().into(),
        })
    }

    /// The same for hashing, without making a text of it.
    pub fn bytes_of(self, event: &Enriched) -> Option<KeyBytes<'_>> {
        let short = |kind, bytes: &[u8]| KeyBytes::Short(short_key(kind, bytes));
        Some(match (self.read)(event)? {
            Value::Text(text) => KeyBytes::Text(text),
            Value::Integer(number) => short(0, &number.to_le_bytes()),
            Value::Truth(truth) => short(0, &[u8::from(truth)]),
            Value::Address(IpAddr::V4(address)) => short(4, &address.octets()),
            Value::Address(IpAddr::V6(address)) => short(6, &address.octets()),
            Value::Prefix(Prefix::V4(prefix)) => short(4, &prefix),
            Value::Prefix(Prefix::V6(groups)) => {
                short(6, groups.map(u16::to_be_bytes).as_flattened())
            }
            value @ (Value::Number(_) | Value::Time(_)) => KeyBytes::Text(value.to_string().into()),
        })
    }
}

/// A part of a key as bytes: two values of one field are the same if these are.
pub enum KeyBytes<'a> {
    Text(Cow<'a, str>),
    Short([u8; SHORT_KEY_BYTES]),
}

/// An IPv6 address and a byte that tells it from an IPv4 one.
const SHORT_KEY_BYTES: usize = 17;

impl AsRef<[u8]> for KeyBytes<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Short(bytes) => bytes,
        }
    }
}

fn short_key(kind: u8, bytes: &[u8]) -> [u8; SHORT_KEY_BYTES] {
    let mut short = [0; SHORT_KEY_BYTES];
    for (to, from) in short.iter_mut().zip(std::iter::once(&kind).chain(bytes)) {
        *to = *from;
    }
    short
}

const KEY_HINT: &str = "use who or where: event.user_id, event.client_id, network.prefix, ...";

impl PartialEq for KeyField {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for KeyField {}

impl std::fmt::Debug for KeyField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::super::expr::sample;
    use super::*;

    #[test]
    fn names_are_unique_and_every_field_is_explained() {
        let mut names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FIELDS.len());
        for field in FIELDS {
            assert!(
                !field.about.is_empty() && !field.about.ends_with('.'),
                "{field:?}"
            );
        }
    }

    #[test]
    fn every_field_has_a_value_of_its_kind_at_a_full_event() {
        let (event, facts) = sample::full();
        for field in FIELDS {
            let value = field
                .read(&event, &facts)
                .unwrap_or_else(|| panic!("{field:?}"));
            let fits = match (field.kind, &value) {
                (Kind::Choice(names), Value::Text(text)) => names.contains(&text.as_ref()),
                (Kind::Text, Value::Text(_))
                | (Kind::Integer, Value::Integer(_))
                | (Kind::Number, Value::Number(_))
                | (Kind::Truth, Value::Truth(_))
                | (Kind::Address, Value::Address(_))
                | (Kind::Prefix, Value::Prefix(_))
                | (Kind::Time, Value::Time(_)) => true,
                _ => false,
            };
            assert!(fits, "{field:?} is {value:?}");
        }
    }

    #[test]
    fn a_key_is_named_with_or_without_event_and_says_what_else_was_meant() {
        let key = |name: &str| KeyField::parse(name).map(KeyField::name);
        assert_eq!(key("user_id"), Ok("event.user_id"));
        assert_eq!(key("event.user_id"), Ok("event.user_id"));
        assert_eq!(key("network.prefix"), Ok("network.prefix"));
        let hint = |name: &str| key(name).unwrap_err().1;
        assert_eq!(hint("usr_id"), "did you mean `event.user_id`?");
        assert_eq!(hint("event.asn"), "did you mean `network.asn`?");
        assert_eq!(hint("prefix"), "did you mean `network.prefix`?");
        assert_eq!(hint("xyzzy"), "`tokenwarden rules fields` lists them");
        assert!(key("facts.context").is_err() && key("event.time").is_err());
    }

    #[test]
    fn a_key_of_an_event_is_text_or_nothing() {
        let (event, _) = sample::full();
        let of = |name: &str| KeyField::parse(name).unwrap().of(&event);
        assert_eq!(of("ip_address").as_deref(), Some("203.0.113.7"));
        assert_eq!(of("network.prefix").as_deref(), Some("203.0.113.0/24"));
        assert_eq!(of("network.asn").as_deref(), Some("64497"));
        assert_eq!(of("type").as_deref(), Some("refresh"));
        let (bare, _) = sample::bare();
        assert_eq!(KeyField::parse("user_id").unwrap().of(&bare), None);
    }
}
