//! What a write did, kept under its request id so that a retry is answered and not done again; and the index below
//! which that is forgotten.

use keyclave_types::envelope::Stored;
use keyclave_types::ids::{NodeId, RequestId};
use keyclave_types::key::KeyDescription;
use keyclave_types::request::TokenId;
use keyclave_types::time::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::records::{Body, RecordName};

/// The outcome of one write.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestOutcome {
    /// The caller's name for it.
    pub request: RequestId,
    /// SHA-256 over who asked and what.
    pub digest: [u8; 32],
    /// The node in whose trail it stands.
    pub arrived_at: NodeId,
    /// When it was decided.
    pub at: UnixMillis,
    /// What it did.
    pub outcome: Outcome,
}

impl Stored for RequestOutcome {
    const FORMAT: u8 = 1;
}

impl Body for RequestOutcome {
    fn name(&self) -> RecordName<'_> {
        RecordName::RequestOutcome(self.request)
    }
}

/// What a write did, without what is shown only once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// It left the key like this.
    Key(KeyDescription),
    /// It made this token.
    TokenMade(TokenId),
    /// It ended a token.
    Revoked,
    /// It is done.
    Done,
    /// It prolonged a token until then.
    Renewed(UnixMillis),
}

/// Request ids that start below this index are refused, because their outcomes may be forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Horizon {
    /// The index.
    pub index: u64,
}

impl Stored for Horizon {
    const FORMAT: u8 = 1;
}

impl Body for Horizon {
    fn name(&self) -> RecordName<'_> {
        RecordName::Horizon
    }
}
