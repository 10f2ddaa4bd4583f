//! Applying: what one entry's transactions do to the records. Pure over what it is given; the same on every node.

use std::collections::BTreeMap;

use keyclave_types::ids::RecordId;
use keyclave_types::position::Revision;
use keyclave_types::transaction::{
    Change, Conflict, Expect, LeaderId, Record, Transaction, TransactionOutcome,
};

/// What stands at each record before the entry.
pub(crate) trait Standing {
    /// The record's revision.
    fn revision(&self, id: &RecordId) -> Option<Revision>;
}

/// What an entry did: an outcome for each transaction, and what each changed record became.
pub(crate) struct Applied {
    pub(crate) outcomes: Vec<TransactionOutcome>,
    pub(crate) changed: BTreeMap<RecordId, Option<Record>>,
}

/// Applies `transactions` in order, each seeing what those before it did, in an entry appended under `leader`.
pub(crate) fn apply(standing: &impl Standing, leader: LeaderId, transactions: &[Transaction]) -> Applied {
    let mut changed = BTreeMap::new();
    let outcomes = transactions
        .iter()
        .map(|transaction| match refused(standing, &changed, leader, transaction) {
            Some(conflict) => TransactionOutcome::Conflict(conflict),
            None => {
                changed.extend(transaction.changes.iter().map(|(id, change)| (*id, becomes(change))));
                TransactionOutcome::Committed
            }
        })
        .collect();
    Applied { outcomes, changed }
}

fn refused(
    standing: &impl Standing,
    changed: &BTreeMap<RecordId, Option<Record>>,
    leader: LeaderId,
    transaction: &Transaction,
) -> Option<Conflict> {
    let now = |id: &RecordId| match changed.get(id) {
        Some(record) => record.as_ref().map(|record| record.revision),
        None => standing.revision(id),
    };
    if transaction.decided_under != leader {
        return Some(Conflict::Leader);
    }
    let unexpected = transaction.expects.iter().find(|(id, expect)| Expect::of(now(id)) != **expect);
    if let Some((id, _)) = unexpected {
        return Some(Conflict::Record(*id));
    }
    let stale = transaction.changes.iter().find(|(id, change)| match change {
        Change::Put { revision, .. } => now(id).is_some_and(|own| *revision <= own),
        Change::Delete => false,
    });
    stale.map(|(id, _)| Conflict::Revision(*id))
}

fn becomes(change: &Change) -> Option<Record> {
    match change {
        Change::Put { revision, blob } => Some(Record { revision: *revision, blob: blob.clone() }),
        Change::Delete => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: LeaderId = LeaderId { term: 3, node: 1 };

    impl Standing for BTreeMap<RecordId, Revision> {
        fn revision(&self, id: &RecordId) -> Option<Revision> {
            self.get(id).copied()
        }
    }

    fn id(n: u8) -> RecordId {
        RecordId::from_bytes([n; 16])
    }

    fn put(n: u8, expect: Expect, revision: u64) -> Transaction {
        let change = Change::Put { revision: Revision(revision), blob: vec![n] };
        Transaction {
            decided_under: LEADER,
            expects: BTreeMap::from([(id(n), expect)]),
            changes: BTreeMap::from([(id(n), change)]),
        }
    }

    #[test]
    fn a_transaction_sees_those_before_it_in_the_same_entry() {
        let applied = apply(
            &BTreeMap::new(),
            LEADER,
            &[put(1, Expect::Absent, 5), put(1, Expect::Absent, 6), put(1, Expect::Exactly(Revision(5)), 7)],
        );
        assert_eq!(
            applied.outcomes,
            [
                TransactionOutcome::Committed,
                TransactionOutcome::Conflict(Conflict::Record(id(1))),
                TransactionOutcome::Committed
            ]
        );
        assert_eq!(applied.changed[&id(1)].as_ref().map(|r| r.revision), Some(Revision(7)));
    }

    #[test]
    fn under_another_leader_nothing_happens() {
        let other = LeaderId { term: 4, node: 1 };
        let applied = apply(&BTreeMap::new(), other, &[put(1, Expect::Absent, 5)]);
        assert_eq!(applied.outcomes, [TransactionOutcome::Conflict(Conflict::Leader)]);
        assert!(applied.changed.is_empty());
    }

    #[test]
    fn a_put_below_the_records_revision_is_refused() {
        let standing = BTreeMap::from([(id(1), Revision(9))]);
        let applied = apply(&standing, LEADER, &[put(1, Expect::Exactly(Revision(9)), 9)]);
        assert_eq!(applied.outcomes, [TransactionOutcome::Conflict(Conflict::Revision(id(1)))]);
    }

    #[test]
    fn one_failed_expectation_keeps_every_change_from_happening() {
        let mut transaction = put(1, Expect::Absent, 5);
        transaction.expects.insert(id(2), Expect::Exactly(Revision(1)));
        let applied = apply(&BTreeMap::new(), LEADER, &[transaction]);
        assert_eq!(applied.outcomes, [TransactionOutcome::Conflict(Conflict::Record(id(2)))]);
        assert!(applied.changed.is_empty());
    }
}
