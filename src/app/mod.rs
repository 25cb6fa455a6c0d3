//! L5: wiring: configuration to parts, start, supervise, stop.
//!
//! Uses everything; decides nothing.

mod adapters;
mod ahead;
mod archive;
mod audited;
pub mod blind;
mod board;
mod chores;
mod control;
mod daemon;
pub mod demo;
pub mod erasure;
mod key;
mod lead;
mod loaded;
pub mod lookback;
mod memory;
pub mod notify;
pub mod online;
pub mod parts;
mod process;
pub mod remote;
pub mod replay;
mod restart;
pub mod rule_tests;
mod stories;
mod watch;

pub use daemon::{Daemon, StartError};
