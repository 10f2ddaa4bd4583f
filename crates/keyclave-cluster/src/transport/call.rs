//! One call to a peer: its own time limit, and what came of it in words that tell what may have happened.
//!
//! tonic's codes do not: a call that never left and one whose answer was lost can carry the same. So the reason is
//! found along the error's sources. Who calls: everything that holds a [`super::peers::PeerChannel`].

use std::error::Error;
use std::time::Duration;

use tonic::{Response, Status};

use super::gate::GateReason;
use super::peers::PeerChannel;
use super::refused::{Refused, refusal_in};

/// Calls in a row that may miss their limit on one channel before its connection is given up and dialled anew.
pub const MISSED_CALLS_MAX: u32 = 3;

/// Why a call to a peer has no answer, or not the one hoped for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no connection. The request never left.
    #[error("the peer was not reached")]
    Refused(#[source] Refused),
    /// The peer's gate did not let the call through. No service saw it.
    #[error("the peer's gate refused the call")]
    Gate(#[source] GateReason),
    /// The peer's service said no.
    #[error("the peer refused: {}", .0.code())]
    Answered(Status),
    /// The connection ended under way. Whether the peer acted on the request is unknown.
    #[error("the connection was lost before the answer came")]
    Lost(#[source] Status),
    /// No answer in time. Whether the peer acted on the request is unknown.
    #[error("no answer within {} ms", .limit.as_millis())]
    Deadline {
        /// How long was waited.
        limit: Duration,
    },
}

impl CallError {
    /// Whether the peer may have acted on the request all the same.
    pub fn may_have_acted(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Gate(_) => false,
            Self::Answered(_) | Self::Lost(_) | Self::Deadline { .. } => true,
        }
    }

    /// Whether the peer is reached and the proof alone is missing, so that a plain channel may still do.
    pub fn lacks_only_proof(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.lacks_only_proof())
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        // Only what the peer itself said has no source.
        let Some(source) = status.source() else {
            return match GateReason::of(&status) {
                Some(reason) => Self::Gate(reason),
                None => Self::Answered(status),
            };
        };
        match refusal_in(source) {
            Some(refused) => Self::Refused(refused.clone()),
            None => Self::Lost(status),
        }
    }
}

impl PeerChannel {
    /// Makes one call within `limit`. The limit is not optional: calls queue behind a connection attempt that
    /// hangs, one attempt after another.
    pub async fn call<T, F>(&self, limit: Duration, call: impl FnOnce(Self) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let outcome = match tokio::time::timeout(limit, call(self.clone())).await {
            Ok(answered) => answered.map(Response::into_inner).map_err(CallError::from),
            Err(_) => Err(CallError::Deadline { limit }),
        };
        self.note(&outcome);
        outcome
    }
}
