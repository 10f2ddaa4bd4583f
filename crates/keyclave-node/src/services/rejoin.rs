//! Giving the root to a member that was vouched for: only over a fresh confirmation, only encrypted to the boot key of
//! the very process that was vouched for.

use std::sync::{Arc, Weak};
use std::time::Duration;

use keyclave_audit::record::Target;
use keyclave_cluster::keys::EntryKeys;
use keyclave_cluster::transport::connection::PeerInfo;
use keyclave_crypto::{hpke, sign};
use keyclave_proto::peer::v1 as wire;
use keyclave_proto::peer::v1::rejoin_service_server::RejoinService;
use keyclave_proto::reason::Reason;
use keyclave_proto::share_terms::rejoin_terms;
use keyclave_vault::ceremony::Collector;
use keyclave_vault::occasion::Now;
use keyclave_vault::records::cluster::RejoinPolicy;
use keyclave_vault::refusal::Refusal;
use keyclave_vault::upkeep::Upkeep;
use keyclave_vault::view::View;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::ceremony::open_share;
use crate::failure::Failure;
use crate::giving::GiveError;
use crate::host::Host;
use crate::member::Member;
use crate::noting::Act;
use crate::rejoining::restart_message;
use crate::services::forward::ending;
use crate::serving::Serving;
use crate::vouching::receiver_message;

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

    async fn prove_unsealed(
        &self,
        request: Request<wire::ProveUnsealedRequest>,
    ) -> Result<Response<wire::ProveUnsealedResponse>, Status> {
        let member = self.member.upgrade().ok_or_else(ending)?;
        let exporter = PeerInfo::of(&request).ok_or_else(|| Status::internal("no peer connection"))?.exporter;
        let asking = request.into_inner().boot_public_key;
        let asking: [u8; 32] =
            asking.try_into().map_err(|_| Status::invalid_argument("a boot key is 32 bytes"))?;
        member.serving().map_err(Failure::into_status)?;
        let boot = member.boot.public();
        let message = receiver_message(member.local.cluster, member.local.node, &boot, &asking, &exporter);
        let signature =
            member.keys.sign_as_writer(&message).ok_or_else(|| Failure::Sealed.into_status())?.to_vec();
        Ok(Response::new(wire::ProveUnsealedResponse { boot_public_key: boot.to_vec(), signature }))
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
            wire::VouchKind::Share => self.admit_by_share(&view, peer, &boot, &request.sealed_share).await?,
            wire::VouchKind::Members => self.check_open_to_members(&serving, &view, peer)?,
            wire::VouchKind::Unspecified | wire::VouchKind::Ceremony => {
                return Err(Refusal::NotAdmitted.into());
            }
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

    /// A share that is one of the current set admits the process that shows it, through the ledger, so that a seal that is
    /// acknowledged meanwhile holds.
    async fn admit_by_share(
        &self,
        view: &View,
        peer: &PeerInfo,
        boot: &[u8; 32],
        sealed: &[u8],
    ) -> Result<(), Failure> {
        let act = Act::new("VouchByShare").on(Target::Node(peer.node)).asked_by(peer.node);
        let share = open_share(&self.boot, &rejoin_terms(&peer.exporter.0, boot), sealed)
            .map_err(|_| Refusal::NotAdmitted)?;
        let set = view.seal_record().ok_or(Refusal::RecordLost)?.current;
        if let Err(refusal) = Collector::judge(&set, &share) {
            let reason = match self.wrong_share(refusal) {
                GiveError::BackOff => Reason::BackOff,
                _ => Reason::ShareWrong,
            };
            self.record(act.ended(reason.as_str())).await?;
            return Err(Refusal::NotAdmitted.into());
        }
        drop(share);
        self.record(act.clone().intended()).await?;
        let deadline = Instant::now() + Duration::from_millis(ADMISSION_MS_MAX);
        self.maintain(Upkeep::Vouch { node: peer.node, code: hpke::code(boot) }, deadline).await?;
        self.use_admission(peer, boot).await?;
        self.note(act).await;
        Ok(())
    }

    /// Being a member is enough for a while, where the cluster's policy and whoever unsealed it said so.
    fn check_open_to_members(
        &self,
        serving: &Serving<H>,
        view: &View,
        peer: &PeerInfo,
    ) -> Result<(), Failure> {
        let rules = view.rejoin_rules().ok_or(Refusal::RecordLost)?;
        let node = view.node(peer.node).ok_or(Refusal::NotAdmitted)?;
        let open = match (rules.policy, rules.members_until, serving.now(view)) {
            (RejoinPolicy::Members, Some(until), Now::Trusted(now)) => now < until && node.key == peer.key,
            (RejoinPolicy::Members | RejoinPolicy::Strict | RejoinPolicy::Off, _, _) => false,
        };
        if open { Ok(()) } else { Err(Refusal::NotAdmitted.into()) }
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
