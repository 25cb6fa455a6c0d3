//! Leaf: YAML with places, so that every fault of a file can be reported at once with line and column.

/// A value of a YAML file with its place.
#[derive(Debug, Clone)]
pub struct Node;
