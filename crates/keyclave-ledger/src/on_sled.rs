//! The whole room on the disk of the product: apply, log, snapshot and opening again, through what other rooms see.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Area, Batch, Disk};
use crate::ledger::{Entry, Ledger, OpenLedgerError};
use crate::log_store::LogStore;
use crate::sled_disk::SledDisk;
use keyclave_types::ids::RecordId;
use keyclave_types::position::Revision;
use keyclave_types::transaction::{Change, LeaderId, Transaction, TransactionOutcome};
use tempfile::TempDir;

const LEADER: LeaderId = LeaderId { term: 1, node: 1 };

fn open(directory: &Path) -> (Ledger<SledDisk>, LogStore<SledDisk>) {
    let disk = Arc::new(SledDisk::open(directory).unwrap());
    (Ledger::open(disk.clone()).unwrap(), LogStore::new(disk))
}

/// Entry `index`: a few hundred ids in turn, blobs from nothing to 6 kB, some deleted again.
fn apply(ledger: &Ledger<SledDisk>, index: u64) {
    let change = |n: u64| match (index + n) % 7 {
        0 => Change::Delete,
        _ => {
            Change::Put { revision: Revision(index + 1), blob: vec![n as u8; (index * 31 % 6_000) as usize] }
        }
    };
    let id = |n: u64| {
        RecordId::sealed(
            ((index * 13 + n * 97) % 400 * 0x0123_4567).to_be_bytes().repeat(2).try_into().unwrap(),
        )
    };
    let changes = (0..5).map(|n| (id(n), change(n))).collect();
    let transactions = [Transaction { decided_under: LEADER, expects: BTreeMap::new(), changes }];
    let mark = index.to_be_bytes().to_vec();
    let outcomes = ledger.apply(Entry { index, leader: LEADER, transactions: &transactions, mark }).unwrap();
    assert_eq!(outcomes, [TransactionOutcome::Committed]);
}

#[test]
fn records_and_log_are_there_after_opening_again() {
    let directory = TempDir::new().unwrap();
    let (ledger, log) = open(directory.path());
    for index in 1..=300 {
        log.append([(index, vec![index as u8; (index * 97 % 20_000) as usize])]).unwrap();
        apply(&ledger, index);
    }
    log.purge_to(250, b"250".to_vec()).unwrap();
    log.truncate_from(291).unwrap();
    let before = (ledger.applied(), ledger.read_everything().unwrap().1);
    drop((ledger, log));
    let (ledger, log) = open(directory.path());
    assert_eq!((ledger.applied(), ledger.read_everything().unwrap().1), before);
    assert_eq!(log.purged().unwrap(), Some(b"250".to_vec()));
    let entries = log.read(0, usize::MAX).unwrap();
    assert_eq!(entries.iter().map(|(index, _)| *index).collect::<Vec<_>>(), (251..=290).collect::<Vec<_>>());
    for (index, bytes) in entries {
        assert_eq!(bytes, vec![index as u8; (index * 97 % 20_000) as usize]);
    }
}

#[test]
fn a_snapshot_taken_under_writes_is_installed_on_another_disk() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (source, _) = open(here.path());
    (1..=300).for_each(|index| apply(&source, index));
    let (capture, records) = (source.capture(), source.read_everything().unwrap().1);
    let (target, _) = open(there.path());
    apply(&target, 1);
    let mut installing = target.begin_install().unwrap();
    let (mut after, mut index) = (None, 300);
    while let Some((chunk, last)) = capture.chunk(after).unwrap() {
        installing.add(&chunk).unwrap();
        after = Some(last);
        for _ in 0..20 {
            index += 1;
            apply(&source, index);
        }
    }
    let at = capture.at();
    installing.finish(at.index, at.mark.clone().unwrap(), at.digest).unwrap();
    assert_eq!(&target.applied(), at);
    assert_eq!(target.read_everything().unwrap().1, records);
    drop(target);
    // Whichever handles were left, the store is what it was.
    let (target, _) = open(there.path());
    assert_eq!(&target.applied(), at);
    assert_eq!(target.read_everything().unwrap().1, records);
}

#[test]
fn a_record_changed_removed_or_put_back_by_hand_is_refused_at_opening() {
    type ByHand = fn(&mut Batch, &[u8], Vec<u8>);
    let by_hand: [ByHand; 3] = [
        |batch, key, old| batch.put(Area::RecordsEven, key, old),
        |batch, key, _| batch.delete(Area::RecordsEven, key),
        |batch, key, old| batch.put(Area::RecordsEven, &[key.get(1..).unwrap(), &[0x5A]].concat(), old),
    ];
    for (way, change) in by_hand.into_iter().enumerate() {
        let directory = TempDir::new().unwrap();
        let (ledger, _) = open(directory.path());
        apply(&ledger, 1);
        drop(ledger);
        let disk = SledDisk::open(directory.path()).unwrap();
        let (key, old) = disk.range(Area::RecordsEven, &[], 1).unwrap().remove(0);
        drop(disk);
        // The same record once more, so that what stood before is older.
        let (ledger, _) = open(directory.path());
        apply(&ledger, 401);
        ledger.sync().unwrap();
        drop(ledger);
        let disk = SledDisk::open(directory.path()).unwrap();
        assert_ne!(disk.read(Area::RecordsEven, &key).unwrap(), Some(old.clone()), "or nothing is put back");
        let mut batch = Batch::default();
        change(&mut batch, &key, old);
        disk.write(batch).unwrap();
        disk.sync().unwrap();
        let refused = Ledger::open(Arc::new(disk)).map(|_| ());
        assert!(matches!(refused, Err(OpenLedgerError::Digest { index: 401, .. })), "way {way}: {refused:?}");
    }
}
