//! The leader's side of serving from any node. Answered on keyed connections only: the gate sees to that.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use keyclave_cluster::confirm::ConfirmError as LeaderError;
use keyclave_cluster::transport::connection::PeerInfo;
use keyclave_proto::peer::v1 as wire;
use keyclave_proto::peer::v1::forward_service_server::ForwardService;
use keyclave_proto::reason::Reason;
use keyclave_types::envelope;
use keyclave_types::ids::NodeId;
use keyclave_vault::upkeep::{Upkeep, UpkeepAnswer};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::failure::Failure;
use crate::host::Host;
use crate::member::Member;
use crate::timekeeping::TimeDoubt;

/// How long a piece of upkeep may take here.
const UPKEEP_MS_MAX: u64 = 2_500;

/// What a forwarded call is answered with: the server's pipeline, which alone knows the API's messages.
pub trait ForwardedCalls: Send + Sync + 'static {
    /// Answers `request`, which arrived at `from`.
    fn answer(
        &self,
        from: NodeId,
        request: wire::ForwardRequest,
    ) -> BoxFuture<'static, wire::ForwardResponse>;
}

/// The service at the peer port.
pub(crate) struct ForwardDoor<H: Host> {
    pub(crate) member: Weak<Member<H>>,
    pub(crate) calls: Arc<dyn ForwardedCalls>,
}

pub(crate) fn ending() -> Status {
    keyclave_proto::status::status(Reason::ShuttingDown, "this node is ending", Default::default())
}

pub(crate) fn sender<T>(request: &Request<T>) -> Result<NodeId, Status> {
    PeerInfo::of(request).map(|peer| peer.node).ok_or_else(|| Status::internal("no peer connection"))
}

#[tonic::async_trait]
impl<H: Host> ForwardService for ForwardDoor<H> {
    async fn forward(
        &self,
        request: Request<wire::ForwardRequest>,
    ) -> Result<Response<wire::ForwardResponse>, Status> {
        let from = sender(&request)?;
        Ok(Response::new(self.calls.answer(from, request.into_inner()).await))
    }

    async fn confirm(
        &self,
        _request: Request<wire::ConfirmRequest>,
    ) -> Result<Response<wire::ConfirmResponse>, Status> {
        let member = self.member.upgrade().ok_or_else(ending)?;
        // Only a leader that may decide vouches: it is unsealed, no seal mark waits to be lifted, and a quorum has
        // answered it in its own term.
        member.serving().map_err(Failure::into_status)?;
        if member.cluster.leadership().mine.is_none() {
            return Err(Failure::NoLeader.into_status());
        }
        let confirmation = member.cluster.confirm_as_leader().await.map_err(|error| match error {
            LeaderError::Overloaded => {
                Failure::Confirm(crate::confirmer::ConfirmError::Overloaded).into_status()
            }
            LeaderError::NotLeader { .. } | LeaderError::NoQuorum => Failure::NoLeader.into_status(),
            LeaderError::Stopped => ending(),
        })?;
        let said = member.said_time().map_err(Failure::into_status)?;
        Ok(Response::new(wire::ConfirmResponse {
            generation: confirmation.generation.0,
            index: confirmation.index,
            digest_index: confirmation.digest_index,
            digest: confirmation.digest.0.to_vec(),
            clock_unix_ms: said.map_or(0, |at| at.0),
            doubt: said.err().map(|TimeDoubt { since, ahead_ms, .. }| wire::ClockDoubt {
                since_unix_ms: since.0,
                ahead_ms,
            }),
        }))
    }

    async fn maintain(
        &self,
        request: Request<wire::MaintainRequest>,
    ) -> Result<Response<wire::MaintainResponse>, Status> {
        let from = sender(&request)?;
        let member = self.member.upgrade().ok_or_else(ending)?;
        let upkeep: Upkeep = envelope::decode(&request.into_inner().upkeep)
            .map_err(|_| Status::invalid_argument("this version does not know that upkeep"))?;
        member.serving().map_err(Failure::into_status)?;
        let deadline = Instant::now() + Duration::from_millis(UPKEEP_MS_MAX);
        let answer =
            member.maintain_as_leader(from, &upkeep, deadline).await.map_err(Failure::into_status)?;
        let count = match answer {
            UpkeepAnswer::Done => 0,
            UpkeepAnswer::Forgotten { requests } => requests as u64,
            UpkeepAnswer::Reserved { uses } => uses,
        };
        let at = member.position();
        let position = Some(wire::Position { generation: at.generation.0, index: at.index });
        Ok(Response::new(wire::MaintainResponse { position, count }))
    }
}
