//! Credentials that do not count, by the address that they come from: each source has a bucket of failures, and while
//! that is empty a further one is refused at once, without asking the leader and without a record of its own.
//!
//! Nobody is locked out by it: a credential that counts is taken however many did not, also from the same address.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::connections::Source;

/// Failures of one source that are answered in full before its bucket is empty. Many callers may share an address.
const FAILURES_MAX: u32 = 600;
/// How long it takes until there is room for one more.
const FAILURE_EVERY_MS: u64 = 100;
/// Sources with a bucket that is not full; when there are more, further ones have none.
const SOURCES_MAX: usize = 10_000;

/// The buckets of one node.
#[derive(Default)]
pub(crate) struct Failures {
    buckets: Mutex<BTreeMap<Source, Bucket>>,
}

/// When a bucket will be full again: one moment says how many are left.
#[derive(Clone, Copy)]
struct Bucket {
    full_at: Instant,
}

impl Failures {
    /// Whether another failure of `source` is answered in full.
    pub(crate) fn has_room(&self, source: Source, now: Instant) -> bool {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        match buckets.get(&source) {
            Some(bucket) => bucket.full_at <= now + Duration::from_millis(span_ms() - FAILURE_EVERY_MS),
            None => true,
        }
    }

    /// One more failure of `source`.
    pub(crate) fn note(&self, source: Source, now: Instant) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= SOURCES_MAX && !buckets.contains_key(&source) {
            buckets.retain(|_, bucket| bucket.full_at > now);
            if buckets.len() >= SOURCES_MAX {
                return;
            }
        }
        let bucket = buckets.entry(source).or_insert(Bucket { full_at: now });
        let latest = now + Duration::from_millis(span_ms());
        bucket.full_at = (bucket.full_at.max(now) + Duration::from_millis(FAILURE_EVERY_MS)).min(latest);
    }
}

/// How long an empty bucket takes to fill.
const fn span_ms() -> u64 {
    FAILURES_MAX as u64 * FAILURE_EVERY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn source(n: u8) -> Source {
        Source::V4([10, 0, 0, n])
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_has_so_many_failures_and_one_more_after_each_while() {
        let failures = Failures::default();
        for _ in 0..FAILURES_MAX {
            assert!(failures.has_room(source(1), Instant::now()));
            failures.note(source(1), Instant::now());
        }
        assert!(!failures.has_room(source(1), Instant::now()));
        assert!(failures.has_room(source(2), Instant::now()), "another source's failures are its own");
        tokio::time::advance(Duration::from_millis(FAILURE_EVERY_MS)).await;
        assert!(failures.has_room(source(1), Instant::now()));
        failures.note(source(1), Instant::now());
        assert!(!failures.has_room(source(1), Instant::now()));
        tokio::time::advance(Duration::from_millis(span_ms())).await;
        assert!(failures.has_room(source(1), Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn buckets_are_bounded_and_full_ones_make_room() {
        let failures = Failures::default();
        for n in 0..SOURCES_MAX + 10 {
            let octets = u32::try_from(n).unwrap().to_be_bytes();
            failures.note(Source::V4(octets), Instant::now());
        }
        assert_eq!(failures.buckets.lock().unwrap().len(), SOURCES_MAX);
        tokio::time::advance(Duration::from_secs(1)).await;
        failures.note(source(1), Instant::now());
        assert_eq!(failures.buckets.lock().unwrap().len(), 1);
    }
}
