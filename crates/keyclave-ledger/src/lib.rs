//! Transactions over sealed records, and where they lie on disk.
//!
//! Called by keyclave-cluster (log, apply, snapshots) and keyclave-node (reading records). Invariants:
//! - Applying knows no clock, no randomness, no key and no meaning: preconditions, puts, deletes.
//! - One entry is one atomic batch, the mark of how far it got included.
//! - What is acknowledged was synced; after a failed sync nothing is written any more.
//! - A snapshot replaces the records only after its digest was recomputed and found right.
//!
//! Deliberately absent: Raft, signatures, and anything that opens a blob.

#![forbid(unsafe_code)]

pub mod disk;
pub mod sled_disk;

pub mod apply;
pub mod capture;
pub mod changes;
pub mod digest;
pub mod install;
pub mod ledger;

pub mod log_store;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod memory_disk;
#[cfg(test)]
mod on_sled;
#[cfg(test)]
mod testing;
