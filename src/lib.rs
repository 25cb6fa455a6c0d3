//! tokenwarden finds stolen OAuth refresh tokens in the events of an authorization server, ends the stolen family
//! through the server's own API, and tells the person on call. This page is the map; each module's page says what it
//! is, what it may use, and what comes in and goes out.
//!
//! # The way of an event
//!
//! One way, and nothing flows back but what is durable:
//!
//! ```text
//!  sources       decode         engine            respond           store             delivery      actions
//!  RawBatch  --> Vec<Event> --> Engine::apply --> Policy::decide --> one transaction --> lease  -->  perform
//!  + position    + rejects      what was found    actions, each     detections,       try, again,   HTTP, SMTP
//!                 ^                                with a decision   actions,          give up
//!                 enrich: network, place, agent                     position
//! ```
//!
//! - A [source](sources) never acknowledges by itself: the position up to which it was read is part of the
//!   [commit](model::Commit), and a restart resumes from there.
//! - A webhook writes into an inbox table, answers after the commit, and is from then on a table like any other.
//! - What was done comes back as [events of our own](model::OwnEvent), in a table that is tailed like any source: so the
//!   [engine] knows its own revocations, and so does whoever replays them.
//! - `replay` ([`app::replay`]) and `demo` ([`app::demo`]) run the same middle with other ends. There is no second path
//!   and no second clock: windows, grace periods and expiry are functions of event time.
//! - A verdict is written over the *set* of what is known, not over the order of arrival. Where it hangs on a fact that may
//!   still come, the question waits for a named settling time.
//!
//! A good first reading is [`pipeline`] (the loop), then [`engine`] (what is remembered), then
//! [`rules::kinds::lineage`] (the one hard question), then [`respond`] (what is done about it).
//!
//! # Layers
//!
//! Each may use those below it as the table says; `tests/architecture.rs` reads every path of every file and refuses
//! others. No asynchronous runtime, database, HTTP or Kafka below L3; no clock below L4; SQL on our own tables in [`store`]
//! alone; the environment is never read.
//!
//! | | layer | uses |
//! |---|---|---|
//! | L5 | [`app`] wires, [`cli`] speaks, [`simulate`] plays the other side | everything |
//! | L4 | [`pipeline`] reads, judges, commits | sources, decode, enrich, engine, respond, store, archive |
//! | | [`delivery`] performs what was decided | actions, store |
//! | | [`admin`] answers HTTP | store |
//! | L3 | [`sources`], [`actions`], [`store`], [`archive`] | model and their part of config; never each other |
//! | L2 | [`engine`] remembers and finds | rules, enrich, model |
//! | | [`respond`] decides | engine's findings, rules, model |
//! | L1 | [`rules`], [`decode`], [`enrich`] | model |
//! | L0 | [`model`] | the standard library, time, serde's derive |
//! | leaves | [`config`], [`yaml`], [`metrics`], [`telemetry`], [`clock`] | model |
//!
//! A new kind of rule, source, format, revoker or notifier is one file and one line in the table of its folder.
//!
//! # Promises
//!
//! Quoted by number in code and tests.
//!
//! | | the engine |
//! |---|---|
//! | E1 | The same rules and events give the same output, whatever the batches. |
//! | E2 | Snapshot and restore anywhere change nothing. |
//! | E3 | Every table has a bound; at the bound it forgets by event time, and counts it. |
//! | E4 | A rule more changes no other rule's detections. |
//! | E5 | Any order of delivery within the lateness gives the same incidents and actions, but for facts that a rule says it waits for. |
//!
//! | | operation |
//! |---|---|
//! | O1 | Detections, actions and positions become durable together, or are found again with the same ids. |
//! | O2 | Reading again never enqueues an action twice. |
//! | O3 | Every action ends as exactly one of done, parked, suppressed, expired. |
//! | O4 | `observe` performs nothing. |
//! | O5 | Two attempts at one action never overlap, except after a lease ran out. |
//! | O6 | An action that was answered "done" is verified by asking the server or by what the events show afterwards; a login that lives on is ended again, then its user's others. |
//!
//! | | security |
//! |---|---|
//! | S1 | Nothing that could be presented as a token is stored, logged or sent: [`decode`] replaces it by a keyed hash. |
//! | S2 | No secret in a log, an error, a metric or a URL. |
//! | S3 | Rate, place and network, alone or together, never revoke. |
//! | S4 | A refusal revokes only where presentations of the family's own tokens prove two holders; a storm of refusals is one incident. |
//! | S5 | Beyond its budget the daemon goes on detecting, stops acting, and asks a person. |
//! | S6 | What the daemon itself revoked never counts as an attack. |
//!
//! # Words
//!
//! One meaning everywhere.
//!
//! | word | means |
//! |---|---|
//! | [event](model::Event) | what the authorization server recorded |
//! | family | a first refresh token and all its descendants |
//! | lineage | the order of generations in a family |
//! | presentation | one use of a token, accepted or refused, with the context it came from |
//! | [detection](model::Detection) | one rule's finding about one subject, with evidence |
//! | [incident](model::Incident) | detections that belong together: what a person handles |
//! | [action](model::Action), [decision](model::Decision) | what is to be done to whom; whether |
//! | [revoker](actions::Revoker), [notifier](actions::Notifier) | the adapter that does it |
//! | [bulletin](model::Bulletin) | what is told of many incidents at once: the daily digest, the summary of what came too late |
//! | [subject](model::Subject) | the family, user, client or network that a rule keeps state for |
//! | [finding](model::Finding) | what an online check found at a server |
//! | [position](model::Position), watermark, lateness | as in stream processing |

pub mod model;

pub mod decode;
pub mod enrich;
pub mod rules;

pub mod engine;
pub mod respond;

pub mod actions;
pub mod archive;
pub mod sources;
pub mod store;

pub mod admin;
pub mod delivery;
pub mod pipeline;

pub mod app;
pub mod cli;
pub mod simulate;

pub mod clock;
pub mod config;
pub mod metrics;
pub mod telemetry;
pub mod yaml;

/// Of the program, its C libraries, its tests and benchmarks. What one thread allocates another frees (events, batches, pieces of a
/// saved state), and a daemon runs for months: jemalloc takes that back in bulk and returns what is no longer used.
/// README, "Half an hour at half load", has what it gains.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
