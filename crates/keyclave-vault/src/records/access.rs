//! Who may do something: subjects, groups, policies, the head over them, tokens, and tokens that let a node join.

use std::collections::BTreeSet;

use keyclave_types::access::{GroupName, PolicyName, RoleGrant, Subject};
use keyclave_types::envelope::Stored;
use keyclave_types::identity::{AddressRange, Identity, TokenBinding};
use keyclave_types::ids::{Incarnation, NodeId};
use keyclave_types::member::NodePublicKey;
use keyclave_types::request::TokenId;
use keyclave_types::time::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::records::{Body, RecordName};

/// A caller that the cluster knows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SubjectRecord {
    /// Who.
    pub subject: Subject,
    /// Its groups. One that does not exist gives nothing.
    pub groups: BTreeSet<GroupName>,
    /// Its own roles.
    pub roles: BTreeSet<RoleGrant>,
    /// Credentials made under an earlier epoch are over.
    pub credential_epoch: u64,
    /// When it was made.
    pub created_at: UnixMillis,
}

impl Stored for SubjectRecord {
    const FORMAT: u8 = 1;
}

impl Body for SubjectRecord {
    fn name(&self) -> RecordName<'_> {
        RecordName::Subject(&self.subject)
    }
}

/// Subjects that have roles together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Its name.
    pub name: GroupName,
    /// What its members may do.
    pub roles: BTreeSet<RoleGrant>,
}

impl Stored for GroupRecord {
    const FORMAT: u8 = 1;
}

impl Body for GroupRecord {
    fn name(&self) -> RecordName<'_> {
        RecordName::Group(&self.name)
    }
}

/// One policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// Its name.
    pub name: PolicyName,
    /// Its text, as it was put.
    pub text: String,
    /// When it was put.
    pub put_at: UnixMillis,
}

impl Stored for PolicyRecord {
    const FORMAT: u8 = 1;
}

impl Body for PolicyRecord {
    fn name(&self) -> RecordName<'_> {
        RecordName::Policy(&self.name)
    }
}

/// What no policy can loosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccessFloor {
    /// Approvals by others that an act which cannot be taken back needs.
    pub approvals_min: u32,
}

impl Stored for AccessFloor {
    const FORMAT: u8 = 1;
}

impl Body for AccessFloor {
    fn name(&self) -> RecordName<'_> {
        RecordName::AccessFloor
    }
}

/// A token, without its secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its id.
    pub id: TokenId,
    /// Whom it speaks for.
    pub subject: Subject,
    /// The subject's epoch when it was made.
    pub credential_epoch: u64,
    /// The keyed MAC of the token.
    pub mac: [u8; 32],
    /// Which token key made the MAC.
    pub mac_key: u32,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it ends.
    pub expires_at: Option<UnixMillis>,
    /// How it may be renewed; not at all if none.
    pub renewal: Option<Renewal>,
    /// What must be proved on the connection that it comes over.
    pub binding: TokenBinding,
    /// Where its callers may come from; anywhere if empty.
    pub sources: BTreeSet<AddressRange>,
    /// For whose JWT it was given, if nobody made it: it counts only as long as that identity and its issuer do.
    pub by_login: Option<Identity>,
}

/// How a token may be prolonged by whoever has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Renewal {
    /// How long it lives from each renewal on.
    pub lifetime_ms: u64,
    /// Beyond which it does not live.
    pub until: UnixMillis,
}

impl TokenRecord {
    /// Whether its subject can rely on it: it does not end by itself, and asks nothing of the connection.
    pub(crate) fn lasts(&self) -> bool {
        self.expires_at.is_none() && self.binding == TokenBinding::Free && self.sources.is_empty()
    }
}

impl Stored for TokenRecord {
    const FORMAT: u8 = 3;
}

impl Body for TokenRecord {
    fn name(&self) -> RecordName<'_> {
        RecordName::Token(self.id)
    }
}

/// Count and digest of every subject, group, policy, client root, issuer and identity, and of the floor; changes with each of them, and is in every
/// read set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccessHead {
    /// How many there are.
    pub count: u64,
    /// SHA-256 over their ids and revisions.
    pub digest: [u8; 32],
}

impl Stored for AccessHead {
    const FORMAT: u8 = 1;
}

impl Body for AccessHead {
    fn name(&self) -> RecordName<'_> {
        RecordName::AccessHead
    }
}

/// A token that lets one node join, without its secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JoinToken {
    /// Its id.
    pub id: TokenId,
    /// The keyed MAC of the token.
    pub mac: [u8; 32],
    /// Which token key made the MAC.
    pub mac_key: u32,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it ends.
    pub expires_at: UnixMillis,
    /// Who has joined with it.
    pub joined: Option<Joined>,
}

/// Which data directory a join token was spent on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Joined {
    /// The data directory.
    pub incarnation: Incarnation,
    /// Its key.
    pub key: NodePublicKey,
    /// The number that it was given.
    pub node: NodeId,
}

impl Stored for JoinToken {
    const FORMAT: u8 = 1;
}

impl Body for JoinToken {
    fn name(&self) -> RecordName<'_> {
        RecordName::JoinToken(self.id)
    }
}
