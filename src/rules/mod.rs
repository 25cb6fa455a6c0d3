//! L1: the rules: what a rule file says, compiled and checked, and the pure logic of each kind.
//!
//! Uses `model` and the YAML leaf. No clock, no I/O beyond reading rule files, no state: the engine keeps the state and
//! hands it to the kinds as arguments.
//!
//! In: rule files, a ledger or a history. Out: compiled rules, findings with their reason.

pub mod case;
pub mod context;
pub mod expr;
pub mod fields;
pub mod finding;
pub mod kinds;
pub mod ledger;
mod load;
pub mod needs;
pub mod parameters;
mod rule;
mod spec;
pub mod trace;
pub mod words;

pub use finding::{Ask, Class, Finding};
pub use load::{SHIPPED, load, parse, text_of};
pub use rule::{Rule, RuleSet};
pub use trace::Trace;
