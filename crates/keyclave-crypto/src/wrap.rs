//! A keyring under a root: `0x01 ‖ nonce (24) ‖ ciphertext ‖ tag (16)`.
//!
//! Called by the vault. That a candidate root opens the keyring is the proof that it is the root.

use crate::aead::{Unopened, xaes_open, xaes_seal};
use crate::entropy::Entropy;
use crate::secret::{Secret, SecretVec};
use crate::{hkdf, labels};

/// First byte of a wrapped keyring.
pub const FORMAT: u8 = 0x01;

/// 0x01 ‖ XAES-256-GCM(HKDF(root, wrap label), plaintext; associated data = label ‖ `bound`). The root itself
/// encrypts nothing, and a keyring bound to one cluster and share set opens for no other.
pub fn wrap(root: &Secret<32>, bound: &[u8], plaintext: &SecretVec, entropy: &mut Entropy) -> Vec<u8> {
    let body = xaes_seal(&wrapping_key(root), entropy, &[labels::WRAP.bytes(), bound], plaintext.expose());
    [[FORMAT].as_slice(), &body].concat()
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
