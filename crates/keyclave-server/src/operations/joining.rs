//! `ClusterService/Join`: a directory that becomes a member by its token, wherever it asks and whoever leads.

use std::sync::Arc;
use std::time::Duration;

use keyclave_node::failure::Failure;
use keyclave_node::host::{Host, Leaving};
use keyclave_node::joining::{JoinAsk, first_entry_bytes};
use keyclave_node::member::Member;
use keyclave_policy::Action;
use keyclave_proto::message::WireMessage;
use keyclave_proto::peer::v1 as peer;
use keyclave_proto::reason::Reason;
use keyclave_proto::request::{Invalid, Join};
use keyclave_proto::status::status;
use keyclave_proto::v1;
use keyclave_vault::refusal::{Refusal, Refused};
use tokio::time::Instant;
use tonic::Status;

use super::cluster::described;
use crate::caller::Caller;
use crate::pipeline::{Pipeline, internal};
use crate::recording::Recording;

/// The path of the one call without a credential that is forwarded.
pub(crate) const JOIN: &str = "/keyclave.v1.ClusterService/Join";
/// Rest between two attempts while nobody leads.
const REST_MS: u64 = 100;
/// How long one attempt at the leader may take.
const ATTEMPT_MS_MAX: u64 = 5_000;

/// Takes in whoever asks with a token that counts.
pub(crate) async fn take_in<H: Host>(
    pipeline: &Pipeline<H>,
    caller: Caller,
    message: v1::JoinRequest,
) -> Result<v1::JoinResponse, Status> {
    let member = pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
    let recording = Recording::new(&caller, pipeline.request_id(), Action::Join, "Join");
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
            pipeline.record_refusal(&member, &recording, &status).await?;
            return Err(status);
        }
    };
    // From the intent on it is carried to its end and put on record, whether the caller still waits or not.
    let pipeline = pipeline.clone();
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
    joining.await.map_err(|_| internal("a join was cut short"))?
}

/// Refuses a token that does not count before anything is intended; the leader decides anew.
async fn judge_join<H: Host>(member: &Arc<Member<H>>, caller: &Caller, join: &Join) -> Result<(), Status> {
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
    member: &Arc<Member<H>>,
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
    member: &Arc<Member<H>>,
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
