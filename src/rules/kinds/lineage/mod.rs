//! Kinds that judge who presented which token of a family: one table decides (DESIGN, "Reuse"), each kind tells some of its rows.
//!
//! The verdict is written over the *set* of presentations known of a family, never over their order of arrival, and
//! never over who came second: the branch whose context is foreign to the family's history is the thief's. The
//! provider's reason text is a hint only; every row stands when it says nothing. Source of the table: RFC 9700 section
//! 4.14.2 names the defence, the rows come from what real servers and clients were recorded doing.
//!
//! | presented | answer | context | verdict | kind |
//! |---|---|---|---|---|
//! | consumed, gap 1, within grace or 30 min with its successor unused | accepted | own | retry or race | |
//! | the same | accepted | unknown / foreign | suspected / theft | `reuse` |
//! | consumed, gap 2 or more, or gap 1 beyond grace whose successor was used | accepted | any | theft | `reuse` |
//! | consumed, gap 1 after 30 min, successor unused | accepted | not foreign / foreign | suspected / theft | `reuse` |
//! | consumed | refused | all own, or all of one context | client fault | `reuse` |
//! | consumed | refused | one of these foreign | theft | `reuse` |
//! | consumed | refused | none foreign, one unknown | suspected | `reuse` |
//! | two successors of one token, each presented later | accepted | foreign to each other / unknown / own | theft / suspected / retry | `fork` |
//! | live token | any | another client | theft | `client_mismatch` |
//! | live token | any | another key, another device id where that is stable | theft | `binding_mismatch` |
//! | unknown, expired, revoked, malformed | refused | any | nothing: a dead token must not log a victim out | |
//!
//! *Suspected* becomes theft when two holders are proved (see the file `holders`).

pub mod binding_mismatch;
pub mod client_mismatch;
mod descent;
mod describe;
mod dispute;
pub mod fork;
mod holders;
mod mismatch;
pub mod reuse;
mod verdict;
mod view;

pub use verdict::Verdict;
