//! The Raft half as the transport hears for it.

use keyclave_ledger::disk::Disk;
use keyclave_types::position::Position;

use crate::cluster::Cluster;
use crate::confirm::ConfirmError;
use crate::guard::Refused;
use crate::peer::{Campaign, LeaderSeen};

use super::raft_service::{RaftHandler, RaftRefusal, Sender, SnapshotChunks};

impl<D: Disk> RaftHandler for Cluster<D> {
    async fn append(&self, sender: Sender, payload: Vec<u8>) -> Result<Vec<u8>, RaftRefusal> {
        self.handle_append(sender.node, sender.keyed, &payload).await.map_err(RaftRefusal::from)
    }

    async fn vote(&self, sender: Sender, payload: Vec<u8>) -> Result<Vec<u8>, RaftRefusal> {
        self.handle_vote(sender.node, sender.keyed, &payload).await.map_err(RaftRefusal::from)
    }

    async fn install_snapshot(
        &self,
        sender: Sender,
        head: Vec<u8>,
        chunks: SnapshotChunks,
    ) -> Result<Vec<u8>, RaftRefusal> {
        let installed = self.handle_snapshot(sender.node, sender.keyed, &head, chunks.into_stream());
        installed.await.map_err(RaftRefusal::from)
    }

    fn leader_seen(&self, _: Sender) -> LeaderSeen {
        Cluster::leader_seen(self)
    }

    async fn seal_record_index(&self, _: Sender) -> Result<Position, RaftRefusal> {
        let confirmed = self.confirm_as_leader().await;
        match confirmed {
            Ok(confirmation) => {
                Ok(Position { generation: confirmation.generation, index: confirmation.index })
            }
            Err(ConfirmError::NotLeader { leader }) => Err(RaftRefusal::NotLeader { leader }),
            Err(ConfirmError::NoQuorum | ConfirmError::Overloaded) => Err(RaftRefusal::NoQuorum),
            Err(ConfirmError::Stopped) => Err(RaftRefusal::Ending),
        }
    }

    async fn campaign(&self, sender: Sender, campaign: Campaign) -> Result<(), RaftRefusal> {
        self.handle_campaign(sender.node, sender.keyed, campaign).map_err(RaftRefusal::from)
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
