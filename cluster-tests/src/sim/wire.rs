//! Plain TCP of the simulated network in the place of TLS: each end says its key and some fresh bytes, and both hash
//! what was said into the exporter that proofs are bound to. It authenticates nobody against a liar on the network,
//! which is why it lives here and not in the product.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyclave_cluster::transport::directory::Directory;
use keyclave_cluster::transport::refused::Refused;
use keyclave_cluster::transport::wire::{Bound, Exporter, Wire};
use keyclave_types::member::{HostPort, NodePublicKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::TcpStream;

use super::ear::{Ear, Heard};

/// One node's end of every connection.
#[derive(Clone)]
pub struct PlainWire {
    key: NodePublicKey,
    directory: Arc<dyn Directory>,
    /// Distinguishes this process of this node from its earlier ones.
    seed: u64,
    connections: Arc<AtomicU64>,
    /// Who hears what is said, and as whose.
    ear: Ear,
    node: u64,
}

const HELLO_BYTES: usize = 64;

impl PlainWire {
    /// The wire of the process `seed` of the node with `key`, accepting members of `directory`.
    pub fn new(key: NodePublicKey, directory: Arc<dyn Directory>, seed: u64) -> Self {
        Self { key, directory, seed, connections: Arc::default(), ear: Ear::default(), node: 0 }
    }

    /// The same, as `node`, with `ear` hearing what is said.
    pub fn heard_by(self, ear: Ear, node: u64) -> Self {
        Self { ear, node, ..self }
    }

    async fn greet(&self, mut stream: TcpStream, dials: bool) -> Result<Bound<Heard<TcpStream>>, Refused> {
        let broken = |error| Refused::Broken(Arc::new(error));
        let mine = self.hello();
        let mut theirs = [0; HELLO_BYTES];
        stream.write_all(&mine).await.map_err(broken)?;
        stream.read_exact(&mut theirs).await.map_err(broken)?;
        let peer = match theirs.split_first_chunk::<32>() {
            Some((key, _)) => NodePublicKey(*key),
            None => return Err(Refused::Session),
        };
        if self.directory.node(&peer).or_else(|| self.directory.removed(&peer)).is_none() {
            return Err(Refused::NotMember);
        }
        let said = if dials { [mine, theirs] } else { [theirs, mine] };
        let exporter = Exporter(*blake3::hash(&said.concat()).as_bytes());
        Ok(Bound { stream: self.ear.lend(self.node, stream), peer, exporter })
    }

    /// Key, then bytes that no other connection of any process has.
    fn hello(&self) -> [u8; HELLO_BYTES] {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let mut fresh = blake3::Hasher::new();
        fresh.update(&self.key.0);
        fresh.update(&self.seed.to_le_bytes());
        fresh.update(&number.to_le_bytes());
        let mut hello = [0; HELLO_BYTES];
        let (key, rest) = hello.split_at_mut(32);
        key.copy_from_slice(&self.key.0);
        rest.copy_from_slice(fresh.finalize().as_bytes());
        hello
    }
}

impl Wire for PlainWire {
    type Raw = TcpStream;
    type Stream = Heard<TcpStream>;

    async fn dial(
        &self,
        address: &HostPort,
        expected: &NodePublicKey,
    ) -> Result<Bound<Self::Stream>, Refused> {
        let stream = TcpStream::connect((address.host(), address.port()))
            .await
            .map_err(|error| Refused::Unreachable(Arc::new(error)))?;
        let bound = self.greet(stream, true).await?;
        if bound.peer == *expected { Ok(bound) } else { Err(Refused::NotMember) }
    }

    async fn accept(&self, raw: TcpStream) -> Result<Bound<Self::Stream>, Refused> {
        self.greet(raw, false).await
    }
}
