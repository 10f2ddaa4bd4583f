//! The end of old records: whole segments of this node's trail, by a record in the ledger and then by their files; and
//! the outcomes that a process which ended left out of the trail.
//!
//! A crash between the two steps leaves files that the ledger has let go already; the next round removes them.

use std::sync::PoisonError;
use std::time::Duration;

use keyclave_audit::files::SegmentNumber;
use keyclave_audit::open::OpenIntent;
use keyclave_audit::record::{Body, OK, Phase, RecordDraft, Source, Target, Who};
use keyclave_audit::segments::{SegmentOutline, outlines};
use keyclave_proto::reason::Reason;
use keyclave_types::time::UnixMillis;
use keyclave_vault::upkeep::Upkeep;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::host::Host;
use crate::member::Member;
use crate::noting::Act;

/// Between two looks for old segments.
const EVERY_MS: u64 = 60_000;
/// Segments that go at once.
const SEGMENTS_PER_ROUND: usize = 64;
/// After so long nothing that a process before this one has sent is decided any more: no call takes longer.
const DECIDED_MS_MAX: u64 = 80_000;

/// What a node remembers of this work between two rounds.
pub(crate) struct Retaining {
    began: Instant,
    look: Instant,
}

impl Retaining {
    /// From this moment on.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { began: now, look: now }
    }
}

impl<H: Host> Member<H> {
    /// Looks for segments that are old enough once a minute.
    pub(crate) async fn drop_old_segments(&self, work: &mut Retaining, deadline: Instant) {
        let now = Instant::now();
        if now < work.look || self.trail.status().alarm {
            return;
        }
        work.look = now + Duration::from_millis(EVERY_MS);
        match self.try_to_drop(deadline).await {
            Ok(()) => {}
            // Another time: it is held, or the clock is not to be relied on, or its head is not anchored yet.
            Err(failure) => tracing::info!(%failure, "old segments of the trail stay for now"),
        }
    }

    async fn try_to_drop(&self, deadline: Instant) -> Result<(), Failure> {
        let (node, incarnation) = (self.local.node, self.local.incarnation);
        let view = self.unsealed()?.keeper.latest()?;
        let kept = view.kept_trail(node).filter(|kept| kept.incarnation == incarnation);
        let begins = kept.map_or(SegmentNumber::FIRST, |kept| SegmentNumber(kept.segment));
        let rules = view.trail_rules();
        let Some(keep_ms) = rules.keep_ms.filter(|_| rules.hold.is_none()) else {
            return self.remove_before(begins).await;
        };
        let outlines = self.outlines().await?;
        let anchored = view.anchor(node).filter(|anchor| anchor.incarnation == incarnation);
        let anchored = anchored.map_or(0, |anchor| anchor.sequence);
        let first = first_kept(&outlines, begins, self.clock(), keep_ms, anchored);
        let Some(first) = first.filter(|first| first.segment > begins) else {
            return self.remove_before(begins).await;
        };
        let keys = keys_before(&outlines, first.segment);
        let upkeep = Upkeep::DropSegments {
            node,
            incarnation,
            segment: first.segment.0,
            sequence: first.after.sequence,
            hash: first.after.hash,
            ended: first.created,
            keys,
        };
        let act = Act::new("DropSegments").on(Target::Node(node));
        self.record(act.clone().intended()).await?;
        match self.maintain(upkeep, deadline).await {
            Ok(_) => self.note(act).await,
            Err(failure) => {
                self.note(act.ended(failure.reason().map_or("OTHER", Reason::as_str))).await;
                return Err(failure);
            }
        }
        self.remove_before(first.segment).await
    }

    async fn remove_before(&self, first: SegmentNumber) -> Result<(), Failure> {
        if first > SegmentNumber::FIRST {
            self.trail.drop_before(first).await?;
        }
        Ok(())
    }

    async fn outlines(&self) -> Result<Vec<SegmentOutline>, Failure> {
        let (done, is_done) = oneshot::channel();
        let files = self.host.trail_files();
        self.host.run_blocking(Box::new(move || {
            // Whoever asked may be gone with the member.
            let _ = done.send(files.and_then(|files| outlines(&files)));
        }));
        match is_done.await {
            Ok(Ok(outlines)) => Ok(outlines),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the trail's segments cannot be listed");
                Err(Failure::Behind)
            }
            Err(_) => Err(Failure::Behind),
        }
    }

    /// Puts the outcomes on record that a process which ended left out, as far as the ledger knows them; those of
    /// which it will never know any, too, once nothing can be decided any more that was sent then.
    pub(crate) async fn resolve_intents(&self, work: &Retaining) {
        let Ok(view) = self.unsealed().and_then(|unsealed| Ok(unsealed.keeper.latest()?)) else { return };
        let over = work.began.elapsed() >= Duration::from_millis(DECIDED_MS_MAX);
        let taken = std::mem::take(&mut *self.open_intents.lock().unwrap_or_else(PoisonError::into_inner));
        for intent in taken {
            let outcome = match view.is_done(intent.request) {
                true => OK,
                false if over => "NOT_DONE",
                false => {
                    self.open_intents.lock().unwrap_or_else(PoisonError::into_inner).push(intent);
                    continue;
                }
            };
            if let Err(error) = self.trail.record(self.resolved(intent, outcome)).await {
                tracing::error!(%error, "the outcome of an earlier write is not on record");
            }
        }
    }

    fn resolved(&self, intent: OpenIntent, outcome: &'static str) -> RecordDraft {
        RecordDraft {
            time: self.clock(),
            request: intent.request,
            class: intent.class,
            phase: Phase::Done,
            outcome,
            body: Body::new("IntentResolved", Who::Node(self.local.node), Source::Inside),
        }
    }
}

/// The first segment to be kept: the last one before which everything ended long enough ago and is anchored. The open
/// segment is always kept.
fn first_kept(
    outlines: &[SegmentOutline],
    begins: SegmentNumber,
    now: UnixMillis,
    keep_ms: u64,
    anchored: u64,
) -> Option<SegmentOutline> {
    let left = outlines.iter().filter(|outline| outline.segment >= begins).take(SEGMENTS_PER_ROUND);
    let old =
        left.filter(|outline| outline.created.after(keep_ms) <= now && outline.after.sequence <= anchored);
    old.last().copied()
}

/// The keys of the segments before `first` that no later one uses.
fn keys_before(outlines: &[SegmentOutline], first: SegmentNumber) -> Vec<[u8; 16]> {
    let (before, after): (Vec<_>, Vec<_>) = outlines.iter().partition(|outline| outline.segment < first);
    let used = |key| after.iter().any(|outline: &&SegmentOutline| outline.key == Some(key));
    let mut keys: Vec<_> =
        before.iter().filter_map(|outline| outline.key).filter(|key| !used(*key)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().map(|key| key.0).collect()
}

#[cfg(test)]
mod tests {
    use keyclave_audit::record::Head;
    use keyclave_audit::segment_key::SegmentKeyId;
    use keyclave_types::ids::{ClusterId, NodeId};

    use super::*;

    /// Segment `number` began at `number` and holds ten records.
    fn outline(number: u64, key: u8) -> SegmentOutline {
        SegmentOutline {
            cluster: ClusterId::from_bytes([1; 16]),
            node: NodeId::new(1).unwrap(),
            segment: SegmentNumber(number),
            created: UnixMillis(number),
            after: Head { sequence: (number - 1) * 10, hash: [0; 32] },
            key: Some(SegmentKeyId([key; 16])),
        }
    }

    fn first(now: u64, keep_ms: u64, anchored: u64) -> Option<u64> {
        let outlines: Vec<_> = (1..=5).map(|number| outline(number, number as u8)).collect();
        let found = first_kept(&outlines, SegmentNumber(2), UnixMillis(now), keep_ms, anchored);
        found.map(|outline| outline.segment.0)
    }

    #[test]
    fn what_ended_long_enough_ago_and_is_anchored_goes() {
        assert_eq!(first(4, 0, 100), Some(4));
        assert_eq!(first(14, 10, 100), Some(4));
        assert_eq!(first(13, 10, 100), Some(3));
        // The open segment stays, however old.
        assert_eq!(first(1_000, 10, 100), Some(5));
        assert_eq!(first(1_000, 10, 29), Some(3));
        assert_eq!(first(11, 10, 100), None);
    }

    #[test]
    fn a_key_that_a_kept_segment_uses_stays() {
        let outlines = [outline(1, 1), outline(2, 1), outline(3, 2), outline(4, 2)];
        let keys = |first| keys_before(&outlines, SegmentNumber(first));
        assert_eq!((keys(2), keys(3), keys(4)), (vec![], vec![[1; 16]], vec![[1; 16]]));
    }
}
