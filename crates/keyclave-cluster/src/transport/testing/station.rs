//! Whole nodes for tests: everything of the transport, with services that tell what reached them.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyclave_proto::peer::v1 as wire;
use keyclave_proto::peer::v1::forward_service_client::ForwardServiceClient;
use keyclave_proto::peer::v1::forward_service_server::{ForwardService, ForwardServiceServer};
use keyclave_proto::peer::v1::rejoin_service_server::{RejoinService, RejoinServiceServer};
use keyclave_types::ids::NodeId;
use keyclave_types::position::{Generation, Position};
use keyclave_types::time::UnixMillis;
use tokio_stream::Stream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::peer::{Campaign, LeaderSeen};
use crate::transport::call::CallError;
use crate::transport::connection::{Connections, PeerInfo};
use crate::transport::directory::{Directory, LocalNode};
use crate::transport::establish::Establish;
use crate::transport::gate::Gate;
use crate::transport::handshake::Kind;
use crate::transport::incoming::incoming;
use crate::transport::peers::{PeerChannel, Peers};
use crate::transport::raft_service::{RaftHandler, RaftRefusal, Sender, SnapshotChunks, add_raft_services};
use crate::transport::refused::Refused;
use crate::transport::serve::serve_peers;
use crate::transport::wire::Wire;

use super::memory::{MemoryWire, Network};
use super::{TestDirectory, TestKeys, key, local, node};

/// How long a test's call may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// One node.
pub(crate) struct Station<W: Wire> {
    pub(crate) local: LocalNode,
    pub(crate) directory: Arc<TestDirectory>,
    pub(crate) keys: Arc<TestKeys>,
    pub(crate) connections: Connections,
    pub(crate) peers: Peers<W>,
    pub(crate) establish: Establish<W>,
    pub(crate) refusals: Arc<Mutex<Vec<Refused>>>,
    pub(crate) raft: Arc<Echo>,
}

impl Station<MemoryWire> {
    /// Node `number` of the members 1, 2 and 3, each at `node-N:1`.
    pub(crate) fn in_memory(network: &Network, number: u64, keys: TestKeys) -> Self {
        let directory = TestDirectory::of(&[1, 2, 3]);
        for other in 1..=3 {
            directory.locate(other, &address(other));
        }
        let wire = MemoryWire { network: network.clone(), key: key(number) };
        Self::new(local(number), wire, directory, keys)
    }

    /// Listens at its address on `network`.
    pub(crate) fn plug_in(&self, network: &Network) {
        self.serve(network.listen(&address(self.local.node.get()), self.local.key));
    }
}

/// Where a node is in memory.
pub(crate) fn address(number: u64) -> String {
    format!("node-{number}:1")
}

impl<W: Wire> Station<W> {
    pub(crate) fn new(local: LocalNode, wire: W, directory: Arc<TestDirectory>, keys: TestKeys) -> Self {
        let (keys, connections) = (Arc::new(keys), Connections::new());
        let establish =
            Establish::new(wire, keys.clone(), directory.clone() as Arc<dyn Directory>, connections.clone());
        let peers = Peers::new(local, establish.clone());
        let (refusals, raft) = (Arc::default(), Arc::default());
        Self { local, directory, keys, connections, peers, establish, refusals, raft }
    }

    /// Serves what `listener` yields for as long as the runtime lives.
    pub(crate) fn serve(&self, listener: impl Stream<Item = io::Result<W::Raw>> + Send + 'static) {
        self.serve_until(listener, std::future::pending());
    }

    pub(crate) fn serve_until(
        &self,
        listener: impl Stream<Item = io::Result<W::Raw>> + Send + 'static,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let refusals = Arc::clone(&self.refusals);
        let note = move |refused: &Refused| refusals.lock().unwrap().push(refused.clone());
        let incoming = incoming(self.establish.clone(), listener, note);
        let mut routes = Routes::builder();
        add_raft_services(&mut routes, self.raft.clone(), Arc::new(|| UnixMillis(77)));
        routes.add_service(ForwardServiceServer::new(Echo::default()));
        routes.add_service(RejoinServiceServer::new(Echo::default()));
        let gate = Gate::new(self.local, self.directory.clone());
        let connections = self.connections.clone();
        tokio::spawn(async move {
            serve_peers(incoming, gate, routes.routes(), connections, stop).await.unwrap();
        })
    }

    /// A forwarded request, which needs a keyed connection.
    pub(crate) async fn forward(&self, to: u64, kind: Kind) -> Result<Vec<u8>, CallError> {
        self.forward_within(to, kind, b"request", LIMIT).await
    }

    pub(crate) async fn forward_within(
        &self,
        to: u64,
        kind: Kind,
        request: &[u8],
        limit: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let channel = self.channel(to, kind).map_err(CallError::Refused)?;
        forward_over(&channel, request, limit).await
    }

    pub(crate) fn channel(&self, to: u64, kind: Kind) -> Result<PeerChannel, Refused> {
        match kind {
            Kind::Plain => self.peers.plain(node(to)),
            Kind::Keyed => self.peers.keyed(node(to)),
        }
    }

    pub(crate) async fn append(&self, to: u64) -> Result<bool, CallError> {
        self.peers.append(node(to), b"append".to_vec(), LIMIT).await.map(|heard| heard.keyed)
    }

    pub(crate) fn refused(&self) -> Vec<String> {
        self.refusals.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

/// A forwarded request over one channel. `hang` is never answered.
pub(crate) async fn forward_over(
    channel: &PeerChannel,
    request: &[u8],
    limit: Duration,
) -> Result<Vec<u8>, CallError> {
    let request = wire::ForwardRequest { request: request.to_vec(), ..Default::default() };
    let answered = channel
        .call(limit, |channel| async move { ForwardServiceClient::new(channel).forward(request).await });
    match answered.await?.outcome {
        Some(wire::forward_response::Outcome::Response(bytes)) => Ok(bytes),
        _ => Ok(Vec::new()),
    }
}

/// Services that tell what reached them.
#[derive(Default)]
pub(crate) struct Echo {
    /// Who sent each append, vote and snapshot.
    pub(crate) heard: Mutex<Vec<Sender>>,
    /// The bytes of each chunk of each snapshot, or why there was none.
    pub(crate) chunks: Mutex<Vec<Result<usize, String>>>,
    /// Whether only keyed connections are heard.
    pub(crate) keyed_only: std::sync::atomic::AtomicBool,
}

impl Echo {
    fn hear(&self, sender: Sender) -> Result<(), RaftRefusal> {
        if self.keyed_only.load(std::sync::atomic::Ordering::Relaxed) && !sender.keyed {
            return Err(RaftRefusal::NeedsKeyed);
        }
        self.heard.lock().unwrap().push(sender);
        Ok(())
    }
}

impl RaftHandler for Echo {
    async fn append(&self, sender: Sender, payload: Vec<u8>) -> Result<Vec<u8>, RaftRefusal> {
        self.hear(sender).map(|()| payload)
    }

    async fn vote(&self, sender: Sender, payload: Vec<u8>) -> Result<Vec<u8>, RaftRefusal> {
        self.hear(sender).map(|()| payload)
    }

    async fn install_snapshot(
        &self,
        sender: Sender,
        head: Vec<u8>,
        mut chunks: SnapshotChunks,
    ) -> Result<Vec<u8>, RaftRefusal> {
        self.hear(sender)?;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map(|bytes| bytes.len()).map_err(|error| error.to_string());
            let broken = chunk.is_err();
            self.chunks.lock().unwrap().push(chunk);
            if broken {
                return Err(RaftRefusal::Malformed);
            }
        }
        Ok(head)
    }

    fn leader_seen(&self, _: Sender) -> LeaderSeen {
        LeaderSeen { live: true, leader: NodeId::new(3), term: 5 }
    }

    async fn seal_record_index(&self, sender: Sender) -> Result<Position, RaftRefusal> {
        if sender.keyed {
            Ok(Position { generation: Generation(1), index: 42 })
        } else {
            Err(RaftRefusal::NotLeader { leader: NodeId::new(3) })
        }
    }

    async fn campaign(&self, _: Sender, campaign: Campaign) -> Result<(), RaftRefusal> {
        if campaign == (Campaign { term: 5, last_index: 10 }) { Ok(()) } else { Err(RaftRefusal::State) }
    }
}

#[tonic::async_trait]
impl ForwardService for Echo {
    async fn forward(
        &self,
        request: Request<wire::ForwardRequest>,
    ) -> Result<Response<wire::ForwardResponse>, Status> {
        let outcome = match request.into_inner().request.as_slice() {
            b"hang" => std::future::pending().await,
            b"no" => return Err(Status::not_found("nothing there")),
            other => other.to_vec(),
        };
        let outcome = Some(wire::forward_response::Outcome::Response(outcome));
        Ok(Response::new(wire::ForwardResponse { outcome, position: None }))
    }

    async fn confirm(
        &self,
        _: Request<wire::ConfirmRequest>,
    ) -> Result<Response<wire::ConfirmResponse>, Status> {
        Ok(Response::new(wire::ConfirmResponse::default()))
    }

    async fn maintain(
        &self,
        _: Request<wire::MaintainRequest>,
    ) -> Result<Response<wire::MaintainResponse>, Status> {
        Ok(Response::new(wire::MaintainResponse::default()))
    }
}

/// Answers what a restart key's signature would be checked against.
#[tonic::async_trait]
impl RejoinService for Echo {
    async fn rejoin(
        &self,
        request: Request<wire::RejoinRequest>,
    ) -> Result<Response<wire::RejoinResponse>, Status> {
        let exporter = PeerInfo::of(&request).unwrap().exporter;
        Ok(Response::new(wire::RejoinResponse { sealed_root: exporter.0.to_vec(), ..Default::default() }))
    }

    async fn prove_unsealed(
        &self,
        _: Request<wire::ProveUnsealedRequest>,
    ) -> Result<Response<wire::ProveUnsealedResponse>, Status> {
        Ok(Response::new(wire::ProveUnsealedResponse::default()))
    }
}
