//! The ledger against a naive model, and what it says of its history.

use keyclave_types::transaction::{Change, Conflict, Expect};
use proptest::prelude::*;

use super::*;
use crate::memory_disk::MemoryDisk;
use crate::testing::{
    LEADER, Model, apply_one, apply_to_model, contents, histories, id, open, transaction, with_records,
};

/// Transactions over few ids and revisions, so that many are met and many are missed.
fn entries() -> impl Strategy<Value = Vec<Vec<Transaction>>> {
    let expect = prop_oneof![Just(Expect::Absent), (1_u64..12).prop_map(|r| Expect::Exactly(Revision(r)))];
    let put = (1_u64..12, prop::collection::vec(any::<u8>(), 0..3))
        .prop_map(|(revision, blob)| Change::Put { revision: Revision(revision), blob });
    let change = prop_oneof![3 => put, 1 => Just(Change::Delete)];
    let ids = || (0_u16..5).prop_map(id);
    let transaction = (
        prop::collection::btree_map(ids(), expect, 0..2),
        prop::collection::btree_map(ids(), change, 0..3),
        prop::bool::weighted(0.95),
    );
    let transaction = transaction.prop_map(|(expects, changes, ours)| {
        let decided_under = LeaderId { term: if ours { LEADER.term } else { 9 }, ..LEADER };
        Transaction { decided_under, expects, changes }
    });
    prop::collection::vec(prop::collection::vec(transaction, 0..6), 0..20)
}

/// What one transaction does, said as plainly as possible: whether it committed.
fn naive(model: &mut Model, transaction: &Transaction) -> bool {
    let mut after = model.clone();
    if transaction.decided_under != LEADER {
        return false;
    }
    for (id, expect) in &transaction.expects {
        let met = match expect {
            Expect::Absent => !model.contains_key(id),
            Expect::Exactly(revision) => model.get(id).is_some_and(|record| record.revision == *revision),
        };
        if !met {
            return false;
        }
    }
    for (id, change) in &transaction.changes {
        match change {
            Change::Delete => {
                after.remove(id);
            }
            Change::Put { revision, blob } => {
                if model.get(id).is_some_and(|record| record.revision >= *revision) {
                    return false;
                }
                after.insert(*id, Record { revision: *revision, blob: blob.clone() });
            }
        }
    }
    *model = after;
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_ledger_is_the_naive_model_and_reopens_as_it_was(entries in entries()) {
        let disk = Arc::new(MemoryDisk::default());
        let ledger = open(&disk);
        let mut model = Model::new();
        for (index, transactions) in (1..).zip(&entries) {
            let expected: Vec<bool> = transactions.iter().map(|one| naive(&mut model, one)).collect();
            let outcomes = ledger.apply(Entry { index, leader: LEADER, transactions, mark: vec![] }).unwrap();
            let committed: Vec<bool> =
                outcomes.iter().map(|outcome| *outcome == TransactionOutcome::Committed).collect();
            prop_assert_eq!(committed, expected);
            prop_assert_eq!(ledger.applied().digest, read_all(&*disk, Area::RecordsEven).unwrap().0.digest());
        }
        prop_assert_eq!(&contents(&ledger), &model);
        for n in 0..5 {
            prop_assert_eq!(ledger.read(&id(n)).unwrap(), model.get(&id(n)).cloned());
        }
        let again = open(&disk);
        prop_assert_eq!(contents(&again), model);
        prop_assert_eq!(again.applied(), ledger.applied());
    }

    #[test]
    fn the_digest_knows_the_records_and_not_how_they_came_about(history in histories()) {
        let ledger = open(&Arc::default());
        for (index, changes) in (1..).zip(&history) {
            apply_one(&ledger, index, changes);
        }
        let other = open(&Arc::default());
        for (index, (id, record)) in (1..).zip(contents(&ledger).into_iter().rev()) {
            let put = Change::Put { revision: record.revision, blob: record.blob };
            let changes = BTreeMap::from([(id, put)]);
            let transactions = [Transaction { decided_under: LEADER, expects: BTreeMap::new(), changes }];
            other.apply(Entry { index, leader: LEADER, transactions: &transactions, mark: vec![] }).unwrap();
        }
        prop_assert_eq!(ledger.applied().digest, other.applied().digest);
    }

    #[test]
    fn changes_since_bring_a_copy_up_to_date(history in histories(), at in 0_u64..24) {
        let ledger = open(&Arc::default());
        let (mut copy, mut model) = (Model::new(), Model::new());
        let since = at.min(history.len() as u64);
        for (index, changes) in (1..).zip(&history) {
            apply_one(&ledger, index, changes);
            apply_to_model(&mut model, index, changes);
            if index == since {
                copy = model.clone();
            }
        }
        let ids = ledger.changed_ids_since(since).expect("all of it is remembered");
        // Before the first entry there is nothing to follow, so index 0 is known without a ring.
        let Changes::Records { upto, digest, records } = ledger.changes_since(since).unwrap() else {
            return Err(TestCaseError::fail("a gap within the ring"));
        };
        prop_assert_eq!(ids, (upto, records.iter().map(|(id, _)| *id).collect()));
        for (id, record) in records {
            match record {
                Some(record) => copy.insert(id, record),
                None => copy.remove(&id),
            };
        }
        prop_assert_eq!(copy, model);
        prop_assert_eq!(upto, ledger.applied().index);
        prop_assert_eq!(digest, ledger.applied().digest);
    }
}

#[test]
fn a_scan_walks_over_every_record_once_in_order() {
    let ledger = with_records(300);
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = ledger.scan(after, 7).unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        found.extend(page);
    }
    assert_eq!(found, contents(&ledger).into_iter().collect::<Vec<_>>());
}

#[test]
fn records_changed_behind_its_back_are_found_at_opening() {
    let change = |disk: &MemoryDisk, edit: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::default();
        edit(&mut batch);
        disk.write(batch).unwrap();
    };
    let forged = envelope::encode(&Record { revision: Revision(2), blob: vec![9] });
    let edits: [&dyn Fn(&mut Batch); 4] = [
        &|batch| batch.delete(Area::RecordsEven, id(2).as_bytes()),
        &|batch| batch.put(Area::RecordsEven, id(2).as_bytes(), forged.clone()),
        &|batch| batch.put(Area::RecordsEven, id(3).as_bytes(), forged.clone()),
        &|batch| batch.delete(Area::Meta, MARK_KEY),
    ];
    for edit in edits {
        let disk = Arc::new(MemoryDisk::default());
        apply_one(&open(&disk), 1, &[(1, Some(vec![1])), (2, Some(vec![2]))]);
        change(&disk, edit);
        assert!(matches!(Ledger::open(disk), Err(OpenLedgerError::Digest { .. })));
    }
    for unreadable in [vec![], vec![9], vec![1], forged[..2].to_vec()] {
        let disk = Arc::new(MemoryDisk::default());
        apply_one(&open(&disk), 1, &[(1, Some(vec![1]))]);
        change(&disk, &|batch| batch.put(Area::RecordsEven, id(1).as_bytes(), unreadable.clone()));
        assert!(matches!(Ledger::open(disk.clone()), Err(OpenLedgerError::Record { .. })));
        change(&disk, &|batch| batch.put(Area::Meta, MARK_KEY, unreadable.clone()));
        assert!(matches!(Ledger::open(disk), Err(OpenLedgerError::Mark(_))));
    }
    let disk = Arc::new(MemoryDisk::default());
    change(&disk, &|batch| batch.put(Area::RecordsEven, b"short", vec![]));
    assert!(matches!(Ledger::open(disk), Err(OpenLedgerError::Key { length: 5 })));
}

#[test]
fn a_record_changed_while_it_runs_stops_the_entry_that_overwrites_it() {
    let other = envelope::encode(&Record { revision: Revision(3), blob: vec![1] });
    for forged in [None, Some(other), Some(vec![9])] {
        let disk = Arc::new(MemoryDisk::default());
        let ledger = open(&disk);
        apply_one(&ledger, 1, &[(1, Some(vec![1]))]);
        let mut batch = Batch::default();
        match forged {
            None => batch.delete(Area::RecordsEven, id(1).as_bytes()),
            Some(forged) => batch.put(Area::RecordsEven, id(1).as_bytes(), forged),
        }
        disk.write(batch).unwrap();
        let transactions = [transaction(9, &[(1, Some(vec![2]))])];
        let entry = Entry { index: 2, leader: LEADER, transactions: &transactions, mark: vec![] };
        assert!(matches!(ledger.apply(entry), Err(DiskError::Damaged { .. })));
        assert_eq!(ledger.applied().index, 1);
    }
}

#[test]
fn an_entry_is_never_applied_twice_or_out_of_order() {
    let ledger = with_records(3);
    let before = (ledger.applied(), contents(&ledger));
    for index in 0..=3 {
        let transactions = [transaction(9, &[(1, None)])];
        let entry = Entry { index, leader: LEADER, transactions: &transactions, mark: vec![] };
        assert!(matches!(ledger.apply(entry), Err(DiskError::Damaged { .. })));
    }
    assert_eq!((ledger.applied(), contents(&ledger)), before);
}

#[test]
fn the_first_entry_may_have_index_zero() {
    let ledger = open(&Arc::default());
    apply_one(&ledger, 0, &[(1, Some(vec![1]))]);
    apply_one(&ledger, 1, &[(1, None)]);
    assert_eq!(ledger.applied().index, 1);
}

#[test]
fn a_disk_that_fails_leaves_the_records_as_they_were() {
    let disk = Arc::new(MemoryDisk::default());
    let ledger = open(&disk);
    apply_one(&ledger, 1, &[(1, Some(vec![1]))]);
    let (applied, records) = (ledger.applied(), contents(&ledger));
    disk.failing.store(true, std::sync::atomic::Ordering::SeqCst);
    let transactions = [transaction(2, &[(1, None)])];
    let entry = Entry { index: 2, leader: LEADER, transactions: &transactions, mark: vec![] };
    assert!(ledger.apply(entry).is_err());
    assert_eq!((ledger.applied(), contents(&ledger)), (applied, records));
}

#[test]
fn a_power_cut_takes_whole_entries_and_the_log_brings_them_back() {
    let disk = Arc::new(MemoryDisk::default());
    let ledger = open(&disk);
    apply_one(&ledger, 1, &[(1, Some(vec![1]))]);
    ledger.sync().unwrap();
    let synced = ledger.applied();
    apply_one(&ledger, 2, &[(1, None), (2, Some(vec![2]))]);
    let last = ledger.applied();
    disk.cut_power();
    let again = open(&disk);
    assert_eq!(again.applied(), synced);
    apply_one(&again, 2, &[(1, None), (2, Some(vec![2]))]);
    assert_eq!(again.applied(), last);
}

#[test]
fn a_conflict_still_moves_the_mark() {
    let ledger = with_records(1);
    let mut conflicting = transaction(2, &[(1, None)]);
    conflicting.expects.insert(id(1), Expect::Absent);
    let digest = ledger.applied().digest;
    let transactions = [conflicting];
    let entry = Entry { index: 2, leader: LEADER, transactions: &transactions, mark: b"m".to_vec() };
    let outcomes = ledger.apply(entry).unwrap();
    assert_eq!(outcomes, [TransactionOutcome::Conflict(Conflict::Record(id(1)))]);
    assert_eq!(ledger.applied(), Applied { index: 2, mark: Some(b"m".to_vec()), digest });
    assert_eq!(ledger.changed_ids_since(1), Some((2, BTreeSet::new())));
}

#[test]
fn what_happened_before_opening_is_a_gap() {
    let disk = Arc::new(MemoryDisk::default());
    apply_one(&open(&disk), 1, &[(1, Some(vec![1]))]);
    let ledger = open(&disk);
    assert!(matches!(ledger.changes_since(0).unwrap(), Changes::Gap));
    assert!(matches!(ledger.changes_since(1).unwrap(), Changes::Records { upto: 1, .. }));
    apply_one(&ledger, 2, &[(1, None)]);
    assert!(matches!(ledger.changes_since(0).unwrap(), Changes::Gap));
    let Changes::Records { upto, records, .. } = ledger.changes_since(1).unwrap() else { panic!("a gap") };
    assert_eq!((upto, records), (2, vec![(id(1), None)]));
}

#[test]
fn the_digest_of_a_recent_index_is_known() {
    let ledger = with_records(2);
    let second = ledger.applied().digest;
    apply_one(&ledger, 3, &[(1, None)]);
    assert_eq!(ledger.digest_at(2), Some(second));
    assert_eq!(ledger.digest_at(3), Some(ledger.applied().digest));
    assert_ne!(ledger.digest_at(3), Some(second));
    assert_eq!(ledger.digest_at(4), None);
    assert_eq!(ledger.digest_at(0), None);
}

#[test]
fn golden_records_and_mark_stay() {
    let disk = Arc::new(MemoryDisk::default());
    let ledger = open(&disk);
    apply_one(&ledger, 1, &[(1, Some(b"ab".to_vec()))]);
    let stored = disk.range(Area::RecordsEven, &[], 9).unwrap();
    assert_eq!(stored, [(id(1).as_bytes().to_vec(), vec![1, 2, 2, b'a', b'b'])]);
    let mark = disk.read(Area::Meta, b"ledger/mark").unwrap().unwrap();
    let digest = ledger.applied().digest.0;
    assert_eq!(mark, [&[1, 1][..], &digest, &[0, 8], &1_u64.to_be_bytes()].concat());
}
