//! Which records changed lately, so that a view can follow without reading everything: a bounded ring over the last
//! entries.

use std::collections::{BTreeSet, VecDeque};

use keyclave_types::ids::RecordId;
use keyclave_types::transaction::Record;

use crate::digest::Digest;

/// Entries that the ring remembers.
const ENTRIES_MAX: usize = 16_384;
/// Record ids that it remembers over all of them.
const IDS_MAX: usize = 1 << 20;

/// What changed after some index.
#[derive(Clone, Debug)]
pub enum Changes {
    /// Each record that changed, as it stands at `upto`; `None` if it is gone.
    Records {
        /// The index up to which this says everything.
        upto: u64,
        /// The digest at `upto`.
        digest: Digest,
        /// The records.
        records: Vec<(RecordId, Option<Record>)>,
    },
    /// Longer ago than is remembered: read everything anew.
    Gap,
}

/// The last entries: index, digest after it, records that it changed.
#[derive(Default)]
pub(crate) struct Ring {
    entries: VecDeque<(u64, Digest, Vec<RecordId>)>,
    ids: usize,
}

impl Ring {
    pub(crate) fn push(&mut self, index: u64, digest: Digest, changed: Vec<RecordId>) {
        self.ids += changed.len();
        self.entries.push_back((index, digest, changed));
        while self.entries.len() > ENTRIES_MAX || (self.ids > IDS_MAX && self.entries.len() > 1) {
            if let Some((_, _, forgotten)) = self.entries.pop_front() {
                self.ids -= forgotten.len();
            }
        }
    }

    /// The records changed after `index`; `None` if some of those entries are forgotten. `applied` is the last index.
    pub(crate) fn changed_since(&self, index: u64, applied: u64) -> Option<BTreeSet<RecordId>> {
        if index >= applied {
            return Some(BTreeSet::new());
        }
        match self.entries.front() {
            Some((oldest, _, _)) if *oldest <= index + 1 => {
                let later = self.entries.iter().rev().take_while(|(at, _, _)| *at > index);
                Some(later.flat_map(|(_, _, changed)| changed.iter().copied()).collect())
            }
            Some(_) | None => None,
        }
    }

    pub(crate) fn digest_at(&self, index: u64) -> Option<Digest> {
        let at = self.entries.binary_search_by_key(&index, |(at, _, _)| *at).ok()?;
        self.entries.get(at).map(|(_, digest, _)| *digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> RecordId {
        RecordId::from_bytes([n; 16])
    }

    #[test]
    fn what_is_forgotten_is_a_gap_and_never_an_empty_answer() {
        let mut ring = Ring::default();
        for index in 1..=(ENTRIES_MAX as u64 + 10) {
            ring.push(index, Digest([0; 32]), vec![id((index % 7) as u8)]);
        }
        let applied = ENTRIES_MAX as u64 + 10;
        assert_eq!(ring.changed_since(9, applied), None);
        assert_eq!(ring.changed_since(10, applied).map(|ids| ids.len()), Some(7));
        assert_eq!(ring.changed_since(applied - 1, applied), Some(BTreeSet::from([id((applied % 7) as u8)])));
        assert_eq!(ring.changed_since(applied, applied), Some(BTreeSet::new()));
        assert_eq!(Ring::default().changed_since(3, 4), None);
        assert!(ring.digest_at(5).is_none());
        assert!(ring.digest_at(applied).is_some());
    }

    #[test]
    fn the_number_of_ids_is_bounded() {
        let mut ring = Ring::default();
        for index in 1..=3 {
            ring.push(index, Digest([0; 32]), vec![id(1); IDS_MAX / 2 + 1]);
        }
        assert_eq!(ring.entries.len(), 1);
    }
}
