//! The key of the hash that replaces anything that could be presented as a token: read, or made once beside the store.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::config::Config;
use crate::decode::TokenKey;

/// The key in use, and the one before it during a rotation.
#[derive(PartialEq)]
pub(super) struct Keys {
    pub(super) current: TokenKey,
    pub(super) previous: Option<TokenKey>,
}

/// Shorter keys could be guessed.
const KEY_BYTES_MIN: usize = 16;

pub(super) fn keys(config: &Config) -> anyhow::Result<Keys> {
    let previous = config
        .token_key_previous
        .as_ref()
        .map(|key| TokenKey::new(key.expose().as_bytes()));
    if let Some(key) = &config.token_key {
        return Ok(Keys {
            current: usable(key.expose(), "token_key_file")?,
            previous,
        });
    }
    let path = config.token_key_path();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(&path)?,
        Err(error) => bail!("token key {} cannot be read: {error}", path.display()),
    };
    Ok(Keys {
        current: usable(text.trim(), &path.display().to_string())?,
        previous,
    })
}

fn usable(key: &str, place: &str) -> anyhow::Result<TokenKey> {
    if key.len() < KEY_BYTES_MIN {
        bail!(
            "the token key in {place} has {} bytes, at least {KEY_BYTES_MIN} are needed (openssl rand -hex 32)",
            key.len()
        );
    }
    Ok(TokenKey::new(key.as_bytes()))
}

/// 256 random bits from the system, in hex, readable by the owner only.
fn make(path: &Path) -> anyhow::Result<String> {
    let mut random = [0_u8; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .context("the system gives no random bytes")?;
    let text = random.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    });
    let place = || format!("token key {} cannot be written", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(place)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(place)?;
    tracing::info!(path = %path.display(), "Made the key by which tokens are hashed; back it up with the store");
    Ok(text)
}
