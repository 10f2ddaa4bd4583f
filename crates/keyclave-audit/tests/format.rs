//! What stands in a line, sealed and plain; which key seals it; when a segment ends.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod fixture;

use std::sync::Arc;

use fixture::{
    AllKeys, CLUSTER, FIRST, START, draft, lines, node, open, report, report_on, report_with, segment_key,
    small_trail,
};
use keyclave_audit::files::SegmentNumber;
use keyclave_audit::memory::MemoryFiles;
use keyclave_audit::open::{OpenTrail, Tampering};
use keyclave_audit::record::{Body, Class, PENDING, Phase, RecordDraft, Source, Target, Who};
use keyclave_audit::search::{Filter, search};
use keyclave_audit::segment_key::SegmentKeyId;
use keyclave_audit::text::Text;
use keyclave_audit::trail::{SEGMENT_BYTES, SEGMENT_MS};
use keyclave_crypto::entropy::Entropy;
use keyclave_types::ids::RequestId;
use keyclave_types::key::Version;
use keyclave_types::position::{Generation, Position, Revision};
use keyclave_types::request::TokenId;
use keyclave_types::threads::Inline;

/// A record that uses every field.
fn full() -> RecordDraft {
    let at = |index| Some(Position { generation: Generation(1), index });
    RecordDraft {
        time: START,
        request: RequestId::at(77, [0xab; 8]),
        class: Class::Danger,
        phase: Phase::Intent,
        outcome: PENDING,
        body: Body {
            operation: "DestroyVersion",
            who: Who::User { subject: "ada".parse().unwrap(), token: TokenId([5; 12]) },
            source: Source::Address("[2001:db8::1]:4711".parse().unwrap()),
            key: Some("app/payroll".parse().unwrap()),
            version: Version::new(3),
            target: Some(Target::Token(TokenId([6; 12]))),
            policies: vec!["owners".parse().unwrap(), "app/all".parse().unwrap()],
            policy_revision: Some(Revision(12)),
            view: at(99),
            code: 7,
            items: 2,
            bytes_in: 30,
            bytes_out: 40,
            associated_data: Some([0xd1; 32]),
            purpose: Some(Text::limited("line\nquote\" sep\u{2028} \u{1b}[31m")),
            transaction: at(100),
            duration_us: 1234,
        },
    }
}

async fn golden(sealed: bool) -> MemoryFiles {
    let files = MemoryFiles::default();
    let open = OpenTrail {
        files: files.clone(),
        threads: Arc::new(Inline),
        entropy: Entropy::from_seed([3; 32]),
        cluster: CLUSTER,
        node: node(),
        now: START,
        tampering: Tampering::Alarm,
    };
    let (trail, task, _) = open.open().unwrap();
    let task = tokio::spawn(task.run());
    if sealed {
        trail.give_key(segment_key(9)).await.unwrap();
    }
    trail.record(full()).await.unwrap();
    trail.record(draft(1)).await.unwrap();
    drop(trail);
    task.await.unwrap().unwrap();
    files
}

#[tokio::test]
async fn golden_lines_stay() {
    let plain = golden(false).await.contents(FIRST);
    assert_eq!(String::from_utf8(plain).unwrap(), include_str!("../testdata/plain.jsonl"));
    let sealed = golden(true).await.contents(SegmentNumber(2));
    assert_eq!(String::from_utf8(sealed).unwrap(), include_str!("../testdata/sealed.jsonl"));
}

/// What stands here was written by a version that knew no trees.
#[tokio::test]
async fn a_trail_of_format_1_verifies_and_goes_on_in_a_segment_that_begins_a_tree() {
    let files = MemoryFiles::default();
    files.replace(FIRST, include_bytes!("../testdata/plain-1.jsonl").to_vec());
    assert!(report(&files).is_untouched());
    let running = open(&files);
    assert_eq!((running.trail.status().head.sequence, running.trail.status().tree), (2, None));
    running.record([3, 4]).await;
    let status = running.trail.status();
    let tree = status.tree.unwrap();
    assert_eq!((status.segment, tree.begins, tree.leaves), (SegmentNumber(2), SegmentNumber(2), 2));
    running.end().await;
    let report = report_on(&files, &[status.head], &[tree]);
    assert!(report.is_untouched(), "{:?}", report.findings);
    assert_eq!(report.records, 4);
}

#[tokio::test]
async fn a_sealed_trail_of_format_1_opens_to_the_same_bodies() {
    let files = MemoryFiles::default();
    files.replace(SegmentNumber(2), include_bytes!("../testdata/sealed-1.jsonl").to_vec());
    let page = search(&files, &AllKeys, &Filter::default(), 10).unwrap();
    let bodies: Vec<_> = page.records.iter().map(|record| record.body_json.clone().unwrap() + "\n").collect();
    assert_eq!((page.damaged, bodies.concat().as_str()), (0, include_str!("../testdata/bodies.jsonl")));
}

#[tokio::test]
async fn a_golden_sealed_line_opens_to_its_golden_body() {
    let files = MemoryFiles::default();
    files.replace(SegmentNumber(2), include_bytes!("../testdata/sealed.jsonl").to_vec());
    let page = search(&files, &AllKeys, &Filter::default(), 10).unwrap();
    assert_eq!(page.damaged, 0);
    let bodies: Vec<_> = page.records.iter().map(|record| record.body_json.clone().unwrap() + "\n").collect();
    assert_eq!(bodies.concat(), include_str!("../testdata/bodies.jsonl"));
}

#[tokio::test]
async fn a_plain_line_names_nobody() {
    let text = String::from_utf8(golden(false).await.contents(FIRST)).unwrap();
    for hidden in
        ["ada", "payroll", "billing", "app", "owners", "2001", "192.0.2", "0505", "0606", "d1d1", "quote"]
    {
        assert!(!text.contains(hidden), "{hidden}");
    }
    let text = String::from_utf8(golden(true).await.contents(SegmentNumber(2))).unwrap();
    for hidden in ["ada", "payroll", "DestroyVersion", "2001"] {
        assert!(!text.contains(hidden), "{hidden}");
    }
}

#[tokio::test]
async fn every_line_is_ascii_and_json() {
    for sealed in [false, true] {
        let files = golden(sealed).await;
        for segment in [FIRST, SegmentNumber(2)] {
            for line in lines(&files, segment) {
                assert!(line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
                serde_json::from_slice::<serde_json::Value>(&line).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn callers_words_read_back_and_break_no_line() {
    let files = golden(true).await;
    let page = search(&files, &AllKeys, &Filter::default(), 10).unwrap();
    let body: serde_json::Value = serde_json::from_str(page.records[0].body_json.as_ref().unwrap()).unwrap();
    assert_eq!(body["purpose"], "line\nquote\" sep\u{2028} \u{1b}[31m");
    assert_eq!(lines(&files, SegmentNumber(2)).len(), 3);
}

#[tokio::test]
async fn the_largest_record_fits_a_line_and_a_larger_one_cannot_be_made() {
    let longest: keyclave_types::name::KeyName = vec!["n".repeat(64); 8].join("/").parse().unwrap();
    let mut largest = full();
    largest.body.key = Some(longest.clone());
    largest.body.who =
        Who::Certificate { subject: format!("service:{longest}").parse().unwrap(), authority: [255; 32] };
    largest.body.target = Some(Target::Policy(longest.clone()));
    let grant = format!("role key-owner@{longest}/ through group {}", "g".repeat(64));
    largest.body.policies = vec![grant; 1000];
    largest.body.purpose = Some(Text::limited(&"\u{1}".repeat(100_000)));
    let files = MemoryFiles::default();
    let running = open(&files);
    running.trail.give_key(segment_key(9)).await.unwrap();
    running.trail.record(largest).await.unwrap();
    running.end().await;
    let report = report_with(&files, &AllKeys, &[]);
    assert!(report.is_untouched());
    assert_eq!(report.bodies_opened, 1);
}

#[tokio::test]
async fn a_key_begins_a_segment_at_once_and_the_next_one_waits_for_its_end() {
    let files = MemoryFiles::default();
    let running = open(&files);
    running.record([1]).await;
    assert_eq!((running.trail.status().sealing, running.trail.status().segment), (false, FIRST));
    running.trail.give_key(segment_key(9)).await.unwrap();
    running.record([2]).await;
    let status = running.trail.status();
    assert_eq!((status.sealing, status.spare, status.segment.0), (true, false, 2));
    assert_eq!(status.segment_key, Some(SegmentKeyId([9; 16])));
    running.trail.give_key(segment_key(10)).await.unwrap();
    running.record([3]).await;
    assert_eq!((running.trail.status().spare, running.trail.status().segment.0), (true, 2));
    let mut late = draft(4);
    late.time = START.after(SEGMENT_MS + 10);
    running.trail.record(late).await.unwrap();
    let status = running.trail.status();
    assert_eq!((status.spare, status.segment.0), (false, 3));
    assert_eq!(status.segment_key, Some(SegmentKeyId([10; 16])));
    running.end().await;
    let report = report_with(&files, &AllKeys, &[]);
    assert!(report.is_untouched(), "{:?}", report.findings);
    assert_eq!((report.segments, report.records, report.bodies_opened), (3, 4, 3));
}

#[tokio::test]
async fn a_sealed_start_goes_on_plain_and_seals_again_in_the_same_segment() {
    let (files, _) = small_trail(2, true).await;
    let running = open(&files);
    let status = running.trail.status();
    assert_eq!((status.sealing, status.segment.0), (false, 2));
    running.record([3]).await;
    let key = status.segment_key.unwrap();
    running.trail.give_key(segment_key(key.0[0])).await.unwrap();
    running.record([4]).await;
    assert_eq!(running.trail.status().segment.0, 2);
    running.end().await;
    let report = report_with(&files, &AllKeys, &[]);
    assert!(report.is_untouched());
    assert_eq!((report.records, report.bodies_opened), (4, 3));
}

#[tokio::test]
async fn after_keys_are_forgotten_nothing_is_sealed() {
    let (files, _) = small_trail(1, true).await;
    let running = open(&files);
    running.trail.give_key(segment_key(9)).await.unwrap();
    running.record([2]).await;
    running.trail.forget_keys().await.unwrap();
    assert!(!running.trail.status().sealing);
    running.record([3]).await;
    running.end().await;
    let bodies = lines(&files, SegmentNumber(2));
    let plain = |line: &Vec<u8>| String::from_utf8_lossy(line).contains("\"body\":{");
    assert_eq!(bodies[1..].iter().map(plain).collect::<Vec<_>>(), [false, false, true]);
}

#[tokio::test]
async fn an_old_segment_ends_also_without_keys_and_waits_for_one_with() {
    let files = MemoryFiles::default();
    let running = open(&files);
    let at = |ms| RecordDraft { time: START.after(ms), ..draft(1) };
    running.trail.record(at(SEGMENT_MS - 1)).await.unwrap();
    assert_eq!(running.trail.status().segment.0, 1);
    running.trail.record(at(SEGMENT_MS)).await.unwrap();
    assert_eq!(running.trail.status().segment.0, 2);
    running.trail.give_key(segment_key(9)).await.unwrap();
    running.trail.record(at(SEGMENT_MS + 1)).await.unwrap();
    assert_eq!(running.trail.status().segment.0, 3);
    // Without a fresh key it goes on for twice its age, and then under its own.
    running.trail.record(at(3 * SEGMENT_MS)).await.unwrap();
    assert_eq!(running.trail.status().segment.0, 3);
    running.trail.record(at(3 * SEGMENT_MS + 2)).await.unwrap();
    let status = running.trail.status();
    assert_eq!((status.segment.0, status.segment_key), (4, Some(SegmentKeyId([9; 16]))));
    // A clock that went backwards ends nothing.
    running.trail.record(at(0)).await.unwrap();
    assert_eq!(running.trail.status().segment.0, 4);
    running.end().await;
    assert!(report_with(&files, &AllKeys, &[]).is_untouched());
}

#[tokio::test]
async fn a_large_segment_ends() {
    let files = MemoryFiles::default();
    let running = open(&files);
    running.record([1]).await;
    let mut records = 1;
    while running.trail.status().segment == FIRST {
        records += running.record_together(0..5000).await.len() as u64;
        assert!(records < 1_000_000, "the segment never ends");
    }
    running.end().await;
    let report = report_with(&files, &AllKeys, &[]);
    assert!(report.is_untouched());
    assert_eq!((report.segments, report.records), (2, records));
    let size = files.contents(FIRST).len() as u64;
    assert!((SEGMENT_BYTES..SEGMENT_BYTES + 512 * 1024).contains(&size), "{size}");
}
