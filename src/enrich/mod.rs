//! L1: enrichment looks addresses and user agents up in read-only tables.
//!
//! Uses `model` only. The tables are immutable snapshots: a reload builds new ones and the pipeline swaps them as a whole.
//!
//! In: an event. Out: the event with its network, place and agent, each absent where the tables do not know.
