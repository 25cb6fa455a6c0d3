//! The key under which anything that could be presented as a token is hashed.
//!
//! A keyed hash, not a plain one: a plain hash of a short or guessable token could be undone by trying. 128 bits
//! of it are kept, enough that two tokens never share one, short enough to read.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::model::Text;

/// An HMAC-SHA256 key. Never printed.
#[derive(Clone)]
pub struct TokenKey {
    /// The hash's state after the key: each use starts from a copy.
    keyed: Hmac<Sha256>,
}

impl TokenKey {
    /// Any length is taken; 32 random bytes are meant.
    pub fn new(key: &[u8]) -> Self {
        let keyed = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
        Self { keyed }
    }

    /// What stands for the secret from here on: `hmac:` and 32 hex digits.
    pub fn hash(&self, secret: &str) -> Text {
        let mut text = String::with_capacity(37);
        text.push_str("hmac:");
        push_hex(&mut text, &self.digest(secret.as_bytes()));
        text.into()
    }

    /// Tells keys apart without giving one away: may be stored beside what was hashed.
    pub fn fingerprint(&self) -> Text {
        let mut text = String::with_capacity(32);
        push_hex(
            &mut text,
            &self.digest(b"tokenwarden: fingerprint of this key"),
        );
        text.into()
    }

    /// The first 128 bits.
    fn digest(&self, message: &[u8]) -> [u8; 16] {
        let mut mac = self.keyed.clone();
        mac.update(message);
        let full = mac.finalize().into_bytes();
        let mut half = [0; 16];
        half.copy_from_slice(&full[..16]);
        half
    }
}

impl PartialEq for TokenKey {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(hidden)")
    }
}

/// Appends bytes as lower-case hex.
pub(super) fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_stable_and_differ_by_key_and_secret() {
        let key = TokenKey::new(b"key");
        // RFC 2104 over SHA-256, first half; the full value is widely published for this input.
        assert_eq!(
            &*key.hash("The quick brown fox jumps over the lazy dog"),
            "hmac:f7bc83f430538424b13298e6aa6fb143"
        );
        assert_ne!(key.hash("a"), key.hash("b"));
        assert_ne!(key.hash("a"), TokenKey::new(b"other").hash("a"));
        assert_ne!(key.fingerprint(), TokenKey::new(b"other").fingerprint());
    }

    #[test]
    fn debug_shows_nothing_of_the_key() {
        assert_eq!(
            format!("{:?}", TokenKey::new(b"secret")),
            "TokenKey(hidden)"
        );
    }
}
