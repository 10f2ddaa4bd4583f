//! A snapshot's way in: chunks are written to the side that is not current, the digest is computed over what was
//! written, and one small batch turns to that side. A crash at any step leaves the old records or the new ones.

use std::collections::BTreeMap;

use keyclave_types::envelope::{self, EnvelopeError};
use keyclave_types::ids::RecordId;
use keyclave_types::position::Revision;

use crate::capture::Chunk;
use crate::changes::Ring;
use crate::digest::{Digest, LatticeHash};
use crate::disk::{self, Area, Batch, Disk, DiskError};
use crate::ledger::{Applied, Ledger, MARK_KEY, Mark, OpenLedgerError, read_all, side};

/// Why a snapshot was not installed. The records are what they were; after [`InstallError::Disk`] nobody knows until
/// the process has been started again, and then they are the old ones or the new ones.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A chunk is damaged or of a newer format.
    #[error("a chunk of the snapshot cannot be read")]
    Chunk(#[source] EnvelopeError),
    /// Records out of order, or twice.
    #[error("the snapshot's records are not in ascending order at {id}")]
    Order {
        /// Where.
        id: RecordId,
    },
    /// Not the records that were signed for.
    #[error("the snapshot's digest is {found}, not {expected}")]
    Digest {
        /// What was signed.
        expected: Digest,
        /// What the records give.
        found: Digest,
    },
    /// Older than what is here.
    #[error("the snapshot ends at index {found}, but {applied} is applied")]
    Older {
        /// What is applied.
        applied: u64,
        /// Where the snapshot ends.
        found: u64,
    },
    /// What was written does not read back.
    #[error("the installed records cannot be read back")]
    Unreadable(#[source] Box<OpenLedgerError>),
}

/// A snapshot on its way in. Dropped before [`Installing::finish`], it changes nothing. The one that began last has
/// the other side to itself: what an earlier one adds afterwards goes nowhere, and it does not finish.
pub struct Installing<D> {
    ledger: Ledger<D>,
    odd: bool,
    staging: u64,
    last: Option<RecordId>,
    sum: LatticeHash,
}

impl<D: Disk> Ledger<D> {
    /// Begins to take a snapshot in.
    pub fn begin_install(&self) -> Result<Installing<D>, DiskError> {
        let mut state = self.shared().write();
        state.staging += 1;
        let (odd, staging) = (!state.odd(), state.staging);
        drop(state);
        disk::clear(&*self.shared().disk, side(odd))?;
        Ok(Installing { ledger: self.clone(), odd, staging, last: None, sum: LatticeHash::default() })
    }
}

impl<D: Disk> Installing<D> {
    /// Takes the next chunk.
    pub fn add(&mut self, chunk: &[u8]) -> Result<(), InstallError> {
        let chunk: Chunk = envelope::decode(chunk).map_err(InstallError::Chunk)?;
        let mut batch = Batch::default();
        for (id, record) in &chunk.records {
            if self.last.is_some_and(|last| *id <= last) {
                return Err(InstallError::Order { id: *id });
            }
            self.last = Some(*id);
            self.sum.add(id, record);
            batch.put(side(self.odd), id.as_bytes(), envelope::encode(record));
        }
        let state = self.ledger.shared().read();
        if state.staging == self.staging {
            self.ledger.shared().disk.write(batch)?;
        }
        Ok(())
    }

    /// The digest of what has come so far.
    pub fn digest(&self) -> Digest {
        self.sum.digest()
    }

    /// Turns to the new records, if they are the ones that were signed for and not older than what is here.
    pub fn finish(self, index: u64, mark: Vec<u8>, expected: Digest) -> Result<Applied, InstallError> {
        let disk = &*self.ledger.shared().disk;
        let found = self.sum.digest();
        if found != expected {
            return Err(InstallError::Digest { expected, found });
        }
        // Durable before the mark says that they count, and what counts is what the disk gives back.
        disk.sync()?;
        let (sum, revisions) =
            read_all(disk, side(self.odd)).map_err(|source| InstallError::Unreadable(Box::new(source)))?;
        let found = sum.digest();
        if found != expected {
            let source = OpenLedgerError::Digest { index, expected, found };
            return Err(InstallError::Unreadable(Box::new(source)));
        }
        let applied = self.turn(Mark { index, digest: expected, odd: self.odd, mark }, sum, revisions)?;
        disk::clear(disk, side(!self.odd))?;
        Ok(applied)
    }

    fn turn(
        &self,
        mark: Mark,
        sum: LatticeHash,
        revisions: BTreeMap<RecordId, Revision>,
    ) -> Result<Applied, InstallError> {
        let disk = &*self.ledger.shared().disk;
        let mut state = self.ledger.shared().write();
        let (applied, found) = (state.index(), mark.index);
        if found < applied {
            return Err(InstallError::Older { applied, found });
        }
        if state.staging != self.staging {
            // Another one has begun: nothing of this one stands there any more.
            let (expected, found) = (mark.digest, LatticeHash::default().digest());
            return Err(InstallError::Digest { expected, found });
        }
        let mut batch = Batch::default();
        batch.put(Area::Meta, MARK_KEY, envelope::encode(&mark));
        disk.write(batch)?;
        disk.sync()?;
        state.mark = Some(mark);
        state.sum = sum;
        state.revisions = revisions;
        state.ring = Ring::default();
        state.captures.clear();
        state.replaced += 1;
        state.staging += 1;
        Ok(state.applied())
    }
}

#[cfg(test)]
mod tests;
