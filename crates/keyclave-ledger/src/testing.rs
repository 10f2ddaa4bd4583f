//! What the tests of several files share: small ids, entries of one transaction, and a naive model.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyclave_types::ids::RecordId;
use keyclave_types::position::Revision;
use keyclave_types::transaction::{Change, LeaderId, Record, Transaction, TransactionOutcome};
use proptest::prelude::*;

use crate::capture::Capture;
use crate::disk::Disk;
use crate::install::InstallError;
use crate::ledger::{Applied, Entry, Ledger};
use crate::memory_disk::MemoryDisk;

pub(crate) const LEADER: LeaderId = LeaderId { term: 1, node: 1 };

pub(crate) type Model = BTreeMap<RecordId, Record>;
/// Puts (`Some`) and deletes (`None`), entry by entry.
pub(crate) type History = Vec<Vec<(u16, Option<Vec<u8>>)>>;

pub(crate) fn id(n: u16) -> RecordId {
    let mut bytes = [7; 16];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    RecordId::from_bytes(bytes)
}

pub(crate) fn open(disk: &Arc<MemoryDisk>) -> Ledger<MemoryDisk> {
    Ledger::open(disk.clone()).unwrap()
}

/// Changes without expectations.
pub(crate) fn transaction(index: u64, changes: &[(u16, Option<Vec<u8>>)]) -> Transaction {
    let change = |blob: &Option<Vec<u8>>| match blob {
        Some(blob) => Change::Put { revision: Revision(index + 1), blob: blob.clone() },
        None => Change::Delete,
    };
    let changes = changes.iter().map(|(n, blob)| (id(*n), change(blob))).collect();
    Transaction { decided_under: LEADER, expects: BTreeMap::new(), changes }
}

pub(crate) fn apply_one<D: Disk>(ledger: &Ledger<D>, index: u64, changes: &[(u16, Option<Vec<u8>>)]) {
    let transactions = [transaction(index, changes)];
    let mark = index.to_be_bytes().to_vec();
    let entry = Entry { index, leader: LEADER, transactions: &transactions, mark };
    assert_eq!(ledger.apply(entry).unwrap(), [TransactionOutcome::Committed]);
}

pub(crate) fn apply_to_model(model: &mut Model, index: u64, changes: &[(u16, Option<Vec<u8>>)]) {
    // Of two changes of one record in one transaction the later stands: a map holds one per record.
    for (n, blob) in changes {
        match blob {
            Some(blob) => {
                model.insert(id(*n), Record { revision: Revision(index + 1), blob: blob.clone() });
            }
            None => {
                model.remove(&id(*n));
            }
        }
    }
}

pub(crate) fn contents<D: Disk>(ledger: &Ledger<D>) -> Model {
    ledger.read_everything().unwrap().1.into_iter().collect()
}

pub(crate) fn chunks<D: Disk>(capture: &Capture<D>) -> Vec<Vec<u8>> {
    let (mut chunks, mut after) = (Vec::new(), None);
    while let Some((chunk, last)) = capture.chunk(after).unwrap() {
        chunks.push(chunk);
        after = Some(last);
    }
    chunks
}

/// Installs `chunks` as what was captured `at`.
pub(crate) fn install<D: Disk>(
    ledger: &Ledger<D>,
    chunks: &[Vec<u8>],
    at: &Applied,
) -> Result<Applied, InstallError> {
    let mut installing = ledger.begin_install()?;
    for chunk in chunks {
        installing.add(chunk)?;
    }
    installing.finish(at.index, at.mark.clone().unwrap_or_default(), at.digest)
}

pub(crate) fn histories() -> impl Strategy<Value = History> {
    let change = (0_u16..200, prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..40)));
    prop::collection::vec(prop::collection::vec(change, 0..40), 0..24)
}

/// A ledger after `count` entries, each of which put one more record of 3 kB.
pub(crate) fn with_records(count: u16) -> Ledger<MemoryDisk> {
    let ledger = open(&Arc::default());
    for n in 1..=count {
        apply_one(&ledger, n.into(), &[(n, Some(vec![7; 3000]))]);
    }
    ledger
}
