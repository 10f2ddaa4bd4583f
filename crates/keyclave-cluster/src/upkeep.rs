//! What runs beside the log: a snapshot after each checkpoint, a checkpoint when enough was appended or when a
//! follower needs one, and the news that the log has stopped.

use std::time::Duration;

use keyclave_ledger::disk::Disk;
use openraft::RaftMetrics;
use openraft::error::Fatal as RaftFatal;
use tokio::sync::watch;

use crate::cluster::{Fatal, StorageFailure};
use crate::leadership::Leadership;
use crate::machine::Machine;
use crate::propose::{CheckpointError, Proposer};
use crate::raft::{MemberNode, Raft};

/// Entries applied since the last checkpoint after which the leader takes another.
const ENTRIES_PER_CHECKPOINT: u64 = 8_192;
/// How often it is looked at.
const LOOK_EVERY_MS: u64 = 1_000;

pub(crate) struct Upkeep<D: Disk> {
    raft: Raft,
    machine: Machine<D>,
    proposer: Proposer,
    leadership: watch::Receiver<Leadership>,
    fatal: watch::Sender<Option<Fatal>>,
}

impl<D: Disk> Upkeep<D> {
    pub(crate) fn new(
        raft: Raft,
        machine: Machine<D>,
        proposer: Proposer,
        leadership: watch::Receiver<Leadership>,
    ) -> (Self, watch::Receiver<Option<Fatal>>) {
        let (fatal, stopped) = watch::channel(None);
        (Self { raft, machine, proposer, leadership, fatal }, stopped)
    }

    /// Runs until the log stops.
    pub(crate) async fn run(self) {
        let mut captured = self.machine.watch_captured();
        let mut metrics = self.raft.metrics();
        let mut look = tokio::time::interval(Duration::from_millis(LOOK_EVERY_MS));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                error = stopped(&mut metrics) => {
                    self.fatal.send_replace(Some(explain(error)));
                    return;
                }
                Ok(()) = captured.changed() => {
                    captured.borrow_and_update();
                    if let Err(error) = self.raft.trigger().snapshot().await {
                        tracing::debug!(%error, "the log has stopped; no snapshot");
                    }
                }
                _ = look.tick() => self.checkpoint_if_due().await,
            }
        }
    }

    async fn checkpoint_if_due(&self) {
        let due = self.machine.snapshot_wanted() || self.machine.since_checkpoint() >= ENTRIES_PER_CHECKPOINT;
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
