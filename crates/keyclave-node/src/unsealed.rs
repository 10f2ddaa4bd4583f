//! What a node holds while it is unsealed: the root for peers that come back, the view, shared confirmations, and the
//! blocks of uses that it has reserved. Dropping it wipes the keys.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use keyclave_ledger::disk::Disk;
use keyclave_types::ids::KeyId;
use keyclave_types::key::Version;
use keyclave_types::time::UnixMillis;
use keyclave_vault::compute::Uses;
use keyclave_vault::keyring::Root;
use keyclave_vault::occasion::Now;
use keyclave_vault::view::View;

use crate::confirmer::Confirmer;
use crate::keeper::Keeper;
use crate::timekeeping::Timekeeper;

/// See the module's page.
pub(crate) struct Unsealed<D> {
    pub(crate) root: Root,
    pub(crate) keeper: Keeper<D>,
    pub(crate) confirmer: Confirmer,
    pub(crate) uses: ReservedUses,
    pub(crate) time: Timekeeper,
    /// An operator's seal mark stands, and the ceremony that unsealed this node has not lifted it yet.
    pub(crate) marked: AtomicBool,
    /// The leader's digest and this node's were equal at some index since the view was opened.
    pub(crate) agreed: AtomicBool,
}

impl<D: Disk> Unsealed<D> {
    /// The time that decides, as of `view`, when this node's clock shows `clock`.
    pub(crate) fn now(&self, view: &View, clock: UnixMillis) -> Now {
        self.time.now(view.cluster_time(), clock)
    }
}

/// Uses of counted versions that this node has reserved and not yet spent. A crash forfeits them, so the count in
/// the ledger is never too low.
#[derive(Default)]
pub(crate) struct ReservedUses {
    /// Held while a block is being reserved, so that many requests that lack one reserve one and not one each.
    pub(crate) reserving: tokio::sync::Mutex<()>,
    left: Mutex<BTreeMap<(KeyId, Version), u64>>,
}

impl ReservedUses {
    /// How many uses are left of a version.
    pub(crate) fn left(&self, key: KeyId, version: Version) -> u64 {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.get(&(key, version)).copied().unwrap_or_default()
    }

    /// A block was reserved.
    pub(crate) fn add(&self, key: KeyId, version: Version, uses: u64) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let block = left.entry((key, version)).or_default();
        *block = block.saturating_add(uses);
    }
}

impl Uses for ReservedUses {
    fn take(&self, key: KeyId, version: Version, uses: u64) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match left.get_mut(&(key, version)) {
            Some(block) if *block >= uses => {
                *block -= uses;
                true
            }
            Some(_) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_use_is_taken_that_was_not_reserved() {
        let uses = ReservedUses::default();
        let (key, version) = (KeyId::from_bytes([1; 16]), Version::FIRST);
        assert!(!uses.take(key, version, 1));
        uses.add(key, version, 3);
        assert!(uses.take(key, version, 2));
        assert!(!uses.take(key, version, 2), "more than is left");
        assert!(uses.take(key, version, 1));
        assert!(!uses.take(key, version, 1));
    }
}
