//! What is known about the shares without having them: the plain seal record, and seal marks.

use serde::{Deserialize, Serialize};

use crate::envelope::Stored;
use crate::limits::THRESHOLD_MIN;

/// How many shares there are and how many of them make the root.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Threshold {
    needed: u8,
    shares: u8,
}

/// Why two numbers are not a threshold.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum ThresholdError {
    /// One share would be the root itself.
    #[error(
        "the threshold must be at least {THRESHOLD_MIN}: a threshold of 1 would make every share the root key"
    )]
    Low,
    /// More needed than there are.
    #[error("the threshold is {needed}, but there are only {shares} shares")]
    High {
        /// Shares needed.
        needed: u8,
        /// Shares made.
        shares: u8,
    },
}

impl Threshold {
    /// `needed` of `shares`.
    pub fn new(needed: u8, shares: u8) -> Result<Self, ThresholdError> {
        if needed < THRESHOLD_MIN {
            Err(ThresholdError::Low)
        } else if needed > shares {
            Err(ThresholdError::High { needed, shares })
        } else {
            Ok(Self { needed, shares })
        }
    }

    /// Shares needed.
    pub fn needed(self) -> u8 {
        self.needed
    }

    /// Shares made.
    pub fn shares(self) -> u8 {
        self.shares
    }
}

/// One set of shares: what a bad share is named by, and what the root opens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShareSet {
    /// Which set; random, printed in every share.
    pub id: [u8; 8],
    /// How many, how many needed.
    pub threshold: Threshold,
    /// SHA-256 of each whole share, so that a bad one is named at once. By x, from 1.
    pub commitments: Vec<[u8; 32]>,
    /// The keyring under this set's root.
    pub wrapped_keyring: Vec<u8>,
}

/// The plain record [`crate::ids::PlainKind::Seal`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SealRecord {
    /// The set that opens the keyring.
    pub current: ShareSet,
    /// A rekey under way: shares shown, not yet returned.
    pub pending: Option<ShareSet>,
}

impl Stored for SealRecord {
    const FORMAT: u8 = 1;
}
