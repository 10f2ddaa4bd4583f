//! Whatever is changed, removed, doubled, moved or cut in a trail is found.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed expectation is a failed test")]

mod fixture;

use fixture::{AllKeys, FIRST, lines, report, report_with, small_trail};
use keyclave_audit::files::{SegmentNumber, TrailFiles};
use keyclave_audit::finding::{Finding, FindingKind, Note};
use keyclave_audit::memory::MemoryFiles;
use keyclave_audit::segment_key::NoKeys;
use keyclave_audit::verify::{Expectation, VerifyError, verify};
use keyclave_crypto::hash::sha256;

/// The trail's only segment that holds records: a key given at the start makes a second one.
fn full_segment(sealed: bool) -> SegmentNumber {
    if sealed { SegmentNumber(2) } else { FIRST }
}

fn found(segment: SegmentNumber, sequence: u64, kind: FindingKind) -> Finding {
    Finding { segment, sequence, kind }
}

#[tokio::test]
async fn an_untouched_trail_has_no_finding() {
    for sealed in [false, true] {
        let (files, heads) = small_trail(5, sealed).await;
        let report = report_with(&files, &AllKeys, &heads);
        assert!(report.is_untouched(), "{:?}", report.findings);
        assert_eq!((report.records, report.notes.len()), (5, 0));
        assert_eq!(report.bodies_opened, if sealed { 5 } else { 0 });
        assert_eq!(Some(&report.head), heads.last());
    }
}

#[tokio::test]
async fn every_flipped_bit_is_found() {
    for sealed in [false, true] {
        let (files, _) = small_trail(3, sealed).await;
        let segment = full_segment(sealed);
        let whole = files.contents(segment);
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                files.replace(segment, changed);
                let report = report(&files);
                // Without its last newline the last record cannot be told from a torn write; resuming cuts it, and
                // an anchor finds that.
                let torn = report.notes.iter().any(|note| matches!(note, Note::TornTail { .. }));
                let last = at + 1 == whole.len();
                assert!(!report.is_untouched() || (last && torn), "byte {at}, bit {bit}: {report:?}");
            }
        }
    }
}

#[tokio::test]
async fn every_removed_record_is_found() {
    let (files, heads) = small_trail(6, false).await;
    let whole = lines(&files, FIRST);
    for gone in 1..whole.len() {
        let mut left = whole.clone();
        left.remove(gone);
        files.replace(FIRST, left.concat());
        let report = report_with(&files, &NoKeys, &heads);
        assert!(!report.is_untouched(), "record {gone}");
        let first = &report.findings[0];
        assert_eq!(first.sequence, gone as u64);
        if gone < whole.len() - 1 {
            assert_eq!(first.kind, FindingKind::OutOfOrder { found: gone as u64 + 1 });
        } else {
            assert_eq!(first.kind, FindingKind::CutBelowAnchor);
        }
    }
}

#[tokio::test]
async fn every_swap_and_every_duplicate_is_found() {
    let (files, _) = small_trail(5, false).await;
    let whole = lines(&files, FIRST);
    for one in 1..whole.len() {
        for other in one + 1..whole.len() {
            let mut swapped = whole.clone();
            swapped.swap(one, other);
            files.replace(FIRST, swapped.concat());
            assert!(!report(&files).is_untouched(), "records {one} and {other} swapped");
        }
        for place in 1..=whole.len() {
            let mut doubled = whole.clone();
            doubled.insert(place, whole[one].clone());
            files.replace(FIRST, doubled.concat());
            assert!(!report(&files).is_untouched(), "record {one} doubled before line {place}");
        }
    }
}

#[tokio::test]
async fn a_cut_anywhere_below_an_anchor_is_found() {
    let (files, heads) = small_trail(4, false).await;
    let whole = files.contents(FIRST);
    let header = lines(&files, FIRST)[0].len();
    for length in 0..whole.len() {
        files.replace(FIRST, whole[..length].to_vec());
        let report = report_with(&files, &NoKeys, &heads);
        assert!(
            report.findings.iter().any(|finding| finding.kind == FindingKind::CutBelowAnchor),
            "{length}"
        );
        if length >= header {
            let between = whole[..length].ends_with(b"\n");
            assert_eq!(report.notes.is_empty(), between, "cut to {length}");
        }
    }
}

#[tokio::test]
async fn one_changed_record_is_one_finding() {
    let (files, _) = small_trail(6, false).await;
    let text = String::from_utf8(files.contents(FIRST)).unwrap();
    files.replace(FIRST, text.replacen("\"bytes_in\":3", "\"bytes_in\":4", 1).into_bytes());
    let report = report(&files);
    assert_eq!(report.findings, [found(FIRST, 3, FindingKind::Changed)]);
    assert_eq!(
        report.findings[0].to_string(),
        "segment 1, record 3: it, or what stood before it, was changed"
    );
    assert_eq!(report.records, 5);
}

/// Changes one record and makes the whole chain after it fit, as anyone with the disk can.
fn rewrite(files: &MemoryFiles, segment: SegmentNumber, from: &str, to: &str) {
    let mut rewritten = Vec::new();
    let mut previous = [0; 32];
    for (at, line) in lines(files, segment).into_iter().enumerate() {
        let line = String::from_utf8(line).unwrap().replacen(from, to, 1);
        let (hashed, stated) = line.split_once(",\"hash\":\"").unwrap();
        previous = match at {
            0 => data_encoding::HEXLOWER.decode(&stated.as_bytes()[..64]).unwrap().try_into().unwrap(),
            _ => sha256(&[&[2], &previous, hashed.as_bytes()]),
        };
        let hash = data_encoding::HEXLOWER.encode(&previous);
        rewritten.extend_from_slice(format!("{hashed},\"hash\":\"{hash}\"}}\n").as_bytes());
    }
    files.replace(segment, rewritten);
}

#[tokio::test]
async fn a_rewritten_chain_is_found_by_an_anchor() {
    let (files, heads) = small_trail(5, false).await;
    rewrite(&files, FIRST, "\"bytes_in\":3", "\"bytes_in\":4");
    assert!(report(&files).is_untouched(), "the rewriting must fit, or this shows nothing");
    let report = report_with(&files, &NoKeys, &heads[4..]);
    assert_eq!(report.findings, [found(FIRST, 5, FindingKind::AnchorDiffers { expected: heads[4].hash })]);
}

#[tokio::test]
async fn a_rewritten_chain_is_found_by_whoever_has_the_segment_key() {
    let (files, _) = small_trail(4, true).await;
    let segment = SegmentNumber(2);
    rewrite(
        &files,
        segment,
        "\"sequence\":2,\"time\":1795516756009",
        "\"sequence\":2,\"time\":1795516756010",
    );
    assert!(report(&files).is_untouched(), "the rewriting must fit, or this shows nothing");
    let findings = report_with(&files, &AllKeys, &[]).findings;
    let foreign = |sequence| found(segment, sequence, FindingKind::BodyForeign);
    assert_eq!(findings, [foreign(2), foreign(3), foreign(4)]);
}

#[tokio::test]
async fn a_missing_or_foreign_segment_is_found() {
    let (files, _) = small_trail(3, true).await;
    let second = files.contents(SegmentNumber(2));
    files.replace(SegmentNumber(3), second.clone());
    let kinds: Vec<_> = report(&files).findings.into_iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::HeaderForeign, FindingKind::HeaderUnlinked]);

    files.remove(SegmentNumber(2)).unwrap();
    let kinds: Vec<_> = report(&files).findings.into_iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::SegmentMissing, FindingKind::HeaderForeign]);

    let files = MemoryFiles::default();
    assert!(matches!(verify(&files, &NoKeys, &Expectation::default()), Err(VerifyError::Empty)));
    files.replace(SegmentNumber(2), second);
    let beginning = FindingKind::Beginning { expected: FIRST };
    assert_eq!(report(&files).findings, [found(SegmentNumber(2), 0, beginning)]);
    let later = Expectation { begins: SegmentNumber(2), ..Expectation::default() };
    assert!(verify(&files, &NoKeys, &later).unwrap().is_untouched());
}

#[tokio::test]
async fn a_trail_of_another_node_or_cluster_is_found() {
    let (files, _) = small_trail(2, false).await;
    let other = keyclave_types::ids::ClusterId::from_bytes([1; 16]);
    for expectation in [
        Expectation { cluster: Some(other), ..Expectation::default() },
        Expectation { node: keyclave_types::ids::NodeId::new(3), ..Expectation::default() },
    ] {
        let report = verify(&files, &NoKeys, &expectation).unwrap();
        assert_eq!(report.findings, [found(FIRST, 0, FindingKind::HeaderForeign)]);
    }
}

#[tokio::test]
async fn bodies_without_a_known_key_stay_closed_and_are_a_note() {
    let (files, _) = small_trail(3, true).await;
    let report = report(&files);
    assert!(report.is_untouched());
    let key = fixture::segment_key(9).id;
    assert_eq!(report.notes, [Note::KeyUnknown { segment: SegmentNumber(2), key, bodies: 3 }]);
}

#[tokio::test]
async fn zeros_are_room_at_the_end_and_damage_anywhere_else() {
    let (files, _) = small_trail(3, false).await;
    let whole = files.contents(FIRST);
    files.replace(FIRST, [whole.clone(), vec![0; 200_000]].concat());
    assert!(report(&files).is_untouched());
    assert_eq!(report(&files).notes, []);
    let end = whole.len() - lines(&files, FIRST)[3].len();
    files.replace(FIRST, [&whole[..end], &[0; 3], &whole[end..]].concat());
    assert_eq!(report(&files).findings[0].kind, FindingKind::Unreadable);
}

#[tokio::test]
async fn damage_that_no_crash_leaves_is_not_taken_for_a_torn_write() {
    let (files, _) = small_trail(5000, false).await;
    let whole = lines(&files, FIRST);
    // A whole unwritten sector, but further from the end than a group reaches.
    let mut early = whole.concat();
    early[1024..1536].fill(0);
    files.replace(FIRST, early);
    assert!(!report(&files).is_untouched());
    // A record without its end, and a good one after it.
    let mut halved = whole.clone();
    halved[4990].truncate(60);
    files.replace(FIRST, halved.concat());
    assert!(!report(&files).is_untouched());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes: Vec<u8>, keep in 0_usize..700, lines in proptest::collection::vec("[ -~]{0,80}", 0..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (files, _) = runtime.block_on(small_trail(2, false));
        let whole = files.contents(FIRST);
        let head = &whole[..keep.min(whole.len())];
        for tail in [bytes, lines.join("\n").into_bytes()] {
            files.replace(FIRST, [head, &tail].concat());
            let report = report_with(&files, &AllKeys, &[]);
            proptest::prop_assert!(report.records <= 2);
        }
    }
}
