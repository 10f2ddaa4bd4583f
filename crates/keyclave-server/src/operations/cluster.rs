//! `ClusterService`: making a cluster, its members and its leader; a join is [`super::joining`].

use keyclave_node::failure::Failure;
use keyclave_node::founding::InitError;
use keyclave_node::host::Host;
use keyclave_node::member::Member;
use keyclave_node::members::KnownMember;
use keyclave_node::serving::Serving;
use keyclave_node::timekeeping::TimeDoubt;
use keyclave_policy::{Action, Permit};
use keyclave_proto::answer::{MemberDescription, MemberRole};
use keyclave_proto::reason::Reason;
use keyclave_proto::request::{AdmissionPolicy, Init, Invalid, StepDown};
use keyclave_proto::status::status;
use keyclave_proto::v1;
use keyclave_proto::v1::cluster_service_server::ClusterService;
use keyclave_types::ids::NodeId;
use keyclave_types::position::Position;
use keyclave_vault::occasion::Now;
use keyclave_vault::reads::ReadSet;
use keyclave_vault::records::cluster::{RejoinPolicy, RejoinRules};
use keyclave_vault::view::View;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::seal::on_the_machine;
use super::{Api, joining, take};
use crate::pem;
use crate::pipeline::{Asking, Found, internal};
use crate::recording::Recording;
use crate::writing::Rpc;

#[tonic::async_trait]
impl<H: Host> ClusterService for Api<H> {
    async fn init(&self, request: Request<v1::InitRequest>) -> Result<Response<v1::InitResponse>, Status> {
        let (caller, message) = take(request)?;
        let permit = on_the_machine(&self.pipeline, &caller, Action::Init, "Init").await?;
        let init: Init = message.try_into().map_err(|invalid: Invalid| Status::from(invalid))?;
        let rejoin = match init.admission_policy {
            AdmissionPolicy::Strict => RejoinPolicy::Strict,
            AdmissionPolicy::Members => RejoinPolicy::Members,
            AdmissionPolicy::Off => RejoinPolicy::Off,
        };
        let node = self.pipeline.node();
        // A caller that goes away must not leave a cluster half made.
        let founding = node.clone();
        let founded = tokio::spawn(async move { founding.init(init.threshold, rejoin, &permit).await }).await;
        let founded = founded.map_err(|_| internal("an init was cut short"))?.map_err(not_founded)?;
        let member = node.member().ok_or_else(|| Failure::Vacant.into_status())?;
        let recording = Recording::new(&caller, self.pipeline.request_id(), Action::Init, "Init");
        self.pipeline.record(&member, recording.done(self.pipeline.now())).await?;
        Ok(Response::new(v1::InitResponse {
            position: Some(member.position().into()),
            cluster_id: founded.cluster.as_bytes().to_vec(),
            node: founded.node.get(),
            shares: founded.shares.iter().map(|share| share.to_string()).collect(),
            root_token: founded.root_token.to_string(),
            ca_pem: pem::certificate(&founded.ca_certificate),
        }))
    }

    async fn get_cluster_status(
        &self,
        request: Request<v1::GetClusterStatusRequest>,
    ) -> Result<Response<v1::GetClusterStatusResponse>, Status> {
        let (caller, _) = take(request)?;
        // Without its record nothing that needs approvals is permitted, however many there are.
        let rules = |view: &View, _: &Permit| (view.rejoin_rules(), view.approvals_min().unwrap_or(u32::MAX));
        let ((rejoin, approvals_min), position) =
            self.pipeline.ask(&caller, Action::ClusterStatus, "GetClusterStatus", rules).await?;
        let member = self.pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
        let time = member.judged_time().map_err(Failure::into_status)?;
        Ok(Response::new(cluster_status(&member, position, time, rejoin, approvals_min)))
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let (caller, message) = take(request)?;
        joining::take_in(&self.pipeline, caller, message).await.map(Response::new)
    }

    async fn create_join_token(
        &self,
        request: Request<v1::CreateJoinTokenRequest>,
    ) -> Result<Response<v1::CreateJoinTokenResponse>, Status> {
        let (caller, message) = take(request)?;
        let rpc = Rpc {
            path: "/keyclave.v1.ClusterService/CreateJoinToken",
            operation: "CreateJoinToken",
            action: Action::CreateJoinToken,
        };
        Ok(Response::new(self.pipeline.write(caller, rpc, message).await?))
    }

    async fn list_members(
        &self,
        request: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        let (caller, _) = take(request)?;
        let ((), position) =
            self.pipeline.ask(&caller, Action::ListMembers, "ListMembers", |_, _| ()).await?;
        let member = self.pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
        let members = member.known_members().iter().map(|known| (&described(known)).into()).collect();
        Ok(Response::new(v1::ListMembersResponse { position: Some(position.into()), members }))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let (caller, message) = take(request)?;
        let rpc = Rpc {
            path: "/keyclave.v1.ClusterService/RemoveMember",
            operation: "RemoveMember",
            action: Action::RemoveMember,
        };
        Ok(Response::new(self.pipeline.write(caller, rpc, message).await?))
    }

    async fn set_member_address(
        &self,
        request: Request<v1::SetMemberAddressRequest>,
    ) -> Result<Response<v1::SetMemberAddressResponse>, Status> {
        let (caller, message) = take(request)?;
        let rpc = Rpc {
            path: "/keyclave.v1.ClusterService/SetMemberAddress",
            operation: "SetMemberAddress",
            action: Action::ChangeAddress,
        };
        Ok(Response::new(self.pipeline.write(caller, rpc, message).await?))
    }

    async fn accept_time(
        &self,
        request: Request<v1::AcceptTimeRequest>,
    ) -> Result<Response<v1::AcceptTimeResponse>, Status> {
        let (caller, message) = take(request)?;
        let rpc = Rpc {
            path: "/keyclave.v1.ClusterService/AcceptTime",
            operation: "AcceptTime",
            action: Action::AcceptTime,
        };
        Ok(Response::new(self.pipeline.write(caller, rpc, message).await?))
    }

    async fn step_down(
        &self,
        request: Request<v1::StepDownRequest>,
    ) -> Result<Response<v1::StepDownResponse>, Status> {
        let (caller, message) = take(request)?;
        let asked = match StepDown::try_from(message) {
            Ok(asked) => asked,
            Err(invalid) => {
                let refused = self.pipeline.invalid(&caller, "StepDown", Action::StepDown, &invalid).await;
                return refused.map(|(response, _)| response);
            }
        };
        let pipeline = &self.pipeline;
        let mut recording = Recording::new(&caller, pipeline.request_id(), Action::StepDown, "StepDown");
        let permitted = |_: &Serving<H>, _: &View, _: &Permit| {
            (Found::Permitted { answer: (), confirm: true }, ReadSet::default())
        };
        let ((), position) = {
            let circumstances = caller.circumstances();
            let asked = Asking::cluster(Action::StepDown, &circumstances);
            pipeline.confirmed(&caller, &mut recording, &asked, permitted).await?
        };
        let member = pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
        pipeline.record(&member, recording.intent(pipeline.now())).await?;
        let stepped = step_down(&member, asked.to_node, caller.deadline).await;
        let draft = match &stepped {
            Ok(_) => recording.done(pipeline.now()),
            Err(status) => recording.refused(pipeline.now(), status),
        };
        pipeline.record(&member, draft).await?;
        let leader = stepped?;
        Ok(Response::new(v1::StepDownResponse { position: Some(position.into()), leader: leader.get() }))
    }
}

async fn step_down<H: Host>(
    member: &Member<H>,
    to: Option<NodeId>,
    deadline: Instant,
) -> Result<NodeId, Status> {
    let (leader, _) = member.leader();
    if leader != Some(member.node()) {
        let text = match leader {
            Some(leader) => format!("node {leader} leads: ask it to step down"),
            None => "no leader is known".to_owned(),
        };
        return Err(status(Reason::NoLeader, &text, Default::default()));
    }
    member.step_down(to, deadline).await.map_err(Failure::into_status)
}

fn not_founded(error: InitError) -> Status {
    let reason = match &error {
        InitError::AlreadyInitialized | InitError::Joining => Reason::AlreadyInitialized,
        InitError::Trail(_) => Reason::AuditUnavailable,
        InitError::Refused(refusal) => refusal.reason().parse().unwrap_or(Reason::Internal),
        InitError::Authority(_)
        | InitError::Home(_)
        | InitError::Start(_)
        | InitError::Begin(_)
        | InitError::Spent
        | InitError::Written => {
            tracing::error!(error = %error, "no cluster was founded");
            Reason::Internal
        }
    };
    status(reason, &error.to_string(), Default::default())
}

/// A member as callers see it.
pub(super) fn described(known: &KnownMember) -> MemberDescription {
    MemberDescription {
        node: known.node,
        role: if known.votes { MemberRole::Voter } else { MemberRole::Learner },
        member: known.member,
        addresses: known.addresses.clone(),
    }
}

fn cluster_status<H: Host>(
    member: &Member<H>,
    position: Position,
    time: Now,
    rejoin: Option<RejoinRules>,
    approvals_min: u32,
) -> v1::GetClusterStatusResponse {
    let doubts = member.time_doubts().into_iter();
    let clock = match time {
        Now::Trusted(_) => v1::ClockState::Steady,
        Now::Doubtful(_) => v1::ClockState::Jumped,
    };
    let admission = match rejoin.map(|rules| rules.policy) {
        None => v1::AdmissionPolicy::Unspecified,
        Some(RejoinPolicy::Strict) => v1::AdmissionPolicy::Strict,
        Some(RejoinPolicy::Members) => v1::AdmissionPolicy::Members,
        Some(RejoinPolicy::Off) => v1::AdmissionPolicy::Off,
    };
    let (leader, term) = member.leader();
    let known = member.known_members();
    v1::GetClusterStatusResponse {
        position: Some(position.into()),
        cluster_id: member.cluster_id().as_bytes().to_vec(),
        node: member.node().get(),
        leader: leader.map(NodeId::get),
        term,
        members: known.iter().map(|known| (&described(known)).into()).collect(),
        health: known
            .iter()
            .map(|known| v1::MemberHealth {
                node: known.node.get(),
                reachable: known.keyed || known.node == member.node(),
                keyed: known.keyed,
                matched_index: None,
            })
            .collect(),
        clock: clock.into(),
        time_unix_ms: time.noted().0,
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        admission_policy: admission.into(),
        clock_doubts: doubts
            .map(|TimeDoubt { node, since, ahead_ms }| v1::ClockDoubt {
                node: node.get(),
                since_unix_ms: since.0,
                ahead_ms,
            })
            .collect(),
        rewriting_trouble: member.rewriting_trouble().unwrap_or_default(),
        approvals_min,
    }
}
