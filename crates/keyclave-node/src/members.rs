//! What this node can say and do about the members: who they are, how they are, and taking one out.

use std::sync::atomic::Ordering;
use std::time::Duration;

use keyclave_cluster::members::Role;
use keyclave_crypto::hash;
use keyclave_crypto::token::{JoinTicket, Token};
use keyclave_proto::peer::v1 as wire;
use keyclave_proto::peer::v1::ceremony_service_client::CeremonyServiceClient;
use keyclave_proto::peer::v1::forward_service_client::ForwardServiceClient;
use keyclave_types::ids::{NodeId, PlainKind, RecordId};
use keyclave_types::member::{Addresses, Member as MemberRecord};
use keyclave_types::time::UnixMillis;
use keyclave_vault::records::cluster::RejoinPolicy;
use keyclave_vault::refusal::Refusal;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::guesses::Guesses;
use crate::host::Host;
use crate::member::Member;
use crate::world::RuntimeUnusable;

/// How long one peer may take to say how it is.
const STATUS_MS_MAX: u64 = 1_000;
/// A peer's word for whether its machine may keep a restart key; nothing where it did not say.
pub(crate) fn restart_key_of(word: u32) -> Option<Result<(), RuntimeUnusable>> {
    match word {
        1 => Some(Ok(())),
        2 => Some(Err(RuntimeUnusable::NotTmpfs)),
        3 => Some(Err(RuntimeUnusable::Swap)),
        4 => Some(Err(RuntimeUnusable::Absent)),
        _ => None,
    }
}

/// The word that [`restart_key_of`] reads.
pub(crate) fn restart_key_word(usable: Result<(), RuntimeUnusable>) -> u32 {
    match usable {
        Ok(()) => 1,
        Err(RuntimeUnusable::NotTmpfs) => 2,
        Err(RuntimeUnusable::Swap) => 3,
        Err(RuntimeUnusable::Absent | RuntimeUnusable::Access) => 4,
    }
}

/// How long the trail may take to forget its keys; a blocked disk must not keep a node from being sealed.
const FORGET_MS_MAX: u64 = 1_000;

/// One member, as this node knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownMember {
    /// Its number.
    pub node: NodeId,
    /// Its identity.
    pub member: MemberRecord,
    /// Whether it counts in elections.
    pub votes: bool,
    /// Where it is reached.
    pub addresses: Option<Addresses>,
    /// Whether a keyed connection reaches it.
    pub keyed: bool,
}

/// What a peer says of its seal.
#[derive(Clone, Debug)]
pub struct PeerSeal {
    /// Whether it holds no key.
    pub sealed: bool,
    /// Its process's boot key.
    pub boot_public: Vec<u8>,
    /// The ceremony that it holds.
    pub ceremony: Option<wire::CeremonyProgress>,
    /// What a share for its process must name; empty if it needs none.
    pub ceremony_id: Vec<u8>,
    /// Wrong shares given to it.
    pub guesses: Guesses,
    /// Whether something on its machine may bring its process back.
    pub comes_back: bool,
    /// Whether its machine may keep a restart key; none if it did not say.
    pub restart_key: Option<Result<(), RuntimeUnusable>>,
}

/// Whom an operator's seal holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Marked {
    /// One node.
    Node,
    /// All of them.
    Cluster,
}

impl<H: Host> Member<H> {
    /// Every member, this node included.
    pub fn known_members(&self) -> Vec<KnownMember> {
        let keyed = self.connections.keyed();
        let members = self.cluster.members().into_iter();
        members
            .map(|(node, (member, role))| KnownMember {
                node,
                member,
                votes: role == Role::Voter,
                addresses: self.directory.addresses(node),
                keyed: keyed.contains(&node),
            })
            .collect()
    }

    /// Who leads, and in which term, as far as this node knows.
    pub fn leader(&self) -> (Option<NodeId>, u64) {
        let leadership = self.cluster.leadership();
        (leadership.leader, leadership.term)
    }

    /// Asks a peer how its seal is.
    pub async fn peer_seal(&self, node: NodeId) -> Option<PeerSeal> {
        let channel = self.peers.plain(node).ok()?;
        let limit = Duration::from_millis(STATUS_MS_MAX);
        let asked = channel.call(limit, |channel| async move {
            CeremonyServiceClient::new(channel).get_seal_status(wire::GetSealStatusRequest {}).await
        });
        let answer = asked.await.ok()?;
        Some(PeerSeal {
            sealed: answer.sealed,
            boot_public: answer.boot_public_key,
            ceremony: answer.ceremony,
            ceremony_id: answer.ceremony_id,
            guesses: Guesses {
                wrong: answer.wrong_shares,
                last_at: UnixMillis(answer.last_wrong_share_unix_ms),
            },
            comes_back: answer.comes_back,
            restart_key: restart_key_of(answer.restart_key),
        })
    }

    /// Whether a seal mark holds `node`, as far as this node's ledger goes; a sealed node can tell too.
    pub fn seal_mark(&self, node: NodeId) -> Option<Marked> {
        let marked = |number| {
            let mark = RecordId::plain(PlainKind::SealMark, number);
            self.ledger.read(&mark).ok().flatten().is_some()
        };
        if marked(0) {
            return Some(Marked::Cluster);
        }
        marked(node.get()).then_some(Marked::Node)
    }

    /// Whether something lies on this machine with which its process may come back by itself, and no peer has refused it.
    pub fn comes_back(&self) -> bool {
        self.world.runtime.load().is_some() && !self.restart_refused.load(Ordering::Acquire)
    }

    /// Whether an operator may admit a process at all. Only an unsealed node knows; a sealed one says yes.
    pub fn admits(&self) -> bool {
        let view = self.unsealed().ok().and_then(|unsealed| unsealed.keeper.latest().ok());
        let rules = view.as_ref().and_then(|view| view.rejoin_rules());
        rules.is_none_or(|rules| rules.policy != RejoinPolicy::Off)
    }

    /// Passes a share on to the node whose process it is encrypted to.
    pub async fn relay_share(
        &self,
        node: NodeId,
        request: wire::RelayShareRequest,
        limit: Duration,
    ) -> Result<wire::RelayShareResponse, Failure> {
        let channel = self.peers.plain(node).map_err(|_| Failure::Refused(Refusal::NodeUnknown { node }))?;
        let asked = channel.call(limit, |channel| async move {
            CeremonyServiceClient::new(channel).relay_share(request).await
        });
        asked.await.map_err(Failure::from)
    }

    /// Passes a caller's write on to the leader.
    pub async fn forward(
        &self,
        leader: NodeId,
        request: wire::ForwardRequest,
        limit: Duration,
    ) -> Result<wire::ForwardResponse, Failure> {
        let channel = self.peers.keyed(leader).map_err(|_| Failure::NoLeader)?;
        let asked = channel
            .call(limit, |channel| async move { ForwardServiceClient::new(channel).forward(request).await });
        asked.await.map_err(Failure::from)
    }

    /// A join token's text with the pin of the authority: without it the joining node could not tell whom it asks.
    pub fn pinned_join_token(&self, token: &str) -> Result<Zeroizing<String>, Failure> {
        let token = Token::parse(token).map_err(|_| Failure::Refused(Refusal::RecordLost))?;
        let anchor = hash::sha256(&[&self.authority_public_key()?]);
        Ok(JoinTicket { token, anchor }.to_text())
    }

    /// As leader: takes a member out of the log's membership, once the ledger holds nothing of it any more.
    pub async fn remove_from_log(&self, node: NodeId, deadline: Instant) -> Result<(), Failure> {
        if node == self.local.node {
            // The next leader is asked again by the caller's retry; this node is then only a follower.
            self.cluster.hand_over(None, deadline).await.map_err(|_| Failure::NoLeader)?;
            return Err(Failure::NoLeader);
        }
        Ok(self.cluster.remove_member(node, deadline).await?)
    }

    /// Makes the leader hand over, to `to` if given.
    pub async fn step_down(&self, to: Option<NodeId>, deadline: Instant) -> Result<NodeId, Failure> {
        self.cluster.hand_over(to, deadline).await.map_err(|error| match error {
            keyclave_cluster::handover::HandoverError::NotLeader
            | keyclave_cluster::handover::HandoverError::InProgress => Failure::NoLeader,
            keyclave_cluster::handover::HandoverError::NoTarget
            | keyclave_cluster::handover::HandoverError::Deadline { .. } => Failure::NoSuccessor,
        })
    }

    /// The cluster that this node belongs to.
    pub fn cluster_id(&self) -> keyclave_types::ids::ClusterId {
        self.local.cluster
    }

    /// The public half of this process's boot key.
    pub fn boot_public(&self) -> [u8; 32] {
        self.boot.public()
    }

    /// What is known of the shares without having them.
    pub fn share_set(&self) -> Option<keyclave_types::seal::ShareSet> {
        self.seal_record().map(|seal| seal.current)
    }

    /// Whether a restart key may be kept on this machine.
    pub fn restart_key_usable(&self) -> Result<(), RuntimeUnusable> {
        self.world.runtime.usable()
    }

    /// To whom leadership goes before this node is sealed or stops: nobody if no unmarked node can lead, any if none is marked.
    pub(crate) fn successor(&self) -> Option<Option<NodeId>> {
        let keyed = self.connections.keyed();
        let able: Vec<NodeId> =
            self.known_members().into_iter().filter(|known| known.votes).map(|known| known.node).collect();
        let able: Vec<NodeId> =
            able.into_iter().filter(|node| *node != self.local.node && keyed.contains(node)).collect();
        successor_among(&able, |node| self.seal_mark(node).is_some())
    }

    /// Seals this node: serves nobody from here on, hands leadership over, wipes what it holds, and ends the process
    /// for a fresh, sealed one.
    pub async fn seal_here(&self) {
        self.withdraw();
        self.stop().await;
        let limit = Duration::from_millis(FORGET_MS_MAX);
        if tokio::time::timeout(limit, self.trail.forget_keys()).await.is_err() {
            tracing::warn!("the audit trail did not give up its keys in time; they go with the process");
        }
        self.keys.drop_keyring();
        self.set_unsealed(None);
        self.end(crate::node::Ending::Sealed);
    }
}

/// To whom leadership goes among those who can lead: nobody, any of them, or this one.
fn successor_among(able: &[NodeId], is_marked: impl Fn(NodeId) -> bool) -> Option<Option<NodeId>> {
    let unmarked: Vec<NodeId> = able.iter().copied().filter(|node| !is_marked(*node)).collect();
    match unmarked.first() {
        None => None,
        Some(_) if unmarked.len() == able.len() => Some(None),
        Some(first) => Some(Some(*first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leadership_is_handed_over_to_an_unmarked_node_or_to_nobody() {
        let nodes = [1, 2, 3].map(|number| NodeId::new(number).unwrap());
        let [first, second, third] = nodes;
        assert_eq!(successor_among(&nodes, |_| false), Some(None), "whoever has the longest log");
        assert_eq!(successor_among(&nodes, |node| node == first), Some(Some(second)));
        assert_eq!(successor_among(&nodes, |node| node != third), Some(Some(third)));
        assert_eq!(successor_among(&nodes, |_| true), None);
        assert_eq!(successor_among(&[], |_| false), None);
    }
}
