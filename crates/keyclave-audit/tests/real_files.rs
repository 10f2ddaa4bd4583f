//! The same trail on a real directory: it is continued, copied, verified, and its loss is noticed.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod fixture;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fixture::{AllKeys, CLUSTER, Running, START, draft, heads, node, segment_key};
use keyclave_audit::directory::Directory;
use keyclave_audit::finding::{FindingKind, Note};
use keyclave_audit::open::{OpenTrail, Tampering};
use keyclave_audit::record::Head;
use keyclave_audit::segment_key::SegmentKeys;
use keyclave_audit::trail::{StopCause, TrailError};
use keyclave_audit::verify::{Expectation, verify};
use keyclave_crypto::entropy::Entropy;
use keyclave_types::threads::Inline;
use tokio::time::timeout;

fn open(path: &Path, seed: u8) -> Running {
    let open = OpenTrail {
        files: Directory::make(path).unwrap(),
        threads: Arc::new(Inline),
        entropy: Entropy::from_seed([seed; 32]),
        cluster: CLUSTER,
        node: node(),
        now: START,
        tampering: Tampering::Alarm,
    };
    let (trail, task, opened) = open.open().unwrap();
    Running { trail, task: tokio::spawn(task.run()), opened }
}

fn report(path: &Path, keys: &dyn SegmentKeys, anchors: &[Head]) -> keyclave_audit::finding::Report {
    let expectation = Expectation { anchors: anchors.to_vec(), ..Expectation::default() };
    verify(&Directory::at(path), keys, &expectation).unwrap()
}

#[tokio::test]
async fn a_real_trail_outlives_kills_and_verifies_as_a_copy() {
    let place = tempfile::tempdir().unwrap();
    let (path, copy) = (place.path().join("audit"), place.path().join("copy"));
    let mut receipts = Vec::new();
    for start in 0..3 {
        let running = open(&path, start);
        assert_eq!(running.opened.torn_bytes, 0);
        running.trail.give_key(segment_key(9)).await.unwrap();
        receipts.extend(running.record_together(1..=40).await);
        running.kill().await;
    }
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let report = report(&copy, &AllKeys, &heads(&receipts));
    assert!(report.is_untouched(), "{:?}", report.findings);
    assert_eq!((report.records, report.bodies_opened, report.notes), (120, 120, Vec::<Note>::new()));
}

#[tokio::test]
async fn a_real_file_that_goes_away_stops_the_trail() {
    let place = tempfile::tempdir().unwrap();
    let running = open(place.path(), 1);
    running.record([1]).await;
    fs::remove_file(place.path().join("trail-0000000001.jsonl")).unwrap();
    let mut status = running.trail.watch();
    let noticed = status.wait_for(|status| status.stopped == Some(StopCause::Replaced));
    timeout(Duration::from_secs(5), noticed).await.expect("noticed").unwrap();
    assert_eq!(running.trail.record(draft(2)).await, Err(TrailError::Stop(StopCause::Replaced)));
}

#[tokio::test]
async fn a_real_file_that_is_edited_is_named() {
    let place = tempfile::tempdir().unwrap();
    let running = open(place.path(), 1);
    running.record(1..=3).await;
    running.end().await;
    let file = place.path().join("trail-0000000001.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"bytes_in\":2", "\"bytes_in\":9")).unwrap();
    let findings = report(place.path(), &AllKeys, &[]).findings;
    assert_eq!(findings.iter().map(|found| found.sequence).collect::<Vec<_>>(), [2]);
    assert_eq!(findings[0].kind, FindingKind::Changed);
}
