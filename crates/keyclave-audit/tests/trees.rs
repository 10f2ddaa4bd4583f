//! The tree over a trail's records: the same whoever computes it, over restarts, segments and what was removed.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod fixture;

use std::sync::Arc;

use fixture::{CLUSTER, FIRST, START, lines, node, open, report, report_on, segment_key, try_open};
use keyclave_audit::checkpoint::Checkpoint;
use keyclave_audit::files::{SegmentNumber, TrailFiles};
use keyclave_audit::finding::{FindingKind, Note};
use keyclave_audit::memory::{Fault, MemoryFiles};
use keyclave_audit::note::{self, NoteError, NoteKey};
use keyclave_audit::open::Tampering;
use keyclave_audit::proof::{Claim, Proof, ProofError};
use keyclave_audit::record::Head;
use keyclave_audit::segment_key::NoKeys;
use keyclave_audit::tree::{Tree, TreeHead, leaf};
use keyclave_audit::verify::{Expectation, verify};
use keyclave_crypto::secret::Secret;
use keyclave_crypto::sign::SigningKey;
use keyclave_types::threads::Inline;

/// Three segments with two records each, and how the trail stood after each record.
async fn three_segments() -> (MemoryFiles, Vec<(Head, TreeHead)>) {
    let (files, mut stood) = (MemoryFiles::default(), Vec::new());
    let mut running = open(&files);
    for segment in 1..=3_u64 {
        for record in 1..=2 {
            running.record([segment * 10 + record]).await;
            let status = running.trail.status();
            stood.push((status.head, status.tree.unwrap()));
        }
        // A fresh process each time; a key begins a segment where the open one has none at hand.
        running.end().await;
        running = open(&files);
        if segment < 3 {
            running.trail.give_key(segment_key(segment as u8)).await.unwrap();
        }
    }
    running.end().await;
    (files, stood)
}

/// The tree over the lines as they stand in the files.
fn computed(files: &MemoryFiles, segments: &[u64]) -> Tree {
    let mut tree = Tree::default();
    for segment in segments {
        for line in lines(files, SegmentNumber(*segment)).iter().skip(1) {
            tree.push(leaf(line.strip_suffix(b"\n").unwrap()));
        }
    }
    tree
}

#[tokio::test]
async fn one_tree_goes_over_restarts_and_segments_and_is_over_the_lines() {
    let (files, stood) = three_segments().await;
    for (number, (head, tree)) in (1..).zip(&stood) {
        assert_eq!((head.sequence, tree.begins, tree.leaves), (number, FIRST, number));
    }
    assert_eq!(stood[5].1.root, computed(&files, &[1, 2, 3]).root());
    let (heads, trees): (Vec<_>, Vec<_>) = stood.into_iter().unzip();
    let report = report_on(&files, &heads, &trees);
    assert!(report.is_untouched() && report.segments == 3, "{report:?}");
}

#[tokio::test]
async fn a_root_that_the_trail_never_had_or_does_not_have_any_more_is_found() {
    let (files, stood) = three_segments().await;
    let foreign = TreeHead { root: [7; 32], ..stood[2].1 };
    let findings = report_on(&files, &[], &[foreign]).findings;
    assert_eq!((findings.len(), findings[0].sequence), (1, 3));
    assert_eq!(findings[0].kind, FindingKind::RootDiffers { expected: [7; 32] });
    files.remove(SegmentNumber(3)).unwrap();
    let findings = report_on(&files, &[], &[stood[5].1, stood[3].1]).findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!((findings[0].segment, &findings[0].kind), (FIRST, &FindingKind::TreeCut { leaves: 6 }));
}

#[tokio::test]
async fn a_header_with_another_tree_is_found() {
    let (files, _) = three_segments().await;
    let text = String::from_utf8(files.contents(SegmentNumber(3))).unwrap();
    let (before, after) = text.split_once("\"subtrees\":\"").unwrap();
    let changed =
        format!("{before}\"subtrees\":\"{}{}", if after.starts_with('0') { '1' } else { '0' }, &after[1..]);
    files.replace(SegmentNumber(3), changed.into_bytes());
    let kinds: Vec<_> = report(&files).findings.into_iter().map(|finding| finding.kind).collect();
    assert!(
        kinds.contains(&FindingKind::HeaderChanged) && kinds.contains(&FindingKind::TreeUnlinked),
        "{kinds:?}"
    );
}

#[tokio::test]
async fn what_is_left_after_old_segments_are_gone_still_has_the_roots() {
    let (files, stood) = three_segments().await;
    files.remove(FIRST).unwrap();
    files.remove(SegmentNumber(2)).unwrap();
    let (heads, trees): (Vec<_>, Vec<_>) = stood.into_iter().unzip();
    let expectation = |continues| Expectation {
        begins: SegmentNumber(3),
        continues,
        anchors: heads.clone(),
        tree_heads: trees.clone(),
        ..Expectation::default()
    };
    let report = verify(&files, &NoKeys, &expectation(Some(heads[3]))).unwrap();
    assert!(report.is_untouched(), "{:?}", report.findings);
    // Four heads and three trees are of what is gone; the fourth tree is what the header says.
    assert_eq!(report.notes[0], Note::AnchorsBefore { segment: SegmentNumber(3), anchors: 7 });
    let report = verify(&files, &NoKeys, &expectation(Some(heads[2]))).unwrap();
    assert_eq!(report.findings[0].kind, FindingKind::HeaderUnlinked);
    let mut wrong = expectation(None);
    wrong.tree_heads[3].root = [9; 32];
    let report = verify(&files, &NoKeys, &wrong).unwrap();
    assert_eq!(report.findings[0].kind, FindingKind::RootDiffers { expected: [9; 32] });
}

#[tokio::test]
async fn a_torn_group_leaves_no_trace_in_the_tree() {
    let files = MemoryFiles::default();
    let running = open(&files);
    running.record(1..=3).await;
    files.set_fault(Some(Fault::Sync));
    assert!(running.trail.record(fixture::draft(4)).await.is_err());
    files.set_fault(None);
    files.cut_power_keeping(|_, sector| sector % 1024 == 0);
    let running = open(&files);
    running.record([5]).await;
    let status = running.trail.status();
    running.end().await;
    assert_eq!(status.tree.unwrap().root, computed(&files, &[1]).root());
    assert!(report_on(&files, &[status.head], &[status.tree.unwrap()]).is_untouched());
}

#[tokio::test]
async fn after_acknowledged_tampering_another_tree_begins() {
    let (files, stood) = three_segments().await;
    let text = String::from_utf8(files.contents(SegmentNumber(3))).unwrap();
    files
        .replace(SegmentNumber(3), text.replacen("\"outcome\":\"OK\"", "\"outcome\":\"KO\"", 1).into_bytes());
    let running = try_open(&files, Arc::new(Inline), Tampering::Alarm).unwrap();
    let status = running.trail.status();
    running.end().await;
    let tree = status.tree.unwrap();
    assert_eq!((tree.begins, tree.leaves), (SegmentNumber(4), 1));
    let trees = [stood[3].1, tree];
    let findings = report_on(&files, &[], &trees).findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
}

fn signing() -> (SigningKey, NoteKey) {
    let private = SigningKey::from_seed(Secret::from_fn("seed", |bytes| bytes.fill(7)));
    let key = NoteKey::of_cluster(CLUSTER, private.public());
    (private, key)
}

fn signed((head, tree): (Head, TreeHead)) -> String {
    let (private, key) = signing();
    let checkpoint = Checkpoint { cluster: CLUSTER, node: node(), tree, head, begins: None, at: START };
    note::sign(&checkpoint.to_string(), &key, &private)
}

/// All records' lines without their newlines.
fn records(files: &MemoryFiles) -> Vec<Vec<u8>> {
    let lines = (1..=3).flat_map(|segment| lines(files, SegmentNumber(segment)).into_iter().skip(1));
    lines.map(|line| line.strip_suffix(b"\n").unwrap().to_vec()).collect()
}

#[tokio::test]
async fn every_record_is_proven_to_be_in_every_tree_that_has_it_and_no_other_line_is() {
    let (files, stood) = three_segments().await;
    let (key, records) = (signing().1, records(&files));
    for (size, stood) in (1..).zip(stood) {
        for index in 0..size {
            let proof = Proof::make(&files, Claim::Leaf(index), &signed(stood), &key).unwrap();
            let proof = Proof::parse(&proof.to_string()).unwrap();
            for (number, line) in (0..).zip(&records) {
                match proof.includes(line, &key) {
                    Ok(checkpoint) => assert_eq!((number, checkpoint.head), (index, stood.0)),
                    Err(error) => assert!(number != index && matches!(error, ProofError::Wrong), "{error}"),
                }
            }
        }
        let beyond = Proof::make(&files, Claim::Leaf(size), &signed(stood), &key);
        assert!(matches!(beyond, Err(ProofError::Missing)));
    }
}

#[tokio::test]
async fn every_tree_is_proven_to_continue_those_before_it_and_no_other() {
    let (files, stood) = three_segments().await;
    let key = signing().1;
    for (new, (_, tree)) in stood.iter().enumerate() {
        for old in 0..=new {
            let claim = Claim::Continues(stood[old].1.leaves);
            let proof = Proof::make(&files, claim, &signed(stood[new]), &key).unwrap();
            let proof = Proof::parse(&proof.to_string()).unwrap();
            assert_eq!(proof.continues(&signed(stood[old]), &key).unwrap().tree, *tree);
            let other = (stood[old].0, TreeHead { root: [1; 32], ..stood[old].1 });
            assert!(matches!(proof.continues(&signed(other), &key), Err(ProofError::Wrong)));
        }
    }
}

#[tokio::test]
async fn nothing_is_proven_of_changed_records_or_by_another_key() {
    let (files, stood) = three_segments().await;
    let key = signing().1;
    let proof = Proof::make(&files, Claim::Leaf(0), &signed(stood[5]), &key).unwrap();
    let other = NoteKey::of_cluster(CLUSTER, SigningKey::from_seed(Secret::from_fn("seed", |_| {})).public());
    let refused = proof.includes(&records(&files)[0], &other);
    assert!(matches!(refused, Err(ProofError::Note(NoteError::Unsigned))));
    let foreign = signed((stood[5].0, TreeHead { root: [1; 32], ..stood[5].1 }));
    assert!(matches!(Proof::make(&files, Claim::Leaf(0), &foreign, &key), Err(ProofError::Differs)));
    files.remove(SegmentNumber(1)).unwrap();
    // The header of the second segment holds what it takes for its own records, and nothing about those before it.
    assert!(Proof::make(&files, Claim::Leaf(2), &signed(stood[5]), &key).is_ok());
    assert!(matches!(Proof::make(&files, Claim::Leaf(1), &signed(stood[5]), &key), Err(ProofError::Missing)));
}

/// What is printed here was computed anew by another program, which knows RFC 6962 and not this one.
#[tokio::test]
async fn golden_proofs_stay() {
    let files = MemoryFiles::default();
    files.replace(FIRST, include_bytes!("../testdata/plain.jsonl").to_vec());
    let (key, mut tree) = (signing().1, computed(&files, &[]));
    let lines = lines(&files, FIRST);
    let stood: Vec<_> = (1..)
        .zip(&lines[1..])
        .map(|(number, line)| {
            let line = line.strip_suffix(b"\n").unwrap();
            tree.push(leaf(line));
            let head = Head { sequence: number, hash: [0xbb; 32] };
            (head, TreeHead { begins: FIRST, leaves: number, root: tree.root() })
        })
        .collect();
    let included = Proof::make(&files, Claim::Leaf(1), &signed(stood[1]), &key).unwrap();
    assert_eq!(included.to_string(), include_str!("../testdata/inclusion.tlog-proof"));
    let continued = Proof::make(&files, Claim::Continues(1), &signed(stood[1]), &key).unwrap();
    assert_eq!(continued.to_string(), include_str!("../testdata/consistency.txt"));
}
