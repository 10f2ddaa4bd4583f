//! The end of what was destroyed. Some time after a destruction the leader orders that every node rewrites its store.
//! Each node then pushes its log and its snapshot past the order, rewrites, and reports; a node that was down or sealed
//! does it when it is back. Nothing decides on the reports: they are for people.
//!
//! Until then what was destroyed is as unusable as ever; it is only its sealed bytes that still lie in the log and in
//! parts of the store that are no longer used.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keyclave_audit::record::Target;
use keyclave_ledger::disk::{Disk, RewriteError};
use keyclave_vault::upkeep::Upkeep;
use keyclave_vault::view::View;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::host::Host;
use crate::member::Member;
use crate::noting::Act;
use crate::unsealed::Unsealed;

/// How long a destruction may wait for others to be purged with it. The rest of the hour that is promised is for the
/// work itself.
pub const PURGE_AFTER_MS_MAX: u64 = 30 * 60 * 1_000;
/// How often there is work to look for.
const LOOK_EVERY_MS: u64 = 1_000;
/// How long one request to the leader may take.
const WORK_MS_MAX: u64 = 5_000;
/// How long after an order the leader takes a checkpoint: by then every node has seen it, and purges to there.
const CHECKPOINT_AFTER_MS: u64 = 3 * LOOK_EVERY_MS;
/// Until the next checkpoint, for nodes that have restarted since the last one; it doubles.
const CHECKPOINT_AGAIN_MS: u64 = 15_000;
const CHECKPOINT_AGAIN_MS_MAX: u64 = 10 * 60 * 1_000;
/// How long after an order a leader waits with purging its log for followers that still read it; one that is down or far
/// behind gets a snapshot after that.
const PATIENCE_MS: u64 = 10_000;
/// Until a rewriting that failed is tried again; it doubles.
const TRY_AGAIN_MS: u64 = 1_000;
const TRY_AGAIN_MS_MAX: u64 = 5 * 60 * 1_000;

/// What a node knows of the order that it has last seen.
struct Seen {
    number: u64,
    /// Everything that the order covers is in the ledger at or below this index.
    index: u64,
    since: Instant,
    /// As leader, when it takes the next checkpoint, and how long it then waits.
    checkpoint_at: Instant,
    checkpoint_again_ms: u64,
    /// When it may rewrite, and how long it waits after a failure.
    rewrite_at: Instant,
    try_again_ms: u64,
    /// The store is rewritten; only the report is missing.
    rewritten: bool,
}

impl Seen {
    fn now(number: u64, index: u64) -> Self {
        let since = Instant::now();
        Self {
            number,
            index,
            since,
            checkpoint_at: since + Duration::from_millis(CHECKPOINT_AFTER_MS),
            checkpoint_again_ms: CHECKPOINT_AGAIN_MS,
            rewrite_at: since,
            try_again_ms: TRY_AGAIN_MS,
            rewritten: false,
        }
    }
}

/// Works until the node is sealed or gone.
pub(crate) async fn rewrite_when_told<H: Host>(member: Weak<Member<H>>) {
    let mut seen: Option<Seen> = None;
    loop {
        tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
        let Some(member) = member.upgrade() else { return };
        let Ok(unsealed) = member.unsealed() else { return };
        if member.is_withdrawn() {
            return;
        }
        let Ok(view) = unsealed.keeper.latest() else { continue };
        let number = view.rewriting_order().number;
        let order = match seen.take() {
            Some(order) if order.number == number => seen.insert(order),
            Some(_) | None => seen.insert(Seen::now(number, view.index())),
        };
        // Nothing is decided before the ceremony that unsealed this node has lifted what it was sealed by.
        if member.cluster.leadership().mine.is_some() && !unsealed.marked.load(Ordering::Acquire) {
            member.order_rewriting_if_due(&unsealed, &view).await;
            member.take_checkpoint_if_due(&view, order).await;
        }
        member.rewrite_if_told(&view, order).await;
    }
}

impl<H: Host> Member<H> {
    /// Why this node has not rewritten its store although it was told to; none if nothing stands against it.
    pub fn rewriting_trouble(&self) -> Option<String> {
        self.rewriting_trouble.borrow().clone()
    }

    async fn order_rewriting_if_due(&self, unsealed: &Unsealed<H::Disk>, view: &View) {
        let now = unsealed.now(view, self.clock()).noted();
        if view.destroyed_since().is_none_or(|since| now < since.after(self.purge_after_ms)) {
            return;
        }
        let deadline = Instant::now() + Duration::from_millis(WORK_MS_MAX);
        match self.maintain_as_leader(self.local.node, &Upkeep::OrderRewriting, deadline).await {
            Ok(_) => self.note(Act::new("OrderRewriting")).await,
            Err(error) => tracing::info!(%error, "the stores are not told to be rewritten yet"),
        }
    }

    /// A node purges its log up to a checkpoint that it has applied in this process.
    async fn take_checkpoint_if_due(&self, view: &View, order: &mut Seen) {
        let missing = |node| view.rewritten(node) < order.number;
        let waiting = view.nodes().iter().any(|node| missing(node.node));
        if !waiting || Instant::now() < order.checkpoint_at {
            return;
        }
        let limit = Duration::from_millis(WORK_MS_MAX);
        match tokio::time::timeout(limit, self.cluster.checkpoint()).await {
            Ok(Ok(index)) => tracing::debug!(index, "checkpoint taken for nodes that rewrite their stores"),
            Ok(Err(error)) => tracing::info!(%error, "no checkpoint for nodes that rewrite their stores"),
            Err(_) => tracing::info!("no checkpoint in time for nodes that rewrite their stores"),
        }
        order.checkpoint_at = Instant::now() + Duration::from_millis(order.checkpoint_again_ms);
        order.checkpoint_again_ms = (order.checkpoint_again_ms * 2).min(CHECKPOINT_AGAIN_MS_MAX);
    }

    async fn rewrite_if_told(&self, view: &View, order: &mut Seen) {
        if view.rewritten(self.local.node) >= order.number {
            self.rewriting_trouble.send_replace(None);
            return;
        }
        if !order.rewritten {
            if Instant::now() < order.rewrite_at {
                return;
            }
            if self.cluster.log_begins() <= order.index {
                return self.purge_past(order).await;
            }
            match self.rewrite_store().await {
                Ok(()) => {
                    order.rewritten = true;
                    self.rewriting_trouble.send_replace(None);
                    tracing::info!(order = order.number, "the store is rewritten");
                    self.note(Act::new("RewriteStore").on(Target::Node(self.local.node))).await;
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        again_in_ms = order.try_again_ms,
                        "the store could not be rewritten"
                    );
                    self.rewriting_trouble.send_replace(Some(error.to_string()));
                    order.rewrite_at = Instant::now() + Duration::from_millis(order.try_again_ms);
                    order.try_again_ms = (order.try_again_ms * 2).min(TRY_AGAIN_MS_MAX);
                    return;
                }
            }
        }
        if let Err(error) = self.report_rewritten(order).await {
            tracing::info!(%error, "that the store is rewritten is not on record yet");
        }
    }

    /// Purges the log if there is a snapshot of something later than the order.
    async fn purge_past(&self, order: &Seen) {
        let Some(at) = self.cluster.snapshot_index().filter(|at| *at >= order.index) else { return };
        let impatient = order.since.elapsed() >= Duration::from_millis(PATIENCE_MS);
        // Only a leader's log is read by others.
        if impatient || self.cluster.leadership().mine.is_none() || self.cluster.everyone_has(at) {
            self.cluster.purge().await;
        }
    }

    async fn rewrite_store(&self) -> Result<(), RewriteError> {
        let (done, finished) = oneshot::channel();
        let disk = self.host.disk();
        self.host.run_blocking(Box::new(move || {
            // The task that waits is this member's; if it is gone, so is the member.
            let _ = done.send(disk.rewrite());
        }));
        finished.await.unwrap_or_else(|lost| Err(RewriteError::Copy(Box::new(lost))))
    }

    async fn report_rewritten(&self, order: &Seen) -> Result<(), Failure> {
        let report = Upkeep::ReportRewritten {
            node: self.local.node,
            incarnation: self.local.incarnation,
            number: order.number,
            index: order.index,
        };
        let deadline = Instant::now() + Duration::from_millis(WORK_MS_MAX);
        self.maintain(report, deadline).await.map(|_| ())
    }
}
