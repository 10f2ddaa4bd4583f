//! Records are found by what stands in their lines and bodies, page by page.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod fixture;

use fixture::{AllKeys, FIRST, START, open, segment_key, small_trail};
use keyclave_audit::files::SegmentNumber;
use keyclave_audit::memory::MemoryFiles;
use keyclave_audit::record::OK;
use keyclave_audit::search::{Filter, Page, search};
use keyclave_audit::segment_key::NoKeys;

fn find(files: &MemoryFiles, filter: &Filter) -> Page {
    search(files, &AllKeys, filter, 1000).unwrap()
}

fn sequences(page: &Page) -> Vec<u64> {
    page.records.iter().map(|record| record.sequence).collect()
}

#[tokio::test]
async fn each_filter_finds_its_records_and_no_others() {
    let (files, heads) = small_trail(9, true).await;
    let all = Filter::default();
    let anchored = find(&files, &Filter { after: 6, ..all.clone() }).records.swap_remove(0);
    assert_eq!(anchored.hash, heads[6].hash);
    for (filter, expected) in [
        (all.clone(), (1..=9).collect::<Vec<_>>()),
        (Filter { since: Some(START.after(4)), until: Some(START.after(6)), ..all.clone() }, vec![4, 5]),
        (Filter { key: Some("app/key-7".parse().unwrap()), ..all.clone() }, vec![7]),
        (Filter { key: Some("app/key".parse().unwrap()), ..all.clone() }, vec![]),
        (Filter { principal: Some("service:billing/api".to_owned()), after: 7, ..all.clone() }, vec![8, 9]),
        (Filter { principal: Some("root".to_owned()), ..all.clone() }, vec![]),
        (Filter { operation: Some("Encrypt".to_owned()), after: 8, ..all.clone() }, vec![9]),
        (Filter { operation: Some("Decrypt".to_owned()), ..all.clone() }, vec![]),
        (Filter { outcome: Some(OK.to_owned()), after: 8, ..all.clone() }, vec![9]),
        (Filter { outcome: Some("DENIED".to_owned()), ..all }, vec![]),
    ] {
        let page = find(&files, &filter);
        assert_eq!((sequences(&page), page.damaged), (expected, 0), "{filter:?}");
    }
}

#[tokio::test]
async fn pages_join_to_the_whole_across_segments() {
    let files = MemoryFiles::default();
    let running = open(&files);
    for byte in 1..=4 {
        running.record(0..5).await;
        running.trail.give_key(segment_key(byte)).await.unwrap();
        running.trail.forget_keys().await.unwrap();
        running.trail.give_key(segment_key(byte + 100)).await.unwrap();
    }
    running.end().await;
    let mut filter = Filter::default();
    let mut joined = Vec::new();
    loop {
        let page = search(&files, &AllKeys, &filter, 3).unwrap();
        assert!(page.records.len() <= 3);
        joined.extend(sequences(&page));
        match page.next {
            Some(after) => filter.after = after,
            None => break,
        }
    }
    assert!(joined.into_iter().eq(1..=20));
    assert_eq!(search(&files, &AllKeys, &Filter::default(), 20).unwrap().next, None);
}

#[tokio::test]
async fn closed_bodies_are_listed_but_never_matched() {
    let (files, _) = small_trail(3, true).await;
    let page = search(&files, &NoKeys, &Filter::default(), 10).unwrap();
    assert_eq!(sequences(&page), [1, 2, 3]);
    assert!(page.records.iter().all(|record| record.body_json.is_none()));
    let by_key = Filter { key: Some("app/key-1".parse().unwrap()), ..Filter::default() };
    assert_eq!(search(&files, &NoKeys, &by_key, 10).unwrap().records, []);
}

#[tokio::test]
async fn damage_is_counted_and_passed_over() {
    let (files, _) = small_trail(5, false).await;
    let text = String::from_utf8(files.contents(FIRST)).unwrap();
    files.replace(FIRST, text.replacen("\"bytes_in\":2", "\"bytes_in\":7", 1).into_bytes());
    let page = find(&files, &Filter::default());
    assert_eq!((sequences(&page), page.damaged), (vec![1, 3, 4, 5], 1));
}

#[tokio::test]
async fn a_torn_end_and_a_write_under_way_are_no_damage() {
    let (files, _) = small_trail(3, true).await;
    let mut bytes = files.contents(SegmentNumber(2));
    bytes.extend_from_slice(b"{\"version\":1,\"no");
    bytes.extend_from_slice(&[0; 5000]);
    files.replace(SegmentNumber(2), bytes);
    let page = find(&files, &Filter::default());
    assert_eq!((sequences(&page), page.damaged), (vec![1, 2, 3], 0));
}
