//! Starts the product's cluster half as a simulated process has it: threads inline, random numbers from the run's
//! seed, and the same beginning of the log for every node of every run.

use std::sync::Arc;

use keyclave_cluster::cluster::Cluster;
use keyclave_cluster::guard::Pins;
use keyclave_cluster::peer::RaftTransport;
use keyclave_cluster::start::StartCluster;
use keyclave_ledger::ledger::Ledger;
use keyclave_ledger::log_store::LogStore;
use keyclave_types::ids::NodeId;
use keyclave_types::threads::Inline;

use super::disk::MemoryDisk;
use super::identity::{CLUSTER, GENERATION, SimKeys, member, writer};

/// Everything that differs between two processes.
pub struct Start {
    /// Which node.
    pub me: NodeId,
    /// Its records.
    pub ledger: Ledger<MemoryDisk>,
    /// Its log.
    pub log: LogStore<MemoryDisk>,
    /// Its keys.
    pub keys: SimKeys,
    /// Its way to the others.
    pub transport: Arc<dyn RaftTransport>,
    /// Its random numbers.
    pub seed: u64,
    /// Whether it has no keys.
    pub sealed: bool,
}

/// Starts it; otherwise says why not.
pub async fn start(start: Start) -> Result<Cluster<MemoryDisk>, keyclave_cluster::start::StartError> {
    let first = NodeId::new(1).expect("one is a node number");
    Cluster::start(StartCluster {
        me: start.me,
        cluster: CLUSTER,
        generation: GENERATION,
        pins: Pins { writer: writer(), first, member: member(1) },
        ledger: start.ledger,
        log: start.log,
        keys: Arc::new(start.keys),
        transport: start.transport,
        threads: Arc::new(Inline),
        seed: start.seed,
        sealed: start.sealed,
    })
    .await
}
