//! One process's end of the peer network: the product's transport over the simulated network's plain TCP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use keyclave_cluster::transport::connection::Connections;
use keyclave_cluster::transport::directory::{Directory, LocalNode};
use keyclave_cluster::transport::establish::Establish;
use keyclave_cluster::transport::gate::Gate;
use keyclave_cluster::transport::incoming::incoming;
use keyclave_cluster::transport::peers::Peers;
use keyclave_cluster::transport::proof::PeerKeys;
use keyclave_cluster::transport::raft_service::{RaftHandler, add_raft_services};
use keyclave_cluster::transport::serve::serve_peers;
use keyclave_types::time::UnixMillis;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use turmoil::net::{TcpListener, TcpStream};

use super::identity::PEER_PORT;
use super::wire::PlainWire;

/// The transport of one process.
pub struct Net {
    local: LocalNode,
    directory: Arc<dyn Directory>,
    establish: Establish<PlainWire>,
    connections: Connections,
    /// Channels to the others.
    pub peers: Peers<PlainWire>,
}

impl Net {
    /// The transport of process number `process` of a node.
    pub fn new(
        local: LocalNode,
        directory: Arc<dyn Directory>,
        keys: Arc<dyn PeerKeys>,
        process: u64,
    ) -> Self {
        let connections = Connections::new();
        let wire = PlainWire::new(local.key, Arc::clone(&directory), process);
        let establish = Establish::new(wire, keys, Arc::clone(&directory), connections.clone());
        let peers = Peers::new(local, establish.clone());
        Self { local, directory, establish, connections, peers }
    }

    /// Serves peers for as long as the process lives, and keeps keyed connections to them.
    pub async fn serve<H: RaftHandler>(&self, handler: Arc<H>) -> io::Result<()> {
        self.serve_only(handler).await?;
        let peers = self.peers.clone();
        tokio::spawn(async move { peers.keep_keyed().await });
        Ok(())
    }

    /// Serves peers, and keeps no connections to them.
    pub async fn serve_only<H: RaftHandler>(&self, handler: Arc<H>) -> io::Result<()> {
        let listener = TcpListener::bind(("0.0.0.0", PEER_PORT)).await?;
        let arriving = accepted(listener).map(|arrived| arrived.map(|(stream, _)| stream));
        let incoming = incoming(self.establish.clone(), arriving, |_| ());
        let mut routes = Routes::builder();
        add_raft_services(&mut routes, handler, Arc::new(clock));
        let gate = Gate::new(self.local, Arc::clone(&self.directory));
        let served =
            serve_peers(incoming, gate, routes.routes(), self.connections.clone(), std::future::pending());
        tokio::spawn(served);
        Ok(())
    }

    /// Ends every connection that has proven what this node no longer holds.
    pub fn close_keyed(&self) {
        self.connections.close_keyed();
    }
}

/// What arrives at a listener.
pub fn accepted(listener: TcpListener) -> ReceiverStream<io::Result<(TcpStream, SocketAddr)>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            if sender.send(listener.accept().await).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// The simulated wall clock.
fn clock() -> UnixMillis {
    let since = turmoil::since_epoch().unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
