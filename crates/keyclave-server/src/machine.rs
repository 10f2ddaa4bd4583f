//! A real machine as the node's host and world: a disk for the ledger and files for the trail (sled and a directory,
//! unless a test brings some that fail), TLS over TCP, the system's clock and entropy.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use futures::stream::BoxStream;
use keyclave_audit::files::TrailFiles;
use keyclave_cluster::transport::directory::Directory;
use keyclave_cluster::transport::tls::Tls;
use keyclave_cluster::transport::wire::Wire;
use keyclave_crypto::sign::{self, SigningKey};
use keyclave_ledger::disk::Disk;
use keyclave_node::host::{Host, WireError};
use keyclave_node::world::{Clock, EntropySource};
use keyclave_types::ids::ClusterId;
use keyclave_types::member::NodePublicKey;
use keyclave_types::time::UnixMillis;
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

/// Opens the files of a trail.
pub(crate) type OpenTrail<F> = Arc<dyn Fn() -> io::Result<F> + Send + Sync>;

/// This machine.
pub(crate) struct Machine<D, F> {
    disk: Arc<D>,
    trail: OpenTrail<F>,
    peers: Mutex<Option<TcpListener>>,
}

impl<D, F> Machine<D, F> {
    /// A node's ledger is on `disk`, its trail where `trail` says, its peers arrive at `peers`.
    pub(crate) fn new(disk: Arc<D>, trail: OpenTrail<F>, peers: TcpListener) -> Self {
        Self { disk, trail, peers: Mutex::new(Some(peers)) }
    }
}

impl<D: Disk, F: TrailFiles> Host for Machine<D, F> {
    type Disk = D;
    type Wire = Tls;
    type Files = F;

    fn disk(&self) -> Arc<D> {
        self.disk.clone()
    }

    fn wire(
        &self,
        cluster: ClusterId,
        own: &SigningKey,
        directory: Arc<dyn Directory>,
    ) -> Result<Tls, WireError> {
        let private = sign::pkcs8(own);
        Tls::new(cluster, NodePublicKey(own.public()), &private, directory)
            .map_err(|error| WireError(Box::new(error)))
    }

    fn peer_listener(&self) -> BoxStream<'static, io::Result<<Tls as Wire>::Raw>> {
        match self.peers.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(listener) => TcpListenerStream::new(listener).boxed(),
            None => futures::stream::empty().boxed(),
        }
    }

    fn trail_files(&self) -> io::Result<F> {
        (self.trail)()
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn counted_ms(&self) -> Option<u64> {
        // Unlike CLOCK_MONOTONIC it goes on while the machine is suspended.
        let since_boot = clock_gettime(ClockId::Boottime);
        let (seconds, nanos) =
            (u64::try_from(since_boot.tv_sec).ok()?, u64::try_from(since_boot.tv_nsec).ok()?);
        seconds.checked_mul(1_000)?.checked_add(nanos / 1_000_000)
    }
}

/// Seeds drawn from the system's entropy, expanded in between: the system is asked once per process and again after
/// every so many seeds.
pub(crate) struct SystemEntropy {
    source: Mutex<(keyclave_crypto::entropy::Entropy, u32)>,
}

/// Seeds given out before the system is asked again.
const SEEDS_PER_DRAW: u32 = 4_096;

impl SystemEntropy {
    /// Draws from the system; fails where there is no entropy to be had.
    pub(crate) fn new() -> Result<Self, keyclave_crypto::entropy::SystemEntropyError> {
        Ok(Self { source: Mutex::new((keyclave_crypto::entropy::system()?, 0)) })
    }
}

impl EntropySource for SystemEntropy {
    fn seed(&self) -> [u8; 32] {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        if source.1 >= SEEDS_PER_DRAW
            && let Ok(fresh) = keyclave_crypto::entropy::system()
        {
            *source = (fresh, 0);
        }
        source.1 = source.1.saturating_add(1);
        source.0.array()
    }
}
