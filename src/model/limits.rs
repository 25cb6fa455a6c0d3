//! Every bound, with its unit and its reason. What happens at a bound is counted, never silent.

use std::time::Duration;

/// A record larger than this is rejected. The largest real event seen (Keycloak with long details) is below 16 KiB.
pub const RECORD_BYTES_MAX: usize = 256 * 1024;
/// Unknown members kept for evidence.
pub const EXTRA_BYTES_MAX: usize = 4 * 1024;
/// What the reject table keeps of a payload.
pub const REJECT_BYTES_MAX: usize = 4 * 1024;
/// Contract: `event_id` is 1 to 256 bytes.
pub const EVENT_ID_BYTES_MAX: usize = 256;
/// Any other id or name; Keycloak's columns hold 255.
pub const ID_BYTES_MAX: usize = 512;
/// User agents and provider error texts are cut here: hostile clients send megabytes.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Records in one batch: small enough to keep latency, large enough to amortise the hand-over.
pub const BATCH_RECORDS_MAX: usize = 1000;
/// An event further ahead of its arrival is a broken clock (DESIGN, Time).
pub const FUTURE_MAX: Duration = Duration::from_mins(5);
/// In `replay` a jump over this moves the watermark only when a second event confirms it.
pub const REPLAY_JUMP_MAX: Duration = Duration::from_hours(1);
/// Default lateness of a source.
pub const LATENESS_DEFAULT: Duration = Duration::from_mins(2);
/// Detections that one notification lists; beyond it says how many more there are.
pub const NOTIFICATION_DETECTIONS_MAX: usize = 20;
/// Addresses whose network and place are remembered per worker: hot addresses repeat, and one entry is some 200 bytes.
pub const ADDRESS_CACHE_SLOTS: usize = 16 * 1024;
/// User agents whose parsed form is remembered per worker; an installation has a few thousand different ones.
pub const AGENT_CACHE_SLOTS: usize = 4 * 1024;
/// Names kept from GeoIP tables and user agents: longer ones are broken or hostile.
pub const NAME_BYTES_MAX: usize = 128;
