//! openraft's own suite over the stores, on the real disk and in memory. It appends unsigned entries of any leader and
//! builds snapshots without checkpoints, so both stores have a mode for it that exists only in tests.

use std::sync::Arc;

use keyclave_ledger::disk::Disk;
use keyclave_ledger::ledger::Ledger;
use keyclave_ledger::log_store::LogStore;
use keyclave_ledger::sled_disk::SledDisk;
use keyclave_types::ids::{ClusterId, NodeId};
use keyclave_types::position::Generation;
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::disk::TestDisk;
use crate::entry::Line;
use crate::ground::Ground;
use crate::log_store::{Log, LogParts, Signer};
use crate::machine::Machine;
use crate::raft::{StorageError, TypeConfig};
use keyclave_types::threads::Inline;

fn stores<D: Disk>(disk: Arc<D>) -> (Log<D>, Machine<D>) {
    let ledger = Ledger::open(disk.clone()).unwrap();
    let ground = Ground::default();
    let machine = Machine::open(ledger.clone(), ground.clone(), Arc::new(Inline), true).unwrap();
    let log = Log::open(LogParts {
        // No entry and no vote of the suite is this node's own.
        me: NodeId::new(NodeId::MAX).unwrap(),
        line: Line { cluster: ClusterId::from_bytes([0; 16]), generation: Generation(0) },
        signer: Signer::nobody(),
        store: LogStore::new(disk),
        ledger,
        ground,
        threads: Arc::new(Inline),
    });
    (log.unwrap(), machine)
}

struct OnSled;

impl StoreBuilder<TypeConfig, Log<SledDisk>, Machine<SledDisk>, TempDir> for OnSled {
    async fn build(&self) -> Result<(TempDir, Log<SledDisk>, Machine<SledDisk>), StorageError> {
        let directory = tempfile::tempdir().unwrap();
        let (log, machine) = stores(Arc::new(SledDisk::open(directory.path()).unwrap()));
        Ok((directory, log, machine))
    }
}

struct InMemory;

impl StoreBuilder<TypeConfig, Log<TestDisk>, Machine<TestDisk>, ()> for InMemory {
    async fn build(&self) -> Result<((), Log<TestDisk>, Machine<TestDisk>), StorageError> {
        let (log, machine) = stores(Arc::default());
        Ok(((), log, machine))
    }
}

#[test]
fn the_stores_are_what_openraft_expects_on_the_real_disk() {
    Suite::test_all(OnSled).unwrap();
}

#[test]
fn the_stores_are_what_openraft_expects_in_memory() {
    Suite::test_all(InMemory).unwrap();
}
