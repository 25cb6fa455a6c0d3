//! Leaf: YAML with places, so that every fault of a file is reported at once with line and column.
//!
//! Used by `config` and `rules`. A file becomes a tree of [`Node`]s, and readers walk it: each takes the node and a
//! [`Faults`] collector, notes what is wrong and goes on. A reader answers `None` for what it could not read, or a
//! default where one exists; whether the whole is valid is asked once, at the end, of the collector:
//!
//! ```
//! use tokenwarden::yaml::{Faults, Node};
//!
//! struct Limit { count: u32, window: std::time::Duration }
//!
//! fn read_limit(node: &Node, faults: &mut Faults) -> Option<Limit> {
//!     let mut map = node.mapping(faults)?;
//!     let count = map.required("count", faults, |node, faults| node.integer(1..=1000, faults));
//!     let window = map.or("window", std::time::Duration::from_mins(10), faults, Node::duration);
//!     map.finish(faults); // Unknown keys are faults; repeated ones were when the file was parsed.
//!     Some(Limit { count: count?, window })
//! }
//!
//! let mut faults = Faults::default();
//! let node = Node::parse("cuont: 3\nwindow: 5", "limit.yaml".as_ref(), &mut faults).expect("well-formed");
//! assert!(read_limit(&node, &mut faults).is_none());
//! let report: Vec<String> = faults.into_faults().iter().map(ToString::to_string).collect();
//! assert_eq!(report, [
//!     "limit.yaml:1:1: `count` is missing",
//!     "limit.yaml:1:1: unknown key `cuont`\n  hint: did you mean `count`?",
//!     "limit.yaml:2:9: expected a duration, found `5`\n  hint: write a number with its unit: 500ms, 30s, 10m, 24h, 30d, 1h30m",
//! ]);
//! ```
//!
//! Not serde: it stops at the first fault, and loses places where a value is only wrong together with another one.

mod fault;
mod map;
mod node;
mod parse;
mod scalar;

pub use fault::{Fault, Faults, Place, nearest};
pub use map::{Entry, Map};
pub use node::Node;
pub use scalar::{is_url, parse_duration};
