//! What the ledger applies: preconditions on revisions, puts and deletes. No meaning, no clock, no keys.
//!
//! Made by keyclave-vault (decide), carried by keyclave-cluster, applied by keyclave-ledger.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::envelope::Stored;
use crate::ids::RecordId;
use crate::position::Revision;

/// Under whose leadership something was decided or appended. Ordered by term.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LeaderId {
    /// Raft term.
    pub term: u64,
    /// The leader's node number.
    pub node: u64,
}

/// What must hold of a record for the transaction to commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Expect {
    /// No such record.
    Absent,
    /// The record stands at exactly this revision.
    Exactly(Revision),
}

impl Expect {
    /// What holds of a record that was found like this.
    pub fn of(found: Option<Revision>) -> Self {
        found.map_or(Self::Absent, Self::Exactly)
    }
}

/// One change of one record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Change {
    /// The record becomes `blob` at `revision`, which must be above its own.
    Put {
        /// The revision it gets.
        revision: Revision,
        /// The bytes it gets: sealed, or plain for a plain id.
        blob: Vec<u8>,
    },
    /// The record goes.
    Delete,
}

/// Preconditions over every record that was read to decide, and the changes if all of them hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Transaction {
    /// `apply` answers Conflict in an entry of any other leader id.
    pub decided_under: LeaderId,
    /// Every record that was read, with what was found.
    pub expects: BTreeMap<RecordId, Expect>,
    /// At most one change per record.
    pub changes: BTreeMap<RecordId, Change>,
}

impl Stored for Transaction {
    const FORMAT: u8 = 1;
}

/// What became of a transaction, the same on every node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TransactionOutcome {
    /// All preconditions held; all changes were made.
    Committed,
    /// One did not; nothing was changed.
    Conflict(Conflict),
}

/// Why a transaction changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Conflict {
    /// This record was not as expected.
    Record(RecordId),
    /// This put's revision was not above the record's own.
    Revision(RecordId),
    /// It was decided under another leader.
    Leader,
}

/// One record as it stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its revision.
    pub revision: Revision,
    /// Its bytes.
    pub blob: Vec<u8>,
}

impl Stored for Record {
    const FORMAT: u8 = 1;
}
