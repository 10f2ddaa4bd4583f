//! The acceptor's side of Raft: what arrives is handed, with who sent it and how, to the Raft half.
//!
//! The Raft half implements [`RaftHandler`] and judges; payloads are opaque here. Who sent a call is known from
//! its connection alone, never from its message.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use keyclave_proto::peer::v1 as wire;
use keyclave_proto::peer::v1::install_snapshot_request::Part;
use keyclave_proto::peer::v1::leadership_service_server::{LeadershipService, LeadershipServiceServer};
use keyclave_proto::peer::v1::raft_service_server::{RaftService, RaftServiceServer};
use keyclave_types::ids::NodeId;
use keyclave_types::position::Position;
use keyclave_types::time::UnixMillis;
use tonic::service::RoutesBuilder;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::peer::{CHUNK_BYTES_MAX, Campaign, LeaderSeen};

use super::connection::PeerInfo;
use super::gate::GateReason;
use super::handshake::Kind;

/// One Raft message, snapshot chunks included.
pub const RAFT_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a snapshot's sender may be silent between two chunks.
pub const SNAPSHOT_SILENCE_MS_MAX: u64 = 10_000;

/// The metadata under which a node that does not lead says who does.
pub(crate) const LEADER: &str = "keyclave-leader";

/// Who sent a Raft call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sender {
    /// The member.
    pub node: NodeId,
    /// Whether both ends proved the keyring.
    pub keyed: bool,
}

/// Why the Raft half answers a call with no payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RaftRefusal {
    /// While keyed connections reach a quorum, only they are heard.
    #[error("this node hears only keyed connections at the moment")]
    NeedsKeyed,
    /// Only the leader can answer this.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// The payload is not what it should be.
    #[error("the payload is not readable")]
    Malformed,
    /// The payload claims what its sender may not.
    #[error("the payload was refused")]
    Forged,
    /// What is asked cannot be done in this state: another term, or a log that is behind.
    #[error("this cannot be done in the present state")]
    State,
    /// No quorum answered in time.
    #[error("no quorum answered in time")]
    NoQuorum,
    /// The node is ending.
    #[error("this node is ending")]
    Ending,
}

impl RaftRefusal {
    fn code(&self) -> Code {
        match self {
            Self::NeedsKeyed => Code::PermissionDenied,
            Self::NotLeader { .. } | Self::State => Code::FailedPrecondition,
            Self::Malformed => Code::InvalidArgument,
            Self::Forged => Code::PermissionDenied,
            Self::NoQuorum | Self::Ending => Code::Unavailable,
        }
    }
}

impl From<RaftRefusal> for Status {
    fn from(refusal: RaftRefusal) -> Self {
        match refusal {
            // The sender's transport knows what to do about this one.
            RaftRefusal::NeedsKeyed => GateReason::NeedsKeyed.status(),
            RaftRefusal::NotLeader { leader } => {
                let mut status = Self::new(refusal.code(), refusal.to_string());
                if let Some(leader) = leader {
                    status.metadata_mut().insert(LEADER, leader.get().into());
                }
                status
            }
            RaftRefusal::Malformed
            | RaftRefusal::Forged
            | RaftRefusal::State
            | RaftRefusal::NoQuorum
            | RaftRefusal::Ending => Self::new(refusal.code(), refusal.to_string()),
        }
    }
}

/// What the Raft half does with what arrives.
pub trait RaftHandler: Send + Sync + 'static {
    /// Judges and appends.
    fn append(
        &self,
        sender: Sender,
        payload: Vec<u8>,
    ) -> impl Future<Output = Result<Vec<u8>, RaftRefusal>> + Send;
    /// Judges and votes.
    fn vote(
        &self,
        sender: Sender,
        payload: Vec<u8>,
    ) -> impl Future<Output = Result<Vec<u8>, RaftRefusal>> + Send;
    /// Judges and installs.
    fn install_snapshot(
        &self,
        sender: Sender,
        head: Vec<u8>,
        chunks: SnapshotChunks,
    ) -> impl Future<Output = Result<Vec<u8>, RaftRefusal>> + Send;
    /// Whether a live leader is seen.
    fn leader_seen(&self, sender: Sender) -> LeaderSeen;
    /// As leader, confirms the commit index with a quorum.
    fn seal_record_index(&self, sender: Sender)
    -> impl Future<Output = Result<Position, RaftRefusal>> + Send;
    /// Stands for election, since the sender hands over.
    fn campaign(
        &self,
        sender: Sender,
        campaign: Campaign,
    ) -> impl Future<Output = Result<(), RaftRefusal>> + Send;
}

/// A snapshot's chunks as they arrive.
pub struct SnapshotChunks {
    stream: Streaming<wire::InstallSnapshotRequest>,
}

/// Why a snapshot's stream gives no further chunk although it has not ended.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// The connection was lost, or the message is not protobuf.
    #[error("the snapshot's stream was cut")]
    Cut(#[source] Status),
    /// The sender fell silent.
    #[error("no chunk within {SNAPSHOT_SILENCE_MS_MAX} ms")]
    Silent,
    /// A chunk is too large.
    #[error("a chunk of {bytes} bytes is larger than {CHUNK_BYTES_MAX}")]
    Large {
        /// Its length.
        bytes: usize,
    },
    /// Something else than a chunk came.
    #[error("the snapshot's stream holds a part that is no chunk")]
    NoChunk,
}

impl SnapshotChunks {
    /// The next chunk; `None` when the sender has sent all.
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, ChunkError>> {
        match next_part(&mut self.stream).await {
            Ok(Some(Part::Chunk(bytes))) if bytes.len() > CHUNK_BYTES_MAX => {
                Some(Err(ChunkError::Large { bytes: bytes.len() }))
            }
            Ok(Some(Part::Chunk(bytes))) => Some(Ok(bytes)),
            Ok(Some(Part::Head(_))) => Some(Err(ChunkError::NoChunk)),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl SnapshotChunks {
    /// The chunks as a stream that ends with the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Vec<u8>, ChunkError>> + Send {
        futures::stream::unfold(Some(self), |chunks| async move {
            let mut chunks = chunks?;
            let next = chunks.next().await?;
            let rest = next.is_ok().then_some(chunks);
            Some((next, rest))
        })
    }
}

async fn next_part(stream: &mut Streaming<wire::InstallSnapshotRequest>) -> Result<Option<Part>, ChunkError> {
    let silence = Duration::from_millis(SNAPSHOT_SILENCE_MS_MAX);
    let message = tokio::time::timeout(silence, stream.message()).await.map_err(|_| ChunkError::Silent)?;
    match message.map_err(ChunkError::Cut)? {
        Some(message) => message.part.map(Some).ok_or(ChunkError::NoChunk),
        None => Ok(None),
    }
}

/// Adds the Raft half's two services to the peer port's routes.
pub fn add_raft_services<H: RaftHandler>(
    routes: &mut RoutesBuilder,
    handler: Arc<H>,
    clock: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
) {
    let door = RaftDoor { handler, clock };
    routes.add_service(
        RaftServiceServer::new(door.clone())
            .max_decoding_message_size(RAFT_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(RAFT_MESSAGE_BYTES_MAX),
    );
    routes.add_service(LeadershipServiceServer::new(door));
}

struct RaftDoor<H> {
    handler: Arc<H>,
    clock: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
}

impl<H> Clone for RaftDoor<H> {
    fn clone(&self) -> Self {
        Self { handler: Arc::clone(&self.handler), clock: Arc::clone(&self.clock) }
    }
}

fn sender<T>(request: &Request<T>) -> Result<Sender, Status> {
    let peer = PeerInfo::of(request).ok_or_else(|| GateReason::NoConnection.status())?;
    Ok(Sender { node: peer.node, keyed: peer.kind == Kind::Keyed })
}

#[tonic::async_trait]
impl<H: RaftHandler> RaftService for RaftDoor<H> {
    async fn append(
        &self,
        request: Request<wire::AppendRequest>,
    ) -> Result<Response<wire::AppendResponse>, Status> {
        let sender = sender(&request)?;
        let payload = self.handler.append(sender, request.into_inner().payload).await?;
        Ok(Response::new(wire::AppendResponse { payload }))
    }

    async fn vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let sender = sender(&request)?;
        let payload = self.handler.vote(sender, request.into_inner().payload).await?;
        Ok(Response::new(wire::VoteResponse { payload }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::InstallSnapshotRequest>>,
    ) -> Result<Response<wire::InstallSnapshotResponse>, Status> {
        let sender = sender(&request)?;
        let mut stream = request.into_inner();
        let Ok(Some(Part::Head(head))) = next_part(&mut stream).await else {
            return Err(RaftRefusal::Malformed.into());
        };
        let payload = self.handler.install_snapshot(sender, head, SnapshotChunks { stream }).await?;
        Ok(Response::new(wire::InstallSnapshotResponse { payload }))
    }

    async fn leader_seen(
        &self,
        request: Request<wire::LeaderSeenRequest>,
    ) -> Result<Response<wire::LeaderSeenResponse>, Status> {
        let LeaderSeen { live, leader, term } = self.handler.leader_seen(sender(&request)?);
        Ok(Response::new(wire::LeaderSeenResponse { live, leader: leader.map_or(0, NodeId::get), term }))
    }

    async fn seal_record_index(
        &self,
        request: Request<wire::SealRecordIndexRequest>,
    ) -> Result<Response<wire::SealRecordIndexResponse>, Status> {
        let Position { generation, index } = self.handler.seal_record_index(sender(&request)?).await?;
        Ok(Response::new(wire::SealRecordIndexResponse { generation: generation.0, index }))
    }
}

#[tonic::async_trait]
impl<H: RaftHandler> LeadershipService for RaftDoor<H> {
    async fn campaign(
        &self,
        request: Request<wire::CampaignRequest>,
    ) -> Result<Response<wire::CampaignResponse>, Status> {
        let sender = sender(&request)?;
        let wire::CampaignRequest { term, last_index } = request.into_inner();
        self.handler.campaign(sender, Campaign { term, last_index }).await?;
        Ok(Response::new(wire::CampaignResponse {}))
    }

    async fn read_clock(
        &self,
        _: Request<wire::ReadClockRequest>,
    ) -> Result<Response<wire::ReadClockResponse>, Status> {
        let UnixMillis(clock_unix_ms) = (self.clock)();
        Ok(Response::new(wire::ReadClockResponse { clock_unix_ms }))
    }
}
