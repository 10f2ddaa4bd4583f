//! Keeps the view of an unsealed node: opened once, then folded forward by what the ledger changed whenever somebody
//! asks for the latest.
//!
//! Deliberately absent: waiting. Whoever needs a certain index waits for the ledger first.

use std::sync::{Arc, PoisonError, RwLock};

use keyclave_ledger::changes::Changes;
use keyclave_ledger::digest::LatticeHash;
use keyclave_ledger::disk::{Disk, DiskError};
use keyclave_ledger::ledger::Ledger;
use keyclave_types::ids::{ClusterId, RecordId};
use keyclave_types::position::Generation;
use keyclave_types::transaction::Record;
use keyclave_vault::keyring::Keyring;
use keyclave_vault::view::{OpenError, View};

/// Why there is no view: the node must not answer.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The records on the disk are not those that were applied.
    #[error("the records on the disk are not those that were applied up to index {index}")]
    Digest {
        /// Up to where.
        index: u64,
    },
    /// A record does not open.
    #[error("the ledger cannot be opened")]
    Open(#[from] OpenError),
}

/// The view of one node.
pub struct Keeper<D> {
    ledger: Ledger<D>,
    view: RwLock<Arc<View>>,
}

impl<D: Disk> Keeper<D> {
    /// Opens every record.
    pub fn open(
        ledger: Ledger<D>,
        keyring: Arc<Keyring>,
        cluster: ClusterId,
        generation: Generation,
    ) -> Result<Self, KeeperError> {
        let (index, records) = read_everything(&ledger)?;
        let view = View::open(keyring, cluster, generation, index, records)?;
        Ok(Self { ledger, view: RwLock::new(Arc::new(view)) })
    }

    /// The view of everything that is applied at this moment.
    pub fn latest(&self) -> Result<Arc<View>, KeeperError> {
        let kept = self.view.read().unwrap_or_else(PoisonError::into_inner).clone();
        if kept.index() >= self.ledger.applied_index() {
            return Ok(kept);
        }
        let mut slot = self.view.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have folded while this one waited for the lock; an empty fold costs nothing.
        *slot = Arc::new(self.follow(&slot)?);
        Ok(slot.clone())
    }

    fn follow(&self, view: &View) -> Result<View, KeeperError> {
        match self.ledger.changes_since(view.index())? {
            Changes::Records { upto, records, .. } => Ok(view.fold(upto, records)?),
            Changes::Gap => {
                let (index, records) = read_everything(&self.ledger)?;
                let at = view.position();
                tracing::info!(from = at.index, to = index, "the view is opened anew after a gap");
                Ok(View::open(view.keyring().clone(), view.cluster(), at.generation, index, records)?)
            }
        }
    }
}

/// All records and the index that they are of, if they are what was applied: a node may lie sealed for weeks, and its
/// disk with it.
fn read_everything<D: Disk>(ledger: &Ledger<D>) -> Result<(u64, Vec<(RecordId, Record)>), KeeperError> {
    let (applied, records) = ledger.read_everything()?;
    let mut sum = LatticeHash::default();
    for (id, record) in &records {
        sum.add(id, record);
    }
    if sum.digest() != applied.digest {
        return Err(KeeperError::Digest { index: applied.index });
    }
    Ok((applied.index, records))
}
