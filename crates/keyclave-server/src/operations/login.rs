//! A login: a JWT of an issuer that the cluster believes, swapped for a token. Its body is the credential, so whatever is
//! wrong with it has one answer, and a source with too many wrong ones is refused at once.

use std::sync::Arc;
use std::time::Duration;

use keyclave_node::failure::Failure;
use keyclave_node::host::{Host, Leaving};
use keyclave_node::member::Member;
use keyclave_policy::Action;
use keyclave_proto::message::WireMessage;
use keyclave_proto::peer::v1 as peer;
use keyclave_proto::v1;
use keyclave_types::access::Subject;
use keyclave_types::ids::NodeId;
use keyclave_vault::refusal::{Refusal, Refused};
use tokio::time::Instant;
use tonic::Status;
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::pipeline::{Pipeline, internal};
use crate::recording::Recording;

/// The path of the call.
pub(crate) const LOGIN: &str = "/keyclave.v1.AccessService/Login";
/// Rest between two attempts while nobody leads.
const REST_MS: u64 = 50;
/// How long one attempt at the leader may take.
const ATTEMPT_MS_MAX: u64 = 5_000;

/// Answers one login.
pub(crate) async fn login<H: Host>(
    pipeline: &Pipeline<H>,
    caller: Caller,
    message: v1::LoginRequest,
) -> Result<v1::LoginResponse, Status> {
    let member = pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
    let mut recording = Recording::new(&caller, pipeline.request_id(), Action::Login, "Login");
    let jwt = Zeroizing::new(message.jwt);
    let subject = match judge(pipeline, &member, &caller, &jwt).await {
        Ok(subject) => subject,
        Err(status) => {
            pipeline.record_refusal(&member, &recording, &status).await?;
            return Err(status);
        }
    };
    recording.logs_in(&subject);
    // From the intent on it is carried to its end and put on record, whether the caller still waits or not.
    let pipeline = pipeline.clone();
    let carried = tokio::spawn(async move {
        pipeline.record(&member, recording.intent(pipeline.now())).await?;
        let answered = wherever(&pipeline, &member, &caller, &jwt).await;
        let now = pipeline.now();
        let draft = match &answered {
            Ok(_) => recording.done(now),
            Err(status) => recording.refused(now, status),
        };
        pipeline.record(&member, draft).await?;
        answered
    });
    carried.await.map_err(|_| internal("a login was cut short"))?
}

/// Refuses what is no login before anything is intended, over a confirmed view; the leader decides anew.
async fn judge<H: Host>(
    pipeline: &Pipeline<H>,
    member: &Arc<Member<H>>,
    caller: &Caller,
    jwt: &str,
) -> Result<Subject, Status> {
    while Instant::now() < caller.deadline {
        let serving = member.serving().map_err(Failure::into_status)?;
        let confirming = serving.begin_confirmation();
        let view = serving.view().map_err(Failure::into_status)?;
        let Refused { refusal, reads } = match serving.judge_login(&view, jwt) {
            Ok(subject) => return Ok(subject),
            Err(refused) => refused,
        };
        let wrong = refusal == Refusal::Unauthenticated;
        if wrong {
            pipeline.room_for_failure(caller)?;
        }
        let stands = serving.stands(&reads, confirming, Leaving::Refusal);
        let stands = tokio::time::timeout_at(caller.deadline, stands).await;
        match stands.unwrap_or(Err(Failure::Deadline)) {
            Ok(Some(_)) => {
                if wrong {
                    pipeline.note_failure(caller);
                }
                return Err(Failure::Refused(refusal).into_status());
            }
            Ok(None) => {}
            Err(failure) => return Err(failure.into_status()),
        }
    }
    Err(Failure::Deadline.into_status())
}

/// Decides it here if this node leads, else at the leader.
async fn wherever<H: Host>(
    pipeline: &Pipeline<H>,
    member: &Arc<Member<H>>,
    caller: &Caller,
    jwt: &str,
) -> Result<v1::LoginResponse, Status> {
    loop {
        let serving = member.serving().map_err(Failure::into_status)?;
        let attempt = match serving.leader_elsewhere() {
            Some(leader) => {
                let left = caller.deadline.saturating_duration_since(Instant::now());
                let limit = left.min(Duration::from_millis(ATTEMPT_MS_MAX));
                let request = peer::ForwardRequest {
                    method: LOGIN.to_owned(),
                    request: v1::LoginRequest { jwt: jwt.to_owned() }.to_wire(),
                    request_id: pipeline.request_id().as_bytes().to_vec(),
                    remaining_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
                    ..Default::default()
                };
                member.forward(leader, request, limit).await.and_then(|answer| there(answer.outcome))
            }
            None if serving.leads() => here(member, jwt, member.node(), caller.deadline).await,
            None => Err(Failure::NoLeader),
        };
        match attempt {
            Ok(response) => return Ok(response),
            Err(failure) if failure.may_pass() && Instant::now() < caller.deadline => {
                tokio::time::sleep(Duration::from_millis(REST_MS)).await;
            }
            Err(failure) => return Err(failure.to_status(Some(member.position()))),
        }
    }
}

fn there(outcome: Option<peer::forward_response::Outcome>) -> Result<v1::LoginResponse, Failure> {
    use peer::forward_response::Outcome;
    match outcome {
        Some(Outcome::Response(bytes)) => v1::LoginResponse::from_wire(&bytes)
            .map_err(|_| Failure::Elsewhere(internal("a forwarded answer does not decode"))),
        Some(Outcome::Refusal(bytes)) => {
            Err(Failure::Elsewhere(keyclave_proto::status::decode_status(&bytes)))
        }
        None => Err(Failure::NoLeader),
    }
}

async fn here<H: Host>(
    member: &Arc<Member<H>>,
    jwt: &str,
    arrived_at: NodeId,
    deadline: Instant,
) -> Result<v1::LoginResponse, Failure> {
    let serving = member.serving()?;
    let settled = serving.login_as_leader(jwt, arrived_at, deadline).await?;
    let logged_in = settled.answer;
    Ok(v1::LoginResponse {
        position: Some(settled.position.into()),
        token_id: logged_in.id.0.to_vec(),
        token: logged_in.text.to_string(),
        expires_at_unix_ms: logged_in.expires_at.0,
        subject: logged_in.subject.to_string(),
    })
}

/// As leader: a login that arrived at another node.
pub(crate) async fn forwarded<H: Host>(
    pipeline: &Pipeline<H>,
    from: NodeId,
    request: &peer::ForwardRequest,
    deadline: Instant,
) -> Result<Vec<u8>, Status> {
    let message = v1::LoginRequest::from_wire(&request.request)
        .map_err(|_| Status::invalid_argument("the forwarded login does not decode"))?;
    let jwt = Zeroizing::new(message.jwt);
    let member = pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
    let answered = here(&member, &jwt, from, deadline).await;
    let response = answered.map_err(|failure| failure.to_status(Some(member.position())))?;
    Ok(response.to_wire())
}
