//! `SealService`: what everybody may see of seals, shares for a ceremony, sealing, and vouching for a process.
//!
//! Status and shares need no credential: a share is one, and it comes encrypted to one process's boot key.

use std::time::Duration;

use keyclave_node::ceremony::ShareFailure;
use keyclave_node::failure::Failure;
use keyclave_node::giving::{GiveError, ShareTaken};
use keyclave_node::host::Host;
use keyclave_node::member::Member;
use keyclave_node::unsealing::UnsealError;
use keyclave_policy::{Action, Permit, Principal};
use keyclave_proto::peer::v1 as peer;
use keyclave_proto::reason::Reason;
use keyclave_proto::request::{EncryptedShare, Invalid, ResetCeremony, SubmitShare};
use keyclave_proto::share_terms::ShareTerms;
use keyclave_proto::status::status;
use keyclave_proto::v1;
use keyclave_proto::v1::seal_service_server::SealService;
use keyclave_types::ids::NodeId;
use keyclave_vault::ceremony::ShareRefusal;
use keyclave_vault::refusal::Refusal;
use tonic::{Request, Response, Status};

use super::seal_status::{nodes_to_admit, own_ceremony, relayed_status, seal_status};
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
        credential(&self.pipeline, &caller, &message.encrypted_share, "SubmitShare").await?;
        let submitted: SubmitShare = message.try_into().map_err(|invalid: Invalid| Status::from(invalid))?;
        let member = self.pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
        let recording =
            Recording::new(&caller, self.pipeline.request_id(), Action::SubmitShare, "SubmitShare");
        let given = match submitted.node.filter(|node| *node != member.node()) {
            None => here(&member, &submitted).await,
            Some(node) => {
                let terms = ShareTerms::Submit(submitted.terms.clone());
                elsewhere(&member, node, &submitted.share, terms).await
            }
        };
        match given {
            Ok(mut given) => {
                self.pipeline.record(&member, recording.done(self.pipeline.now())).await?;
                given.nodes_to_admit = match given.outcome() {
                    v1::ShareOutcome::Completed | v1::ShareOutcome::Vouched => {
                        nodes_to_admit(&member, &submitted.terms).await
                    }
                    v1::ShareOutcome::Taken | v1::ShareOutcome::Repeated | v1::ShareOutcome::Unspecified => {
                        Vec::new()
                    }
                };
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
        credential(&self.pipeline, &caller, &message.encrypted_share, "ResetCeremony").await?;
        let reset: ResetCeremony = message.try_into().map_err(|invalid: Invalid| Status::from(invalid))?;
        let member = self.pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
        let recording =
            Recording::new(&caller, self.pipeline.request_id(), Action::SubmitShare, "ResetCeremony");
        let done = match (&reset.share, reset.node.filter(|node| *node != member.node())) {
            (Some(share), None) if share.boot_public_key != member.boot_public() => {
                Err(refused(GiveError::Share(ShareFailure::BootKey)))
            }
            (Some(share), None) => member.reset_ceremony(reset.ceremony, &share.bytes).await.map_err(refused),
            (Some(share), Some(node)) => {
                elsewhere(&member, node, share, ShareTerms::Reset(reset.ceremony)).await.map(drop)
            }
            (None, _) => Err(Failure::Refused(Refusal::Unauthenticated).into_status()),
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
            ceremony_id: node
                .member()
                .and_then(|member| member.ceremony_id())
                .map(|id| id.as_bytes().to_vec())
                .unwrap_or_default(),
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
    keyclave_policy::built_in(&principal, action, None)
        .map_err(|denied| Failure::Refused(denied.into()).into_status())
}

/// A share is the credential of whoever gives it: without one, nothing else of the request is looked at.
async fn credential<H: Host>(
    pipeline: &Pipeline<H>,
    caller: &Caller,
    share: &[u8],
    operation: &'static str,
) -> Result<(), Status> {
    if !share.is_empty() {
        return Ok(());
    }
    let status = Failure::Refused(Refusal::Unauthenticated).into_status();
    if let Some(member) = pipeline.node().member() {
        let recording = Recording::new(caller, pipeline.request_id(), Action::SubmitShare, operation);
        pipeline.record_refusal(&member, &recording, &status).await?;
    }
    Err(status)
}

async fn here<H: Host>(
    member: &std::sync::Arc<Member<H>>,
    submitted: &SubmitShare,
) -> Result<v1::SubmitShareResponse, Status> {
    if submitted.share.boot_public_key != member.boot_public() {
        return Err(refused(GiveError::Share(ShareFailure::BootKey)));
    }
    let (outcome, share_number) = match member.give_share(&submitted.terms, &submitted.share.bytes).await {
        Ok(ShareTaken::Progress { x, repeated: true, .. }) => (v1::ShareOutcome::Repeated, x),
        Ok(ShareTaken::Progress { x, repeated: false, .. }) => (v1::ShareOutcome::Taken, x),
        Ok(ShareTaken::Unsealed { x }) => (v1::ShareOutcome::Completed, x),
        Ok(ShareTaken::Vouched { x }) => (v1::ShareOutcome::Vouched, x),
        Err(error) => return Err(refused(error)),
    };
    Ok(v1::SubmitShareResponse {
        position: Some(member.position().into()),
        outcome: outcome.into(),
        share_number: u32::from(share_number),
        ceremony: own_ceremony(member),
        nodes_to_admit: Vec::new(),
    })
}

async fn elsewhere<H: Host>(
    member: &Member<H>,
    node: NodeId,
    share: &EncryptedShare,
    terms: ShareTerms,
) -> Result<v1::SubmitShareResponse, Status> {
    let request = peer::RelayShareRequest {
        boot_public_key: share.boot_public_key.to_vec(),
        sealed_share: share.bytes.clone(),
        kind: peer::CeremonyKind::Unseal.into(),
        terms: terms.to_bytes(),
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
        ShareOutcome::Vouched => v1::ShareOutcome::Vouched,
        // Only whoever asked for a reset gets this, and looks at no outcome.
        ShareOutcome::Reset => v1::ShareOutcome::Taken,
        ShareOutcome::NotNeeded => return Err(refused(GiveError::NotNeeded)),
        ShareOutcome::Ended => return Err(refused(GiveError::Share(ShareFailure::Ended))),
        ShareOutcome::OtherCode => return Err(refused(GiveError::OtherCode)),
        ShareOutcome::Wrong => return Err(named(Reason::ShareWrong, answer.x)),
        ShareOutcome::OtherSet => return Err(named(Reason::ShareOtherSet, answer.x)),
        ShareOutcome::OtherBootKey => return Err(refused(GiveError::Share(ShareFailure::BootKey))),
        ShareOutcome::BackOff => return Err(refused(GiveError::BackOff)),
        ShareOutcome::Unspecified => return Err(named(Reason::Internal, answer.x)),
    };
    Ok(v1::SubmitShareResponse {
        position: Some(member.position().into()),
        outcome: outcome.into(),
        share_number: answer.x,
        ceremony: answer
            .ceremony
            .as_ref()
            .map(|progress| relayed_status(node, progress, answer.wrong_shares)),
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
        GiveError::Share(ShareFailure::Ended) => Reason::CeremonyNotFound,
        GiveError::Unseal(UnsealError::Root(_) | UnsealError::Keeper(_)) => Reason::RecordLost,
        GiveError::Unseal(UnsealError::NoSealRecord) => Reason::CatchingUp,
        GiveError::NotConfirmed => Reason::NoLeader,
        GiveError::BackOff => Reason::BackOff,
        GiveError::NotNeeded => Reason::AlreadyUnsealed,
        GiveError::OtherCode => Reason::CodeUnknown,
    };
    status(reason, &error.to_string(), Default::default())
}
