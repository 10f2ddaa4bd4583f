//! Snapshots on their way in: what is refused, what a crash leaves, and two at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::*;
use crate::memory_disk::MemoryDisk;
use crate::testing::{apply_one, chunks, contents, install, open, with_records};

#[test]
fn a_damaged_snapshot_changes_nothing() {
    let source = with_records(250);
    let capture = source.capture();
    let (whole, at) = (chunks(&capture), capture.at().clone());
    assert!(whole.len() > 2);
    let target = with_records(5);
    let (applied, records) = (target.applied(), contents(&target));
    let mut swapped = whole.clone();
    swapped.swap(0, 1);
    let twice = [&whole[..1], &whole[..]].concat();
    let cut = |chunk: &Vec<u8>| chunk[..chunk.len() - 1].to_vec();
    let torn: Vec<_> = whole.iter().map(cut).collect();
    for (what, damaged) in [
        ("nothing", vec![]),
        ("first missing", whole[1..].to_vec()),
        ("middle missing", [&whole[..1], &whole[2..]].concat()),
        ("last missing", whole[..whole.len() - 1].to_vec()),
        ("swapped", swapped),
        ("twice", twice),
        ("torn", torn),
    ] {
        let refused = install(&target, &damaged, &at);
        assert!(refused.is_err(), "{what}");
        assert_eq!((target.applied(), contents(&target)), (applied.clone(), records.clone()), "{what}");
    }
    assert_eq!(install(&target, &whole, &at).unwrap().index, 250);
    assert_eq!(contents(&target), contents(&source));
}

#[test]
fn every_flipped_bit_is_refused() {
    let ledger = open(&Arc::default());
    apply_one(&ledger, 1, &[(1, Some(b"one".to_vec())), (2, Some(b"two".to_vec()))]);
    let capture = ledger.capture();
    let target = with_records(1);
    let (applied, records) = (target.applied(), contents(&target));
    let whole = chunks(&capture);
    for bit in 0..whole[0].len() * 8 {
        let mut flipped = whole.clone();
        flipped[0][bit / 8] ^= 1 << (bit % 8);
        assert!(install(&target, &flipped, capture.at()).is_err(), "bit {bit}");
        assert_eq!((target.applied(), contents(&target)), (applied.clone(), records.clone()), "bit {bit}");
    }
}

#[test]
fn a_chunk_of_another_format_is_named() {
    let ledger = with_records(1);
    let mut chunk = chunks(&with_records(2).capture()).remove(0);
    chunk[0] = 2;
    let refused = ledger.begin_install().unwrap().add(&chunk);
    let format = EnvelopeError::Format { expected: 1, found: 2 };
    assert!(matches!(refused, Err(InstallError::Chunk(found)) if found.to_string() == format.to_string()));
}

#[test]
fn a_snapshot_older_than_what_is_applied_is_refused() {
    let capture = with_records(3).capture();
    let target = with_records(5);
    let before = contents(&target);
    let refused = install(&target, &chunks(&capture), capture.at());
    assert!(matches!(refused, Err(InstallError::Older { applied: 5, found: 3 })));
    assert_eq!(contents(&target), before);
}

#[test]
fn entries_applied_while_a_snapshot_comes_in_are_not_lost_to_an_older_one() {
    let capture = with_records(4).capture();
    let target = with_records(3);
    let mut installing = target.begin_install().unwrap();
    for chunk in chunks(&capture) {
        installing.add(&chunk).unwrap();
    }
    apply_one(&target, 4, &[(40, Some(vec![4]))]);
    apply_one(&target, 5, &[(50, Some(vec![5]))]);
    let before = contents(&target);
    let refused = installing.finish(4, vec![], capture.at().digest);
    assert!(matches!(refused, Err(InstallError::Older { applied: 5, found: 4 })));
    assert_eq!(contents(&target), before);
}

#[test]
fn of_two_snapshots_at_a_time_only_the_later_one_counts() {
    let (small, large) = (with_records(100).capture(), with_records(200).capture());
    let target = with_records(5);
    let mut first = target.begin_install().unwrap();
    first.add(&chunks(&small)[0]).unwrap();
    let mut second = target.begin_install().unwrap();
    for chunk in chunks(&large) {
        second.add(&chunk).unwrap();
    }
    for chunk in &chunks(&small)[1..] {
        first.add(chunk).unwrap();
    }
    let before = contents(&target);
    assert!(first.finish(100, vec![], small.at().digest).is_err());
    assert_eq!(contents(&target), before);
    second.finish(200, vec![], large.at().digest).unwrap();
    assert_eq!(target.applied().digest, large.at().digest);
    let again = open(&target.shared().disk);
    assert_eq!(contents(&again), contents(&target));
}

/// What stands there would pass for the first one's, but the second one may still be writing it.
#[test]
fn of_one_snapshot_that_comes_twice_at_a_time_only_the_later_one_counts() {
    let capture = with_records(200).capture();
    let target = with_records(5);
    let begin = || {
        let mut installing = target.begin_install().unwrap();
        chunks(&capture).iter().for_each(|chunk| installing.add(chunk).unwrap());
        installing
    };
    let (first, second) = (begin(), begin());
    let before = contents(&target);
    assert!(matches!(first.finish(200, vec![], capture.at().digest), Err(InstallError::Digest { .. })));
    assert_eq!(contents(&target), before);
    second.finish(200, vec![], capture.at().digest).unwrap();
    assert_eq!(target.applied().digest, capture.at().digest);
}

/// The side that the first one was to fill has become current meanwhile.
#[test]
fn a_snapshot_that_another_one_overtook_cannot_touch_the_records() {
    let capture = with_records(200).capture();
    let target = with_records(5);
    let mut late = target.begin_install().unwrap();
    install(&target, &chunks(&capture), capture.at()).unwrap();
    let records = contents(&target);
    let other = with_records(250).capture();
    for chunk in chunks(&other) {
        late.add(&chunk).unwrap();
    }
    assert!(late.finish(250, vec![], other.at().digest).is_err());
    assert_eq!(contents(&target), records);
    open(&target.shared().disk);
}

#[test]
fn the_ledger_goes_on_from_the_snapshot() {
    let capture = with_records(200).capture();
    let disk = Arc::new(MemoryDisk::default());
    let target = open(&disk);
    install(&target, &chunks(&capture), capture.at()).unwrap();
    assert!(matches!(target.changes_since(3).unwrap(), crate::changes::Changes::Gap));
    apply_one(&target, 201, &[(1, None), (300, Some(vec![3]))]);
    let again = open(&disk);
    assert_eq!(again.applied(), target.applied());
    assert_eq!(contents(&again), contents(&target));
    assert_eq!(again.applied().index, 201);
}

/// The disk fails at each of its steps in turn, then the power goes or only the process does.
#[test]
fn a_crash_at_any_step_leaves_the_old_records_or_the_new_ones() {
    let capture = with_records(200).capture();
    let whole = chunks(&capture);
    let (mut old, mut new) = (0, 0);
    for step in 0.. {
        let disk = Arc::new(MemoryDisk::default());
        let target = open(&disk);
        apply_one(&target, 1, &[(1, Some(vec![1]))]);
        target.sync().unwrap();
        let before = target.applied();
        disk.steps_left.store(step, Ordering::SeqCst);
        let installed = install(&target, &whole, capture.at());
        if step % 2 == 0 {
            disk.cut_power()
        } else {
            disk.heal()
        }
        let again = open(&disk);
        if again.applied() == before {
            assert!(installed.is_err(), "what was installed stays, step {step}");
            old += 1;
        } else {
            assert_eq!(&again.applied(), capture.at());
            new += 1;
        }
        assert!(disk.range(side(!again.shared().read().odd()), &[], 1).unwrap().is_empty());
        if installed.is_ok() {
            break;
        }
    }
    assert!(old > 3 && new > 1, "{old} {new}");
}
