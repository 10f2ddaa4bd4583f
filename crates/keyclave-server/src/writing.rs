//! Writes of callers: recorded as intended, carried to whoever leads, recorded as done.
//!
//! The pipeline's second half. A write travels as the caller's own message with its credential; the leader parses,
//! authenticates and decides it anew ([`Pipeline`] as [`ForwardedCalls`]).

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use keyclave_cluster::propose::ProposeError;
use keyclave_node::failure::Failure;
use keyclave_node::host::Host;
use keyclave_node::member::Member;
use keyclave_node::services::forward::ForwardedCalls;
use keyclave_node::serving::Serving;
use keyclave_policy::{Action, Circumstances, Permit};
use keyclave_proto::answer::WriteResponse;
use keyclave_proto::message::WireMessage;
use keyclave_proto::peer::v1 as peer;
use keyclave_proto::request::{Asked, Invalid};
use keyclave_types::ids::NodeId;
use keyclave_types::position::{Generation, Position};
use keyclave_types::request::{Write, WriteAnswer, WriteKind};
use keyclave_vault::authenticate::Shown;
use keyclave_vault::reads::ReadSet;
use keyclave_vault::view::View;
use tokio::time::Instant;
use tonic::Status;

use crate::caller::Caller;
use crate::operations::forwarded;
use crate::pipeline::{Asking, Found, Pipeline, internal};
use crate::recording::Recording;

/// Rest between two attempts while nobody leads.
const REST_MS: u64 = 50;
/// How long one attempt at the leader may take.
const ATTEMPT_MS_MAX: u64 = 5_000;

impl<H: Host> Pipeline<H> {
    /// One write of a caller, wherever the leader is.
    pub(crate) async fn write<M, R>(&self, caller: Caller, rpc: Rpc, message: M) -> Result<R, Status>
    where
        M: WireMessage,
        Asked<Write>: TryFrom<M, Error = Invalid>,
        R: WriteResponse + WireMessage + Send + 'static,
    {
        let bytes = message.to_wire();
        let asked: Asked<Write> = match message.try_into() {
            Ok(asked) => asked,
            Err(invalid) => {
                let refused = self.invalid(&caller, rpc.operation, rpc.action, &invalid).await;
                return refused.map(|(response, _)| response);
            }
        };
        let write = asked.request;
        let (action, target) = Action::of_write(&write.change);
        let mut recording = Recording::new(&caller, write.request_id, action, rpc.operation);
        recording.body.key = target.key().cloned();
        recording.body.version = version(&write.change);
        recording.body.bytes_in = bytes.len() as u64;
        // Whoever may not is refused here, without an intent; the leader decides anew, over a later view.
        let permitted = |_: &Serving<H>, _: &View, _: &Permit| {
            (Found::Permitted { answer: (), confirm: false }, ReadSet::default())
        };
        let circumstances = of_write(caller.circumstances(), &write);
        let asking = Asking { action, target, circumstances: &circumstances, floor: asked.floor };
        self.confirmed(&caller, &mut recording, &asking, permitted).await?;
        // From the intent on it is carried to its end and put on record, whether the caller still waits or not.
        let carried = self.clone().carried::<R>(caller, rpc, write, bytes, recording);
        tokio::spawn(carried).await.map_err(|_| internal("a write was cut short"))?
    }

    async fn carried<R>(
        self,
        caller: Caller,
        rpc: Rpc,
        write: Write,
        bytes: Vec<u8>,
        mut recording: Recording,
    ) -> Result<R, Status>
    where
        R: WriteResponse + WireMessage,
    {
        let member = self.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
        self.record(&member, recording.intent(self.now())).await?;
        match self.carry::<R>(&member, &caller, rpc, &write, &bytes).await {
            Ok((response, position)) => {
                recording.body.transaction = Some(position);
                self.record(&member, recording.done(self.now())).await?;
                Ok(response)
            }
            Err(failure) => {
                let status = failure.to_status(Some(member.position()));
                self.record(&member, recording.refused(self.now(), &status)).await?;
                Err(status)
            }
        }
    }

    /// Tries whoever leads until it is answered. A repetition is harmless: the request's id is kept with its outcome.
    async fn carry<R: WriteResponse + WireMessage>(
        &self,
        member: &Arc<Member<H>>,
        caller: &Caller,
        rpc: Rpc,
        write: &Write,
        bytes: &[u8],
    ) -> Result<(R, Position), Failure> {
        loop {
            let serving = member.serving()?;
            let attempt = match serving.leader_elsewhere() {
                Some(leader) => self.forward::<R>(&serving, leader, caller, rpc, bytes).await,
                None if serving.leads() => {
                    let decided = {
                        let circumstances = caller.circumstances();
                        let shown = caller.shown();
                        decide_here(&serving, &shown, &circumstances, write, member.node(), caller.deadline)
                            .await
                    };
                    decided.and_then(|(answer, position)| Ok((respond(position, answer)?, position)))
                }
                None => Err(Failure::NoLeader),
            };
            match attempt {
                Err(failure) if failure.may_pass() && Instant::now() < caller.deadline => {
                    tokio::time::sleep(Duration::from_millis(REST_MS)).await;
                }
                ended => return ended,
            }
        }
    }

    async fn forward<R: WriteResponse + WireMessage>(
        &self,
        serving: &Serving<H>,
        leader: NodeId,
        caller: &Caller,
        rpc: Rpc,
        bytes: &[u8],
    ) -> Result<(R, Position), Failure> {
        let left = caller.deadline.saturating_duration_since(Instant::now());
        let limit = left.min(Duration::from_millis(ATTEMPT_MS_MAX));
        let request = peer::ForwardRequest {
            method: rpc.path.to_owned(),
            request: bytes.to_vec(),
            credential: caller.bearer.as_ref().map(|bearer| bearer.to_string()).unwrap_or_default(),
            request_id: self.request_id().as_bytes().to_vec(),
            remaining_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            local_socket: false,
            source: caller.circumstances().source.map(|source| source.to_string()).unwrap_or_default(),
            certificates: caller
                .presented
                .iter()
                .flat_map(|presented| presented.certificates().map(<[u8]>::to_vec))
                .collect(),
        };
        let answer = serving.member().forward(leader, request, limit).await?;
        let position = answer.position.ok_or(Failure::Propose(ProposeError::Unknown))?;
        let position = Position { generation: Generation(position.generation), index: position.index };
        match answer.outcome {
            Some(peer::forward_response::Outcome::Response(bytes)) => {
                let response = R::from_wire(&bytes)
                    .map_err(|_| Failure::Elsewhere(internal("a forwarded answer does not decode")))?;
                Ok((response, position))
            }
            Some(peer::forward_response::Outcome::Refusal(bytes)) => {
                Err(Failure::Elsewhere(keyclave_proto::status::decode_status(&bytes)))
            }
            None => Err(Failure::Propose(ProposeError::Unknown)),
        }
    }
}

/// One RPC: its path on the wire and its name in the trail.
#[derive(Clone, Copy)]
pub(crate) struct Rpc {
    /// As `/keyclave.v1.KeyService/CreateKey`.
    pub(crate) path: &'static str,
    /// As `CreateKey`.
    pub(crate) operation: &'static str,
    /// What it asks for, as far as that is known before it is parsed.
    pub(crate) action: Action,
}

/// As leader: decides one write that arrived at `arrived_at`.
pub(crate) async fn decide_here<H: Host>(
    serving: &Serving<H>,
    shown: &Shown<'_>,
    caller: &Circumstances,
    write: &Write,
    arrived_at: NodeId,
    deadline: Instant,
) -> Result<(WriteAnswer, Position), Failure> {
    let circumstances = of_write(caller.clone(), write);
    let settled = serving.write_as_leader(shown, &circumstances, write, arrived_at, deadline).await?;
    let answer = match (&write.change, settled.answer) {
        (WriteKind::CreateJoinToken, WriteAnswer::Token { id, text, expires_at }) => {
            WriteAnswer::Token { id, text: serving.member().pinned_join_token(&text)?, expires_at }
        }
        (WriteKind::RemoveMember { node }, answer) => {
            serving.member().remove_from_log(*node, deadline).await?;
            answer
        }
        (_, answer) => answer,
    };
    Ok((answer, settled.position))
}

pub(crate) fn respond<R: WriteResponse>(position: Position, answer: WriteAnswer) -> Result<R, Failure> {
    R::from_answer(position, answer).map_err(|error| Failure::Elsewhere(internal(&error.to_string())))
}

/// What a write tells about itself.
fn of_write(caller: Circumstances, write: &Write) -> Circumstances {
    Circumstances { version: version(&write.change), ..caller }
}

fn version(change: &WriteKind) -> Option<keyclave_types::key::Version> {
    match change {
        WriteKind::SetEnabled { version, .. } => *version,
        WriteKind::DestroyVersion { version, .. } => Some(*version),
        _ => None,
    }
}

impl<H: Host> ForwardedCalls for Pipeline<H> {
    fn answer(
        &self,
        from: NodeId,
        request: peer::ForwardRequest,
    ) -> BoxFuture<'static, peer::ForwardResponse> {
        let pipeline = self.clone();
        Box::pin(async move {
            let given =
                Duration::from_millis(request.remaining_ms).min(Duration::from_millis(ATTEMPT_MS_MAX));
            let deadline = Instant::now() + given;
            let answered = forwarded::answer(&pipeline, from, &request, deadline).await;
            let position = pipeline.node().member().map(|member| member.position());
            let position = position.map(|at| peer::Position { generation: at.generation.0, index: at.index });
            let outcome = match answered {
                Ok(bytes) => peer::forward_response::Outcome::Response(bytes),
                Err(status) => {
                    peer::forward_response::Outcome::Refusal(keyclave_proto::status::encode_status(&status))
                }
            };
            peer::ForwardResponse { outcome: Some(outcome), position }
        })
    }
}
