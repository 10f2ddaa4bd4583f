//! What can be asked: one action per operation. Every RPC maps to one; a variant added here must be placed in a
//! class before anything compiles.

use keyclave_types::name::KeyName;
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
    /// Disable or enable a key or a version.
    SetKeyEnabled,
    /// Destroy a version's material.
    DestroyKeyVersion,
    /// Describe a key.
    GetKey,
    /// List keys under a prefix.
    ListKeys,
    /// Make a token.
    CreateToken,
    /// End a token.
    RevokeToken,
    /// List tokens.
    ListTokens,
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
    /// Changes keys.
    Manage,
    /// Reads about keys.
    Read,
    /// Runs the cluster.
    Operate,
    /// Decides who may do what.
    Access,
    /// What the cluster does on its own account.
    Cluster,
}

impl Action {
    /// All of them, for tables over every right.
    pub const ALL: [Self; 38] = [
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
        Self::SetKeyEnabled,
        Self::DestroyKeyVersion,
        Self::GetKey,
        Self::ListKeys,
        Self::CreateToken,
        Self::RevokeToken,
        Self::ListTokens,
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
        Self::Reflect,
        Self::ReadMetrics,
        Self::RotateDue,
        Self::ReserveUses,
        Self::Housekeep,
    ];

    /// What a write asks for, and on which key. The one map for whoever authorises and whoever decides.
    pub fn of_write(write: &WriteKind) -> (Self, Option<&KeyName>) {
        match write {
            WriteKind::CreateKey { name, .. } => (Self::CreateKey, Some(name)),
            WriteKind::UpdateKey { name, .. } => (Self::UpdateKey, Some(name)),
            WriteKind::RotateKey { name } => (Self::RotateKey, Some(name)),
            WriteKind::SetEnabled { name, .. } => (Self::SetKeyEnabled, Some(name)),
            WriteKind::DestroyVersion { name, .. } => (Self::DestroyKeyVersion, Some(name)),
            WriteKind::CreateToken { .. } => (Self::CreateToken, None),
            WriteKind::RevokeToken { .. } => (Self::RevokeToken, None),
            WriteKind::CreateJoinToken => (Self::CreateJoinToken, None),
            WriteKind::Admit { .. } => (Self::Admit, None),
            WriteKind::SealNode { .. } => (Self::SealNode, None),
            WriteKind::SealCluster => (Self::SealCluster, None),
            WriteKind::RemoveMember { .. } => (Self::RemoveMember, None),
            WriteKind::ChangeAddress { .. } => (Self::ChangeAddress, None),
            WriteKind::AcceptTime { .. } => (Self::AcceptTime, None),
        }
    }

    /// What a read asks for, and on which key; no key for a list, and for ciphertexts that choose their own.
    pub fn of_read(read: &Read) -> (Self, Option<&KeyName>) {
        match read {
            Read::GetKey { name } => (Self::GetKey, Some(name)),
            Read::ListKeys { .. } => (Self::ListKeys, None),
            Read::Encrypt(encrypt) => (Self::Encrypt, Some(&encrypt.name)),
            Read::Decrypt(decrypt) => (Self::Decrypt, decrypt.name.as_ref()),
            Read::ListTokens => (Self::ListTokens, None),
        }
    }

    /// Its group of rights.
    pub fn class(self) -> Class {
        match self {
            Self::Health | Self::SealStatus | Self::SubmitShare | Self::Login | Self::Join => Class::Open,
            Self::Init | Self::ShowCode | Self::SealThisNode => Class::Machine,
            Self::Reflect | Self::ReadMetrics => Class::Known,
            Self::Encrypt | Self::Decrypt => Class::Use,
            Self::CreateKey
            | Self::UpdateKey
            | Self::RotateKey
            | Self::SetKeyEnabled
            | Self::DestroyKeyVersion => Class::Manage,
            Self::GetKey | Self::ListKeys => Class::Read,
            Self::CreateToken | Self::RevokeToken | Self::ListTokens => Class::Access,
            Self::SealNode
            | Self::SealCluster
            | Self::Admit
            | Self::CreateJoinToken
            | Self::ClusterStatus
            | Self::ListMembers
            | Self::PromoteMember
            | Self::RemoveMember
            | Self::ChangeAddress
            | Self::StepDown
            | Self::AcceptTime
            | Self::Diagnose
            | Self::ReadAudit => Class::Operate,
            Self::RotateDue | Self::ReserveUses | Self::Housekeep => Class::Cluster,
        }
    }
}
