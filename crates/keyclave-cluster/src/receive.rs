//! What peers ask of this node: appends, votes, snapshots, what leader it sees, and to campaign.
//!
//! Called by the transport's service, with who sent each message and whether the connection is keyed. The guard and
//! what follows it run under one lock, so that nothing changes between check and append.

use std::time::Duration;

use keyclave_ledger::disk::Disk;
use keyclave_types::envelope;
use keyclave_types::ids::NodeId;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::guard::Refused;
use crate::leadership;
use crate::message::{Append, AppendAnswer, MessageError, VoteAnswer, VoteAsk};
use crate::peer::{Campaign, LeaderSeen};
use crate::raft::{AppendResponse, VoteRequest};
use crate::timing::{CAMPAIGN_EVERY_MS, HANDOVER_MS};

impl<D: Disk> Cluster<D> {
    /// One append, and its answer.
    pub async fn handle_append(
        &self,
        sender: NodeId,
        keyed: bool,
        payload: &[u8],
    ) -> Result<Vec<u8>, Refused> {
        let answer = self.append(sender, keyed, payload).await;
        answer.inspect_err(|refused| self.note_refusal(sender, refused))
    }

    async fn append(&self, sender: NodeId, keyed: bool, payload: &[u8]) -> Result<Vec<u8>, Refused> {
        let inner = &self.inner;
        let mut append = Append::from_bytes(payload)?;
        self.hear_only_keyed(keyed)?;
        let _one = inner.gate.lock().await;
        let vouched = inner.guard.vouched_commit(&append);
        let believed = keyed || vouched.is_some();
        let standing = inner.ground.standing();
        inner.guard.check_append(&standing, &inner.log, &mut append, sender, believed)?;
        inner.network.rollback.check_request(sender, &append.request.vote, None, &inner.ground)?;
        if let Some((committed, signature)) = vouched {
            inner.ground.vouch(committed, signature);
        }
        let sent_to = append.request.entries.last().map(|entry| entry.log_id).or(append.request.prev_log_id);
        let response = inner.raft.append_entries(append.request).await.map_err(|_| Refused::Stopped)?;
        if !matches!(response, AppendResponse::HigherVote(_)) {
            let caught_up = response.is_success() && sent_to == inner.ground.last();
            inner.presence.heard(sender, append.sealed && caught_up);
        }
        Ok(envelope::encode(&AppendAnswer::from(response)))
    }

    /// One request for a vote, and its answer.
    pub async fn handle_vote(&self, sender: NodeId, keyed: bool, payload: &[u8]) -> Result<Vec<u8>, Refused> {
        let answer = self.vote(sender, keyed, payload).await;
        answer.inspect_err(|refused| self.note_refusal(sender, refused))
    }

    async fn vote(&self, sender: NodeId, keyed: bool, payload: &[u8]) -> Result<Vec<u8>, Refused> {
        let inner = &self.inner;
        let request: VoteRequest = decode::<VoteAsk>(payload)?.into();
        self.hear_only_keyed(keyed)?;
        let _one = inner.gate.lock().await;
        inner.guard.check_vote(&inner.ground.standing(), &request.vote, sender, false)?;
        let last = request.last_log_id;
        inner.network.rollback.check_request(sender, &request.vote, last, &inner.ground)?;
        let response = inner.raft.vote(request).await.map_err(|_| Refused::Stopped)?;
        if response.vote_granted {
            inner.presence.granted();
        }
        Ok(envelope::encode(&VoteAnswer::from(response)))
    }

    /// Whether this node sees a live leader.
    pub fn leader_seen(&self) -> LeaderSeen {
        let inner = &self.inner;
        let leadership = *inner.leadership.borrow();
        leadership::leader_seen(inner.guard.me, &inner.presence, &inner.ground, &leadership)
    }

    /// The leader hands over to this node: it stands at once, and again until it leads or time is up.
    pub fn handle_campaign(&self, sender: NodeId, keyed: bool, campaign: Campaign) -> Result<(), Refused> {
        let inner = &self.inner;
        let (ours, vote) = (inner.ground.last(), inner.ground.vote());
        let follows = vote.is_some_and(|vote| {
            vote.committed && vote.leader_id.node_id == sender.get() && vote.leader_id.term == campaign.term
        });
        let complete = ours.is_some_and(|last| last.index >= campaign.last_index);
        let able = inner.presence.may_lead() && !inner.presence.sealed();
        if !keyed || !follows || !complete || !able {
            return Err(Refused::NoCampaign);
        }
        let (raft, mut leadership, me) = (inner.raft.clone(), inner.leadership.clone(), inner.guard.me);
        tokio::spawn(async move {
            let end = Instant::now() + Duration::from_millis(HANDOVER_MS);
            let every = Duration::from_millis(CAMPAIGN_EVERY_MS);
            while Instant::now() < end && raft.trigger().elect().await.is_ok() {
                let won = leadership.wait_for(|leadership| leadership.leader == Some(me));
                if tokio::time::timeout(every, won).await.is_ok() {
                    return;
                }
            }
        });
        Ok(())
    }

    pub(crate) fn hear_only_keyed(&self, keyed: bool) -> Result<(), Refused> {
        if !keyed && self.inner.network.keyed_quorum() { Err(Refused::NotKeyed) } else { Ok(()) }
    }

    pub(crate) fn note_refusal(&self, sender: NodeId, refused: &Refused) {
        self.inner.presence.refused();
        match refused {
            Refused::Contradiction { index } => {
                self.inner.presence.contradicted();
                tracing::error!(%sender, index, "a peer contradicts what was applied here");
            }
            Refused::RolledBack { node } => self.inner.network.rollback.tell(*node),
            Refused::NotKeyed | Refused::NoCampaign | Refused::Stopped => {
                tracing::debug!(%sender, reason = %refused, "a peer's message was not taken");
            }
            Refused::Message(_)
            | Refused::Entry(_)
            | Refused::Vote { .. }
            | Refused::VoteKind
            | Refused::Term { .. }
            | Refused::Order { .. }
            | Refused::FirstEntry
            | Refused::Signature { .. }
            | Refused::NoCheckpoint
            | Refused::Digest
            | Refused::Storage(_) => {
                tracing::warn!(%sender, reason = %refused, "a peer's message was refused");
            }
        }
    }
}

fn decode<T: envelope::Stored>(payload: &[u8]) -> Result<T, Refused> {
    envelope::decode(payload).map_err(|error| Refused::Message(MessageError::Form(error)))
}
