//! What peers ask of a simulated node goes straight to its cluster half.

use keyclave_cluster::cluster::Cluster;
use keyclave_cluster::guard::Refused;
use keyclave_cluster::peer::{Campaign, LeaderSeen};
use keyclave_cluster::transport::raft_service::{RaftHandler, RaftRefusal, Sender, SnapshotChunks};
use keyclave_types::position::Position;

use super::disk::MemoryDisk;
use super::identity::GENERATION;

/// The cluster half of one process, as the transport knows it.
pub struct Door(pub Cluster<MemoryDisk>);

impl RaftHandler for Door {
    async fn append(&self, sender: Sender, payload: Vec<u8>) -> Result<Vec<u8>, RaftRefusal> {
        self.0.handle_append(sender.node, sender.keyed, &payload).await.map_err(refusal)
    }

    async fn vote(&self, sender: Sender, payload: Vec<u8>) -> Result<Vec<u8>, RaftRefusal> {
        self.0.handle_vote(sender.node, sender.keyed, &payload).await.map_err(refusal)
    }

    async fn install_snapshot(
        &self,
        sender: Sender,
        head: Vec<u8>,
        chunks: SnapshotChunks,
    ) -> Result<Vec<u8>, RaftRefusal> {
        let chunks = futures::stream::unfold(chunks, |mut chunks| async move {
            let chunk = chunks.next().await?;
            Some((chunk, chunks))
        });
        self.0.handle_snapshot(sender.node, sender.keyed, &head, chunks).await.map_err(refusal)
    }

    fn leader_seen(&self, _: Sender) -> LeaderSeen {
        self.0.leader_seen()
    }

    async fn seal_record_index(&self, _: Sender) -> Result<Position, RaftRefusal> {
        let confirmed = self.0.confirm_as_leader().await.map_err(|_| RaftRefusal::NoQuorum)?;
        Ok(Position { generation: GENERATION, index: confirmed.index })
    }

    async fn campaign(&self, sender: Sender, campaign: Campaign) -> Result<(), RaftRefusal> {
        self.0.handle_campaign(sender.node, sender.keyed, campaign).map_err(refusal)
    }
}

fn refusal(refused: Refused) -> RaftRefusal {
    match refused {
        Refused::NotKeyed => RaftRefusal::NeedsKeyed,
        Refused::NoCampaign => RaftRefusal::State,
        Refused::Stopped | Refused::Storage(_) => RaftRefusal::Ending,
        Refused::Message(_) | Refused::Entry(_) => RaftRefusal::Malformed,
        Refused::Vote { .. }
        | Refused::VoteKind
        | Refused::Term { .. }
        | Refused::Order { .. }
        | Refused::Contradiction { .. }
        | Refused::FirstEntry
        | Refused::Signature { .. }
        | Refused::NoCheckpoint
        | Refused::Digest
        | Refused::RolledBack { .. } => RaftRefusal::Forged,
    }
}
