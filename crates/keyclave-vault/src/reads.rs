//! What was read to answer or to decide: the records with what was found, and the sets whose completeness mattered.
//!
//! A transaction carries the records as preconditions; an answer or refusal leaves only when everything here still
//! holds at the confirmed index.

use std::collections::BTreeMap;

use keyclave_types::ids::{KeyId, RecordId};
use keyclave_types::name::{KeyName, KeyPrefix};
use keyclave_types::transaction::Expect;

/// Everything that was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadSet {
    /// Records, and absences.
    pub records: BTreeMap<RecordId, Expect>,
    /// Sets that were listed.
    pub sets: Vec<SetRead>,
}

/// A set that was listed: what joins it or leaves it changes the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SetRead {
    /// Keys under `prefix`, after the name `after`, up to the name `through` (to the end if none).
    Keys {
        /// Where names begin.
        prefix: KeyPrefix,
        /// The name before the first.
        after: Option<KeyName>,
        /// The last name of the page, if more follow.
        through: Option<KeyName>,
        /// Their records, in the order of names.
        found: Vec<RecordId>,
    },
    /// That no key has this id, asked by a ciphertext that chose its key.
    NoKey {
        /// The id.
        id: KeyId,
    },
    /// All tokens.
    Tokens {
        /// Their records, in the order of ids.
        found: Vec<RecordId>,
    },
}

impl ReadSet {
    /// Notes what was found at `id`. Within one view the same id is always found the same.
    pub(crate) fn note(&mut self, id: RecordId, found: Expect) {
        self.records.insert(id, found);
    }

    /// Adds everything that another part of the same request read in the same view.
    pub fn extend(&mut self, other: Self) {
        self.records.extend(other.records);
        self.sets.extend(other.sets);
    }
}
