//! The one type for secret bytes: in locked memory, wiped when dropped, never copied, compared or printed.
//!
//! Called by everything that holds a key. Bytes come out through `expose` only, so that one search shows every
//! reader. Deliberately absent: `Clone`, `PartialEq`, `Serialize`, and any `Debug` that shows more than a name.

use std::fmt;

use crate::memory::{self, Locked, LockedBytes};

/// Bytes for secrets that the system refuses to lock (they may reach swap); 0 if all of them are locked.
pub fn locked_bytes_refused() -> u64 {
    memory::refused_bytes()
}

/// `N` secret bytes.
pub struct Secret<const N: usize> {
    name: &'static str,
    bytes: Locked<[u8; N]>,
}

impl<const N: usize> Secret<N> {
    /// A secret written in place by `fill`, which finds zeros. The name is all that `Debug` shows.
    pub fn from_fn(name: &'static str, fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut bytes = Locked::new([0; N]);
        fill(&mut bytes);
        Self { name, bytes }
    }

    /// A copy of bytes that lie elsewhere, which their owner must wipe. None if there are not exactly `N`.
    pub fn from_slice(name: &'static str, bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; N] = bytes.try_into().ok()?;
        Some(Self::from_fn(name, |secret| *secret = *bytes))
    }

    /// The bytes. The only way out.
    pub fn expose(&self) -> &[u8; N] {
        &self.bytes
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.name)
    }
}

/// Secret bytes whose number is known when they are made.
pub struct SecretVec {
    name: &'static str,
    bytes: LockedBytes,
}

impl SecretVec {
    /// A secret written in place by `fill`, which finds `length` zeros.
    pub fn from_fn(name: &'static str, length: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = LockedBytes::new(length);
        fill(&mut bytes);
        Self { name, bytes }
    }

    /// A copy of bytes that lie elsewhere, which their owner must wipe.
    pub fn from_slice(name: &'static str, bytes: &[u8]) -> Self {
        Self::from_fn(name, bytes.len(), |secret| secret.copy_from_slice(bytes))
    }

    /// The bytes. The only way out.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for SecretVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretVec({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_its_name_only() {
        let secret = Secret::<32>::from_fn("root key", |bytes| bytes.fill(0x41));
        assert_eq!(format!("{secret:?}"), "Secret(root key)");
        assert_eq!(secret.expose(), &[0x41; 32]);
        let secret = SecretVec::from_slice("keyring", b"AAAA");
        assert_eq!(format!("{secret:?}"), "SecretVec(keyring)");
        assert_eq!(secret.expose(), b"AAAA");
    }

    #[test]
    fn a_secret_of_another_length_is_refused() {
        assert!(Secret::<32>::from_slice("key", &[0; 31]).is_none());
        assert!(Secret::<32>::from_slice("key", &[0; 33]).is_none());
        assert!(Secret::<32>::from_slice("key", &[0; 32]).is_some());
    }
}
