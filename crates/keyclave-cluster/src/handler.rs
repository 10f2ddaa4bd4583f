//! The transport's service, answered by this half: who sent what, and how, and the refusals in the transport's words.

use futures::stream;
use keyclave_ledger::disk::Disk;
use keyclave_types::position::Position;

use crate::cluster::Cluster;
use crate::confirm::ConfirmError;
use crate::guard::Refused;
use crate::peer::{Campaign, LeaderSeen};
use crate::transport::raft_service::{RaftHandler, RaftRefusal, Sender, SnapshotChunks};

impl<D: Disk> RaftHandler for Cluster<D> {
    async fn append(&self, sender: Sender, payload: Vec<u8>) -> Result<Vec<u8>, RaftRefusal> {
        Ok(self.handle_append(sender.node, sender.keyed, &payload).await?)
    }

    async fn vote(&self, sender: Sender, payload: Vec<u8>) -> Result<Vec<u8>, RaftRefusal> {
        Ok(self.handle_vote(sender.node, sender.keyed, &payload).await?)
    }

    async fn install_snapshot(
        &self,
        sender: Sender,
        head: Vec<u8>,
        chunks: SnapshotChunks,
    ) -> Result<Vec<u8>, RaftRefusal> {
        let chunks = stream::unfold(chunks, |mut chunks| async move {
            let next = chunks.next().await?;
            Some((next, chunks))
        });
        Ok(self.handle_snapshot(sender.node, sender.keyed, &head, chunks).await?)
    }

    fn leader_seen(&self, _: Sender) -> LeaderSeen {
        Self::leader_seen(self)
    }

    async fn seal_record_index(&self, _: Sender) -> Result<Position, RaftRefusal> {
        let confirmed = self.confirm_as_leader().await?;
        Ok(Position { generation: confirmed.generation, index: confirmed.index })
    }

    async fn campaign(&self, sender: Sender, campaign: Campaign) -> Result<(), RaftRefusal> {
        Ok(self.handle_campaign(sender.node, sender.keyed, campaign)?)
    }
}

impl From<Refused> for RaftRefusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Message(_) | Refused::Entry(_) => Self::Malformed,
            Refused::NotKeyed => Self::NeedsKeyed,
            Refused::NoCampaign => Self::State,
            Refused::Stopped | Refused::Storage(_) => Self::Ending,
            Refused::Vote { .. }
            | Refused::VoteKind
            | Refused::Term { .. }
            | Refused::Order { .. }
            | Refused::Contradiction { .. }
            | Refused::FirstEntry
            | Refused::Signature { .. }
            | Refused::NoCheckpoint
            | Refused::Digest
            | Refused::RolledBack { .. } => Self::Forged,
        }
    }
}

impl From<ConfirmError> for RaftRefusal {
    fn from(error: ConfirmError) -> Self {
        match error {
            ConfirmError::NotLeader { leader } => Self::NotLeader { leader },
            ConfirmError::NoQuorum | ConfirmError::Overloaded => Self::NoQuorum,
            ConfirmError::Stopped => Self::Ending,
        }
    }
}
