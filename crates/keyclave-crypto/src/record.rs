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
    let body = key.key.seal(entropy, &[&labels::record(place)], plaintext);
    let mut blob = Vec::with_capacity(5 + body.len());
    blob.push(FORMAT);
    blob.extend_from_slice(&key.epoch.0.to_be_bytes());
    blob.extend_from_slice(&body);
    blob
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
