//! A ledger record's blob: `0x01 ‖ epoch (4) ‖ nonce (24) ‖ ciphertext ‖ tag (16)`, and the id it stands under.
//!
//! Called by the vault, which knows what the plaintext means. A blob opens only at the place that it was sealed for.

use keyclave_types::ids::RecordId;
use zeroize::Zeroizing;

use crate::aead::{Unopened, XaesKey};
use crate::entropy::Entropy;
use crate::labels::{self, Place};
use crate::mac::hmac_sha256;
use crate::secret::Secret;

/// First byte of a sealed blob.
pub const FORMAT: u8 = 0x01;

/// A keyring generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Epoch(pub u32);

/// The key of one epoch, expanded once.
#[derive(Debug)]
pub struct EpochKey {
    epoch: Epoch,
    key: XaesKey,
}

impl EpochKey {
    /// The key of this epoch.
    pub fn new(epoch: Epoch, key: &Secret<32>) -> Self {
        Self { epoch, key: XaesKey::new(key) }
    }

    /// Its epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// Why a blob names no epoch.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum BlobError {
    /// Shorter than its head.
    #[error("the sealed blob is cut short: {found} bytes")]
    Short {
        /// Bytes found.
        found: usize,
    },
    /// Sealed by a newer version.
    #[error("sealed blob format {found:#04x} is not {FORMAT:#04x}, the one that this version reads")]
    Format {
        /// The byte found.
        found: u8,
    },
}

/// 0x01 ‖ epoch ‖ XAES-256-GCM(epoch key, plaintext; associated data = [`labels`]' record layout of `place`).
pub fn seal_record(key: &EpochKey, place: &Place, plaintext: &[u8], entropy: &mut Entropy) -> Vec<u8> {
    let [a, b, c, d] = key.epoch.0.to_be_bytes();
    key.key.seal_after(&[FORMAT, a, b, c, d], entropy, &[&labels::record(place)], plaintext)
}

/// The epoch that a blob says it was sealed under; opening it proves that.
pub fn epoch_of(blob: &[u8]) -> Result<Epoch, BlobError> {
    split(blob).map(|(epoch, _)| epoch)
}

/// The plaintext of [`seal_record`], if key and place are the same.
pub fn open_record(key: &EpochKey, place: &Place, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
    let (epoch, body) = split(blob).map_err(|_| Unopened)?;
    if epoch != key.epoch {
        return Err(Unopened);
    }
    key.key.open(&[&labels::record(place)], body)
}

/// The first 16 bytes of HMAC-SHA-256(index key, label ‖ kind (1) ‖ name), marked as a sealed record's id. 120 bits
/// remain, so ids of 10^9 records collide with a chance below 2^-60.
pub fn record_id(index_key: &Secret<32>, kind: u8, name: &[u8]) -> RecordId {
    let tag = hmac_sha256(index_key, &[labels::RECORD_ID.bytes(), &[kind], name]);
    let (id, _) = tag.split_first_chunk::<16>().expect("a tag has 32 bytes");
    RecordId::sealed(*id)
}

fn split(blob: &[u8]) -> Result<(Epoch, &[u8]), BlobError> {
    let short = BlobError::Short { found: blob.len() };
    let (format, rest) = blob.split_first().ok_or(short)?;
    if *format != FORMAT {
        return Err(BlobError::Format { found: *format });
    }
    let (epoch, body) = rest.split_first_chunk::<4>().ok_or(short)?;
    Ok((Epoch(u32::from_be_bytes(*epoch)), body))
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use keyclave_types::ids::ClusterId;
    use keyclave_types::position::Revision;

    use super::*;

    const PLACE: Place = Place {
        cluster: ClusterId::from_bytes([1; 16]),
        kind: 2,
        id: RecordId::from_bytes([3; 16]),
        revision: Revision(4),
    };

    fn epoch_key(epoch: u32, byte: u8) -> EpochKey {
        EpochKey::new(Epoch(epoch), &Secret::from_fn("epoch key", |bytes| bytes.fill(byte)))
    }

    fn sealed() -> Vec<u8> {
        seal_record(&epoch_key(258, 5), &PLACE, b"body", &mut Entropy::from_seed([6; 32]))
    }

    #[test]
    fn golden_bytes_stay() {
        assert_eq!(HEXLOWER.encode(&sealed()), include_str!("../testdata/record.hex").trim_end());
        assert_eq!(epoch_of(&sealed()), Ok(Epoch(258)));
        assert_eq!(open_record(&epoch_key(258, 5), &PLACE, &sealed()).unwrap().as_slice(), b"body");
        let index_key = Secret::from_fn("index key", |bytes| bytes.fill(7));
        assert_eq!(
            record_id(&index_key, 2, b"app/key").to_string(),
            include_str!("../testdata/record-id.hex").trim_end()
        );
    }

    #[test]
    fn a_blob_opens_nowhere_else() {
        let blob = sealed();
        for place in [
            Place { cluster: ClusterId::from_bytes([2; 16]), ..PLACE },
            Place { kind: 3, ..PLACE },
            Place { id: RecordId::from_bytes([4; 16]), ..PLACE },
            Place { revision: Revision(5), ..PLACE },
        ] {
            assert_eq!(open_record(&epoch_key(258, 5), &place, &blob).err(), Some(Unopened), "{place:?}");
        }
        assert!(open_record(&epoch_key(259, 5), &PLACE, &blob).is_err());
        assert!(open_record(&epoch_key(258, 6), &PLACE, &blob).is_err());
    }

    #[test]
    fn a_blob_cut_or_changed_anywhere_does_not_open() {
        let (key, blob) = (epoch_key(258, 5), sealed());
        for length in 0..blob.len() {
            assert!(open_record(&key, &PLACE, &blob[..length]).is_err());
        }
        for bit in 0..blob.len() * 8 {
            let mut changed = blob.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open_record(&key, &PLACE, &changed).is_err(), "bit {bit}");
        }
        assert_eq!(epoch_of(&[]), Err(BlobError::Short { found: 0 }));
        assert_eq!(epoch_of(&[1, 0, 0, 0]), Err(BlobError::Short { found: 4 }));
        assert_eq!(epoch_of(&[2; 60]), Err(BlobError::Format { found: 2 }));
    }

    #[test]
    fn ids_depend_on_key_kind_and_name() {
        let key = |byte| Secret::from_fn("index key", |bytes: &mut [u8; 32]| bytes.fill(byte));
        let id = record_id(&key(1), 2, b"name");
        assert!(!id.is_plain());
        assert_ne!(id, record_id(&key(2), 2, b"name"));
        assert_ne!(id, record_id(&key(1), 3, b"name"));
        assert_ne!(id, record_id(&key(1), 2, b"names"));
    }
}
