//! placeholder
use super::{DecodeOptions, Decoder};

pub(super) fn build(_options: DecodeOptions) -> Result<Box<dyn Decoder>, String> {
    Err("format `auth0` is not there yet".to_owned())
}
