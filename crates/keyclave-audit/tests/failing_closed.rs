//! Without a durable record there is no receipt: groups, full, failing, blocked and vanished files.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod fixture;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fixture::{FIRST, Running, draft, heads, open, report, report_with, try_open};
use keyclave_audit::files::{SegmentNumber, TrailFiles};
use keyclave_audit::memory::{Fault, MemoryFiles};
use keyclave_audit::open::Tampering;
use keyclave_audit::segment_key::NoKeys;
use keyclave_audit::trail::{
    DiskFault, FREE_SEGMENTS_MIN, QUEUE_RECORDS_MAX, RECORD_DEADLINE, SEGMENT_BYTES, StopCause, TrailError,
};
use keyclave_types::threads::Threads;
use tokio::time::{Instant, advance, sleep, timeout};

type Work = Box<dyn FnOnce() + Send>;

/// Threads of a blocked disk: work waits until it is let go.
#[derive(Clone, Default)]
struct Held {
    work: Arc<Mutex<VecDeque<Work>>>,
}

impl Threads for Held {
    fn run(&self, work: Work) {
        self.work.lock().unwrap().push_back(work);
    }
}

impl Held {
    fn let_one_go(&self) -> bool {
        let work = self.work.lock().unwrap().pop_front();
        work.map(|work| work()).is_some()
    }
}

fn held() -> (MemoryFiles, Held, Running) {
    let (files, threads) = (MemoryFiles::default(), Held::default());
    let running = try_open(&files, Arc::new(threads.clone()), Tampering::Alarm).unwrap();
    (files, threads, running)
}

async fn let_tasks_run() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_together_shares_one_sync_and_keeps_its_order() {
    let files = MemoryFiles::default();
    let running = open(&files);
    let receipts = running.record_together(1..=300).await;
    assert!(receipts.iter().map(|receipt| receipt.sequence).eq(1..=300));
    assert!(files.syncs() <= 3, "{} syncs for 300 records", files.syncs());
    let report = report_with(&files, &NoKeys, &heads(&receipts));
    assert!(report.is_untouched());
}

#[tokio::test(start_paused = true)]
async fn no_receipt_leaves_before_the_sync() {
    let (files, threads, running) = held();
    let trail = running.trail.clone();
    let call = tokio::spawn(async move { trail.record(draft(1)).await });
    let_tasks_run().await;
    assert!(!call.is_finished());
    assert_eq!((files.syncs(), report(&files).records), (0, 0));
    assert!(threads.let_one_go());
    assert_eq!(call.await.unwrap().unwrap().sequence, 1);
    assert_eq!((files.syncs(), report(&files).records), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_blocked_disk_is_answered_at_the_deadline_and_its_record_may_still_appear() {
    let (files, threads, running) = held();
    let begin = Instant::now();
    assert_eq!(running.trail.record(draft(1)).await, Err(TrailError::Deadline));
    assert_eq!(begin.elapsed(), RECORD_DEADLINE);
    assert!(threads.let_one_go());
    let_tasks_run().await;
    assert_eq!(report(&files).records, 1);
    assert_eq!(running.trail.status().head.sequence, 1);
}

#[tokio::test(start_paused = true)]
async fn a_blocked_disk_holds_a_bounded_number_of_records_and_all_callers_are_answered() {
    let (_files, _threads, running) = held();
    let calls: Vec<_> = (0..2 * QUEUE_RECORDS_MAX as u64)
        .map(|number| {
            let trail = running.trail.clone();
            tokio::spawn(async move { trail.record(draft(number)).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Err(TrailError::Deadline));
    }
    assert_eq!(running.trail.record(draft(0)).await, Err(TrailError::Deadline));
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_stops_the_trail_for_everyone_and_for_good() {
    let files = MemoryFiles::default();
    let running = open(&files);
    running.record([1]).await;
    files.set_fault(Some(Fault::Sync));
    let cause = StopCause::Sync(disk_fault());
    let (one, two) = tokio::join!(running.trail.record(draft(2)), running.trail.record(draft(3)));
    assert_eq!((one, two), (Err(TrailError::Stop(cause)), Err(TrailError::Stop(cause))));
    files.set_fault(None);
    assert_eq!(running.trail.record(draft(4)).await, Err(TrailError::Stop(cause)));
    assert_eq!(running.trail.status().stopped, Some(cause));
    assert_eq!(running.task.await.unwrap(), Err(cause));
    files.cut_power();
    assert_eq!(report(&files).records, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_stops_the_trail() {
    let files = MemoryFiles::default();
    let running = open(&files);
    files.set_fault(Some(Fault::Write));
    let cause = StopCause::Write(disk_fault());
    assert_eq!(running.trail.record(draft(1)).await, Err(TrailError::Stop(cause)));
    assert_eq!(running.task.await.unwrap(), Err(cause));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_leaves_nothing_behind_and_goes_on_once_there_is_room() {
    // Room for nothing, for a part of a line, for some whole lines and a part.
    for bytes_left in [0, 100, 2000, 4000] {
        let files = MemoryFiles::default();
        let running = open(&files);
        files.set_fault(Some(Fault::Full { bytes_left }));
        let calls: Vec<_> = (1..=20)
            .map(|number| {
                let trail = running.trail.clone();
                tokio::spawn(async move { trail.record(draft(number)).await })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), Err(TrailError::Full));
        }
        assert_eq!((report(&files).records, report(&files).notes.len()), (0, 0), "{bytes_left} bytes left");
        assert_eq!(running.trail.status().stopped, None);
        files.set_fault(None);
        let receipts = running.record(21..=22).await;
        assert_eq!(receipts[0].sequence, 1);
        running.end().await;
        let report = report_with(&files, &NoKeys, &heads(&receipts));
        assert!(report.is_untouched() && report.notes.is_empty(), "{bytes_left} bytes left");
    }
}

#[tokio::test(start_paused = true)]
async fn records_go_on_in_reserved_room_while_the_disk_is_full() {
    let files = MemoryFiles::default();
    let running = open(&files);
    running.record([1]).await;
    // The reservation reaches far beyond the next records, so they need no room.
    files.set_fault(Some(Fault::Full { bytes_left: 100_000 }));
    running.record(2..=50).await;
    running.end().await;
    assert_eq!(report(&files).records, 50);
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_cannot_begin_on_a_full_disk_refuses_and_is_tried_again() {
    let files = MemoryFiles::default();
    let running = open(&files);
    running.record([1]).await;
    running.trail.give_key(fixture::segment_key(9)).await.unwrap();
    files.set_fault(Some(Fault::Full { bytes_left: 0 }));
    assert_eq!(running.trail.record(draft(2)).await, Err(TrailError::Full));
    files.set_fault(None);
    running.record([3]).await;
    assert_eq!(running.trail.status().segment.0, 2);
    running.end().await;
    let report = report_with(&files, &fixture::AllKeys, &[]);
    assert!(report.is_untouched());
    assert_eq!((report.records, report.bodies_opened), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_file_removed_or_replaced_is_noticed_within_a_second_without_a_record() {
    for replaced in [false, true] {
        let files = MemoryFiles::default();
        let running = open(&files);
        running.record([1]).await;
        let mut status = running.trail.watch();
        let copy = files.contents(FIRST);
        files.remove(FIRST).unwrap();
        if replaced {
            files.replace(FIRST, copy);
        }
        let noticed = status.wait_for(|status| status.stopped == Some(StopCause::Replaced));
        timeout(Duration::from_secs(1), noticed).await.expect("noticed within a second").unwrap();
        let stopped = Err(TrailError::Stop(StopCause::Replaced));
        assert_eq!(running.trail.record(draft(2)).await, stopped);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_replaced_gets_no_record() {
    let files = MemoryFiles::default();
    let running = open(&files);
    running.record([1]).await;
    files.replace(FIRST, files.contents(FIRST));
    assert_eq!(running.trail.record(draft(2)).await, Err(TrailError::Stop(StopCause::Replaced)));
    assert_eq!(report(&files).records, 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_is_recorded_all_the_same() {
    let (files, threads, running) = held();
    let trail = running.trail.clone();
    let call = tokio::spawn(async move { trail.record(draft(1)).await });
    let_tasks_run().await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert!(threads.let_one_go());
    let_tasks_run().await;
    assert_eq!(report(&files).records, 1);
}

#[tokio::test(start_paused = true)]
async fn lost_work_is_a_stop_and_not_a_silence() {
    struct Lossy;
    impl Threads for Lossy {
        fn run(&self, work: Work) {
            drop(work);
        }
    }
    let running = try_open(&MemoryFiles::default(), Arc::new(Lossy), Tampering::Alarm).unwrap();
    assert_eq!(running.trail.record(draft(1)).await, Err(TrailError::Stop(StopCause::Lost)));
    assert_eq!(running.task.await.unwrap(), Err(StopCause::Lost));
}

#[tokio::test(start_paused = true)]
async fn an_idle_trail_stays_open() {
    let files = MemoryFiles::default();
    let running = open(&files);
    for _ in 0..10 {
        sleep(Duration::from_secs(600)).await;
        advance(Duration::from_secs(1)).await;
    }
    running.record([1]).await;
    running.end().await;
    assert_eq!(report(&files).records, 1);
}

/// What the memory files say of a fault.
fn disk_fault() -> DiskFault {
    DiskFault::from(&std::io::Error::from(std::io::ErrorKind::Other))
}

#[test]
fn a_failed_device_is_named_and_not_uncategorized() {
    const EIO: i32 = 5;
    let cause = StopCause::Sync(DiskFault::from(&std::io::Error::from_raw_os_error(EIO)));
    assert!(cause.to_string().contains("Input/output error"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn little_room_shows_within_a_second_and_ends_when_there_is_room_again() {
    let files = MemoryFiles::default();
    let running = open(&files);
    let mut status = running.trail.watch();
    assert!(!status.borrow().low);
    for (free, low) in
        [(FREE_SEGMENTS_MIN * SEGMENT_BYTES - 1, true), (FREE_SEGMENTS_MIN * SEGMENT_BYTES, false)]
    {
        files.set_free(Some(free));
        let shown = status.wait_for(|status| status.low == low);
        timeout(Duration::from_secs(1), shown).await.expect("shown within a second").unwrap();
    }
    // What is asked of it goes on record all the same.
    files.set_free(Some(0));
    running.record([1]).await;
}

#[tokio::test(start_paused = true)]
async fn an_older_segment_removed_or_replaced_is_noticed_within_a_second() {
    for replaced in [false, true] {
        let files = MemoryFiles::default();
        let running = open(&files);
        running.record([1]).await;
        running.trail.give_key(fixture::segment_key(9)).await.unwrap();
        running.record([2]).await;
        let mut status = running.trail.watch();
        assert_eq!(status.borrow().segment.0, 2);
        let copy = files.contents(FIRST);
        files.remove(FIRST).unwrap();
        if replaced {
            files.replace(FIRST, copy);
        }
        let noticed = status.wait_for(|status| status.stopped == Some(StopCause::Replaced));
        timeout(Duration::from_secs(1), noticed).await.expect("noticed within a second").unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn segments_that_the_ledger_lets_go_are_removed_and_nobody_is_alarmed() {
    let files = MemoryFiles::default();
    let running = open(&files);
    for segment in 1..=3 {
        running.record([segment]).await;
        running.trail.forget_keys().await.unwrap();
        running.trail.give_key(fixture::segment_key(segment as u8)).await.unwrap();
    }
    running.record([4]).await;
    running.trail.drop_before(SegmentNumber(3)).await.unwrap();
    assert_eq!(files.segments().unwrap(), [SegmentNumber(3), SegmentNumber(4)]);
    sleep(Duration::from_secs(5)).await;
    running.record([5]).await;
    running.end().await;
}
