//! A keyring under a root: `0x01 ‖ nonce (24) ‖ ciphertext ‖ tag (16)`.
//!
//! Called by the vault. That a candidate root opens the keyring is the proof that it is the root.

use crate::aead::{Unopened, XaesKey, xaes_open};
use crate::entropy::Entropy;
use crate::secret::{Secret, SecretVec};
use crate::{hkdf, labels};

/// First byte of a wrapped keyring.
pub const FORMAT: u8 = 0x01;

/// 0x01 ‖ XAES-256-GCM(HKDF(root, wrap label), plaintext; associated data = label ‖ `bound`). The root itself
/// encrypts nothing, and a keyring bound to one cluster and share set opens for no other.
pub fn wrap(root: &Secret<32>, bound: &[u8], plaintext: &SecretVec, entropy: &mut Entropy) -> Vec<u8> {
    let key = XaesKey::new(&wrapping_key(root));
    key.seal_after(&[FORMAT], entropy, &[labels::WRAP.bytes(), bound], plaintext.expose())
}

/// The plaintext of [`wrap`] under the same root, bound to the same bytes.
pub fn unwrap(root: &Secret<32>, bound: &[u8], wrapped: &[u8]) -> Result<SecretVec, Unopened> {
    let (FORMAT, body) = wrapped.split_first().map(|(format, body)| (*format, body)).ok_or(Unopened)? else {
        return Err(Unopened);
    };
    let plaintext = xaes_open(&wrapping_key(root), &[labels::WRAP.bytes(), bound], body)?;
    Ok(SecretVec::from_slice("keyring", &plaintext))
}

fn wrapping_key(root: &Secret<32>) -> Secret<32> {
    hkdf::derive(root, labels::WRAP_KEY, "wrapping key")
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn root(byte: u8) -> Secret<32> {
        Secret::from_fn("root key", |bytes| bytes.fill(byte))
    }

    fn wrapped() -> Vec<u8> {
        let keyring = SecretVec::from_slice("keyring", b"keyring");
        wrap(&root(1), b"cluster", &keyring, &mut Entropy::from_seed([2; 32]))
    }

    #[test]
    fn golden_bytes_stay() {
        assert_eq!(HEXLOWER.encode(&wrapped()), include_str!("../testdata/wrapped-keyring.hex").trim_end());
        assert_eq!(unwrap(&root(1), b"cluster", &wrapped()).unwrap().expose(), b"keyring");
    }

    #[test]
    fn only_the_root_opens_it_and_only_unchanged() {
        let wrapped = wrapped();
        assert_eq!(unwrap(&root(2), b"cluster", &wrapped).err(), Some(Unopened));
        assert_eq!(unwrap(&root(1), b"clusters", &wrapped).err(), Some(Unopened));
        for bit in 0..wrapped.len() * 8 {
            let mut changed = wrapped.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(unwrap(&root(1), b"cluster", &changed).is_err());
        }
        for length in 0..wrapped.len() {
            assert!(unwrap(&root(1), b"cluster", &wrapped[..length]).is_err());
        }
    }
}
