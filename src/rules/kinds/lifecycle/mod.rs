//! Kinds that judge whether a family should still be alive: ended, its user disabled, its credentials changed, too old,
//! or asleep for so long that its use surprises.
//!
//! Each asks about one presentation and reads what was done to the family before it. What was done is a set, and what
//! accuses may come late: the engine asks again when it does. What excuses must have come when the question has settled;
//! each kind names it. What this daemon ended is no measure and never accuses (DESIGN S6).

pub mod disabled_user;
pub mod dormant_wake_up;
pub mod lifetime;
mod seen;
pub mod use_after_credential_change;
pub mod use_after_revocation;
