//! Who may do something: tokens, the head over what grants access, and tokens that let a node join.

use keyclave_types::envelope::Stored;
use keyclave_types::ids::{Incarnation, NodeId};
use keyclave_types::member::NodePublicKey;
use keyclave_types::request::{SubjectName, TokenId};
use keyclave_types::time::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::records::{Body, RecordName};

/// What a token may be used for. Numbers are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TokenUse {
    /// By a service.
    Service,
    /// By an operator.
    Operator,
}

/// A token, without its secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its id.
    pub id: TokenId,
    /// What it may be used for.
    pub usage: TokenUse,
    /// Whom it names.
    pub subject: SubjectName,
    /// Whether it may do everything; such tokens are under the access head.
    pub root: bool,
    /// The keyed MAC of the token.
    pub mac: [u8; 32],
    /// Which token key made the MAC.
    pub mac_key: u32,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it ends.
    pub expires_at: Option<UnixMillis>,
}

impl Stored for TokenRecord {
    const FORMAT: u8 = 1;
}

impl Body for TokenRecord {
    fn name(&self) -> RecordName<'_> {
        RecordName::Token(self.id)
    }
}

/// Count and digest of every record that grants access; changes with each of them, and is in every read set.
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
