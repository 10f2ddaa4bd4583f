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
