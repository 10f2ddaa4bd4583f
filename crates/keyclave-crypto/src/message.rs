//! Client data: `header (21) ‖ nonce ‖ ciphertext ‖ tag (16)`, with the header of [`keyclave_types::ciphertext`].
//!
//! Called by the vault on the path of every encryption, so a [`MessageKey`] is expanded once and used often.
//! Deliberately absent: choosing key or version, and counting uses.

use keyclave_types::ciphertext::Header;
use keyclave_types::key::Algorithm;
use zeroize::Zeroizing;

use crate::aead::{AesKey, Unopened, XaesKey};
use crate::entropy::Entropy;
use crate::labels;
use crate::secret::Secret;

/// The key of one version, expanded for its algorithm.
#[derive(Debug)]
pub enum MessageKey {
    /// XAES-256-GCM: nonces of 24 bytes.
    Xaes256Gcm(XaesKey),
    /// AES-256-GCM: nonces of 12 bytes.
    Aes256Gcm(AesKey),
}

impl MessageKey {
    /// Expands a version's material.
    pub fn new(algorithm: Algorithm, material: &Secret<32>) -> Self {
        match algorithm {
            Algorithm::Xaes256Gcm => Self::Xaes256Gcm(XaesKey::new(material)),
            Algorithm::Aes256Gcm => Self::Aes256Gcm(AesKey::new(material)),
        }
    }
}

/// header ‖ AEAD(key, plaintext; associated data = header ‖ `associated_data`). The header has a fixed length, so no
/// two pairs of header and associated data join to the same bytes.
pub fn encrypt(
    key: &MessageKey,
    header: Header,
    associated_data: &[u8],
    plaintext: &[u8],
    entropy: &mut Entropy,
) -> Vec<u8> {
    let header = labels::message_header(header);
    let aad = [header.as_slice(), associated_data];
    let body = match key {
        MessageKey::Xaes256Gcm(key) => key.seal(entropy, &aad, plaintext),
        MessageKey::Aes256Gcm(key) => key.seal(entropy, &aad, plaintext),
    };
    [header.as_slice(), &body].concat()
}

/// The plaintext of a body that [`encrypt`] made for this header (parsed by the caller to find the key).
pub fn decrypt(
    key: &MessageKey,
    header: Header,
    body: &[u8],
    associated_data: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Unopened> {
    let header = labels::message_header(header);
    let aad = [header.as_slice(), associated_data];
    match key {
        MessageKey::Xaes256Gcm(key) => key.open(&aad, body),
        MessageKey::Aes256Gcm(key) => key.open(&aad, body),
    }
}
