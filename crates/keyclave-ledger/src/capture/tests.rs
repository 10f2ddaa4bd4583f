//! Captures: what they give while the ledger goes on, and when they stop giving.

use keyclave_types::limits::{BLOB_BYTES_MAX, STORED_BYTES_MAX};
use proptest::prelude::*;

use super::*;
use crate::memory_disk::MemoryDisk;
use crate::testing::{
    Model, apply_one, apply_to_model, chunks, contents, histories, id, install, open, with_records,
};

fn records(capture: &Capture<MemoryDisk>) -> Model {
    let (mut records, mut after) = (Model::new(), None);
    while let Some((part, through)) = capture.records(after).unwrap() {
        assert!(Some(through) > after, "it must come to an end");
        records.extend(part);
        after = Some(through);
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Applying goes on between any two chunks, and a snapshot of it all installs elsewhere.
    #[test]
    fn a_capture_stays_as_it_was_while_applying_goes_on(before in histories(), after in histories()) {
        let ledger = open(&Arc::default());
        let mut model = Model::new();
        for (index, changes) in (1..).zip(&before) {
            apply_one(&ledger, index, changes);
            apply_to_model(&mut model, index, changes);
        }
        let capture = ledger.capture();
        let mut later = (1 + before.len() as u64..).zip(&after);
        let (mut found, mut last) = (Model::new(), None);
        while let Some((part, through)) = capture.records(last).unwrap() {
            found.extend(part);
            last = Some(through);
            for (index, changes) in later.by_ref().take(3) {
                apply_one(&ledger, index, changes);
            }
        }
        prop_assert_eq!(&found, &model);
        later.for_each(|(index, changes)| apply_one(&ledger, index, changes));
        let target = open(&Arc::default());
        install(&target, &chunks(&capture), capture.at()).unwrap();
        prop_assert_eq!(contents(&target), model);
        prop_assert_eq!(target.applied().digest, capture.at().digest);
    }
}

#[test]
fn two_captures_keep_two_moments() {
    let ledger = with_records(3);
    let first = ledger.capture();
    apply_one(&ledger, 4, &[(1, None), (9, Some(vec![1]))]);
    let second = ledger.capture();
    apply_one(&ledger, 5, &[(1, Some(vec![2])), (2, None), (9, None)]);
    assert_eq!(records(&first).into_keys().collect::<Vec<_>>(), [id(1), id(2), id(3)]);
    assert_eq!(records(&second).into_keys().collect::<Vec<_>>(), [id(2), id(3), id(9)]);
    assert_eq!((first.at().index, second.at().index), (3, 4));
}

#[test]
fn everything_deleted_since_comes_in_parts_too() {
    let ledger = with_records(500);
    let (capture, before) = (ledger.capture(), contents(&ledger));
    for n in 1..=500 {
        apply_one(&ledger, 500 + u64::from(n), &[(n, None)]);
    }
    let (part, _) = capture.records(None).unwrap().unwrap();
    assert_eq!(part.len(), READ_RECORDS);
    assert_eq!(records(&capture), before);
}

#[test]
fn no_chunk_is_larger_than_promised_whatever_its_records_measure() {
    let ledger = open(&Arc::default());
    for n in 1..=200_u16 {
        let bytes = if n % 3 == 0 { BLOB_BYTES_MAX } else { usize::from(n) };
        apply_one(&ledger, n.into(), &[(n, Some(vec![7; bytes]))]);
    }
    let capture = ledger.capture();
    let chunks = chunks(&capture);
    assert!(chunks.len() > 10);
    for chunk in &chunks {
        assert!(chunk.len() <= CHUNK_BYTES && chunk.len() < STORED_BYTES_MAX, "{}", chunk.len());
    }
    let target = open(&Arc::default());
    install(&target, &chunks, capture.at()).unwrap();
    assert_eq!(contents(&target), contents(&ledger));
}

#[test]
fn a_dropped_capture_keeps_nothing() {
    let ledger = with_records(3);
    drop(ledger.capture());
    let kept = ledger.capture();
    apply_one(&ledger, 4, &[(1, None)]);
    assert_eq!(ledger.shared().read().captures.len(), 1);
    assert_eq!(kept.pre_images.kept.lock().unwrap().records.len(), 1);
}

#[test]
fn pre_images_are_bounded_and_absent_records_count_too() {
    let absent: Before = (0..1000).map(|n| (id(n), None)).collect();
    let pre_images = PreImages::default();
    pre_images.keep(&absent);
    pre_images.keep(&absent);
    assert_eq!(pre_images.kept.lock().unwrap().bytes, 1000 * PRE_IMAGE_EXTRA_BYTES);
    let large =
        Record { revision: keyclave_types::position::Revision(1), blob: vec![0; PRE_IMAGE_BYTES_MAX] };
    pre_images.keep(&vec![(id(2000), Some(large))]);
    let kept = pre_images.kept.lock().unwrap();
    assert!(kept.given_up && kept.records.is_empty());
}

#[test]
fn a_capture_that_was_outgrown_says_so() {
    let ledger = with_records(3);
    let capture = ledger.capture();
    capture.pre_images.kept.lock().unwrap().given_up = true;
    assert!(matches!(capture.chunk(None), Err(CaptureError::Outgrown)));
}

/// Twice, because the records are then on the side where they were.
#[test]
fn a_capture_ends_with_each_snapshot_that_replaces_its_records() {
    let ledger = with_records(3);
    let capture = ledger.capture();
    for count in [5, 7] {
        let other = with_records(count).capture();
        install(&ledger, &chunks(&other), other.at()).unwrap();
        assert!(matches!(capture.chunk(None), Err(CaptureError::Replaced)));
    }
}

#[test]
fn golden_chunk_stays() {
    let ledger = open(&Arc::default());
    apply_one(&ledger, 1, &[(1, Some(b"ab".to_vec()))]);
    let (chunk, last) = ledger.capture().chunk(None).unwrap().unwrap();
    let golden = [&[1, 1][..], id(1).as_bytes(), &[2, 2, b'a', b'b']].concat();
    assert_eq!((chunk, last), (golden, id(1)));
    assert!(ledger.capture().chunk(Some(last)).unwrap().is_none());
}
