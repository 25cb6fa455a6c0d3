//! placeholder
use std::collections::BTreeMap;

use super::{DecodeOptions, Decoder};
use crate::model::Text;

/// Which member of the record gives which member of the event: by member of the canonical event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MappingSpec {
    pub fields: BTreeMap<Text, MappingField>,
}

/// Where one member comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct MappingField {
    pub from: MappingValue,
    /// Translates the provider's values; one that is not listed rejects the record, unless `otherwise` is given.
    pub values: BTreeMap<Text, Text>,
    pub otherwise: Option<Text>,
    /// The value could be presented as a token: it is replaced by its keyed hash.
    pub secret: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum MappingValue {
    /// RFC 6901 JSON pointer, or the name of a column.
    Pointer(Text),
    Constant(Text),
}

pub(super) fn build(_options: DecodeOptions) -> Result<Box<dyn Decoder>, String> {
    Err("format `mapping` is not there yet".to_owned())
}
