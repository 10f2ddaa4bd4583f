//! Why a node did not do what was asked, and the one map from there to the stable reasons on the wire.

use keyclave_audit::trail::TrailError;
use keyclave_cluster::propose::ProposeError;
use keyclave_cluster::transport::call::CallError;
use keyclave_proto::reason::Reason;
use keyclave_proto::status::{Details, POSITION_KEY};
use keyclave_types::ids::NodeId;
use keyclave_types::position::Position;
use keyclave_vault::refusal::Refusal;
use tonic::Status;

use crate::confirmer::ConfirmError;
use crate::keeper::KeeperError;

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// This node belongs to no cluster yet.
    #[error("this node belongs to no cluster: `keyclave operator init` makes one, `--join` joins one")]
    Vacant,
    /// This node holds no key.
    #[error("this node is sealed: unseal it, or ask another")]
    Sealed,
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody vouched for an index.
    #[error(transparent)]
    Confirm(#[from] ConfirmError),
    /// The write was not proposed, or its fate is unknown.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The trail could not be written.
    #[error("the audit trail could not be written; nothing is answered without it")]
    Trail(#[from] TrailError),
    /// The trail was tampered with.
    #[error("this node's audit trail was tampered with: it serves nobody until a person has acknowledged it")]
    TrailTampered,
    /// There is little room for the trail.
    #[error("there is little room for this node's audit trail: it serves operators only")]
    TrailLow,
    /// What was asked for is about another node.
    #[error("this is node {0}, and the request is about another one: ask that one")]
    OtherNode(NodeId),
    /// The view could not be opened or followed.
    #[error("this node cannot open its ledger")]
    Keeper(#[from] KeeperError),
    /// No leader in time.
    #[error("no leader is known")]
    NoLeader,
    /// Every attempt met another change of the same records.
    #[error("the records kept changing; nothing was done")]
    Contended,
    /// What the caller wants as a floor has not been reached in time, or is of another line.
    #[error("this node has not reached the position that the request asks for")]
    Behind,
    /// The caller's floor is of another line of the ledger.
    #[error("the request's floor is of another generation of the ledger")]
    OtherGeneration,
    /// The caller's time is over.
    #[error("the time for this call is over")]
    Deadline,
    /// No other unsealed member is far enough to lead.
    #[error("no other unsealed node could take over")]
    NoSuccessor,
    /// Another node answered, and that was its answer.
    #[error("{}", .0.message())]
    Elsewhere(Status),
}

impl Failure {
    /// The stable reason.
    pub fn reason(&self) -> Option<Reason> {
        Some(match self {
            Self::Vacant => Reason::NotInitialized,
            Self::Sealed => Reason::NodeSealed,
            Self::Refused(refusal) => return refusal.reason().parse().ok(),
            Self::Confirm(ConfirmError::Overloaded) | Self::Propose(ProposeError::Overloaded) => {
                Reason::Overloaded
            }
            Self::Confirm(_) => Reason::NotConfirmed,
            Self::Propose(ProposeError::NotLeader { .. }) | Self::NoLeader => Reason::NoLeader,
            Self::Propose(ProposeError::Deadline) | Self::Deadline => Reason::Deadline,
            Self::Propose(ProposeError::TooLarge { .. }) => Reason::TransactionMax,
            Self::Propose(ProposeError::Unknown) => Reason::OutcomeUnknown,
            Self::Propose(ProposeError::Stopped) => Reason::ShuttingDown,
            Self::Trail(_) => Reason::AuditUnavailable,
            Self::TrailTampered => Reason::AuditTampered,
            Self::TrailLow => Reason::AuditRoom,
            Self::OtherNode(_) => Reason::OtherNode,
            Self::Keeper(_) => Reason::CatchingUp,
            Self::Behind => Reason::FloorAhead,
            Self::Contended => Reason::Conflict,
            Self::NoSuccessor => Reason::NoSuccessor,
            Self::OtherGeneration => Reason::OtherGeneration,
            Self::Elsewhere(status) => return Details::of(status).known_reason(),
        })
    }

    /// As it goes onto the wire.
    pub fn into_status(self) -> Status {
        self.to_status(None)
    }

    /// As it goes onto the wire, saying where the ledger stood; what another node answered says so itself.
    pub fn to_status(&self, position: Option<Position>) -> Status {
        match (self.reason(), self) {
            (_, Self::Elsewhere(status)) => status.clone(),
            (Some(reason), failure) => {
                let position = position.map(|position| (POSITION_KEY.to_owned(), position.to_string()));
                let metadata = position.into_iter().collect();
                keyclave_proto::status::status(reason, &failure.to_string(), metadata)
            }
            (None, failure) => Status::internal(failure.to_string()),
        }
    }
}

impl Failure {
    /// Whether the same may well be done a moment later, here or elsewhere, without harm if it was done already.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoLeader | Self::Contended | Self::Confirm(_) | Self::Behind => true,
            Self::Propose(error) => !matches!(error, ProposeError::TooLarge { .. } | ProposeError::Stopped),
            Self::Elsewhere(status) => {
                matches!(status.code(), tonic::Code::Unavailable | tonic::Code::Aborted)
            }
            Self::Vacant
            | Self::Sealed
            | Self::Refused(_)
            | Self::Trail(_)
            | Self::TrailTampered
            | Self::TrailLow
            | Self::OtherNode(_)
            | Self::Keeper(_)
            | Self::OtherGeneration
            | Self::NoSuccessor
            | Self::Deadline => false,
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Answered(status) => Self::Elsewhere(status),
            CallError::Refused(_) | CallError::Gate(_) => Self::NoLeader,
            // The peer may have acted on it.
            CallError::Lost(_) | CallError::Deadline { .. } => Self::Propose(ProposeError::Unknown),
        }
    }
}
