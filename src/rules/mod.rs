//! L1: the rules: what a rule file says, compiled and checked, and the pure logic of each kind.
//!
//! Uses `model` and the YAML leaf. No clock, no I/O beyond reading rule files, no state: the engine keeps the state and
//! hands it to the kinds as arguments.
//!
//! In: rule files, a ledger or a history. Out: compiled rules, findings with their reason.

pub mod case;
pub mod context;
pub mod device;
pub mod exception;
pub mod expr;
pub mod fields;
pub mod finding;
pub mod kinds;
mod labels;
pub mod ledger;
mod load;
pub mod needs;
mod overrides;
pub mod parameters;
mod rule;
pub mod schema;
mod short;
mod spec;
mod suppress;
pub mod trace;
mod variants;
pub mod words;

pub use exception::{Exception, Expiry};
pub use finding::{Ask, Class, Finding};
pub use labels::Labels;
pub use load::{SHIPPED, load, parse, text_of};
pub use rule::{Maturity, RULES_VERSION, Rule, RuleSet, SetBy, Written};
pub use suppress::{Suppress, SuppressBy};
pub use trace::Trace;
pub use variants::Variants;
