//! What a simulated machine gives a whole node: disk, wire, trail, clock, entropy, the memory that survives a process
//! but not the machine, and certificates that nobody checks, since there is no TLS here.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use futures::stream::BoxStream;
use keyclave_audit::memory::MemoryFiles;
use keyclave_cluster::transport::directory::Directory;
use keyclave_crypto::sign::SigningKey;
use keyclave_node::authority::{Authority, AuthorityError, AuthorityKeys, CERTIFICATE_MS, Issued};
use keyclave_node::host::{Host, Leaving, WireError};
use keyclave_node::world::{Clock, EntropySource, RuntimeMemory, RuntimeUnusable};
use keyclave_policy::Action;
use keyclave_types::ids::ClusterId;
use keyclave_types::member::{HostPort, NodePublicKey};
use keyclave_types::time::UnixMillis;
use keyclave_types::transaction::{Expect, Transaction};
use tokio_stream::wrappers::ReceiverStream;
use turmoil::net::{TcpListener, TcpStream};

use crate::sim::disk::MemoryDisk;
use crate::sim::ear::Ear;
use crate::sim::net::accepted;
use crate::sim::planted::Planted;
use crate::sim::wire::PlainWire;
use crate::sim::world::{NodeState, World};

/// What of a machine outlives its processes, besides the ledger's disk. Clones share it.
#[derive(Clone, Default)]
pub struct Shelf {
    /// The trail's files.
    pub trail: MemoryFiles,
    /// The restart key's place.
    pub runtime: Runtime,
    /// How far its wall clock is off.
    pub clock: WallClock,
}

/// One process's host.
pub struct SimMachine {
    disk: MemoryDisk,
    trail: MemoryFiles,
    process: u64,
    planted: Option<Planted>,
    ear: Ear,
    node: u64,
    listener: Mutex<Option<ReceiverStream<Arrived>>>,
}

/// A connection and where it comes from.
type Arrived = io::Result<(TcpStream, SocketAddr)>;

impl SimMachine {
    /// The host of process number `process` of a node; its peers arrive at `listener`.
    pub fn new(world: &World, node: &NodeState, process: u64, listener: TcpListener) -> Self {
        Self {
            disk: node.disk.clone(),
            trail: node.shelf.trail.clone(),
            process,
            planted: world.setup.planted,
            ear: world.ear.clone(),
            node: node.number,
            listener: Mutex::new(Some(accepted(listener))),
        }
    }
}

impl Host for SimMachine {
    type Disk = MemoryDisk;
    type Wire = PlainWire;
    type Files = MemoryFiles;

    fn disk(&self) -> Arc<MemoryDisk> {
        Arc::new(self.disk.clone())
    }

    fn wire(
        &self,
        _: ClusterId,
        own: &SigningKey,
        directory: Arc<dyn Directory>,
    ) -> Result<PlainWire, WireError> {
        let wire = PlainWire::new(NodePublicKey(own.public()), directory, self.process);
        Ok(wire.heard_by(self.ear.clone(), self.node))
    }

    fn peer_listener(&self) -> BoxStream<'static, io::Result<TcpStream>> {
        match self.listener.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(listener) => listener.map(|arrived| arrived.map(|(stream, _)| stream)).boxed(),
            None => futures::stream::empty().boxed(),
        }
    }

    fn trail_files(&self) -> io::Result<MemoryFiles> {
        Ok(self.trail.clone())
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }

    fn danger_unconfirmed(&self, leaving: Leaving) -> bool {
        match (self.planted, leaving) {
            (Some(Planted::ReadWithoutConfirmation), Leaving::Answer)
            | (Some(Planted::RefusalWithoutConfirmation), Leaving::Refusal) => true,
            (Some(_) | None, Leaving::Answer | Leaving::Refusal) => false,
        }
    }

    fn danger_decided(&self, action: Action, mut decided: Transaction) -> Transaction {
        let rotates = matches!(action, Action::RotateKey | Action::RotateDue);
        if rotates && self.planted == Some(Planted::RotationWithoutPrecondition) {
            // What must not be there yet (the request, the next version's page) is still looked for.
            decided.expects.retain(|_, expected| *expected == Expect::Absent);
        }
        decided
    }
}

/// A wall clock that jumps when it is told to. Clones share the jump.
#[derive(Clone, Default)]
pub struct WallClock {
    off_ms: Arc<AtomicI64>,
}

impl WallClock {
    /// From here on the clock is so much further ahead, or behind.
    pub fn jump(&self, by_ms: i64) {
        self.off_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// How far it is ahead, or behind.
    pub fn off_ms(&self) -> i64 {
        self.off_ms.load(Ordering::Relaxed)
    }

    /// From here on the clock is right.
    pub fn set_right(&self) {
        self.off_ms.store(0, Ordering::Relaxed);
    }
}

impl Clock for WallClock {
    fn now(&self) -> UnixMillis {
        let since = turmoil::since_epoch().unwrap_or_default();
        let right = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        UnixMillis(right.saturating_add_signed(self.off_ms.load(Ordering::Relaxed)))
    }
}

/// Entropy that follows from the run's seed: no two processes of a run share a seed, and none repeats one.
pub struct SimEntropy {
    seed: u64,
    drawn: AtomicU64,
}

impl SimEntropy {
    /// The entropy of one process.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: AtomicU64::new(0) }
    }
}

impl EntropySource for SimEntropy {
    fn seed(&self) -> [u8; 32] {
        seed_of(self.seed, self.drawn.fetch_add(1, Ordering::Relaxed))
    }
}

/// The bytes of a number in a sequence.
pub fn seed_of(seed: u64, number: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    *hasher.finalize().as_bytes()
}

/// A tmpfs: it survives a process, and is gone when the machine loses power. Clones share it.
#[derive(Clone, Default)]
pub struct Runtime {
    stored: Arc<Mutex<Option<[u8; 32]>>>,
}

impl RuntimeMemory for Runtime {
    fn usable(&self) -> Result<(), RuntimeUnusable> {
        Ok(())
    }

    fn load(&self) -> Option<[u8; 32]> {
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, seed: &[u8; 32]) -> bool {
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = Some(*seed);
        true
    }

    fn wipe(&self) {
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Certificates in name only.
pub struct NoAuthority;

impl Authority for NoAuthority {
    fn found(&self, _: UnixMillis) -> Result<AuthorityKeys, AuthorityError> {
        Ok(AuthorityKeys {
            key_pkcs8: b"authority's key".to_vec().into(),
            certificate: b"authority".to_vec(),
        })
    }

    fn issue(&self, _: &AuthorityKeys, _: &[HostPort], now: UnixMillis) -> Result<Issued, AuthorityError> {
        Ok(Issued {
            key_pkcs8: b"node's key".to_vec().into(),
            certificate: b"node".to_vec(),
            expires_at: now.after(CERTIFICATE_MS),
        })
    }

    fn public_key(&self, _: &AuthorityKeys) -> Result<Vec<u8>, AuthorityError> {
        Ok(b"authority's public key".to_vec())
    }
}
