//! Shamir's secret sharing of a 32-byte secret over GF(2^8), in time that depends on the threshold only.
//!
//! Called by the vault at init and rekey (split) and by a ceremony (combine). Fewer shares than the threshold are
//! uniform whatever the secret is: every coefficient, the highest too, is uniform. Deliberately absent: telling a
//! wrong share from a right one; the commitments in the seal record name it.

use std::num::NonZeroU8;

use keyclave_types::seal::Threshold;

use crate::entropy::Entropy;
use crate::field::{invert, multiply};
use crate::secret::{Secret, SecretVec};
use crate::share::Share;

/// Why shares do not make a secret.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum CombineError {
    /// Not enough of them.
    #[error("{needed} shares are needed, {found} are here")]
    Few {
        /// Shares needed.
        needed: u8,
        /// Shares found.
        found: usize,
    },
    /// Two at one place.
    #[error("share {x} is here twice")]
    Twice {
        /// The place.
        x: NonZeroU8,
    },
    /// Of another share set than the first.
    #[error("share {x} is of another share set than share {first}")]
    Foreign {
        /// The share that differs.
        x: NonZeroU8,
        /// The share that it differs from.
        first: NonZeroU8,
    },
}

/// share(x) = secret + c₁x + … + c₍ₖ₋₁₎x^(k−1) for x from 1, each byte by itself (Shamir 1979). The coefficients and
/// the set's id are drawn here.
pub fn split(secret: &Secret<32>, threshold: Threshold, entropy: &mut Entropy) -> Vec<Share> {
    let set = entropy.array();
    let degree = usize::from(threshold.needed()) - 1;
    let coefficients = SecretVec::from_fn("coefficients", degree * 32, |bytes| entropy.fill(bytes));
    (1..=threshold.shares())
        .filter_map(NonZeroU8::new)
        .map(|x| {
            Share::new(set, x, Secret::from_fn("share", |y| evaluate(secret, &coefficients, x.get(), y)))
        })
        .collect()
}

/// Horner's rule from the highest coefficient down to the secret.
fn evaluate(secret: &Secret<32>, coefficients: &SecretVec, x: u8, y: &mut [u8; 32]) {
    for row in coefficients.expose().chunks_exact(32).rev().chain([secret.expose().as_slice()]) {
        for (byte, coefficient) in y.iter_mut().zip(row) {
            *byte = multiply(*byte, x) ^ coefficient;
        }
    }
}

/// secret = Σ yᵢ · Π_{j≠i} xⱼ / (xⱼ − xᵢ) over the first `needed` shares; any others are checked for place and set
/// and left out.
pub fn combine(shares: &[Share], threshold: Threshold) -> Result<Secret<32>, CombineError> {
    let needed = threshold.needed();
    let used = shares.get(..usize::from(needed)).ok_or(CombineError::Few { needed, found: shares.len() })?;
    for (at, share) in shares.iter().enumerate() {
        let earlier = shares.iter().take(at);
        if earlier.clone().any(|other| other.x() == share.x()) {
            return Err(CombineError::Twice { x: share.x() });
        }
        if let Some(first) = earlier.clone().next().filter(|first| first.set() != share.set()) {
            return Err(CombineError::Foreign { x: share.x(), first: first.x() });
        }
    }
    Ok(Secret::from_fn("root key", |secret| {
        for share in used {
            let weight = weight(share.x().get(), used);
            for (byte, y) in secret.iter_mut().zip(share.y().expose()) {
                *byte ^= multiply(*y, weight);
            }
        }
    }))
}

fn weight(x: u8, used: &[Share]) -> u8 {
    used.iter()
        .map(|share| share.x().get())
        .filter(|other| *other != x)
        .fold(1, |product, other| multiply(product, multiply(other, invert(other ^ x))))
}

#[cfg(test)]
mod tests {
    use blahaj::Sharks;
    use proptest::prelude::*;

    use super::*;

    fn secret(bytes: [u8; 32]) -> Secret<32> {
        Secret::from_fn("root key", |to| *to = bytes)
    }

    fn share(x: u8, y: [u8; 32]) -> Share {
        Share::new([0; 8], NonZeroU8::new(x).unwrap(), secret(y))
    }

    fn two() -> Threshold {
        Threshold::new(2, 2).unwrap()
    }

    #[test]
    fn the_published_vector_holds() {
        // draft-mcgrew-tss-03 section 9, over the same field: "test\0" from shares 1 and 2.
        let pad = |bytes: [u8; 5]| std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0));
        let shares =
            [share(1, pad([0xb9, 0xfa, 0x07, 0xe1, 0x85])), share(2, pad([0xf5, 0x40, 0x9b, 0x45, 0x11]))];
        assert_eq!(combine(&shares, two()).unwrap().expose(), &pad(*b"test\0"));
    }

    #[test]
    fn what_cannot_be_combined_is_named() {
        let threshold = Threshold::new(3, 5).unwrap();
        let shares = split(&secret([1; 32]), threshold, &mut Entropy::from_seed([1; 32]));
        assert_eq!(combine(&shares[..2], threshold).err(), Some(CombineError::Few { needed: 3, found: 2 }));
        assert_eq!(combine(&[], threshold).err(), Some(CombineError::Few { needed: 3, found: 0 }));
        let x = NonZeroU8::new(1).unwrap();
        let twice = [share(1, [1; 32]), share(2, [2; 32]), share(1, [3; 32])];
        assert_eq!(combine(&twice, threshold).err(), Some(CombineError::Twice { x }));
        let other = split(&secret([1; 32]), threshold, &mut Entropy::from_seed([2; 32]));
        let mut mixed = shares;
        mixed.truncate(2);
        mixed.extend(other.into_iter().nth(4));
        let foreign = CombineError::Foreign { x: NonZeroU8::new(5).unwrap(), first: x };
        assert_eq!(combine(&mixed, threshold).err(), Some(foreign));
    }

    #[test]
    fn one_share_below_the_threshold_is_uniform_whatever_the_secret() {
        // share = secret + coefficient · x is a permutation of the coefficients for every x but 0.
        for (x, byte) in [(1, 0), (1, 255), (2, 7), (200, 0), (255, 128)] {
            let mut seen = [false; 256];
            for coefficient in 0..=255 {
                let mut y = [0; 32];
                let coefficients = SecretVec::from_slice("coefficients", &[coefficient; 32]);
                evaluate(&secret([byte; 32]), &coefficients, x, &mut y);
                assert!(!std::mem::replace(&mut seen[usize::from(y[0])], true));
            }
        }
    }

    #[test]
    fn the_highest_coefficient_may_be_zero() {
        // With a threshold of 2, shares 1 and 2 agree in a byte exactly if its coefficient is 0: 1 in 256.
        let zeros: usize = (0..=255)
            .map(|seed| {
                let shares = split(&secret([1; 32]), two(), &mut Entropy::from_seed([seed; 32]));
                let pairs = shares[0].y().expose().iter().zip(shares[1].y().expose());
                pairs.filter(|(one, other)| one == other).count()
            })
            .sum();
        assert!((8..=64).contains(&zeros), "{zeros} of 8192, 32 expected");
    }

    #[test]
    fn the_largest_set_opens() {
        let threshold = Threshold::new(255, 255).unwrap();
        let shares = split(&secret([9; 32]), threshold, &mut Entropy::from_seed([1; 32]));
        assert_eq!(combine(&shares, threshold).unwrap().expose(), &[9; 32]);
    }

    /// Our field onto blahaj's, which reduces by 0x11d: both have 256 elements, so a root of our polynomial there
    /// gives an isomorphism, and sharing commutes with it.
    struct Across([u8; 256]);

    impl Across {
        fn new() -> Self {
            let root = (2..=255).find(|x| {
                let power = |n| (0..n).fold(1, |product, _| theirs(product, *x));
                power(8) ^ power(4) ^ power(3) ^ power(1) ^ 1 == 0
            });
            let mut map = [0; 256];
            for (value, to) in map.iter_mut().enumerate() {
                let mut power = 1;
                for bit in 0..8 {
                    *to ^= if value >> bit & 1 == 1 { power } else { 0 };
                    power = theirs(power, root.unwrap());
                }
            }
            Self(map)
        }

        fn to_theirs(&self, ours: &[u8]) -> Vec<u8> {
            ours.iter().map(|byte| self.0[usize::from(*byte)]).collect()
        }

        fn to_ours(&self, theirs: &[u8]) -> Vec<u8> {
            let back = |byte: &u8| self.0.iter().position(|to| to == byte).unwrap() as u8;
            theirs.iter().map(back).collect()
        }
    }

    fn theirs(one: u8, other: u8) -> u8 {
        let mut product = 0_u16;
        for bit in (0..8).rev() {
            product = product << 1 ^ if product & 0x80 == 0 { 0 } else { 0x11d };
            product ^= if other >> bit & 1 == 1 { u16::from(one) } else { 0 };
        }
        product as u8
    }

    proptest! {
        #[test]
        fn any_threshold_of_shares_opens_and_fewer_do_not(
            bytes: [u8; 32], seed: [u8; 32], needed in 2..8_u8, more in 0..6_u8, order: u64,
        ) {
            let threshold = Threshold::new(needed, needed + more).unwrap();
            let mut shares = split(&secret(bytes), threshold, &mut Entropy::from_seed(seed));
            let mut shuffle = Entropy::from_seed([order as u8; 32]);
            for at in (1..shares.len()).rev() {
                shares.swap(at, usize::from(shuffle.array::<1>()[0]) % (at + 1));
            }
            shares.truncate(usize::from(needed));
            prop_assert_eq!(*combine(&shares, threshold).unwrap().expose(), bytes);
            shares.pop();
            if needed > 2 {
                let fewer = Threshold::new(needed - 1, needed).unwrap();
                prop_assert_ne!(*combine(&shares, fewer).unwrap().expose(), bytes);
            } else {
                prop_assert_ne!(shares[0].y().expose(), &bytes);
            }
        }

        #[test]
        fn blahaj_opens_what_is_split_here(bytes: [u8; 32], seed: [u8; 32], needed in 2..8_u8) {
            let across = Across::new();
            let threshold = Threshold::new(needed, needed + 2).unwrap();
            let shares = split(&secret(bytes), threshold, &mut Entropy::from_seed(seed));
            let shares: Vec<blahaj::Share> = shares
                .iter()
                .skip(2)
                .map(|share| [&[share.x().get()], share.y().expose().as_slice()].concat())
                .map(|point| blahaj::Share::try_from(across.to_theirs(&point).as_slice()).unwrap())
                .collect();
            let opened = Sharks(needed).recover(&shares).unwrap();
            prop_assert_eq!(across.to_ours(&opened), bytes);
        }

        #[test]
        fn what_blahaj_splits_opens_here(bytes: [u8; 32], seed: [u8; 32], needed in 2..8_u8) {
            let across = Across::new();
            let mut random = <chacha20::ChaCha20Rng as chacha20::rand_core::SeedableRng>::from_seed(seed);
            let shares: Vec<Share> = Sharks(needed)
                .dealer_rng(&across.to_theirs(&bytes), &mut random)
                .take(usize::from(needed))
                .map(|share| across.to_ours(&Vec::from(&share)))
                .map(|point| share(point[0], point[1..].try_into().unwrap()))
                .collect();
            let threshold = Threshold::new(needed, needed).unwrap();
            prop_assert_eq!(*combine(&shares, threshold).unwrap().expose(), bytes);
        }
    }
}
