//! People, apps and attackers, and the authorization server of the demo.
//!
//! Everything here is on the other side of the product: it makes the traffic that the daemon has to judge, keeps the
//! truth about it where the daemon cannot see it, and is written so that tests can use its parts one by one.
//!
//! In: a seed. Out: real HTTP requests, an audit table, small GeoIP files, and afterwards the truth.

pub mod places;
