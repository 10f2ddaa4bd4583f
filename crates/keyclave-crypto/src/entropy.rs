//! Randomness as a value: a ChaCha20 generator made from 32 seed bytes, the same bytes for the same seed.
//!
//! The edge draws one seed from the operating system and splits from it; the simulator gives seeds of its own, so
//! that one number replays a whole history. Deliberately absent: any global generator, and reseeding.

use std::convert::Infallible;
use std::fmt;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

use crate::memory::Locked;
use crate::secret::Secret;

/// A source of random bytes.
pub struct Entropy(Locked<ChaCha20Rng>);

/// The operating system gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct SystemEntropyError(#[source] getrandom::Error);

/// Entropy from the operating system. For the server's and the binary's start only; everything else is given its
/// own by whoever calls it.
pub fn system() -> Result<Entropy, SystemEntropyError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(SystemEntropyError)?;
    Ok(Entropy::from_seed(*seed))
}

impl Entropy {
    /// ChaCha20 (RFC 8439) under this key, from block 0. Never give two of them one seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self(Locked::new(ChaCha20Rng::from_seed(*seed)))
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// `N` bytes that are not secret: a nonce, an id.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// `N` secret bytes: a key.
    pub fn secret<const N: usize>(&mut self, name: &'static str) -> Secret<N> {
        Secret::from_fn(name, |bytes| self.fill(bytes))
    }

    /// Another source, whose bytes tell nothing about this one's.
    pub fn split(&mut self) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        self.fill(seed.as_mut());
        Self::from_seed(*seed)
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}

impl ::hpke::rand_core::TryRng for Entropy {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

impl ::hpke::rand_core::TryCryptoRng for Entropy {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream() {
        // RFC 8439 appendix A.1, test vector 1: the key stream of an all-zero key begins 76 b8 e0 ad.
        let mut entropy = Entropy::from_seed([0; 32]);
        assert_eq!(entropy.array::<4>(), [0x76, 0xb8, 0xe0, 0xad]);
        let mut again = Entropy::from_seed([0; 32]);
        again.array::<4>();
        assert_eq!(entropy.array::<100>(), again.array::<100>());
    }

    #[test]
    fn a_split_source_goes_its_own_way_and_the_same_way_twice() {
        let (mut one, mut two) = (Entropy::from_seed([7; 32]), Entropy::from_seed([7; 32]));
        let (mut left, mut right) = (one.split(), two.split());
        assert_eq!(left.array::<32>(), right.array::<32>());
        assert_ne!(left.array::<32>(), one.array::<32>());
        assert_eq!(format!("{left:?}"), "Entropy");
    }

    #[test]
    fn the_system_gives_different_bytes_each_time() {
        assert_ne!(system().unwrap().array::<32>(), system().unwrap().array::<32>());
    }
}
