//! Handing leadership over, which openraft cannot: stop deciding, wait until the target has everything, fall silent,
//! and let the target stand.
//!
//! Writes and confirmations that arrive meanwhile wait; they are not refused. If the target does not win in time,
//! this node goes on as before. Called through [`crate::cluster`] before a seal, a shutdown, a step-down, and the
//! removal of the leader.

use std::time::Duration;

use keyclave_ledger::disk::Disk;
use keyclave_types::ids::NodeId;
use tokio::time::{Instant, timeout_at};

use crate::cluster::Cluster;
use crate::members::Role;
use crate::peer::Campaign;
use crate::presence::Presence;
use crate::raft::Raft;
use crate::timing::{CAMPAIGN_EVERY_MS, HANDOVER_MS, HEARTBEAT_MS};

/// Why this node still leads, or may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// There is nothing to hand over.
    #[error("this node does not lead")]
    NotLeader,
    /// Another handover is under way.
    #[error("a handover is under way")]
    InProgress,
    /// No voter with the keyring can take it.
    #[error("no unsealed voter can be reached")]
    NoTarget,
    /// The target could not be brought up to date, or did not win, in time.
    #[error("node {target} did not take over in time")]
    Deadline {
        /// Who should have.
        target: NodeId,
    },
}

impl<D: Disk> Cluster<D> {
    /// Hands leadership to `to`, or to the unsealed voter that lacks least. Returns who leads afterwards.
    pub async fn hand_over(&self, to: Option<NodeId>, deadline: Instant) -> Result<NodeId, HandoverError> {
        if self.inner.leadership.borrow().leader != Some(self.inner.guard.me) {
            return Err(HandoverError::NotLeader);
        }
        let target = self.handover_target(to).ok_or(HandoverError::NoTarget)?;
        let _restored = HandingOver::begin(&self.inner.presence, &self.inner.raft)?;
        match timeout_at(deadline, self.hand_over_to(target)).await {
            Ok(Some(leader)) => Ok(leader),
            Ok(None) | Err(_) => Err(HandoverError::Deadline { target }),
        }
    }

    fn handover_target(&self, to: Option<NodeId>) -> Option<NodeId> {
        let keyed = self.inner.transport.keyed();
        let able = self
            .members()
            .into_iter()
            .filter(|(node, (_, role))| *role == Role::Voter && keyed.contains(node))
            .map(|(node, _)| node)
            .filter(|node| *node != self.inner.guard.me && to.is_none_or(|to| to == *node));
        able.min_by_key(|node| self.lag(*node).unwrap_or(u64::MAX))
    }

    async fn hand_over_to(&self, target: NodeId) -> Option<NodeId> {
        let inner = &self.inner;
        let limit = Duration::from_millis(HANDOVER_MS);
        let _paused = inner.proposer.pause(limit).await?;
        self.wait_until_complete(target).await?;
        // From here on the followers' lease runs out, and the target's campaign can win.
        inner.raft.runtime_config().heartbeat(false);
        let term = inner.ground.vote()?.leader_id.term;
        let last_index = inner.ground.last()?.index;
        let end = Instant::now() + limit;
        let mut leadership = inner.leadership.clone();
        let ask_limit = Duration::from_millis(HEARTBEAT_MS);
        let asked = inner.transport.campaign(target, Campaign { term, last_index }, ask_limit).await;
        asked
            .inspect_err(|error| tracing::warn!(%target, %error, "the target was not asked to lead"))
            .ok()?;
        let me = inner.guard.me;
        let handed = leadership.wait_for(|leadership| leadership.leader.is_some_and(|leader| leader != me));
        timeout_at(end, handed).await.ok()?.ok()?.leader
    }

    async fn wait_until_complete(&self, target: NodeId) -> Option<()> {
        while self.lag(target) != Some(0) {
            if self.inner.leadership.borrow().leader != Some(self.inner.guard.me) {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(CAMPAIGN_EVERY_MS / 10)).await;
        }
        Some(())
    }
}

/// Restores what a handover changed, however it ends.
struct HandingOver<'a> {
    presence: &'a Presence,
    raft: &'a Raft,
}

impl<'a> HandingOver<'a> {
    fn begin(presence: &'a Presence, raft: &'a Raft) -> Result<Self, HandoverError> {
        if !presence.begin_handover() {
            return Err(HandoverError::InProgress);
        }
        Ok(Self { presence, raft })
    }
}

impl Drop for HandingOver<'_> {
    fn drop(&mut self) {
        self.raft.runtime_config().heartbeat(true);
        self.presence.end_handover();
    }
}
