//! What a node runs on, as one set of types: disk, wire, and the files of its trail. The server gives sled, TLS and
//! a directory; the simulator its own.

use std::io;
use std::sync::Arc;

use futures::stream::BoxStream;
use keyclave_audit::files::TrailFiles;
use keyclave_cluster::transport::directory::Directory;
use keyclave_cluster::transport::wire::Wire;
use keyclave_crypto::sign::SigningKey;
use keyclave_ledger::disk::Disk;
use keyclave_policy::Action;
use keyclave_types::ids::ClusterId;
use keyclave_types::threads::Threads;
use keyclave_types::transaction::Transaction;

/// Why the wire to peers cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the wire to peers cannot be set up")]
pub struct WireError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// What is about to leave a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaving {
    /// An answer.
    Answer,
    /// A refusal.
    Refusal,
}

/// What a node runs on.
pub trait Host: Send + Sync + 'static {
    /// Where ledger, log and identity lie.
    type Disk: Disk;
    /// How peers are reached.
    type Wire: Wire;
    /// Where the trail lies.
    type Files: TrailFiles;

    /// The disk.
    fn disk(&self) -> Arc<Self::Disk>;
    /// The wire of the member of `cluster` that has this key.
    fn wire(
        &self,
        cluster: ClusterId,
        own: &SigningKey,
        directory: Arc<dyn Directory>,
    ) -> Result<Self::Wire, WireError>;
    /// What arrives at the peer port. Taken once.
    fn peer_listener(&self) -> BoxStream<'static, io::Result<<Self::Wire as Wire>::Raw>>;
    /// The trail's files.
    fn trail_files(&self) -> io::Result<Self::Files>;
    /// Runs work that waits for the disk.
    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>);

    /// Whether something leaves without the leader's confirmation: nothing does. Only a simulation that plants this
    /// bug, to see that it is caught, overrides it; the walls hold that no room of the product does.
    fn danger_unconfirmed(&self, _leaving: Leaving) -> bool {
        false
    }

    /// What is proposed for `action`, as it was decided. To be overridden as little as the one above.
    fn danger_decided(&self, _action: Action, decided: Transaction) -> Transaction {
        decided
    }
}

/// A host's threads, as the ledger's log and the trail want them.
pub(crate) struct HostThreads<H>(pub(crate) Arc<H>);

impl<H: Host> Threads for HostThreads<H> {
    fn run(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.run_blocking(work);
    }
}
