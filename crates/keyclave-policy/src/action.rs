//! What can be asked: one action per operation. Every RPC maps to one; a variant added here must be placed in a
//! class before anything compiles.

use keyclave_types::name::{KeyName, KeyPrefix};
use keyclave_types::request::{Read, WriteKind};

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Action {
    /// Ask whether the process is alive and unsealed, in one word.
    Health,
    /// See seal status and the progress of a ceremony.
    SealStatus,
    /// Give a share, encrypted to a node's boot key.
    SubmitShare,
    /// Swap a credential of another system for a token.
    Login,
    /// Join the cluster with a join token.
    Join,
    /// Make a cluster out of this node.
    Init,
    /// Read this process's code.
    ShowCode,
    /// Seal the node that is asked, on its own.
    SealThisNode,
    /// Encrypt under a key.
    Encrypt,
    /// Decrypt with a key.
    Decrypt,
    /// Make a key.
    CreateKey,
    /// Change a key's rules.
    UpdateKey,
    /// Add a version to a key.
    RotateKey,
    /// Stop a key or a version.
    DisableKey,
    /// Allow a key or a version again.
    EnableKey,
    /// Destroy a version's material.
    DestroyKeyVersion,
    /// Describe a key.
    GetKey,
    /// List keys under a prefix.
    ListKeys,
    /// Make a token.
    CreateToken,
    /// Prolong the token that one comes with.
    RenewToken,
    /// End a token.
    RevokeToken,
    /// List tokens.
    ListTokens,
    /// Make, change or remove a subject, a group, an identity, or what they are granted.
    ChangeIdentities,
    /// Put or remove a policy.
    ChangePolicies,
    /// Approve a request of somebody else.
    Approve,
    /// See subjects, groups, policies, approvals; ask who may do what.
    ReadAccess,
    /// Seal a node through the ledger.
    SealNode,
    /// Seal every node.
    SealCluster,
    /// Vouch for one process of one node.
    Admit,
    /// Make a join token.
    CreateJoinToken,
    /// See nodes, leader, positions, health.
    ClusterStatus,
    /// List members.
    ListMembers,
    /// Turn a learner into a voter.
    PromoteMember,
    /// Remove a member.
    RemoveMember,
    /// Change a member's addresses.
    ChangeAddress,
    /// Make the leader hand over.
    StepDown,
    /// Accept a jump of the clock.
    AcceptTime,
    /// Collect what support needs, without secrets.
    Diagnose,
    /// Search or follow the trail.
    ReadAudit,
    /// Hold or release the trail, or change how long it is kept.
    KeepTrail,
    /// Let a node serve again whose trail was tampered with.
    AcknowledgeTrail,
    /// Read the descriptors of the services.
    Reflect,
    /// Read metrics.
    ReadMetrics,
    /// Rotate what is due.
    RotateDue,
    /// Reserve uses of a counted version.
    ReserveUses,
    /// Record a member's restart key, certificate, audit anchor, the cluster's time, or raise the horizon.
    Housekeep,
}

/// What an action is about, as a request names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target<'a> {
    /// One key.
    Key(&'a KeyName),
    /// All keys under a prefix.
    Prefix(&'a KeyPrefix),
    /// The keys that each ciphertext's header names: each is decided by itself.
    Chosen,
    /// The cluster.
    Cluster,
}

impl<'a> Target<'a> {
    /// The one key, if it is one.
    pub fn key(self) -> Option<&'a KeyName> {
        match self {
            Self::Key(name) => Some(name),
            Self::Prefix(_) | Self::Chosen | Self::Cluster => None,
        }
    }
}

/// Which group of rights an action belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Answers anyone: the request carries nothing secret, or its body is the credential.
    Open,
    /// Only on the local socket, because it is about this very machine.
    Machine,
    /// Needs a credential, whichever.
    Known,
    /// Uses keys.
    Use,
    /// Changes keys, and can be taken back.
    Manage,
    /// Cannot be taken back.
    Danger,
    /// Reads about keys, callers and the cluster.
    Read,
    /// Runs the cluster, and decides who may do what.
    Operate,
    /// What the cluster does on its own account.
    Cluster,
}

impl Action {
    /// All of them, for tables over every right.
    pub const ALL: [Self; 46] = [
        Self::Health,
        Self::SealStatus,
        Self::SubmitShare,
        Self::Login,
        Self::Join,
        Self::Init,
        Self::ShowCode,
        Self::SealThisNode,
        Self::Encrypt,
        Self::Decrypt,
        Self::CreateKey,
        Self::UpdateKey,
        Self::RotateKey,
        Self::DisableKey,
        Self::EnableKey,
        Self::DestroyKeyVersion,
        Self::GetKey,
        Self::ListKeys,
        Self::CreateToken,
        Self::RenewToken,
        Self::RevokeToken,
        Self::ListTokens,
        Self::ChangeIdentities,
        Self::ChangePolicies,
        Self::Approve,
        Self::ReadAccess,
        Self::SealNode,
        Self::SealCluster,
        Self::Admit,
        Self::CreateJoinToken,
        Self::ClusterStatus,
        Self::ListMembers,
        Self::PromoteMember,
        Self::RemoveMember,
        Self::ChangeAddress,
        Self::StepDown,
        Self::AcceptTime,
        Self::Diagnose,
        Self::ReadAudit,
        Self::KeepTrail,
        Self::AcknowledgeTrail,
        Self::Reflect,
        Self::ReadMetrics,
        Self::RotateDue,
        Self::ReserveUses,
        Self::Housekeep,
    ];

    /// What a write asks for, and with what. The one map for whoever authorises and whoever decides.
    pub fn of_write(write: &WriteKind) -> (Self, Target<'_>) {
        match write {
            WriteKind::CreateKey { name, .. } => (Self::CreateKey, Target::Key(name)),
            WriteKind::UpdateKey { name, .. } => (Self::UpdateKey, Target::Key(name)),
            WriteKind::RotateKey { name } => (Self::RotateKey, Target::Key(name)),
            WriteKind::SetEnabled { name, enabled: true, .. } => (Self::EnableKey, Target::Key(name)),
            WriteKind::SetEnabled { name, enabled: false, .. } => (Self::DisableKey, Target::Key(name)),
            WriteKind::DestroyVersion { name, .. } => (Self::DestroyKeyVersion, Target::Key(name)),
            WriteKind::CreateToken { .. } => (Self::CreateToken, Target::Cluster),
            WriteKind::RevokeToken { .. } => (Self::RevokeToken, Target::Cluster),
            WriteKind::CreateJoinToken => (Self::CreateJoinToken, Target::Cluster),
            WriteKind::Admit { .. } => (Self::Admit, Target::Cluster),
            WriteKind::SealNode { .. } => (Self::SealNode, Target::Cluster),
            WriteKind::SealCluster => (Self::SealCluster, Target::Cluster),
            WriteKind::RemoveMember { .. } => (Self::RemoveMember, Target::Cluster),
            WriteKind::ChangeAddress { .. } => (Self::ChangeAddress, Target::Cluster),
            WriteKind::AcceptTime { .. } => (Self::AcceptTime, Target::Cluster),
            WriteKind::PutSubject { .. }
            | WriteKind::RemoveSubject { .. }
            | WriteKind::PutGroup { .. }
            | WriteKind::RemoveGroup { .. }
            | WriteKind::PutClientRoot(_)
            | WriteKind::RemoveClientRoot { .. }
            | WriteKind::PutIssuer(_)
            | WriteKind::RemoveIssuer { .. }
            | WriteKind::PutIdentity { .. }
            | WriteKind::RemoveIdentity { .. } => (Self::ChangeIdentities, Target::Cluster),
            WriteKind::RenewToken => (Self::RenewToken, Target::Cluster),
            WriteKind::RevokeCredentials { .. } => (Self::RevokeToken, Target::Cluster),
            WriteKind::PutPolicy { .. } | WriteKind::RemovePolicy { .. } => {
                (Self::ChangePolicies, Target::Cluster)
            }
            WriteKind::HoldTrail { .. } | WriteKind::ReleaseTrail | WriteKind::RetainTrail { .. } => {
                (Self::KeepTrail, Target::Cluster)
            }
            WriteKind::AcknowledgeTrail { .. } => (Self::AcknowledgeTrail, Target::Cluster),
        }
    }

    /// What a read asks for, and with what.
    pub fn of_read(read: &Read) -> (Self, Target<'_>) {
        match read {
            Read::GetKey { name } => (Self::GetKey, Target::Key(name)),
            Read::ListKeys { prefix, .. } => (Self::ListKeys, Target::Prefix(prefix)),
            Read::Encrypt(encrypt) => (Self::Encrypt, Target::Key(&encrypt.name)),
            Read::Decrypt(decrypt) => {
                (Self::Decrypt, decrypt.name.as_ref().map_or(Target::Chosen, Target::Key))
            }
            Read::ListTokens => (Self::ListTokens, Target::Cluster),
            Read::ListSubjects { .. }
            | Read::ListGroups { .. }
            | Read::ListPolicies { .. }
            | Read::ListClientRoots { .. }
            | Read::ListIssuers { .. }
            | Read::ListIdentities { .. }
            | Read::GetPolicy { .. }
            | Read::Explain { .. }
            | Read::WhoCan { .. } => (Self::ReadAccess, Target::Cluster),
        }
    }

    /// Its group of rights.
    pub fn class(self) -> Class {
        match self {
            Self::Health | Self::SealStatus | Self::SubmitShare | Self::Login | Self::Join => Class::Open,
            Self::Init | Self::ShowCode | Self::SealThisNode => Class::Machine,
            Self::Reflect | Self::ReadMetrics | Self::RenewToken => Class::Known,
            Self::Encrypt | Self::Decrypt => Class::Use,
            Self::CreateKey | Self::UpdateKey | Self::RotateKey | Self::DisableKey | Self::EnableKey => {
                Class::Manage
            }
            Self::DestroyKeyVersion => Class::Danger,
            Self::GetKey
            | Self::ListKeys
            | Self::ListTokens
            | Self::ReadAccess
            | Self::ClusterStatus
            | Self::ListMembers
            | Self::Diagnose
            | Self::ReadAudit => Class::Read,
            Self::CreateToken
            | Self::RevokeToken
            | Self::ChangeIdentities
            | Self::ChangePolicies
            | Self::Approve
            | Self::SealNode
            | Self::SealCluster
            | Self::Admit
            | Self::CreateJoinToken
            | Self::PromoteMember
            | Self::RemoveMember
            | Self::ChangeAddress
            | Self::StepDown
            | Self::AcceptTime
            | Self::KeepTrail
            | Self::AcknowledgeTrail => Class::Operate,
            Self::RotateDue | Self::ReserveUses | Self::Housekeep => Class::Cluster,
        }
    }

    /// What policies call it; none for what no policy can grant.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Encrypt => Some("encrypt"),
            Self::Decrypt => Some("decrypt"),
            Self::CreateKey => Some("create"),
            Self::UpdateKey => Some("configure"),
            Self::RotateKey => Some("rotate"),
            Self::DisableKey => Some("disable"),
            Self::EnableKey => Some("enable"),
            Self::DestroyKeyVersion => Some("destroy"),
            Self::GetKey => Some("describe"),
            Self::ListKeys => Some("list"),
            Self::CreateToken | Self::RevokeToken => Some("tokens"),
            Self::ChangeIdentities => Some("identities"),
            Self::ChangePolicies => Some("policies"),
            Self::Approve => Some("approve"),
            Self::ReadAccess | Self::ListTokens => Some("readAccess"),
            Self::SealNode | Self::SealCluster => Some("seal"),
            Self::Admit => Some("admit"),
            Self::CreateJoinToken
            | Self::PromoteMember
            | Self::RemoveMember
            | Self::ChangeAddress
            | Self::StepDown => Some("members"),
            Self::AcceptTime => Some("acceptTime"),
            Self::ClusterStatus | Self::ListMembers | Self::Diagnose => Some("status"),
            Self::ReadAudit => Some("audit"),
            Self::KeepTrail | Self::AcknowledgeTrail => Some("trail"),
            Self::Health
            | Self::SealStatus
            | Self::SubmitShare
            | Self::Login
            | Self::Join
            | Self::Init
            | Self::ShowCode
            | Self::SealThisNode
            | Self::Reflect
            | Self::ReadMetrics
            | Self::RenewToken
            | Self::RotateDue
            | Self::ReserveUses
            | Self::Housekeep => None,
        }
    }

    /// The action that policies call so. Where several share a word, the rights are the same.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.word() == Some(word))
    }
}
