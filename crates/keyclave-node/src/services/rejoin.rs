//! Giving the root to a member that was vouched for: only over a fresh confirmation, only encrypted to the boot key of
//! the very process that was vouched for.

use std::sync::{Arc, Weak};
use std::time::Duration;

use keyclave_audit::record::Target;
use keyclave_cluster::transport::connection::PeerInfo;
use keyclave_crypto::{hpke, sign};
use keyclave_proto::peer::v1 as wire;
use keyclave_proto::peer::v1::rejoin_service_server::RejoinService;
use keyclave_vault::refusal::Refusal;
use keyclave_vault::upkeep::Upkeep;
use keyclave_vault::view::View;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::failure::Failure;
use crate::host::Host;
use crate::member::Member;
use crate::noting::Act;
use crate::rejoining::restart_message;
use crate::services::forward::ending;

/// How long it may take to use up an admission through the ledger.
const ADMISSION_MS_MAX: u64 = 2_500;

/// The service at the peer port.
pub(crate) struct RejoinDoor<H: Host> {
    pub(crate) member: Weak<Member<H>>,
}

#[tonic::async_trait]
impl<H: Host> RejoinService for RejoinDoor<H> {
    async fn rejoin(
        &self,
        request: Request<wire::RejoinRequest>,
    ) -> Result<Response<wire::RejoinResponse>, Status> {
        let member = self.member.upgrade().ok_or_else(ending)?;
        let peer = PeerInfo::of(&request).cloned().ok_or_else(|| Status::internal("no peer connection"))?;
        let answer = member.give_root(&peer, &request.into_inner()).await;
        answer.map(Response::new).map_err(Failure::into_status)
    }
}

impl<H: Host> Member<H> {
    async fn give_root(
        self: &Arc<Self>,
        peer: &PeerInfo,
        request: &wire::RejoinRequest,
    ) -> Result<wire::RejoinResponse, Failure> {
        let serving = self.serving()?;
        let boot = request.boot_public_key.as_slice().try_into().map_err(|_| Refusal::NotAdmitted)?;
        // What vouches must still hold after this call began: a seal or a removal acknowledged before counts.
        let confirming = serving.begin_confirmation();
        let confirmed = confirming.confirmed().await?;
        serving
            .reach(Some(keyclave_types::position::Position {
                generation: confirmed.generation,
                index: confirmed.index,
            }))
            .await?;
        let view = serving.view()?;
        unmarked(&view, peer)?;
        match request.vouch() {
            wire::VouchKind::RestartKey => self.check_restart_key(&view, peer, &boot, &request.signature)?,
            wire::VouchKind::Admission => self.use_admission(peer, &boot).await?,
            wire::VouchKind::Unspecified
            | wire::VouchKind::Share
            | wire::VouchKind::Members
            | wire::VouchKind::Ceremony => return Err(Refusal::NotAdmitted.into()),
        }
        let unsealed = self.unsealed()?;
        let seal = view.seal_record().ok_or(Refusal::RecordLost)?;
        let sealed_root = unsealed
            .root
            .seal_to(&boot, self.local.cluster, &mut self.entropy())
            .map_err(|hpke::BadPublicKey| Refusal::NotAdmitted)?;
        self.record(Act::new("GiveRoot").on(Target::Node(peer.node)).asked_by(peer.node)).await?;
        tracing::info!(node = %peer.node, "gives the root to a process that was vouched for");
        let at = view.position();
        Ok(wire::RejoinResponse {
            sealed_root,
            share_set_id: seal.current.id.to_vec(),
            generation: at.generation.0,
            index: at.index,
        })
    }

    fn check_restart_key(
        &self,
        view: &View,
        peer: &PeerInfo,
        boot: &[u8; 32],
        signature: &[u8],
    ) -> Result<(), Failure> {
        let recorded = view.restart_key(peer.node).ok_or(Refusal::NotAdmitted)?;
        let node = view.node(peer.node).ok_or(Refusal::NotAdmitted)?;
        let signature = signature.try_into().map_err(|_| Refusal::NotAdmitted)?;
        let message =
            restart_message(self.local.cluster, peer.node, recorded.incarnation, boot, &peer.exporter);
        let right = recorded.incarnation == node.incarnation
            && node.key == peer.key
            && sign::verify(&recorded.public, &message, signature);
        if right { Ok(()) } else { Err(Refusal::NotAdmitted.into()) }
    }

    async fn use_admission(&self, peer: &PeerInfo, boot: &[u8; 32]) -> Result<(), Failure> {
        let upkeep = Upkeep::UseAdmission { node: peer.node, code: hpke::code(boot) };
        let deadline = Instant::now() + Duration::from_millis(ADMISSION_MS_MAX);
        self.maintain(upkeep, deadline).await.map(|_| ())
    }
}

fn unmarked(view: &View, peer: &PeerInfo) -> Result<(), Refusal> {
    if view.cluster_mark().is_some() || view.node_mark(peer.node).is_some() {
        Err(Refusal::SealMarked)
    } else {
        Ok(())
    }
}
