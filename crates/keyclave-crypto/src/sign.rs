//! Ed25519 signatures (RFC 8032): the writer key, restart keys, and the key of a node's peer connections.
//!
//! Deliberately absent: labels and hashing, which the caller's message brings along.

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::memory::Locked;
use crate::secret::Secret;

/// A private key, expanded once.
pub struct SigningKey {
    seed: Secret<32>,
    pair: Locked<Ed25519KeyPair>,
    public: [u8; 32],
}

impl SigningKey {
    /// The key pair of a seed (RFC 8032 section 5.1.5).
    pub fn from_seed(seed: Secret<32>) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("32 bytes are an Ed25519 seed");
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Self { seed, pair: Locked::new(pair), public }
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The private half, for the record that keeps it.
    pub fn seed(&self) -> &Secret<32> {
        &self.seed
    }

    /// Ed25519(key, message): deterministic, so there is no nonce to repeat.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        bytes
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// Whether `signature` is the private half's, over exactly this message.
pub fn verify(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

/// PKCS #8 (RFC 8410, version 0) of a private key, as rustls takes it.
pub fn pkcs8(key: &SigningKey) -> Zeroizing<Vec<u8>> {
    const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let mut der = Zeroizing::new(Vec::with_capacity(48));
    der.extend_from_slice(&HEAD);
    der.extend_from_slice(key.seed.expose());
    der
}

/// SubjectPublicKeyInfo (RFC 8410) of a public key: the whole "certificate" of a peer (RFC 7250).
pub fn spki(public: [u8; 32]) -> Vec<u8> {
    const HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    [HEAD.as_slice(), &public].concat()
}

/// The public key of [`spki`]'s bytes.
pub fn from_spki(der: &[u8]) -> Option<[u8; 32]> {
    let (_, public) = der.split_last_chunk::<32>()?;
    (spki(*public) == der).then_some(*public)
}
