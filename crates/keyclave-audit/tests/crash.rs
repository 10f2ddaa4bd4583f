//! A crash at any moment loses nothing that was acknowledged, and never looks like tampering.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod fixture;

use std::sync::Arc;

use fixture::{
    AllKeys, FIRST, draft, heads, lines, open, report, report_with, segment_key, small_trail, try_open,
};
use keyclave_audit::files::{SegmentNumber, TrailFiles};
use keyclave_audit::finding::{FindingKind, Note};
use keyclave_audit::memory::{Fault, MemoryFiles};
use keyclave_audit::open::{OpenIntent, OpenTrailError, Opened, Tampering};
use keyclave_audit::record::{Class, Phase, RecordDraft};
use keyclave_audit::search::{Filter, search};
use keyclave_audit::segment_key::NoKeys;
use keyclave_types::threads::Inline;

#[tokio::test]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let files = MemoryFiles::default();
    let running = open(&files);
    let receipts = running.record_together(1..=500).await;
    running.kill().await;
    files.cut_power();
    let report = report_with(&files, &NoKeys, &heads(&receipts));
    assert!(report.is_untouched());
    assert_eq!(report.records, 500);
}

#[tokio::test]
async fn a_group_cut_short_anywhere_is_a_torn_tail_that_is_kept_cut_and_recorded() {
    let (files, heads) = small_trail(4, false).await;
    let whole = files.contents(FIRST);
    let acknowledged = lines(&files, FIRST)[..3].concat().len();
    for length in acknowledged..whole.len() {
        let files = MemoryFiles::default();
        files.replace(FIRST, whole[..length].to_vec());
        let running = open(&files);
        let complete = whole[..length].iter().filter(|byte| **byte == b'\n').count() as u64 - 1;
        let torn = length - whole[..length].iter().rposition(|byte| *byte == b'\n').unwrap() - 1;
        let opened = Opened { torn_bytes: torn as u64, ..Opened::default() };
        assert_eq!(running.opened, opened, "cut to {length}");
        assert_eq!(files.torn().iter().map(|torn| torn.bytes.len()).sum::<usize>(), torn);
        running.record([9]).await;
        running.end().await;
        let report = report_with(&files, &NoKeys, &heads[..2]);
        assert!(report.is_untouched(), "cut to {length}: {:?}", report.findings);
        let noted = u64::from(torn > 0);
        assert_eq!((report.notes.len(), report.records), (0, complete + noted + 1), "cut to {length}");
        let page = search(&files, &NoKeys, &Filter { after: complete, ..Filter::default() }, 1).unwrap();
        let body = page.records[0].body_json.clone().unwrap();
        assert_eq!(body.contains("\"operation\":\"TrailTornTail\""), torn > 0, "cut to {length}");
        assert_eq!(body.contains(&format!("\"bytes_in\":{torn},")), torn > 0, "cut to {length}");
    }
}

/// The unsynced sectors of a group reach the disk in any combination.
#[tokio::test]
async fn sectors_that_reach_the_disk_in_any_order_never_look_like_tampering() {
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut torn_seen = 0;
    for round in 0_u64..100 {
        let files = MemoryFiles::default();
        let running = open(&files);
        if u64::is_multiple_of(round, 2) {
            running.trail.give_key(segment_key(9)).await.unwrap();
        }
        let receipts = running.record(1..=3).await;
        files.set_fault(Some(Fault::Sync));
        let calls: Vec<_> = (4..24)
            .map(|number| {
                let trail = running.trail.clone();
                tokio::spawn(async move { trail.record(draft(number)).await })
            })
            .collect();
        for call in calls {
            assert!(call.await.unwrap().is_err());
        }
        files.set_fault(None);
        files.cut_power_keeping(|_, _| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            !dice.is_multiple_of(4)
        });
        let report = report_with(&files, &AllKeys, &heads(&receipts));
        assert!(report.is_untouched(), "round {round}: {:?}", report.findings);
        torn_seen += report.notes.len();
        let running = open(&files);
        running.record([30]).await;
        running.end().await;
        let report = report_with(&files, &AllKeys, &heads(&receipts));
        assert!(report.is_untouched() && report.notes.is_empty(), "round {round}: {report:?}");
    }
    assert!(torn_seen > 75, "{torn_seen} torn writes in 100 rounds");
}

#[tokio::test]
async fn sequence_and_chain_go_on_over_restarts_and_empty_segments() {
    let files = MemoryFiles::default();
    let mut all = Vec::new();
    for start in 0..4 {
        let running = open(&files);
        assert_eq!(running.opened, Opened::default());
        assert_eq!(running.trail.status().head.sequence, start * 3);
        all.extend(running.record(start * 3 + 1..start * 3 + 4).await);
        assert_eq!(Some(running.trail.status().head), heads(&all).last().copied());
        running.end().await;
    }
    assert_eq!(files.segments_now(), [FIRST]);
    assert!(all.iter().map(|receipt| receipt.sequence).eq(1..=12));
    assert!(report_with(&files, &NoKeys, &heads(&all)).is_untouched());
}

trait SegmentsNow {
    fn segments_now(&self) -> Vec<SegmentNumber>;
}

impl SegmentsNow for MemoryFiles {
    fn segments_now(&self) -> Vec<SegmentNumber> {
        TrailFiles::segments(self).unwrap()
    }
}

#[tokio::test]
async fn tampering_raises_an_alarm_that_stays_until_it_is_acknowledged_and_is_never_forgotten() {
    let (files, _) = small_trail(5, false).await;
    let text = String::from_utf8(files.contents(FIRST)).unwrap();
    files.replace(FIRST, text.replacen("\"bytes_in\":2", "\"bytes_in\":7", 1).into_bytes());
    let running = open(&files);
    assert_eq!(running.opened.places, 1);
    assert!(running.trail.status().alarm);
    assert_eq!(running.record([8]).await[0].sequence, 7);
    running.kill().await;
    let page = search(&files, &NoKeys, &Filter { after: 5, ..Filter::default() }, 10).unwrap();
    assert!(page.records[0].body_json.as_ref().unwrap().contains("\"operation\":\"TrailTampered\""));
    // The next process finds a clean segment, and the alarm.
    let running = open(&files);
    assert_eq!(running.opened, Opened::default());
    assert!(running.trail.status().alarm);
    running.trail.acknowledge().await.unwrap();
    assert!(!running.trail.status().alarm);
    running.end().await;
    // What follows needs no second word, and verify goes on saying it.
    let running = open(&files);
    assert!(!running.trail.status().alarm);
    running.end().await;
    let findings = report(&files).findings;
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].segment, findings[0].sequence), (FIRST, 2));
    assert_eq!(findings[0].kind, FindingKind::Changed);
}

#[tokio::test]
async fn an_alarm_that_is_raised_from_outside_outlives_the_process() {
    let files = MemoryFiles::default();
    let running = open(&files);
    running.trail.raise_alarm("the anchor says so".to_owned()).await.unwrap();
    assert!(running.trail.status().alarm);
    running.record([1]).await;
    running.kill().await;
    assert!(open(&files).trail.status().alarm);
}

#[tokio::test]
async fn a_crash_before_the_segment_after_tampering_leaves_the_alarm() {
    let (files, _) = small_trail(5, false).await;
    let text = String::from_utf8(files.contents(FIRST)).unwrap();
    files.replace(FIRST, text.replacen("\"bytes_in\":2", "\"bytes_in\":7", 1).into_bytes());
    files.set_fault(Some(Fault::Full { bytes_left: 0 }));
    assert!(matches!(
        try_open(&files, Arc::new(Inline), Tampering::Alarm).err(),
        Some(OpenTrailError::Write { .. })
    ));
    files.set_fault(None);
    let running = open(&files);
    assert!(running.trail.status().alarm && running.opened.places == 1);
}

#[tokio::test]
async fn a_trail_of_another_cluster_is_not_continued_and_is_no_alarm_for_who_begins() {
    let (files, _) = small_trail(2, false).await;
    let text = String::from_utf8(files.contents(FIRST)).unwrap();
    files.replace(FIRST, text.replace("c1c1", "c2c2").into_bytes());
    let running = open(&files);
    assert!(running.trail.status().alarm);
    running.end().await;
    files.remove(SegmentNumber(2)).unwrap();
    let running = try_open(&files, Arc::new(Inline), Tampering::Expected).unwrap();
    assert!(!running.trail.status().alarm && running.opened.places > 0);
}

#[tokio::test]
async fn a_killed_process_leaves_room_behind_its_lines_and_no_note() {
    let files = MemoryFiles::default();
    let running = open(&files);
    running.record(1..=2).await;
    running.kill().await;
    assert!(files.contents(FIRST).ends_with(&[0; 1000]));
    assert_eq!(report(&files).notes, Vec::<Note>::new());
    open(&files).end().await;
    assert!(files.contents(FIRST).ends_with(b"\"}\n"));
}

#[tokio::test]
async fn a_write_that_was_intended_and_has_no_outcome_is_found_by_the_next_process() {
    let files = MemoryFiles::default();
    let running = open(&files);
    let write = |number, phase, class| RecordDraft { phase, class, ..draft(number) };
    for draft in [
        write(1, Phase::Intent, Class::Manage),
        write(2, Phase::Intent, Class::Manage),
        write(1, Phase::Done, Class::Manage),
        write(3, Phase::Intent, Class::Cluster),
        write(4, Phase::Done, Class::Use),
    ] {
        running.trail.record(draft).await.unwrap();
    }
    running.trail.give_key(segment_key(9)).await.unwrap();
    running.trail.record(write(5, Phase::Intent, Class::Operate)).await.unwrap();
    running.kill().await;
    let open = |number, class| OpenIntent { request: draft(number).request, class };
    let found = fixture::open(&files).opened.intents;
    assert_eq!(found, [open(2, Class::Manage), open(5, Class::Operate)]);
}
