//! What one attempt's status means for the next one. Pure: no clock, no connection.

use std::error::Error;

use keyclave_proto::reason::Reason;
use keyclave_proto::status::Details;
use tonic::{Code, Status};

use crate::dial::DialError;

/// What to make of a status.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    /// Every node would say so: it is the answer.
    Final,
    /// Another node, or the same one later, may do better.
    Again {
        /// How this node stands.
        node: Standing,
        /// Whether the request may have been done all the same.
        maybe_done: bool,
    },
}

/// How a node stands that did not answer.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    /// It holds no key, and stays so until people act.
    Sealed,
    /// It belongs to no cluster, and stays so until people act.
    Fresh,
    /// Never reached.
    Unreached(DialError),
    /// It did not answer in its time.
    Slow,
    /// It cannot at present, or the connection broke.
    Busy,
}

/// Decides by the reason where a node gave one, and by where the error arose where none did.
pub(crate) fn verdict(status: &Status) -> Verdict {
    if let Some(dial) = dial_error(status) {
        return Verdict::Again { node: Standing::Unreached(dial.clone()), maybe_done: false };
    }
    match Details::of(status).known_reason() {
        Some(reason) => of_reason(reason),
        None => of_code(status),
    }
}

/// The dialler's own error, if that is what the call failed with.
fn dial_error(status: &Status) -> Option<&DialError> {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(dial) = error.downcast_ref::<DialError>() {
            return Some(dial);
        }
        cause = error.source();
    }
    None
}

fn of_reason(reason: Reason) -> Verdict {
    let busy = |maybe_done| Verdict::Again { node: Standing::Busy, maybe_done };
    match reason {
        Reason::NodeSealed => Verdict::Again { node: Standing::Sealed, maybe_done: false },
        Reason::NotInitialized => Verdict::Again { node: Standing::Fresh, maybe_done: false },
        Reason::CatchingUp
        | Reason::NoLeader
        | Reason::ShuttingDown
        | Reason::Overloaded
        | Reason::Deadline
        | Reason::Conflict
        | Reason::FloorAhead
        | Reason::AuditTampered
        | Reason::AuditRoom
        // Another of the endpoints may be that node.
        | Reason::OtherNode
        | Reason::MembershipBusy => busy(false),
        // The leader may have committed it before the answer, its record or its confirmation was lost.
        Reason::NotConfirmed
        | Reason::AuditUnavailable
        | Reason::NodeUnreachable
        | Reason::OutcomeUnknown => busy(true),
        Reason::Internal
        | Reason::Unauthenticated
        | Reason::Denied
        | Reason::LocalOnly
        | Reason::PersonsOnly
        | Reason::AuditHeld
        | Reason::AccessHeadMismatch
        | Reason::PermitForeign
        | Reason::InvalidField
        | Reason::ItemsMax
        | Reason::PlaintextMax
        | Reason::AssociatedDataMax
        | Reason::RequestMax
        | Reason::MessageMax
        | Reason::TransactionMax
        | Reason::RequestIdReused
        | Reason::RequestIdOld
        | Reason::RequestIdAhead
        | Reason::SecretShownOnce
        | Reason::OtherGeneration
        | Reason::ClockDoubtful
        | Reason::KeyNotFound
        | Reason::KeyExists
        | Reason::KeyDisabled
        | Reason::KeyExpired
        | Reason::VersionUnknown
        | Reason::VersionDestroyed
        | Reason::VersionsMax
        | Reason::VersionsExhausted
        | Reason::UsesExhausted
        | Reason::UsesNotCounted
        | Reason::RotateEveryOutOfRange
        | Reason::StalenessOutOfRange
        | Reason::NotDue
        | Reason::WrongKey
        | Reason::Undecryptable
        | Reason::TokenNotFound
        | Reason::LastAdministrator
        | Reason::SubjectNotFound
        | Reason::GroupNotFound
        | Reason::GroupInUse
        | Reason::PolicyNotFound
        | Reason::PolicyInvalid
        | Reason::ActionUnknown
        | Reason::AccessMax
        | Reason::ApprovalsMissing
        | Reason::BoundCallersOnly
        | Reason::TokenLifetime
        | Reason::TokenNotRenewable
        | Reason::ClientRootNotFound
        | Reason::ClientRootInvalid
        | Reason::ClientRootExists
        | Reason::IssuerNotFound
        | Reason::KeySetInvalid
        | Reason::IdentityNotFound
        | Reason::IdentitySort
        | Reason::IdentityInMetadata
        | Reason::TooManyFailures
        | Reason::AlreadyInitialized
        | Reason::AlreadyUnsealed
        | Reason::ShareWrong
        | Reason::ShareOtherSet
        | Reason::ShareMalformed
        | Reason::BootKeyChanged
        | Reason::BackOff
        | Reason::CeremonyElsewhere
        | Reason::CeremonyNotFound
        | Reason::AdmissionPolicy
        | Reason::SealMarked
        | Reason::NotAdmitted
        | Reason::CodeUnknown
        | Reason::JoinRefused
        | Reason::NodeNotFound
        | Reason::OtherIncarnation
        | Reason::MembersMax
        | Reason::NodesExhausted
        | Reason::LastMember
        | Reason::NoSuccessor
        | Reason::AnchorBackwards
        | Reason::Horizon
        | Reason::TimeBackwards
        | Reason::RecordExists
        | Reason::RecordLost => Verdict::Final,
    }
}

/// Without a reason no node decided: a layer below it, a proxy or the transport spoke. What is about the message
/// itself is final; whatever else may be otherwise next time, and the node may have done it.
fn of_code(status: &Status) -> Verdict {
    let again = |node| Verdict::Again { node, maybe_done: true };
    let on_the_way = status.source().is_some();
    match status.code() {
        Code::DeadlineExceeded | Code::Cancelled => again(Standing::Slow),
        Code::Unavailable | Code::Unknown => again(Standing::Busy),
        // A connection that its server has ended, perhaps for too many calls that it refused, says nothing of this one.
        Code::Internal | Code::ResourceExhausted if on_the_way => again(Standing::Busy),
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => Verdict::Final,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;
    use std::sync::Arc;

    use keyclave_proto::status::status;

    use super::*;

    #[test]
    fn only_what_a_node_says_of_itself_is_asked_elsewhere() {
        for reason in Reason::ALL {
            let again = matches!(verdict(&status(*reason, "", BTreeMap::new())), Verdict::Again { .. });
            let about_the_node = matches!(
                reason.code(),
                Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Aborted
            ) && !matches!(
                reason,
                Reason::BackOff | Reason::TooManyFailures | Reason::RequestIdOld | Reason::MessageMax
            ) || *reason == Reason::NotInitialized;
            assert_eq!(again, about_the_node, "{reason}");
        }
    }

    #[test]
    fn a_connection_that_never_was_did_nothing() {
        let error = DialError::Connect(Arc::new(io::ErrorKind::ConnectionRefused.into()));
        let unreached = verdict(&Status::from_error(Box::new(error)));
        assert!(matches!(unreached, Verdict::Again { node: Standing::Unreached(_), maybe_done: false }));
    }

    #[test]
    fn a_connection_that_broke_may_have_done_it() {
        let broke = Status::from_error(Box::new(io::Error::from(io::ErrorKind::BrokenPipe)));
        assert!(matches!(verdict(&broke), Verdict::Again { maybe_done: true, .. }));
        assert!(matches!(verdict(&Status::internal("a node's own word")), Verdict::Final));
    }

    #[test]
    fn a_connection_that_was_told_to_calm_down_is_not_a_nodes_no() {
        let said = |code| Status::new(code, "h2 protocol error");
        let from_below = |code| {
            let mut status = said(code);
            status.set_source(Arc::new(io::Error::from(io::ErrorKind::ConnectionAborted)));
            status
        };
        let ended = verdict(&from_below(Code::ResourceExhausted));
        assert!(matches!(ended, Verdict::Again { node: Standing::Busy, maybe_done: true }));
        assert!(matches!(verdict(&said(Code::ResourceExhausted)), Verdict::Final));
    }
}
