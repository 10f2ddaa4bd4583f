//! `SealService`: what everybody may see of seals, shares for a ceremony, sealing, and vouching for a process.
//!
//! Status and shares need no credential: a share is one, and it comes encrypted to one process's boot key.

use std::time::Duration;

use keyclave_node::ceremony::{CeremonyProgress, ShareFailure};
use keyclave_node::failure::Failure;
use keyclave_node::host::Host;
use keyclave_node::member::Member;
use keyclave_node::unsealing::{GiveError, ShareTaken, UnsealError};
use keyclave_node::world::RuntimeUnusable;
use keyclave_policy::{Action, Permit, Principal};
use keyclave_proto::peer::v1 as peer;
use keyclave_proto::reason::Reason;
use keyclave_proto::request::{Invalid, ResetCeremony, SubmitShare};
use keyclave_proto::status::status;
use keyclave_proto::v1;
use keyclave_proto::v1::seal_service_server::SealService;
use keyclave_types::ids::NodeId;
use keyclave_vault::ceremony::ShareRefusal;
use tonic::{Request, Response, Status};

use super::{Api, take};
use crate::caller::Caller;
use crate::pipeline::Pipeline;
use crate::recording::Recording;
use crate::writing::Rpc;

/// How long another node may take with a share.
const RELAY_MS_MAX: u64 = 20_000;

#[tonic::async_trait]
impl<H: Host> SealService for Api<H> {
    async fn get_seal_status(
        &self,
        request: Request<v1::GetSealStatusRequest>,
    ) -> Result<Response<v1::GetSealStatusResponse>, Status> {
        take(request)?;
        let Some(member) = self.pipeline.node().member() else {
            let this_node = v1::NodeSeal {
                state: v1::SealState::Uninitialized.into(),
                boot_public_key: self.pipeline.node().boot_public().to_vec(),
                ..Default::default()
            };
            return Ok(Response::new(v1::GetSealStatusResponse {
                this_node: Some(this_node),
                server_version: env!("CARGO_PKG_VERSION").to_owned(),
                ..Default::default()
            }));
        };
        Ok(Response::new(seal_status(&member).await))
    }

    async fn submit_share(
        &self,
        request: Request<v1::SubmitShareRequest>,
    ) -> Result<Response<v1::SubmitShareResponse>, Status> {
        let (caller, message) = take(request)?;
        let submitted: SubmitShare = message.try_into().map_err(|invalid: Invalid| Status::from(invalid))?;
        let member = self.pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
        let recording =
            Recording::new(&caller, self.pipeline.request_id(), Action::SubmitShare, "SubmitShare");
        let given = match submitted.node.filter(|node| *node != member.node()) {
            None => here(&member, &submitted).await,
            Some(node) => elsewhere(&member, node, &submitted).await,
        };
        match given {
            Ok(given) => {
                self.pipeline.record(&member, recording.done(self.pipeline.now())).await?;
                Ok(Response::new(given))
            }
            Err(status) => {
                self.pipeline.record_refusal(&member, &recording, &status).await?;
                Err(status)
            }
        }
    }

    async fn reset_ceremony(
        &self,
        request: Request<v1::ResetCeremonyRequest>,
    ) -> Result<Response<v1::ResetCeremonyResponse>, Status> {
        let (caller, message) = take(request)?;
        let reset: ResetCeremony = message.try_into().map_err(|invalid: Invalid| Status::from(invalid))?;
        let member = self.pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
        let recording =
            Recording::new(&caller, self.pipeline.request_id(), Action::SubmitShare, "ResetCeremony");
        let done = match &reset.share {
            Some(share) => {
                member.reset_ceremony(&reset.terms(), &share.bytes, reset.ceremony).map_err(refused)
            }
            None => Err(status(
                Reason::ShareMalformed,
                "a ceremony ends by a share of the set",
                Default::default(),
            )),
        };
        if let Err(status) = done {
            self.pipeline.record_refusal(&member, &recording, &status).await?;
            return Err(status);
        }
        self.pipeline.record(&member, recording.done(self.pipeline.now())).await?;
        Ok(Response::new(v1::ResetCeremonyResponse { position: Some(member.position().into()) }))
    }

    async fn seal_node(
        &self,
        request: Request<v1::SealNodeRequest>,
    ) -> Result<Response<v1::SealNodeResponse>, Status> {
        let (caller, message) = take(request)?;
        let rpc = Rpc {
            path: "/keyclave.v1.SealService/SealNode",
            operation: "SealNode",
            action: Action::SealNode,
        };
        Ok(Response::new(self.pipeline.write(caller, rpc, message).await?))
    }

    async fn admit(&self, request: Request<v1::AdmitRequest>) -> Result<Response<v1::AdmitResponse>, Status> {
        let (caller, message) = take(request)?;
        let rpc = Rpc { path: "/keyclave.v1.SealService/Admit", operation: "Admit", action: Action::Admit };
        Ok(Response::new(self.pipeline.write(caller, rpc, message).await?))
    }

    async fn get_code(
        &self,
        request: Request<v1::GetCodeRequest>,
    ) -> Result<Response<v1::GetCodeResponse>, Status> {
        let (caller, _) = take(request)?;
        on_the_machine(&self.pipeline, &caller, Action::ShowCode, "GetCode").await?;
        let node = self.pipeline.node();
        Ok(Response::new(v1::GetCodeResponse {
            node: node.member().map(|member| member.node().get()).unwrap_or_default(),
            code: node.code().to_string(),
            boot_public_key: node.boot_public().to_vec(),
        }))
    }

    async fn seal_this_node(
        &self,
        request: Request<v1::SealThisNodeRequest>,
    ) -> Result<Response<v1::SealThisNodeResponse>, Status> {
        let (caller, _) = take(request)?;
        on_the_machine(&self.pipeline, &caller, Action::SealThisNode, "SealThisNode").await?;
        let member = self.pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
        let recording =
            Recording::new(&caller, self.pipeline.request_id(), Action::SealThisNode, "SealThisNode");
        self.pipeline.record(&member, recording.done(self.pipeline.now())).await?;
        let position = Some(member.position().into());
        // Nothing is served any more once this is answered, however long the handover takes.
        member.withdraw();
        tokio::spawn(async move { member.seal_here().await });
        Ok(Response::new(v1::SealThisNodeResponse { position }))
    }
}

/// What only the machine's own socket is for. Whoever asks from elsewhere with a valid credential learns that, others
/// nothing; either is on record.
pub(super) async fn on_the_machine<H: Host>(
    pipeline: &Pipeline<H>,
    caller: &Caller,
    action: Action,
    operation: &'static str,
) -> Result<Permit, Status> {
    if !caller.is_local() {
        pipeline.ask(caller, action, operation, |_, _| ()).await?;
    }
    let principal = if caller.is_local() { Principal::LocalSocket } else { Principal::Unauthenticated };
    keyclave_policy::decide(&principal, action, None)
        .map_err(|denied| Failure::Refused(denied.into()).into_status())
}

async fn here<H: Host>(
    member: &std::sync::Arc<Member<H>>,
    submitted: &SubmitShare,
) -> Result<v1::SubmitShareResponse, Status> {
    if submitted.share.boot_public_key != member.boot_public() {
        return Err(refused(GiveError::Share(ShareFailure::BootKey)));
    }
    let node = member.node();
    let (outcome, share_number, ceremony) =
        match member.give_share(&submitted.terms(), &submitted.share.bytes).await {
            Ok(ShareTaken::Progress { x, repeated, progress }) => {
                let outcome = if repeated { v1::ShareOutcome::Repeated } else { v1::ShareOutcome::Taken };
                (outcome, x, progress.map(|progress| ceremony_status(node, &progress)))
            }
            Ok(ShareTaken::Unsealed { x }) => (v1::ShareOutcome::Completed, x, None),
            Err(GiveError::NotNeeded) => (v1::ShareOutcome::NotNeeded, 0, None),
            Err(error) => return Err(refused(error)),
        };
    Ok(v1::SubmitShareResponse {
        position: Some(member.position().into()),
        outcome: outcome.into(),
        share_number: u32::from(share_number),
        ceremony,
        nodes_to_admit: Vec::new(),
    })
}

async fn elsewhere<H: Host>(
    member: &Member<H>,
    node: NodeId,
    submitted: &SubmitShare,
) -> Result<v1::SubmitShareResponse, Status> {
    let request = peer::RelayShareRequest {
        boot_public_key: submitted.share.boot_public_key.to_vec(),
        sealed_share: submitted.share.bytes.clone(),
        kind: peer::CeremonyKind::Unseal.into(),
        ceremony_id: Vec::new(),
        terms: submitted.terms(),
    };
    let relayed = member.relay_share(node, request, Duration::from_millis(RELAY_MS_MAX)).await;
    let answer = relayed.map_err(|_| {
        status(
            Reason::NodeUnreachable,
            &format!("node {node} could not be reached with the share"),
            Default::default(),
        )
    })?;
    use peer::ShareOutcome;
    let outcome = match answer.outcome() {
        ShareOutcome::Taken => v1::ShareOutcome::Taken,
        ShareOutcome::Repeated => v1::ShareOutcome::Repeated,
        ShareOutcome::Completed => v1::ShareOutcome::Completed,
        ShareOutcome::NotNeeded => v1::ShareOutcome::NotNeeded,
        ShareOutcome::Wrong => return Err(named(Reason::ShareWrong, answer.x)),
        ShareOutcome::OtherSet => return Err(named(Reason::ShareOtherSet, answer.x)),
        ShareOutcome::OtherBootKey => return Err(refused(GiveError::Share(ShareFailure::BootKey))),
        ShareOutcome::BackOff => return Err(named(Reason::BackOff, answer.x)),
        ShareOutcome::Unspecified => return Err(named(Reason::Internal, answer.x)),
    };
    Ok(v1::SubmitShareResponse {
        position: Some(member.position().into()),
        outcome: outcome.into(),
        share_number: answer.x,
        ceremony: answer.ceremony.as_ref().map(|progress| relayed_status(node, progress)),
        nodes_to_admit: Vec::new(),
    })
}

fn named(reason: Reason, x: u32) -> Status {
    status(reason, &format!("share {x} does not count"), Default::default())
}

fn refused(error: GiveError) -> Status {
    let reason = match &error {
        GiveError::Share(ShareFailure::BootKey) => Reason::BootKeyChanged,
        GiveError::Share(ShareFailure::Malformed(_)) => Reason::ShareMalformed,
        GiveError::Share(ShareFailure::Refused(ShareRefusal::Foreign { .. })) => Reason::ShareOtherSet,
        GiveError::Share(ShareFailure::Refused(ShareRefusal::Wrong { .. } | ShareRefusal::Number { .. })) => {
            Reason::ShareWrong
        }
        GiveError::Share(ShareFailure::Unknown) => Reason::CeremonyNotFound,
        GiveError::Unseal(UnsealError::Root(_) | UnsealError::Keeper(_)) => Reason::RecordLost,
        GiveError::Unseal(UnsealError::NoSealRecord) => Reason::CatchingUp,
        GiveError::NotConfirmed => Reason::NoLeader,
        GiveError::BackOff => Reason::BackOff,
        GiveError::NotNeeded => Reason::AlreadyInitialized,
    };
    status(reason, &error.to_string(), Default::default())
}

fn ceremony_status(node: NodeId, progress: &CeremonyProgress) -> v1::CeremonyStatus {
    v1::CeremonyStatus {
        ceremony_id: progress.id.as_bytes().to_vec(),
        node: node.get(),
        given: u32::try_from(progress.given.len()).unwrap_or(u32::MAX),
        needed: u32::from(progress.threshold.needed()),
        share_numbers: progress.given.iter().map(|x| u32::from(x.get())).collect(),
        refused: progress.refused,
        opened_at_unix_ms: progress.opened_at.0,
    }
}

fn relayed_status(node: NodeId, progress: &peer::CeremonyProgress) -> v1::CeremonyStatus {
    v1::CeremonyStatus {
        ceremony_id: progress.ceremony_id.clone(),
        node: node.get(),
        given: u32::try_from(progress.given.len()).unwrap_or(u32::MAX),
        needed: progress.needed,
        share_numbers: progress.given.clone(),
        refused: 0,
        opened_at_unix_ms: progress.begun_unix_ms,
    }
}

async fn seal_status<H: Host>(member: &Member<H>) -> v1::GetSealStatusResponse {
    let own = own_seal(member);
    let others: Vec<NodeId> = member
        .known_members()
        .into_iter()
        .map(|known| known.node)
        .filter(|node| *node != member.node())
        .collect();
    let asked = futures::future::join_all(others.iter().map(|node| member.peer_seal(*node))).await;
    let mut nodes = vec![own.clone()];
    let mut ceremony = member.ceremony().map(|progress| ceremony_status(member.node(), &progress));
    for (node, seal) in others.into_iter().zip(asked) {
        let mut shown = v1::NodeSeal { node: node.get(), ..Default::default() };
        if let Some(seal) = seal {
            shown.state = if seal.sealed { v1::SealState::Sealed } else { v1::SealState::Unsealed }.into();
            shown.boot_public_key = seal.boot_public;
            if let (None, Some(progress)) = (&ceremony, &seal.ceremony) {
                ceremony = Some(relayed_status(node, progress));
            }
        }
        nodes.push(shown);
    }
    nodes.sort_by_key(|seal| seal.node);
    let set = member.share_set();
    v1::GetSealStatusResponse {
        position: Some(member.position().into()),
        this_node: Some(own),
        nodes,
        threshold: set.as_ref().map(|set| u32::from(set.threshold.needed())).unwrap_or_default(),
        shares: set.as_ref().map(|set| u32::from(set.threshold.shares())).unwrap_or_default(),
        share_set_id: set.map(|set| set.id.to_vec()).unwrap_or_default(),
        ceremony,
        cluster_id: member.cluster_id().as_bytes().to_vec(),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn own_seal<H: Host>(member: &Member<H>) -> v1::NodeSeal {
    let restart_key = match member.restart_key_usable() {
        Ok(()) => v1::RestartKeyState::Ready,
        Err(RuntimeUnusable::NotTmpfs) => v1::RestartKeyState::NoTmpfs,
        Err(RuntimeUnusable::Swap) => v1::RestartKeyState::Swap,
        Err(RuntimeUnusable::Absent | RuntimeUnusable::Access) => v1::RestartKeyState::Off,
    };
    let unsealed = member.is_unsealed();
    v1::NodeSeal {
        node: member.node().get(),
        state: if unsealed { v1::SealState::Unsealed } else { v1::SealState::Sealed }.into(),
        boot_public_key: member.boot_public().to_vec(),
        restart_key: restart_key.into(),
        ..Default::default()
    }
}
