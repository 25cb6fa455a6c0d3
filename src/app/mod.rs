//! L5: wiring: configuration to parts, start, supervise, stop.
//!
//! Uses everything; decides nothing.

pub mod parts;
pub mod replay;
