//! Authenticated encryption: XAES-256-GCM and AES-256-GCM, both as `nonce ‖ ciphertext ‖ tag (16)`.
//!
//! Called by `record`, `message` and `wrap`, and by the trail for its bodies. Associated data comes in parts that
//! are joined as they are: the layouts in [`crate::labels`] say why no two joins can be equal.
//!
//! Deliberately absent: nonces chosen by callers, and any word on why something does not open.

use aes::Aes256Enc;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::borrow::Cow;
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

use crate::entropy::Entropy;
use crate::memory::{Locked, Wiped};
use crate::secret::Secret;

/// Bytes of an XAES-256-GCM nonce.
pub const XAES_NONCE_BYTES: usize = 24;
/// Bytes of an AES-256-GCM nonce.
pub const AES_NONCE_BYTES: usize = NONCE_LEN;
/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;

/// It does not open: wrong key, wrong associated data, cut or changed. Which of them is nobody's business.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[error("the bytes do not open under this key and associated data")]
pub struct Unopened;

/// An XAES-256-GCM key, expanded once.
pub struct XaesKey(Locked<Xaes>);

struct Xaes {
    cipher: Aes256Enc,
    /// CMAC's first subkey: the encrypted zero block, doubled.
    subkey: [u8; 16],
}

impl XaesKey {
    /// Expands a key: K1 = double(AES-256(key, 0¹²⁸)) (C2SP XAES-256-GCM, NIST SP 800-38B).
    pub fn new(key: &Secret<32>) -> Self {
        let cipher = Aes256Enc::new(key.expose().into());
        let mut block = Array([0; 16]);
        cipher.encrypt_block(&mut block);
        let subkey = double(block.0);
        block.0.zeroize();
        Self(Locked::new(Xaes { cipher, subkey }))
    }

    /// nonce (24) ‖ AES-256-GCM(Kx, nonce[12..], plaintext) (C2SP XAES-256-GCM). The nonce is drawn here: 192
    /// random bits do not repeat within 2^80 messages.
    pub fn seal(&self, entropy: &mut Entropy, aad: &[&[u8]], plaintext: &[u8]) -> Vec<u8> {
        self.seal_with(entropy.array(), aad, plaintext)
    }

    /// The plaintext of nonce (24) ‖ ciphertext ‖ tag (16).
    pub fn open(&self, aad: &[&[u8]], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let (nonce, body) = sealed.split_first_chunk::<XAES_NONCE_BYTES>().ok_or(Unopened)?;
        let (message_key, nonce) = self.derive(nonce);
        open_body(&message_key, nonce, aad, body)
    }

    fn seal_with(&self, nonce: [u8; XAES_NONCE_BYTES], aad: &[&[u8]], plaintext: &[u8]) -> Vec<u8> {
        let (message_key, message_nonce) = self.derive(&nonce);
        seal_body(&message_key, &nonce, message_nonce, aad, plaintext)
    }

    /// Kx = AES(M1 ⊕ K1) ‖ AES(M2 ⊕ K1) with Mi = 00 0i 'X' 00 ‖ nonce[..12]: NIST SP 800-108 in counter mode
    /// with CMAC, one block each. A message key belongs to one nonce's first half.
    fn derive(&self, nonce: &[u8; XAES_NONCE_BYTES]) -> (Wiped<LessSafeKey>, [u8; AES_NONCE_BYTES]) {
        let (mut first, mut second) = ([0; 12], [0; AES_NONCE_BYTES]);
        for (to, from) in first.iter_mut().chain(&mut second).zip(nonce) {
            *to = *from;
        }
        let mut blocks = [1, 2].map(|counter| {
            let message = [0, counter, b'X', 0].into_iter().chain(first);
            let mut block = self.0.subkey;
            for (to, from) in block.iter_mut().zip(message) {
                *to ^= from;
            }
            Array(block)
        });
        self.0.cipher.encrypt_blocks(&mut blocks);
        let mut key = Zeroizing::new([0; 32]);
        for (to, from) in key.iter_mut().zip(blocks.iter().flatten()) {
            *to = *from;
        }
        for block in &mut blocks {
            block.0.zeroize();
        }
        (Wiped::new(gcm(&key)), second)
    }
}

/// An AES-256-GCM key, expanded once.
pub struct AesKey(Locked<LessSafeKey>);

impl AesKey {
    /// Expands a key.
    pub fn new(key: &Secret<32>) -> Self {
        Self(Locked::new(gcm(key.expose())))
    }

    /// nonce (12) ‖ AES-256-GCM(key, nonce, plaintext) (NIST SP 800-38D). The nonce is drawn here; 96 random bits
    /// are why the uses of such a key are counted and end well before 2^32.
    pub fn seal(&self, entropy: &mut Entropy, aad: &[&[u8]], plaintext: &[u8]) -> Vec<u8> {
        let nonce = entropy.array();
        seal_body(&self.0, &nonce, nonce, aad, plaintext)
    }

    /// The plaintext of nonce (12) ‖ ciphertext ‖ tag (16).
    pub fn open(&self, aad: &[&[u8]], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let (nonce, body) = sealed.split_first_chunk::<AES_NONCE_BYTES>().ok_or(Unopened)?;
        open_body(&self.0, *nonce, aad, body)
    }
}

impl fmt::Debug for XaesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("XaesKey")
    }
}

impl fmt::Debug for AesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesKey")
    }
}

/// [`XaesKey::seal`] with a key that is used once.
pub fn xaes_seal(key: &Secret<32>, entropy: &mut Entropy, aad: &[&[u8]], plaintext: &[u8]) -> Vec<u8> {
    XaesKey::new(key).seal(entropy, aad, plaintext)
}

/// [`XaesKey::open`] with a key that is used once.
pub fn xaes_open(key: &Secret<32>, aad: &[&[u8]], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
    XaesKey::new(key).open(aad, sealed)
}

/// [`AesKey::seal`] with a key that is used once.
pub fn aes256gcm_seal(key: &Secret<32>, entropy: &mut Entropy, aad: &[&[u8]], plaintext: &[u8]) -> Vec<u8> {
    AesKey::new(key).seal(entropy, aad, plaintext)
}

/// [`AesKey::open`] with a key that is used once.
pub fn aes256gcm_open(
    key: &Secret<32>,
    aad: &[&[u8]],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Unopened> {
    AesKey::new(key).open(aad, sealed)
}

fn gcm(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are an AES-256 key"))
}

fn seal_body(
    key: &LessSafeKey,
    prefix: &[u8],
    nonce: [u8; AES_NONCE_BYTES],
    aad: &[&[u8]],
    plaintext: &[u8],
) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(prefix.len() + plaintext.len() + TAG_BYTES);
    sealed.extend_from_slice(prefix);
    sealed.extend_from_slice(plaintext);
    let (_, body) = sealed.split_at_mut(prefix.len());
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(joined(aad)), body)
        .expect("the only failure is a plaintext over 64 GiB, and limits end far below");
    sealed.extend_from_slice(tag.as_ref());
    sealed
}

fn open_body(
    key: &LessSafeKey,
    nonce: [u8; AES_NONCE_BYTES],
    aad: &[&[u8]],
    body: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Unopened> {
    let mut plaintext = Zeroizing::new(body.to_vec());
    let length = key
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(joined(aad)), &mut plaintext)
        .map_err(|_| Unopened)?
        .len();
    plaintext.truncate(length);
    Ok(plaintext)
}

fn joined<'a>(parts: &[&'a [u8]]) -> Cow<'a, [u8]> {
    match parts {
        [] => Cow::Borrowed(&[]),
        [one] => Cow::Borrowed(one),
        many => Cow::Owned(many.concat()),
    }
}

/// Multiplies by x in GF(2^128) as CMAC does, without a branch on the bit that falls out.
fn double(block: [u8; 16]) -> [u8; 16] {
    let number = u128::from_be_bytes(block);
    let reduction = 0x87 & (number >> 127).wrapping_neg();
    ((number << 1) ^ reduction).to_be_bytes()
}
