//! A chunk of a saved state as it is stored: compressed, because less is written and read, on a disk that commits wait for too.
//!
//! What was stored plain, by a version that did not compress, is read as it is.

use super::StoreError;

/// The fastest of the usual ones: a state is written every minute and read once.
const LEVEL: i32 = 1;
/// RFC 8878, section 3.1.1: what every frame begins with.
const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// On a thread of its own: of a megabyte it takes milliseconds.
pub(super) async fn pack(chunk: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    let packed = tokio::task::spawn_blocking(move || zstd::bulk::compress(&chunk, LEVEL));
    let broke = |error: &dyn std::fmt::Display| {
        StoreError::Other(format!("a saved state could not be compressed: {error}"))
    };
    let packed = packed.await.map_err(|error| broke(&error))?;
    packed.map_err(|error| broke(&error))
}

/// Puts the chunk, which has at most so many bytes, behind what is there. One that is damaged is put there as it is: the
/// checksum of the whole tells.
pub(super) fn unpack(stored: &[u8], most: usize, state: &mut Vec<u8>) {
    let is_packed = stored.starts_with(&MAGIC);
    let plain = is_packed.then(|| zstd::bulk::decompress(stored, most).ok());
    match plain.flatten() {
        Some(plain) => state.extend_from_slice(&plain),
        None => state.extend_from_slice(stored),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(stored: &[u8], most: usize) -> Vec<u8> {
        let mut state = vec![1];
        unpack(stored, most, &mut state);
        state.split_off(1)
    }

    #[tokio::test]
    async fn what_was_packed_is_unpacked_and_what_was_stored_plain_is_read_as_it_is() {
        let plain = b"family ".repeat(1000);
        let packed = pack(plain.clone()).await.unwrap();
        assert!(packed.len() < plain.len() / 10);
        assert_eq!(unpacked(&packed, plain.len()), plain);
        assert_eq!(unpacked(&plain, plain.len()), plain);
        assert_eq!(unpacked(&MAGIC, 100), MAGIC, "of a version before");
    }

    #[tokio::test]
    async fn one_that_claims_more_than_a_chunk_holds_is_not_unpacked() {
        let bomb = pack(vec![0; 1 << 20]).await.unwrap();
        assert_eq!(unpacked(&bomb, 1 << 16), bomb);
    }
}
