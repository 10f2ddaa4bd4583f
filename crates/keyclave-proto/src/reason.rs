//! The stable reasons of refusals, and the one map from each to its gRPC code.
//!
//! Named by keyclave-server and keyclave-node when they refuse, read by keyclave-client. A reason is a promise to
//! callers' programs: its text never changes, is never reused, and is the only part of an error to branch on.

use std::fmt;
use std::str::FromStr;

use tonic::Code;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal => $code:ident,)+) => {
        /// Why something was refused. The doc of each says when, and what helps.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Reason {
            $($(#[$doc])* $variant,)+
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The text that stands in `google.rpc.ErrorInfo`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// The gRPC code that it travels with.
            pub const fn code(self) -> Code {
                match self {
                    $(Self::$variant => Code::$code,)+
                }
            }
        }
    };
}

reasons! {
    // The node, whatever is asked.
    /// It holds no key. Unseal it, or ask another.
    NodeSealed = "NODE_SEALED" => Unavailable,
    /// It belongs to no cluster. `operator init`, or `--join`.
    NotInitialized = "NOT_INITIALIZED" => FailedPrecondition,
    /// It is rebuilding its view. Ask another, or again soon.
    CatchingUp = "CATCHING_UP" => Unavailable,
    /// No leader is known. Ask again soon.
    NoLeader = "NO_LEADER" => Unavailable,
    /// The leader did not confirm the answer in time. Ask again, here or elsewhere.
    NotConfirmed = "NOT_CONFIRMED" => Unavailable,
    /// It is handing over and stopping. Ask another.
    ShuttingDown = "SHUTTING_DOWN" => Unavailable,
    /// Too much is under way. Ask again later.
    Overloaded = "OVERLOADED" => ResourceExhausted,
    /// The trail could not be written in time, so nothing is answered.
    AuditUnavailable = "AUDIT_UNAVAILABLE" => Unavailable,
    /// Another node is needed for this and could not be reached.
    NodeUnreachable = "NODE_UNREACHABLE" => Unavailable,
    /// The caller's time is over; nothing was done.
    Deadline = "DEADLINE" => DeadlineExceeded,
    /// The caller's time is over, or the leader went away; the write may or may not have been done. Repeat it with
    /// the same request id.
    OutcomeUnknown = "OUTCOME_UNKNOWN" => Aborted,
    /// A fault of the server's own. Its log says more.
    Internal = "INTERNAL" => Internal,

    // The caller.
    /// No valid credential. One text for every failure.
    Unauthenticated = "UNAUTHENTICATED" => Unauthenticated,
    /// A valid credential that does not allow this.
    Denied = "DENIED" => PermissionDenied,
    /// Only a person may do this, no program.
    PersonsOnly = "PERSONS_ONLY" => PermissionDenied,
    /// Answered only on the node's own socket.
    LocalOnly = "LOCAL_ONLY" => PermissionDenied,
    /// The records that grant access do not match their head, so everything is denied.
    AccessHeadMismatch = "ACCESS_HEAD_MISMATCH" => PermissionDenied,
    /// The permit was for another act: a fault of the server's own.
    PermitForeign = "PERMIT_FOREIGN" => Internal,

    // The request.
    /// A field is not what it must be; `google.rpc.BadRequest` says which.
    InvalidField = "INVALID_FIELD" => InvalidArgument,
    /// Too many items in one request.
    ItemsMax = "ITEMS_MAX" => InvalidArgument,
    /// One plaintext is too large.
    PlaintextMax = "PLAINTEXT_MAX" => InvalidArgument,
    /// One item's associated data is too large.
    AssociatedDataMax = "ASSOCIATED_DATA_MAX" => InvalidArgument,
    /// The message has more bytes than one to this RPC may have, and was not read.
    MessageMax = "MESSAGE_MAX" => ResourceExhausted,
    /// The whole request is too large.
    RequestMax = "REQUEST_MAX" => InvalidArgument,
    /// The change does not fit one transaction of the ledger.
    TransactionMax = "TRANSACTION_MAX" => InvalidArgument,
    /// The request id was used for another request or by another caller.
    RequestIdReused = "REQUEST_ID_REUSED" => AlreadyExists,
    /// The request id is older than the ledger remembers. Look whether the write was done, then use a fresh id.
    RequestIdOld = "REQUEST_ID_OLD" => Aborted,
    /// The request id claims an index that the ledger has not reached.
    RequestIdAhead = "REQUEST_ID_AHEAD" => FailedPrecondition,
    /// The write was done before, and its secret is shown only once.
    SecretShownOnce = "SECRET_SHOWN_ONCE" => AlreadyExists,
    /// Others changed the same things too often meanwhile. Ask again.
    Conflict = "CONFLICT" => Aborted,
    /// The floor is of another generation: the cluster was restored, positions from before mean nothing.
    OtherGeneration = "OTHER_GENERATION" => FailedPrecondition,
    /// The node has not come as far as the floor in time. Ask another.
    FloorAhead = "FLOOR_AHEAD" => Unavailable,
    /// The cluster's time has jumped, and this depends on the time. `operator accept-time`.
    ClockDoubtful = "CLOCK_DOUBTFUL" => FailedPrecondition,

    // Keys.
    /// No such key, or none that this caller may see.
    KeyNotFound = "KEY_NOT_FOUND" => NotFound,
    /// The name is taken.
    KeyExists = "KEY_EXISTS" => AlreadyExists,
    /// The key, or the version, is disabled.
    KeyDisabled = "KEY_DISABLED" => FailedPrecondition,
    /// The key's time to encrypt is over.
    KeyExpired = "KEY_EXPIRED" => FailedPrecondition,
    /// The key has no such version.
    VersionUnknown = "VERSION_UNKNOWN" => NotFound,
    /// The version's material is gone for good.
    VersionDestroyed = "VERSION_DESTROYED" => FailedPrecondition,
    /// The key has as many versions as a key may have; destroy old ones.
    VersionsMax = "VERSIONS_MAX" => FailedPrecondition,
    /// Version numbers have run out.
    VersionsExhausted = "VERSIONS_EXHAUSTED" => FailedPrecondition,
    /// The version has encrypted as many messages as it safely can; rotate.
    UsesExhausted = "USES_EXHAUSTED" => FailedPrecondition,
    /// Keys of this type have no limit of uses.
    UsesNotCounted = "USES_NOT_COUNTED" => FailedPrecondition,
    /// A rotation period outside its limits.
    RotateEveryOutOfRange = "ROTATE_EVERY_OUT_OF_RANGE" => InvalidArgument,
    /// A staleness above its limit.
    StalenessOutOfRange = "STALENESS_OUT_OF_RANGE" => InvalidArgument,
    /// Nothing is due.
    NotDue = "NOT_DUE" => FailedPrecondition,
    /// The ciphertext names another key.
    WrongKey = "WRONG_KEY" => InvalidArgument,
    /// Ciphertext or associated data is not what was encrypted.
    Undecryptable = "UNDECRYPTABLE" => InvalidArgument,

    // Credentials.
    /// No such token.
    TokenNotFound = "TOKEN_NOT_FOUND" => NotFound,
    /// After this nobody could change who may do what.
    LastAdministrator = "LAST_ADMINISTRATOR" => FailedPrecondition,
    /// No such subject.
    SubjectNotFound = "SUBJECT_NOT_FOUND" => NotFound,
    /// No such group.
    GroupNotFound = "GROUP_NOT_FOUND" => NotFound,
    /// Subjects are in the group.
    GroupInUse = "GROUP_IN_USE" => FailedPrecondition,
    /// No such policy.
    PolicyNotFound = "POLICY_NOT_FOUND" => NotFound,
    /// A word that names no action.
    ActionUnknown = "ACTION_UNKNOWN" => InvalidArgument,
    /// The text is no policy that can be stored; the message says why.
    PolicyInvalid = "POLICY_INVALID" => InvalidArgument,
    /// As many subjects, groups or policies as there may be.
    AccessMax = "ACCESS_MAX" => FailedPrecondition,
    /// Others must approve it first.
    ApprovalsMissing = "APPROVALS_MISSING" => FailedPrecondition,
    /// The key is for callers whose credential is bound to their certificate.
    BoundCallersOnly = "BOUND_CALLERS_ONLY" => PermissionDenied,
    /// The token cannot be renewed: it was not made for that, or the caller came without one.
    TokenNotRenewable = "TOKEN_NOT_RENEWABLE" => FailedPrecondition,
    /// No such client root.
    ClientRootNotFound = "CLIENT_ROOT_NOT_FOUND" => NotFound,
    /// The certificates cannot be client roots; the message says why.
    ClientRootInvalid = "CLIENT_ROOT_INVALID" => InvalidArgument,
    /// One of the certificates is a client root under another name.
    ClientRootExists = "CLIENT_ROOT_EXISTS" => AlreadyExists,
    /// No such issuer.
    IssuerNotFound = "ISSUER_NOT_FOUND" => NotFound,
    /// No set of public keys to verify with; the message says why.
    KeySetInvalid = "KEY_SET_INVALID" => InvalidArgument,
    /// No such identity.
    IdentityNotFound = "IDENTITY_NOT_FOUND" => NotFound,
    /// The client root takes names of the other sort.
    IdentitySort = "IDENTITY_SORT" => FailedPrecondition,
    /// A header claims an identity; callers are known by their token and their connection alone.
    IdentityInMetadata = "IDENTITY_IN_METADATA" => InvalidArgument,
    /// Too many wrong credentials came from the caller's address. A right one is taken; wait a while before the next try.
    TooManyFailures = "TOO_MANY_FAILURES" => ResourceExhausted,
    /// A token that would end before it begins.
    TokenLifetime = "TOKEN_LIFETIME" => InvalidArgument,

    // Seal and ceremonies.
    /// It is a member already; `init` is for a fresh node.
    AlreadyInitialized = "ALREADY_INITIALIZED" => FailedPrecondition,
    /// It is unsealed already; no share is needed.
    AlreadyUnsealed = "ALREADY_UNSEALED" => FailedPrecondition,
    /// The share matches no commitment of the current set.
    ShareWrong = "SHARE_WRONG" => Unauthenticated,
    /// The share belongs to another set.
    ShareOtherSet = "SHARE_OTHER_SET" => Unauthenticated,
    /// What was decrypted is no share; its text is damaged.
    ShareMalformed = "SHARE_MALFORMED" => InvalidArgument,
    /// The process has another boot key by now. Compare its code again.
    BootKeyChanged = "BOOT_KEY_CHANGED" => FailedPrecondition,
    /// Too many wrong shares lately. A right one is never answered so.
    BackOff = "BACK_OFF" => ResourceExhausted,
    /// Another node holds the ceremony; give the share there.
    CeremonyElsewhere = "CEREMONY_ELSEWHERE" => FailedPrecondition,
    /// No such ceremony, or it has ended: ask for the status and give the share again.
    CeremonyNotFound = "CEREMONY_NOT_FOUND" => NotFound,
    /// The cluster's admission policy does not allow this.
    AdmissionPolicy = "ADMISSION_POLICY" => FailedPrecondition,
    /// The node is sealed by an operator; only a ceremony or an admission lets it back.
    SealMarked = "SEAL_MARKED" => FailedPrecondition,
    /// Nobody has vouched for this process. `operator admit`.
    NotAdmitted = "NOT_ADMITTED" => FailedPrecondition,
    /// No process of that node has this code.
    CodeUnknown = "CODE_UNKNOWN" => NotFound,

    // The cluster.
    /// The join token is wrong, spent or too old.
    JoinRefused = "JOIN_REFUSED" => Unauthenticated,
    /// No such member.
    NodeNotFound = "NODE_NOT_FOUND" => NotFound,
    /// Another data directory runs under this node's number. It must join anew.
    OtherIncarnation = "OTHER_INCARNATION" => FailedPrecondition,
    /// The cluster has as many members as it may have.
    MembersMax = "MEMBERS_MAX" => FailedPrecondition,
    /// Node numbers have run out.
    NodesExhausted = "NODES_EXHAUSTED" => FailedPrecondition,
    /// The last member cannot be removed.
    LastMember = "LAST_MEMBER" => FailedPrecondition,
    /// A change of the membership is under way. Ask again soon.
    MembershipBusy = "MEMBERSHIP_BUSY" => Aborted,
    /// No other unsealed member is far enough to lead.
    NoSuccessor = "NO_SUCCESSOR" => FailedPrecondition,

    // The ledger.
    /// An audit head went backwards, or changed.
    AnchorBackwards = "ANCHOR_BACKWARDS" => FailedPrecondition,
    /// Nothing of the trail is removed while somebody holds it.
    AuditHeld = "AUDIT_HELD" => FailedPrecondition,
    /// The node's trail was tampered with: it serves nobody until `audit acknowledge`.
    AuditTampered = "AUDIT_TAMPERED" => Unavailable,
    /// There is little room for the node's trail: it serves operators only.
    AuditRoom = "AUDIT_ROOM" => Unavailable,
    /// This is about another node: ask that one.
    OtherNode = "OTHER_NODE" => Unavailable,
    /// The horizon of request ids only rises, and never above what is applied.
    Horizon = "HORIZON" => FailedPrecondition,
    /// The cluster's time never goes back.
    TimeBackwards = "TIME_BACKWARDS" => FailedPrecondition,
    /// A record of this name exists.
    RecordExists = "RECORD_EXISTS" => AlreadyExists,
    /// A record that this depends on is missing or does not open.
    RecordLost = "RECORD_LOST" => DataLoss,
}

/// A text that this version knows no reason for; a newer server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reason is not known to this version")]
pub struct UnknownReason;

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text).ok_or(UnknownReason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_reads_back_and_none_is_used_twice() {
        let mut texts = BTreeSet::new();
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
            assert!(texts.insert(reason.as_str()), "{reason} twice");
            assert!(reason.as_str().bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{reason}");
            assert!(reason.as_str().len() <= 63, "google.rpc.ErrorInfo allows 63 characters: {reason}");
        }
        assert_eq!("NO_SUCH_REASON".parse::<Reason>(), Err(UnknownReason));
    }

    #[test]
    fn no_refusal_is_ok_or_unknown() {
        for reason in Reason::ALL {
            assert!(!matches!(reason.code(), Code::Ok | Code::Unknown | Code::Unimplemented), "{reason}");
        }
    }

    /// The wire's promise: what a program may have branched on stays. Change a line only with the reason's removal.
    #[test]
    fn golden_reasons_stay() {
        let golden = include_str!("../testdata/reasons.txt");
        let lines: String =
            Reason::ALL.iter().map(|r| format!("{} {}\n", r.as_str(), i32::from(r.code()))).collect();
        assert_eq!(golden, lines);
    }
}
