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
    match key {
        MessageKey::Xaes256Gcm(key) => key.seal_after(&header, entropy, &aad, plaintext),
        MessageKey::Aes256Gcm(key) => key.seal_after(&header, entropy, &aad, plaintext),
    }
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

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use keyclave_types::ids::KeyId;
    use keyclave_types::key::Version;

    use super::*;

    fn header(version: u32) -> Header {
        Header { key: KeyId::from_bytes([0xab; 16]), version: Version::new(version).unwrap() }
    }

    fn key(algorithm: Algorithm) -> MessageKey {
        MessageKey::new(algorithm, &Secret::from_fn("material", |bytes| bytes.fill(1)))
    }

    fn ciphertext(algorithm: Algorithm) -> Vec<u8> {
        encrypt(&key(algorithm), header(3), b"aad", b"message", &mut Entropy::from_seed([2; 32]))
    }

    #[test]
    fn golden_bytes_stay() {
        for (algorithm, golden) in [
            (Algorithm::Xaes256Gcm, include_str!("../testdata/message-xaes256-gcm.hex")),
            (Algorithm::Aes256Gcm, include_str!("../testdata/message-aes256-gcm.hex")),
        ] {
            assert_eq!(HEXLOWER.encode(&ciphertext(algorithm)), golden.trim_end(), "{algorithm}");
        }
    }

    #[test]
    fn a_ciphertext_changed_anywhere_does_not_open() {
        for algorithm in Algorithm::ALL {
            let (key, whole) = (key(algorithm), ciphertext(algorithm));
            let (parsed, body) = Header::parse(&whole).unwrap();
            assert_eq!(decrypt(&key, parsed, body, b"aad").unwrap().as_slice(), b"message");
            for bit in 0..whole.len() * 8 {
                let mut changed = whole.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let opened =
                    Header::parse(&changed).map(|(header, body)| decrypt(&key, header, body, b"aad"));
                assert!(!matches!(opened, Ok(Ok(_))), "bit {bit}");
            }
            for length in 0..body.len() {
                assert_eq!(decrypt(&key, parsed, &body[..length], b"aad").err(), Some(Unopened));
            }
        }
    }

    #[test]
    fn header_and_associated_data_are_bound() {
        for algorithm in Algorithm::ALL {
            let (key, whole) = (key(algorithm), ciphertext(algorithm));
            let (_, body) = Header::parse(&whole).unwrap();
            assert!(decrypt(&key, header(4), body, b"aad").is_err());
            assert!(decrypt(&key, header(3), body, b"aae").is_err());
            assert!(decrypt(&key, header(3), body, b"").is_err());
        }
        let whole = ciphertext(Algorithm::Xaes256Gcm);
        let (_, body) = Header::parse(&whole).unwrap();
        assert!(decrypt(&key(Algorithm::Aes256Gcm), header(3), body, b"aad").is_err());
    }
}
