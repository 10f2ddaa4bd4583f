//! What runs beside the log: a snapshot after each checkpoint, a checkpoint when enough was appended or when a
//! follower needs one, the end of a change of membership whose leader did not live to finish it, and the news that
//! the log has stopped.

use std::collections::BTreeSet;
use std::time::Duration;

use keyclave_ledger::disk::Disk;
use openraft::error::Fatal as RaftFatal;
use openraft::{ChangeMembers, RaftMetrics};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster::{Fatal, StorageFailure};
use crate::ground::Ground;
use crate::leadership::Leadership;
use crate::machine::Machine;
use crate::propose::{CheckpointError, Proposer};
use crate::raft::{LogId, MemberNode, Raft};
use crate::timing::HALF_WAY_MS;

/// Entries applied since the last checkpoint after which the leader takes another.
const ENTRIES_PER_CHECKPOINT: u64 = 8_192;
/// Their bytes after which it does so earlier.
const BYTES_PER_CHECKPOINT: usize = 64 * 1024 * 1024;
/// How often it is looked at.
const LOOK_EVERY_MS: u64 = 1_000;

pub(crate) struct Upkeep<D: Disk> {
    pub(crate) raft: Raft,
    pub(crate) machine: Machine<D>,
    pub(crate) ground: Ground,
    /// A change of membership that stands half-way, and since when it was seen.
    pub(crate) half_way: Option<(LogId, Instant)>,
    pub(crate) proposer: Proposer,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) fatal: watch::Sender<Option<Fatal>>,
}

/// Says why this process must end. The first reason stays.
pub(crate) fn declare(fatal: &watch::Sender<Option<Fatal>>, why: Fatal) {
    fatal.send_if_modified(|declared| {
        let first = declared.is_none();
        if first {
            *declared = Some(why);
        }
        first
    });
}

impl<D: Disk> Upkeep<D> {
    /// Runs until the log stops.
    pub(crate) async fn run(mut self) {
        let mut metrics = self.raft.metrics();
        // Beside the work and not within it: a checkpoint that waits for a log that has stopped never returns.
        let error = tokio::select! {
            biased;
            error = stopped(&mut metrics) => error,
            () = self.work() => return,
        };
        declare(&self.fatal, explain(error));
    }

    async fn work(&mut self) {
        let mut captured = self.machine.watch_captured();
        let mut look = tokio::time::interval(Duration::from_millis(LOOK_EVERY_MS));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Ok(()) = captured.changed() => {
                    captured.borrow_and_update();
                    if let Err(error) = self.raft.trigger().snapshot().await {
                        tracing::debug!(%error, "the log has stopped; no snapshot");
                    }
                }
                _ = look.tick() => {
                    self.checkpoint_if_due().await;
                    self.finish_change().await;
                }
            }
        }
    }

    async fn checkpoint_if_due(&self) {
        let (entries, bytes) = self.machine.since_checkpoint();
        let due = self.machine.snapshot_wanted()
            || entries >= ENTRIES_PER_CHECKPOINT
            || bytes >= BYTES_PER_CHECKPOINT;
        if !due || self.leadership.borrow().mine.is_none() {
            return;
        }
        match self.proposer.checkpoint().await {
            Ok(index) => tracing::debug!(index, "checkpoint taken"),
            Err(CheckpointError::NotLeader) => {}
            Err(error) => tracing::warn!(%error, "no checkpoint"),
        }
    }
}

impl<D: Disk> Upkeep<D> {
    /// A leader that died between the two steps of a change left both sets of voters in force.
    async fn finish_change(&mut self) {
        let membership = self.ground.applied_membership();
        let joint = membership.membership().get_joint_config().len() > 1;
        let Some(made_at) = membership.log_id().filter(|_| joint) else {
            self.half_way = None;
            return;
        };
        let since = match self.half_way {
            Some((known, since)) if known == made_at => since,
            Some(_) | None => Instant::now(),
        };
        self.half_way = Some((made_at, since));
        let due = since.elapsed() >= Duration::from_millis(HALF_WAY_MS);
        if !due || self.leadership.borrow().mine.is_none() {
            return;
        }
        let limit = Duration::from_millis(HALF_WAY_MS);
        let finishing = self.raft.change_membership(ChangeMembers::AddVoterIds(BTreeSet::new()), false);
        match tokio::time::timeout(limit, finishing).await {
            Ok(Ok(_)) => tracing::info!("a change of membership was finished for an earlier leader"),
            Ok(Err(error)) => tracing::debug!(%error, "a change of membership is still half-way"),
            Err(_) => tracing::debug!("a change of membership is still half-way"),
        }
    }
}

/// Returns when openraft has stopped, with its reason if it left one.
async fn stopped(metrics: &mut watch::Receiver<RaftMetrics<u64, MemberNode>>) -> Option<RaftFatal<u64>> {
    let stopped = metrics.wait_for(|metrics| metrics.running_state.is_err()).await.ok()?;
    stopped.running_state.clone().err()
}

fn explain(error: Option<RaftFatal<u64>>) -> Fatal {
    match error {
        Some(RaftFatal::StorageError(error)) => Fatal::Storage(StorageFailure::from(error)),
        Some(RaftFatal::Panicked) | None => Fatal::Panicked,
        Some(RaftFatal::Stopped) => Fatal::Stopped,
    }
}
