//! Every reason why the vault refuses, with a stable name for each. Made by decide and compute, mapped to gRPC codes
//! by keyclave-proto. No variant quotes what a caller sent, except numbers.

use keyclave_policy::{Denied, Missing};
use keyclave_types::ids::NodeId;
use keyclave_types::key::Version;
use keyclave_types::request::TokenId;
use keyclave_types::time::UnixMillis;

use crate::reads::ReadSet;

/// A refusal, and what it rests on: it leaves only once the reads are confirmed.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// What was read to find out.
    pub reads: ReadSet,
}

/// Why something is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No credential, or one that is not valid; one text for every way in which it may be wrong.
    #[error("the credential is missing or not valid")]
    Unauthenticated,
    /// The policy said no.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The permit is for another act: a mistake of the caller's code.
    #[error("the permit is not for this act")]
    PermitForeign,
    /// A record that grants access is missing or changed by hand: nobody may do anything.
    #[error("the records that grant access do not match their head; nothing is served")]
    AccessHead,
    /// What reads the time does not answer while the clock is in doubt.
    #[error(
        "the clock has jumped and is not confirmed; an operator can accept it with `operator accept-time`"
    )]
    ClockDoubtful,

    /// No such key.
    #[error("there is no such key")]
    NotFound,
    /// The name is taken.
    #[error("a key of this name exists")]
    Exists,
    /// The key, or the version, is disabled.
    #[error("the key or the version is disabled")]
    Disabled,
    /// The version's material is gone for good.
    #[error("version {version} is destroyed")]
    Destroyed {
        /// Which version.
        version: Version,
    },
    /// The key has no such version.
    #[error("the key has no version {version}")]
    VersionUnknown {
        /// Which version.
        version: Version,
    },
    /// The key no longer encrypts.
    #[error("the key does not encrypt any more: its encrypt-until has passed")]
    Expired,
    /// The header names another key.
    #[error("the ciphertext was made with another key")]
    WrongKey,
    /// Cut, changed, made up, or with other associated data: one answer for all of them.
    #[error("the ciphertext cannot be decrypted with this key and associated data")]
    Undecryptable,
    /// A version has encrypted as much as its algorithm allows.
    #[error("version {version} has been used as often as its algorithm allows; rotate the key")]
    UsesExhausted {
        /// Which version.
        version: Version,
    },
    /// The key's type does not count its uses.
    #[error("keys of this type have no limit of uses")]
    NotCounted,
    /// As many versions as there may be.
    #[error("the key has {limit} versions, the most there may be; destroy old ones")]
    VersionsMax {
        /// How many there may be.
        limit: u32,
    },
    /// Version numbers have run out.
    #[error("the key's version numbers have run out")]
    VersionsExhausted,
    /// A rotation period outside the limits.
    #[error("a rotation period must be from {min_ms} to {max_ms} ms, not {found_ms}")]
    RotateEvery {
        /// The shortest.
        min_ms: u64,
        /// The longest.
        max_ms: u64,
        /// What was asked.
        found_ms: u64,
    },
    /// A staleness above the limit.
    #[error("staleness may be at most {max_ms} ms, not {found_ms}")]
    Staleness {
        /// The most.
        max_ms: u64,
        /// What was asked.
        found_ms: u64,
    },
    /// It is not, or no longer, due.
    #[error("nothing is due here")]
    NotDue,

    /// Too many items in one request.
    #[error("{found} items are more than the {limit} of one request")]
    ItemsMax {
        /// How many there may be.
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// One plaintext is too large.
    #[error("{found} bytes are more than the {limit} of one plaintext")]
    PlaintextMax {
        /// How many bytes there may be.
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// One item's associated data is too large.
    #[error("{found} bytes are more than the {limit} of associated data")]
    AssociatedMax {
        /// How many bytes there may be.
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// The whole request is too large.
    #[error("{found} bytes are more than the {limit} of one request")]
    RequestMax {
        /// How many bytes there may be.
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// The change does not fit one transaction.
    #[error("the change takes {found} bytes, more than the {limit} of one transaction")]
    TransactionMax {
        /// How many bytes there may be.
        limit: usize,
        /// How many there are.
        found: usize,
    },

    /// The request id was used for something else, or by somebody else.
    #[error("this request id was used for another request")]
    RequestReused,
    /// The request id is so old that its outcome may be forgotten.
    #[error("the request id starts at index {index}, below the horizon {horizon}; use a fresh one")]
    RequestOld {
        /// Where the id starts.
        index: u64,
        /// Below what it may not start.
        horizon: u64,
    },
    /// The request id claims an index that this ledger has not reached.
    #[error("the request id starts at index {index}, but the ledger stands at {applied}")]
    RequestAhead {
        /// Where the id starts.
        index: u64,
        /// Where the ledger stands.
        applied: u64,
    },
    /// The request was done before, but its secret is shown only once.
    #[error(
        "the token was made by an earlier call, and its secret is shown only once; revoke it and make another"
    )]
    ShownOnce {
        /// The token.
        id: TokenId,
    },

    /// No such token.
    #[error("there is no such token")]
    TokenUnknown,
    /// After this nobody could change who may do what.
    #[error(
        "after this nobody with a lasting credential could change who may do what; name another administrator first"
    )]
    LastAdministrator,
    /// No such subject.
    #[error("there is no such subject")]
    SubjectUnknown,
    /// No such group.
    #[error("there is no such group")]
    GroupUnknown,
    /// A group that subjects are in.
    #[error("subjects are in this group; take them out first")]
    GroupInUse,
    /// No such policy.
    #[error("there is no such policy")]
    PolicyUnknown,
    /// A word that names no action.
    #[error("there is no such action; docs/policies.md lists them")]
    ActionUnknown,
    /// A text that is no policy; what is wrong with it was said to who may put policies before this was asked.
    #[error("the text is not a policy that can be stored")]
    PolicyText,
    /// As many as there may be.
    #[error("there are {limit} already, the most there may be")]
    AccessMax {
        /// How many there may be.
        limit: usize,
    },
    /// A token that would end before it begins, or be renewed for less than it lives.
    #[error(
        "a token must live for at least a second; one that can be renewed has an end, and at least as long to it"
    )]
    Lifetime,
    /// The caller's token does not end, was not made to be renewed, or the caller came without one.
    #[error(
        "this credential cannot be renewed: make a token with a lifetime and a time until which to renew it"
    )]
    NotRenewable,
    /// No such client root.
    #[error("there is no such client root")]
    RootUnknown,
    /// Not certificates of authorities; what is wrong was said to who may put them before this was asked.
    #[error("these certificates cannot be client roots")]
    RootUnusable,
    /// The certificate is trusted under another name.
    #[error("one of these certificates is a client root under another name")]
    RootKnown,
    /// No such issuer.
    #[error("there is no such issuer")]
    IssuerUnknown,
    /// No set of public keys, or no algorithm.
    #[error("an issuer needs a set of public keys and at least one algorithm")]
    KeySetUnusable,
    /// No such identity.
    #[error("there is no such identity")]
    IdentityUnknown,
    /// The root takes names of the other sort.
    #[error("names under this client root are of the other sort (spiffe or dns)")]
    IdentitySort,

    /// No such member.
    #[error("there is no node {node}")]
    NodeUnknown {
        /// Which node.
        node: NodeId,
    },
    /// As many members as there may be.
    #[error("the cluster has {limit} nodes, the most there may be")]
    MembersMax {
        /// How many there may be.
        limit: usize,
    },
    /// The last member cannot be removed.
    #[error("this is the last node; a cluster without nodes would be lost")]
    LastMember,
    /// Node numbers have run out.
    #[error("node numbers have run out")]
    NodesExhausted,
    /// Another data directory runs under this node's number.
    #[error("node {node} runs on another data directory")]
    Incarnation {
        /// Which node.
        node: NodeId,
    },
    /// The node, or the cluster, is marked as sealed: only a ceremony or an admission lets it back.
    #[error("the node is sealed by an operator")]
    SealMarked,
    /// Nobody has vouched for this process.
    #[error("this process has not been admitted")]
    NotAdmitted,
    /// The cluster's policy, chosen at init, does not let this vouch for a node.
    #[error("this cluster's policy does not let nodes come back this way; give shares")]
    RejoinOff,
    /// An audit head that went backwards, or changed.
    #[error("the audit head of node {node} went back from {recorded} to {found}")]
    AnchorBackwards {
        /// Which node.
        node: NodeId,
        /// The sequence on record.
        recorded: u64,
        /// The sequence that was reported.
        found: u64,
    },
    /// A horizon may only rise, and never above what is applied.
    #[error("the horizon stands at {recorded} and cannot become {found}")]
    Horizon {
        /// Where it stands.
        recorded: u64,
        /// Where it was to be put.
        found: u64,
    },
    /// The cluster's time never goes back.
    #[error("the cluster's time is {recorded} already and cannot become {found}")]
    TimeBackwards {
        /// Where it stands.
        recorded: UnixMillis,
        /// What was to be accepted.
        found: UnixMillis,
    },
    /// Only a person may do this.
    #[error("only a person may do this, no program")]
    PersonsOnly,
    /// Nothing may be removed from the trail.
    #[error("the trail is held: nothing of it is removed")]
    TrailHeld,
    /// A record of this name exists.
    #[error("the record exists")]
    RecordExists,

    /// A record that must be there is not, or does not open: the ledger and the keyring do not belong together.
    #[error("a record that this depends on is missing or damaged")]
    RecordLost,
}

impl Refusal {
    /// The stable name of the reason, for machines.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Denied(denied) => match denied.missing {
                Missing::Credential => "UNAUTHENTICATED",
                Missing::LocalSocket => "LOCAL_ONLY",
                Missing::Approvals { .. } => "APPROVALS_MISSING",
                Missing::Bound => "BOUND_CALLERS_ONLY",
                // Whether nothing permits, something forbids or a policy fails is for the trail, not for the caller.
                Missing::Permission | Missing::Forbidden | Missing::Evaluation | Missing::Member => "DENIED",
            },
            Self::PermitForeign => "PERMIT_FOREIGN",
            Self::AccessHead => "ACCESS_HEAD_MISMATCH",
            Self::ClockDoubtful => "CLOCK_DOUBTFUL",
            Self::NotFound => "KEY_NOT_FOUND",
            Self::Exists => "KEY_EXISTS",
            Self::Disabled => "KEY_DISABLED",
            Self::Destroyed { .. } => "VERSION_DESTROYED",
            Self::VersionUnknown { .. } => "VERSION_UNKNOWN",
            Self::Expired => "KEY_EXPIRED",
            Self::WrongKey => "WRONG_KEY",
            Self::Undecryptable => "UNDECRYPTABLE",
            Self::UsesExhausted { .. } => "USES_EXHAUSTED",
            Self::NotCounted => "USES_NOT_COUNTED",
            Self::VersionsMax { .. } => "VERSIONS_MAX",
            Self::VersionsExhausted => "VERSIONS_EXHAUSTED",
            Self::RotateEvery { .. } => "ROTATE_EVERY_OUT_OF_RANGE",
            Self::Staleness { .. } => "STALENESS_OUT_OF_RANGE",
            Self::NotDue => "NOT_DUE",
            Self::ItemsMax { .. } => "ITEMS_MAX",
            Self::PlaintextMax { .. } => "PLAINTEXT_MAX",
            Self::AssociatedMax { .. } => "ASSOCIATED_DATA_MAX",
            Self::RequestMax { .. } => "REQUEST_MAX",
            Self::TransactionMax { .. } => "TRANSACTION_MAX",
            Self::RequestReused => "REQUEST_ID_REUSED",
            Self::RequestOld { .. } => "REQUEST_ID_OLD",
            Self::RequestAhead { .. } => "REQUEST_ID_AHEAD",
            Self::ShownOnce { .. } => "SECRET_SHOWN_ONCE",
            Self::TokenUnknown => "TOKEN_NOT_FOUND",
            Self::LastAdministrator => "LAST_ADMINISTRATOR",
            Self::SubjectUnknown => "SUBJECT_NOT_FOUND",
            Self::GroupUnknown => "GROUP_NOT_FOUND",
            Self::GroupInUse => "GROUP_IN_USE",
            Self::PolicyUnknown => "POLICY_NOT_FOUND",
            Self::ActionUnknown => "ACTION_UNKNOWN",
            Self::PolicyText => "POLICY_INVALID",
            Self::AccessMax { .. } => "ACCESS_MAX",
            Self::Lifetime => "TOKEN_LIFETIME",
            Self::NotRenewable => "TOKEN_NOT_RENEWABLE",
            Self::RootUnknown => "CLIENT_ROOT_NOT_FOUND",
            Self::RootUnusable => "CLIENT_ROOT_INVALID",
            Self::RootKnown => "CLIENT_ROOT_EXISTS",
            Self::IssuerUnknown => "ISSUER_NOT_FOUND",
            Self::KeySetUnusable => "KEY_SET_INVALID",
            Self::IdentityUnknown => "IDENTITY_NOT_FOUND",
            Self::IdentitySort => "IDENTITY_SORT",
            Self::NodeUnknown { .. } => "NODE_NOT_FOUND",
            Self::MembersMax { .. } => "MEMBERS_MAX",
            Self::LastMember => "LAST_MEMBER",
            Self::NodesExhausted => "NODES_EXHAUSTED",
            Self::Incarnation { .. } => "OTHER_INCARNATION",
            Self::SealMarked => "SEAL_MARKED",
            Self::NotAdmitted | Self::RejoinOff => "NOT_ADMITTED",
            Self::AnchorBackwards { .. } => "ANCHOR_BACKWARDS",
            Self::Horizon { .. } => "HORIZON",
            Self::TimeBackwards { .. } => "TIME_BACKWARDS",
            Self::PersonsOnly => "PERSONS_ONLY",
            Self::TrailHeld => "AUDIT_HELD",
            Self::RecordExists => "RECORD_EXISTS",
            Self::RecordLost => "RECORD_LOST",
        }
    }
}
