//! The ledger against a naive model, across captures, snapshots and reopening.

use proptest::prelude::*;

use super::*;
use crate::capture::Capture;
use crate::install::InstallError;
use crate::memory_disk::MemoryDisk;
use keyclave_types::transaction::{Change, Expect};

const LEADER: LeaderId = LeaderId { term: 1, node: 1 };

type Model = BTreeMap<RecordId, Record>;

fn id(n: u8) -> RecordId {
    RecordId::from_bytes([n; 16])
}

/// Puts (`Some`) or deletes (`None`) without expectations.
fn transaction(index: u64, changes: &[(u8, Option<Vec<u8>>)]) -> Transaction {
    let changes = changes
        .iter()
        .map(|(n, blob)| {
            let change = match blob {
                Some(blob) => Change::Put { revision: Revision(index + 1), blob: blob.clone() },
                None => Change::Delete,
            };
            (id(*n), change)
        })
        .collect();
    Transaction { decided_under: LEADER, expects: BTreeMap::new(), changes }
}

fn apply_one(ledger: &Ledger<MemoryDisk>, index: u64, changes: &[(u8, Option<Vec<u8>>)]) {
    let transactions = [transaction(index, changes)];
    let entry =
        Entry { index, leader: LEADER, transactions: &transactions, mark: index.to_be_bytes().to_vec() };
    assert_eq!(ledger.apply(entry).unwrap(), [TransactionOutcome::Committed]);
}

fn model_after(model: &mut Model, index: u64, changes: &[(u8, Option<Vec<u8>>)]) {
    // Of two changes of one record in one transaction the later stands: a map holds one per record.
    for (n, blob) in changes {
        match blob {
            Some(blob) => {
                model.insert(id(*n), Record { revision: Revision(index + 1), blob: blob.clone() });
            }
            None => {
                model.remove(&id(*n));
            }
        }
    }
}

fn contents(ledger: &Ledger<MemoryDisk>) -> Model {
    ledger.read_everything().unwrap().1.into_iter().collect()
}

fn chunks(capture: &Capture<MemoryDisk>) -> Vec<Vec<u8>> {
    let (mut chunks, mut after) = (Vec::new(), None);
    while let Some((chunk, last)) = capture.chunk(after).unwrap() {
        chunks.push(chunk);
        after = Some(last);
    }
    chunks
}

fn open(disk: &Arc<MemoryDisk>) -> Ledger<MemoryDisk> {
    Ledger::open(disk.clone()).unwrap()
}

fn histories() -> impl Strategy<Value = Vec<Vec<(u8, Option<Vec<u8>>)>>> {
    let change = (0_u8..20, prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..40)));
    prop::collection::vec(prop::collection::vec(change, 0..6), 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_ledger_is_the_naive_model_and_reopens_as_it_was(history in histories()) {
        let disk = Arc::new(MemoryDisk::default());
        let ledger = open(&disk);
        let mut model = Model::new();
        for (index, changes) in (1..).zip(&history) {
            apply_one(&ledger, index, changes);
            model_after(&mut model, index, changes);
            prop_assert_eq!(ledger.applied().digest, read_all(&*disk, Area::RecordsEven).unwrap().0.digest());
        }
        prop_assert_eq!(&contents(&ledger), &model);
        let again = open(&disk);
        prop_assert_eq!(contents(&again), model);
        prop_assert_eq!(again.applied(), ledger.applied());
    }

    #[test]
    fn a_capture_stays_as_it_was_while_applying_goes_on(before in histories(), after in histories()) {
        let ledger = open(&Arc::new(MemoryDisk::default()));
        let mut model = Model::new();
        for (index, changes) in (1..).zip(&before) {
            apply_one(&ledger, index, changes);
            model_after(&mut model, index, changes);
        }
        let capture = ledger.capture();
        for (index, changes) in (1 + before.len() as u64..).zip(&after) {
            apply_one(&ledger, index, changes);
        }
        let target = open(&Arc::new(MemoryDisk::default()));
        let mut installing = target.begin_install().unwrap();
        for chunk in chunks(&capture) {
            installing.add(&chunk).unwrap();
        }
        let at = capture.at().clone();
        installing.finish(at.index, b"mark".to_vec(), at.digest).unwrap();
        prop_assert_eq!(contents(&target), model);
        prop_assert_eq!(target.applied().digest, at.digest);
    }

    #[test]
    fn changes_since_bring_a_copy_up_to_date(history in histories(), at in 0_usize..24) {
        let ledger = open(&Arc::new(MemoryDisk::default()));
        let mut copy = Model::new();
        for (index, changes) in (1..).zip(&history) {
            apply_one(&ledger, index, changes);
            if index as usize == at {
                copy = contents(&ledger);
            }
        }
        let since = if at <= history.len() { at as u64 } else { 0 };
        if since == 0 { copy.clear(); }
        let Changes::Records { upto, digest, records } = ledger.changes_since(since).unwrap() else {
            return Err(TestCaseError::fail("a gap within the ring"));
        };
        for (id, record) in records {
            match record { Some(record) => copy.insert(id, record), None => copy.remove(&id) };
        }
        prop_assert_eq!(copy, contents(&ledger));
        prop_assert_eq!(upto, ledger.applied().index);
        prop_assert_eq!(Some(digest), ledger.digest_at(upto));
    }
}

fn with_records(count: u64) -> Ledger<MemoryDisk> {
    let ledger = open(&Arc::new(MemoryDisk::default()));
    for index in 1..=count {
        apply_one(&ledger, index, &[(index as u8, Some(vec![7; 3000]))]);
    }
    ledger
}

#[test]
fn a_damaged_snapshot_changes_nothing() {
    let source = with_records(250);
    let capture = source.capture();
    let (chunks, at) = (chunks(&capture), capture.at().clone());
    assert!(chunks.len() > 1);
    let target = with_records(5);
    let (applied, records) = (target.applied(), contents(&target));
    let install = |chunks: &[&Vec<u8>]| -> Result<Applied, InstallError> {
        let mut installing = target.begin_install()?;
        for chunk in chunks {
            installing.add(chunk)?;
        }
        installing.finish(at.index, vec![], at.digest)
    };
    let whole: Vec<_> = chunks.iter().collect();
    assert!(matches!(install(&whole[1..]), Err(InstallError::Digest { .. })));
    assert!(matches!(install(&[whole[1], whole[0]]), Err(InstallError::Order { .. })));
    assert!(matches!(install(&[whole[0], whole[0]]), Err(InstallError::Order { .. })));
    let mut flipped = chunks[0].clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let mut changed = whole.clone();
    changed[0] = &flipped;
    assert!(matches!(install(&changed), Err(InstallError::Digest { .. } | InstallError::Chunk(_))));
    assert_eq!((target.applied(), contents(&target)), (applied, records));
    assert_eq!(install(&whole).unwrap().index, 250);
    assert_eq!(contents(&target), contents(&source));
}

#[test]
fn a_snapshot_older_than_what_is_applied_is_refused() {
    let capture = with_records(3).capture();
    let target = with_records(5);
    let mut installing = target.begin_install().unwrap();
    for chunk in chunks(&capture) {
        installing.add(&chunk).unwrap();
    }
    let refused = installing.finish(3, vec![], capture.at().digest);
    assert!(matches!(refused, Err(InstallError::Older { applied: 5, found: 3 })));
}

#[test]
fn records_changed_behind_its_back_are_found_at_opening() {
    let disk = Arc::new(MemoryDisk::default());
    let ledger = open(&disk);
    apply_one(&ledger, 1, &[(1, Some(vec![1])), (2, Some(vec![2]))]);
    let mut batch = Batch::default();
    batch.delete(Area::RecordsEven, id(2).as_bytes());
    disk.write(batch).unwrap();
    assert!(matches!(Ledger::open(disk), Err(OpenLedgerError::Digest { index: 1, .. })));
}

#[test]
fn a_disk_that_fails_leaves_the_records_as_they_were() {
    let disk = Arc::new(MemoryDisk::default());
    let ledger = open(&disk);
    apply_one(&ledger, 1, &[(1, Some(vec![1]))]);
    let (applied, records) = (ledger.applied(), contents(&ledger));
    disk.failing.store(true, std::sync::atomic::Ordering::SeqCst);
    let transactions = [transaction(2, &[(1, None)])];
    assert!(
        ledger.apply(Entry { index: 2, leader: LEADER, transactions: &transactions, mark: vec![] }).is_err()
    );
    assert_eq!((ledger.applied(), contents(&ledger)), (applied, records));
}

#[test]
fn a_conflict_still_moves_the_mark() {
    let ledger = with_records(1);
    let mut conflicting = transaction(2, &[(1, None)]);
    conflicting.expects.insert(id(1), Expect::Absent);
    let digest = ledger.applied().digest;
    let transactions = [conflicting];
    let outcomes = ledger
        .apply(Entry { index: 2, leader: LEADER, transactions: &transactions, mark: b"m".to_vec() })
        .unwrap();
    assert!(matches!(outcomes[..], [TransactionOutcome::Conflict(_)]));
    assert_eq!(ledger.applied(), Applied { index: 2, mark: Some(b"m".to_vec()), digest });
}
