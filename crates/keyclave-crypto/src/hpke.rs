//! Encryption to one process: `0x01 ‖ encapsulated key (32) ‖ ciphertext ‖ tag (16)`.
//!
//! RFC 9180 in base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305. Called by ceremonies
//! (a share to the node that holds one) and by rejoin (the root to a member that was vouched for). The public key
//! is believed because its code was compared, or because a restart key signed it.
//!
//! Deliberately absent: authenticated modes (who sends a share proves it by the share) and more than one message
//! per encapsulation.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::CryptoRng;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use keyclave_types::request::NodeCode;
use zeroize::Zeroizing;

use crate::aead::Unopened;
use crate::base32;
use crate::entropy::Entropy;
use crate::hash::sha256;
use crate::labels::{self, Label};
use crate::secret::Secret;

/// First byte of what is sealed to a boot key.
pub const FORMAT: u8 = 0x01;

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// The key pair of one process, from its start to its end.
#[derive(Debug)]
pub struct BootKey {
    private: Secret<32>,
    public: [u8; 32],
}

/// A public key to which nothing can be sealed.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[error("this is no X25519 public key that anything can be sealed to")]
pub struct BadPublicKey;

impl BootKey {
    /// Another key pair.
    pub fn new(entropy: &mut Entropy) -> Self {
        Self::from_keying_material(entropy.secret::<32>("boot key").expose())
    }

    /// DeriveKeyPair (RFC 9180 section 7.1.3).
    fn from_keying_material(material: &[u8; 32]) -> Self {
        let (private, public) = X25519HkdfSha256::derive_keypair(material);
        Self {
            private: Secret::from_fn("boot key", |bytes| private.write_exact(bytes)),
            public: public.to_bytes().into(),
        }
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The plaintext of what [`seal_to`] made for this key, label and associated data.
    pub fn open(&self, label: Label, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let (FORMAT, sealed) = sealed.split_first().map(|(format, rest)| (*format, rest)).ok_or(Unopened)?
        else {
            return Err(Unopened);
        };
        self.open_raw(label.bytes(), aad, sealed)
    }

    fn open_raw(&self, info: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let (encapsulated, body) = sealed.split_first_chunk::<32>().ok_or(Unopened)?;
        let private = PrivateKey::from_bytes(self.private.expose()).map_err(|_| Unopened)?;
        let encapsulated = EncappedKey::from_bytes(encapsulated).map_err(|_| Unopened)?;
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &private,
            &encapsulated,
            info,
            body,
            aad,
        )
        .map(Zeroizing::new)
        .map_err(|_| Unopened)
    }
}

/// 0x01 ‖ encapsulated key ‖ Seal(public, info = label, aad, plaintext) (RFC 9180 section 6.1). Each call draws an
/// ephemeral key, so the derived key and its one nonce are used once.
pub fn seal_to(
    public: &[u8; 32],
    label: Label,
    aad: &[u8],
    plaintext: &[u8],
    entropy: &mut Entropy,
) -> Result<Vec<u8>, BadPublicKey> {
    let sealed = seal_raw(public, label.bytes(), aad, plaintext, entropy)?;
    Ok([[FORMAT].as_slice(), &sealed].concat())
}

/// A public key's fingerprint for people to compare: the first 125 bits of SHA-256(label ‖ public) in base32.
pub fn code(public: &[u8; 32]) -> NodeCode {
    let hash = sha256(&[labels::NODE_CODE.bytes(), public]);
    let mut text = String::new();
    base32::encode_into(&hash, &mut text);
    text.truncate(25);
    text.parse().expect("25 letters of base32 are a code")
}

fn seal_raw(
    public: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    random: &mut impl CryptoRng,
) -> Result<Vec<u8>, BadPublicKey> {
    let public = PublicKey::from_bytes(public).map_err(|_| BadPublicKey)?;
    let (encapsulated, body) = hpke::single_shot_seal_with_rng::<
        ChaCha20Poly1305,
        HkdfSha256,
        X25519HkdfSha256,
    >(&OpModeS::Base, &public, info, plaintext, aad, random)
    .map_err(|_| BadPublicKey)?;
    Ok([encapsulated.to_bytes().as_slice(), &body].concat())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use data_encoding::HEXLOWER;
    use hpke::rand_core::{TryCryptoRng, TryRng};

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    /// Gives the vector's keying material and nothing else.
    struct Material(Vec<u8>);

    impl TryRng for Material {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            unreachable!("an encapsulation asks for bytes")
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            unreachable!("an encapsulation asks for bytes")
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
            bytes.copy_from_slice(&std::mem::take(&mut self.0));
            Ok(())
        }
    }

    impl TryCryptoRng for Material {}

    #[test]
    fn rfc_9180_appendix_a_2_1_holds_both_ways() {
        let material = hex("1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df");
        let key = BootKey::from_keying_material(material.as_slice().try_into().unwrap());
        assert_eq!(
            HEXLOWER.encode(&key.public()),
            "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a"
        );
        let mut ephemeral = Material(hex("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b"));
        let info = hex("4f6465206f6e2061204772656369616e2055726e");
        let sealed =
            seal_raw(&key.public(), &info, b"Count-0", b"Beauty is truth, truth beauty", &mut ephemeral);
        let golden = hex(concat!(
            "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db",
            "21993c62ce81883d2dd1b51a28"
        ));
        assert_eq!(sealed.unwrap(), golden);
        assert_eq!(
            key.open_raw(&info, b"Count-0", &golden).unwrap().as_slice(),
            b"Beauty is truth, truth beauty"
        );
    }

    #[test]
    fn only_its_process_opens_it_for_its_purpose_unchanged() {
        let mut entropy = Entropy::from_seed([1; 32]);
        let (key, other) = (BootKey::new(&mut entropy), BootKey::new(&mut entropy));
        let sealed = seal_to(&key.public(), labels::SHARE_TO_NODE, b"aad", b"share", &mut entropy).unwrap();
        assert_eq!(sealed[0], FORMAT);
        let open = |key: &BootKey, sealed: &[u8]| key.open(labels::SHARE_TO_NODE, b"aad", sealed);
        assert_eq!(open(&key, &sealed).unwrap().as_slice(), b"share");
        assert_eq!(open(&other, &sealed).err(), Some(Unopened));
        assert_eq!(key.open(labels::ROOT_TO_NODE, b"aad", &sealed).err(), Some(Unopened));
        assert_eq!(key.open(labels::SHARE_TO_NODE, b"aae", &sealed).err(), Some(Unopened));
        for length in 0..sealed.len() {
            assert!(open(&key, &sealed[..length]).is_err());
        }
        for byte in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            assert!(open(&key, &changed).is_err());
        }
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        let mut entropy = Entropy::from_seed([1; 32]);
        let refused = seal_to(&[0; 32], labels::SHARE_TO_NODE, b"", b"share", &mut entropy);
        assert_eq!(refused, Err(BadPublicKey));
    }

    #[test]
    fn golden_code_stays() {
        assert_eq!(code(&[1; 32]).as_str(), include_str!("../testdata/node-code.txt").trim_end());
        assert_ne!(code(&[1; 32]), code(&[2; 32]));
    }
}
