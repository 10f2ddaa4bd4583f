//! `ClusterService`: making a cluster, joining it, its members and its leader.

use std::time::Duration;

use keyclave_node::failure::Failure;
use keyclave_node::founding::InitError;
use keyclave_node::host::{Host, Leaving};
use keyclave_node::joining::{JoinAsk, first_entry_bytes};
use keyclave_node::member::Member;
use keyclave_node::members::KnownMember;
use keyclave_node::serving::Serving;
use keyclave_node::timekeeping::TimeDoubt;
use keyclave_policy::{Action, Permit};
use keyclave_proto::answer::{MemberDescription, MemberRole};
use keyclave_proto::message::WireMessage;
use keyclave_proto::peer::v1 as peer;
use keyclave_proto::reason::Reason;
use keyclave_proto::request::{AdmissionPolicy, Init, Invalid, Join, StepDown};
use keyclave_proto::status::status;
use keyclave_proto::v1;
use keyclave_proto::v1::cluster_service_server::ClusterService;
use keyclave_types::ids::NodeId;
use keyclave_types::position::Position;
use keyclave_vault::occasion::Now;
use keyclave_vault::reads::ReadSet;
use keyclave_vault::records::cluster::{RejoinPolicy, RejoinRules};
use keyclave_vault::refusal::{Refusal, Refused};
use keyclave_vault::view::View;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::seal::on_the_machine;
use super::{Api, take};
use crate::caller::Caller;
use crate::pem;
use crate::pipeline::{Asking, Found, Pipeline, internal};
use crate::recording::Recording;
use crate::writing::Rpc;

/// The path of the one call without a credential that is forwarded.
pub(crate) const JOIN: &str = "/keyclave.v1.ClusterService/Join";
/// Rest between two attempts while nobody leads.
const REST_MS: u64 = 100;
/// How long one attempt at the leader may take.
const ATTEMPT_MS_MAX: u64 = 5_000;

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
        let member = self.pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
        let recording = Recording::new(&caller, self.pipeline.request_id(), Action::Join, "Join");
        let bytes = message.to_wire();
        // The token is the credential: without one, nothing else of the request is looked at.
        let join = match message.join_token.is_empty() {
            true => Err(Failure::Refused(Refusal::Unauthenticated).into_status()),
            false => Join::try_from(message).map_err(Status::from),
        };
        let judged = match join {
            Ok(join) => judge_join(&member, &caller, &join).await.map(|()| join),
            Err(status) => Err(status),
        };
        let join = match judged {
            Ok(join) => join,
            Err(status) => {
                self.pipeline.record_refusal(&member, &recording, &status).await?;
                return Err(status);
            }
        };
        // From the intent on it is carried to its end and put on record, whether the caller still waits or not.
        let pipeline = self.pipeline.clone();
        let joining = tokio::spawn(async move {
            pipeline.record(&member, recording.intent(pipeline.now())).await?;
            let joined = join_wherever(&pipeline, &member, &caller, &join, bytes).await;
            let now = pipeline.now();
            let draft = match &joined {
                Ok(_) => recording.done(now),
                Err(status) => recording.refused(now, status),
            };
            pipeline.record(&member, draft).await?;
            joined
        });
        joining.await.map_err(|_| internal("a join was cut short"))?.map(Response::new)
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

/// Refuses a token that does not count before anything is intended; the leader decides anew.
async fn judge_join<H: Host>(
    member: &std::sync::Arc<Member<H>>,
    caller: &Caller,
    join: &Join,
) -> Result<(), Status> {
    let ask = asked(join);
    while Instant::now() < caller.deadline {
        let serving = member.serving().map_err(Failure::into_status)?;
        let confirming = serving.begin_confirmation();
        let view = serving.view().map_err(Failure::into_status)?;
        let Err(Refused { refusal, reads }) = serving.judge_join(&view, &join.join_token, &ask) else {
            return Ok(());
        };
        let stands = serving.stands(&reads, confirming, Leaving::Refusal);
        let stands = tokio::time::timeout_at(caller.deadline, stands).await;
        match stands.unwrap_or(Err(Failure::Deadline)) {
            Ok(Some(_)) => return Err(refused_join(Failure::Refused(refusal))),
            Ok(None) => {}
            Err(failure) => return Err(failure.into_status()),
        }
    }
    Err(Failure::Deadline.into_status())
}

fn asked(join: &Join) -> JoinAsk {
    JoinAsk { member: join.member, addresses: join.addresses.clone(), boot_public: join.boot_public_key }
}

/// Takes a joining node in, here if this node leads, else at the leader.
async fn join_wherever<H: Host>(
    pipeline: &Pipeline<H>,
    member: &std::sync::Arc<Member<H>>,
    caller: &Caller,
    join: &Join,
    bytes: Vec<u8>,
) -> Result<v1::JoinResponse, Status> {
    loop {
        let serving = member.serving().map_err(Failure::into_status)?;
        let attempt = match serving.leader_elsewhere() {
            Some(leader) => {
                let left = caller.deadline.saturating_duration_since(Instant::now());
                let limit = left.min(Duration::from_millis(ATTEMPT_MS_MAX));
                let request = peer::ForwardRequest {
                    method: JOIN.to_owned(),
                    request: bytes.clone(),
                    request_id: pipeline.request_id().as_bytes().to_vec(),
                    remaining_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
                    ..Default::default()
                };
                member.forward(leader, request, limit).await.and_then(|answer| joined_there(answer.outcome))
            }
            None if serving.leads() => join_here(member, join, caller.deadline).await,
            None => Err(Failure::NoLeader),
        };
        match attempt {
            Ok(response) => return Ok(response),
            Err(failure) if failure.may_pass() && Instant::now() < caller.deadline => {
                tokio::time::sleep(Duration::from_millis(REST_MS)).await;
            }
            Err(failure) => return Err(refused_join(failure)),
        }
    }
}

fn joined_there(outcome: Option<peer::forward_response::Outcome>) -> Result<v1::JoinResponse, Failure> {
    use peer::forward_response::Outcome;
    match outcome {
        Some(Outcome::Response(bytes)) => v1::JoinResponse::from_wire(&bytes)
            .map_err(|_| Failure::Elsewhere(Status::internal("a forwarded answer does not decode"))),
        Some(Outcome::Refusal(bytes)) => {
            Err(Failure::Elsewhere(keyclave_proto::status::decode_status(&bytes)))
        }
        None => Err(Failure::NoLeader),
    }
}

async fn join_here<H: Host>(
    member: &std::sync::Arc<Member<H>>,
    join: &Join,
    deadline: Instant,
) -> Result<v1::JoinResponse, Failure> {
    let answer = member.admit_joining(&join.join_token, &asked(join), deadline).await?;
    let members = member.known_members();
    Ok(v1::JoinResponse {
        position: Some(answer.position.into()),
        cluster_id: answer.cluster.as_bytes().to_vec(),
        node: answer.node.get(),
        members: members.iter().map(|known| (&described(known)).into()).collect(),
        writer_public_key: answer.pins.writer.to_vec(),
        first_entry: first_entry_bytes(&answer.pins),
    })
}

/// As leader: a join that arrived at another node.
pub(crate) async fn join_forwarded<H: Host>(
    pipeline: &Pipeline<H>,
    request: &peer::ForwardRequest,
    deadline: Instant,
) -> Result<Vec<u8>, Status> {
    let message = v1::JoinRequest::from_wire(&request.request)
        .map_err(|_| Status::invalid_argument("the forwarded join does not decode"))?;
    let join: Join = message.try_into().map_err(|invalid: Invalid| Status::from(invalid))?;
    let member = pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
    let joined = join_here(&member, &join, deadline).await.map_err(refused_join)?;
    Ok(joined.to_wire())
}

/// A join token that does not count is named as such; its holder has no other credential to look at.
fn refused_join(failure: Failure) -> Status {
    match failure {
        Failure::Refused(Refusal::Unauthenticated) => status(
            Reason::JoinRefused,
            "the join token is wrong, spent or older than an hour: make another with `operator join-token`",
            Default::default(),
        ),
        failure => failure.into_status(),
    }
}

fn described(known: &KnownMember) -> MemberDescription {
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
