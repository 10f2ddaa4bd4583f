//! Shares become a root, and a root becomes a keyring: a pure collector.
//!
//! Held by the node of a ceremony. Every share is judged at once by its commitment in the seal record, so a wrong
//! one is named and never spoils the others. Deliberately absent: who may give shares, back-off, confirmation that
//! the seal record is the current one.

use std::num::NonZeroU8;

use keyclave_crypto::shamir::combine;
use keyclave_crypto::share::Share;
use keyclave_types::ids::ClusterId;
use keyclave_types::seal::{ShareSet, Threshold};

use crate::keyring::{Keyring, Root, UnwrapError};

/// Shares of one set, as they come in.
pub struct Collector {
    set: ShareSet,
    shares: Vec<Share>,
}

/// How far a ceremony has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Shares given.
    pub given: u8,
    /// How many are needed, and how many there are.
    pub threshold: Threshold,
}

/// What became of a share.
#[derive(Debug)]
pub enum Accepted {
    /// It is one more.
    Progress(Progress),
    /// It was here before; nothing has changed.
    Repeated(Progress),
    /// It was the last one needed: this is the root's candidate, and the shares are gone.
    Root(Root),
}

/// Why a share does not count. Says which, never what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareRefusal {
    /// Of another set: another cluster's, or from before a rekey.
    #[error("share {x} is of another share set than this cluster's")]
    Foreign {
        /// The share's number.
        x: NonZeroU8,
    },
    /// Its number is above the number of shares.
    #[error("there is no share {x}; this cluster has {shares}")]
    Number {
        /// The share's number.
        x: NonZeroU8,
        /// How many there are.
        shares: u8,
    },
    /// It does not match its commitment.
    #[error("share {x} is wrong: it is not the share {x} that was given out")]
    Wrong {
        /// The share's number.
        x: NonZeroU8,
    },
}

impl Collector {
    /// Waits for shares of this set.
    pub fn new(set: ShareSet) -> Self {
        Self { set, shares: Vec::new() }
    }

    /// Whether a share belongs to the set, without keeping it.
    pub fn judge(set: &ShareSet, share: &Share) -> Result<(), ShareRefusal> {
        let x = share.x();
        if share.set() != set.id {
            return Err(ShareRefusal::Foreign { x });
        }
        let commitment = set.commitments.get(usize::from(x.get()) - 1);
        match commitment {
            None => Err(ShareRefusal::Number { x, shares: set.threshold.shares() }),
            Some(commitment) if *commitment != share.commitment() => Err(ShareRefusal::Wrong { x }),
            Some(_) => Ok(()),
        }
    }

    /// Takes one share. At the threshold the root comes out and the collector is empty again.
    pub fn give(&mut self, share: Share) -> Result<Accepted, ShareRefusal> {
        Self::judge(&self.set, &share)?;
        if self.shares.iter().any(|other| other.x() == share.x()) {
            return Ok(Accepted::Repeated(self.progress()));
        }
        let x = share.x();
        self.shares.push(share);
        if self.shares.len() < usize::from(self.set.threshold.needed()) {
            return Ok(Accepted::Progress(self.progress()));
        }
        // Each share matches its commitment, has its own number and is of this set, and there are enough.
        let shares = std::mem::take(&mut self.shares);
        let root = combine(&shares, self.set.threshold).map_err(|_| ShareRefusal::Wrong { x })?;
        Ok(Accepted::Root(Root::from_secret(root)))
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        // At most 255 shares with numbers of their own.
        let given = u8::try_from(self.shares.len()).unwrap_or(u8::MAX);
        Progress { given, threshold: self.set.threshold }
    }

    /// Which shares are here.
    pub fn numbers(&self) -> Vec<NonZeroU8> {
        self.shares.iter().map(Share::x).collect()
    }

    /// The set that it waits for.
    pub fn set(&self) -> &ShareSet {
        &self.set
    }
}

/// The keyring that a root's candidate opens; that it does proves the candidate.
pub fn open_keyring(root: &Root, cluster: ClusterId, set: &ShareSet) -> Result<Keyring, UnwrapError> {
    Keyring::unwrap(root, cluster, set.id, &set.wrapped_keyring)
}
