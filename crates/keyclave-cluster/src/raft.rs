//! What this room makes of openraft's types: the type configuration, short names, and the stored forms of what
//! openraft defines (votes, log ids, memberships), so that no stored byte depends on openraft's own layout.
//!
//! Called by every module of the Raft half. No type of openraft leaves this crate.

use std::collections::{BTreeMap, BTreeSet};

use keyclave_types::envelope::Stored;
use keyclave_types::ids::Incarnation;
use keyclave_types::member::{Member, NodePublicKey};
use keyclave_types::transaction::{LeaderId, TransactionOutcome};
use openraft::{AnyError, ErrorSubject, ErrorVerb, StorageIOError};
use serde::{Deserialize, Serialize};

use crate::entry::{Entry, Proposal};
use crate::runtime::SeededTokio;
use crate::snapshot::SnapshotBody;

openraft::declare_raft_types!(
    /// How openraft is used here.
    pub(crate) TypeConfig:
        D = Proposal,
        R = Effect,
        NodeId = u64,
        Node = MemberNode,
        Entry = Entry,
        SnapshotData = SnapshotBody,
        AsyncRuntime = SeededTokio,
);

pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type Membership = openraft::Membership<u64, MemberNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, MemberNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, MemberNode>;
pub(crate) type Snapshot = openraft::Snapshot<TypeConfig>;
pub(crate) type StorageError = openraft::StorageError<u64>;
pub(crate) type Raft = openraft::Raft<TypeConfig>;
pub(crate) type AppendRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;
pub(crate) type AppendResponse = openraft::raft::AppendEntriesResponse<u64>;
pub(crate) type VoteRequest = openraft::raft::VoteRequest<u64>;
pub(crate) type VoteResponse = openraft::raft::VoteResponse<u64>;

/// What applying one entry did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Effect {
    /// A blank or a membership.
    Nothing,
    /// A batch, transaction by transaction.
    Batch(Vec<TransactionOutcome>),
    /// A checkpoint.
    Checkpoint(CheckpointEffect),
}

/// What became of a checkpoint, at the node that applied it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum CheckpointEffect {
    /// The digest agrees; the state was captured.
    Taken,
    /// Something before it was not applied when it was appended, so it says nothing.
    Void,
    /// This node's state differs from what the leader signed.
    Differs,
}

/// A member as openraft's node. It demands a default, which names nobody: no key verifies under it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct MemberNode(pub(crate) Member);

impl Default for MemberNode {
    fn default() -> Self {
        Self(Member { incarnation: Incarnation::from_bytes([0; 16]), key: NodePublicKey([0; 32]) })
    }
}

/// A log id in stored form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct LogIdForm {
    pub(crate) leader: LeaderId,
    pub(crate) index: u64,
}

impl Stored for LogIdForm {
    const FORMAT: u8 = 1;
}

impl From<LogId> for LogIdForm {
    fn from(id: LogId) -> Self {
        Self { leader: leader_of(&id), index: id.index }
    }
}

impl From<LogIdForm> for LogId {
    fn from(form: LogIdForm) -> Self {
        Self::new(openraft::CommittedLeaderId::new(form.leader.term, form.leader.node), form.index)
    }
}

/// Under whom an entry was appended.
pub(crate) fn leader_of(id: &LogId) -> LeaderId {
    LeaderId { term: id.leader_id.term, node: id.leader_id.node_id }
}

/// A vote in stored form.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct VoteForm {
    pub(crate) leader: LeaderId,
    pub(crate) committed: bool,
}

impl Stored for VoteForm {
    const FORMAT: u8 = 1;
}

impl From<Vote> for VoteForm {
    fn from(vote: Vote) -> Self {
        let leader = LeaderId { term: vote.leader_id.term, node: vote.leader_id.node_id };
        Self { leader, committed: vote.committed }
    }
}

impl From<VoteForm> for Vote {
    fn from(form: VoteForm) -> Self {
        let LeaderId { term, node } = form.leader;
        if form.committed { Self::new_committed(term, node) } else { Self::new(term, node) }
    }
}

/// A membership in stored form: one set of voters, or two while it changes, and every member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct MembershipForm {
    voters: Vec<BTreeSet<u64>>,
    members: BTreeMap<u64, Member>,
}

/// A voter without a member record: nobody could say whose signature counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("voter {voter} is not among the members")]
pub struct UnknownVoter {
    /// The node number.
    pub voter: u64,
}

impl From<&Membership> for MembershipForm {
    fn from(membership: &Membership) -> Self {
        Self {
            voters: membership.get_joint_config().clone(),
            members: membership.nodes().map(|(node, member)| (*node, member.0)).collect(),
        }
    }
}

impl TryFrom<MembershipForm> for Membership {
    type Error = UnknownVoter;

    fn try_from(form: MembershipForm) -> Result<Self, UnknownVoter> {
        let stranger = form.voters.iter().flatten().find(|voter| !form.members.contains_key(voter));
        match stranger {
            Some(voter) => Err(UnknownVoter { voter: *voter }),
            None => {
                let nodes: BTreeMap<u64, MemberNode> =
                    form.members.into_iter().map(|(node, member)| (node, MemberNode(member))).collect();
                Ok(Self::new(form.voters, nodes))
            }
        }
    }
}

/// Whether `counted` holds a majority of every set of voters.
pub(crate) fn is_quorum(membership: &Membership, counted: &BTreeSet<u64>) -> bool {
    let sets = membership.get_joint_config();
    !sets.is_empty() && sets.iter().all(|voters| voters.intersection(counted).count() * 2 > voters.len())
}

/// openraft's error of this room's own: it stops the node.
pub(crate) fn storage_error(
    subject: ErrorSubject<u64>,
    verb: ErrorVerb,
    source: &(impl std::error::Error + 'static),
) -> StorageError {
    StorageError::IO { source: StorageIOError::new(subject, verb, AnyError::new(source)) }
}

#[cfg(test)]
mod tests {
    use keyclave_types::envelope;

    use super::*;

    #[test]
    fn golden_bytes_stay() {
        let id = LogIdForm { leader: LeaderId { term: 300, node: 2 }, index: 9 };
        assert_eq!(envelope::encode(&id), [1, 251, 1, 44, 2, 9]);
        let vote = VoteForm { leader: LeaderId { term: 5, node: 3 }, committed: true };
        assert_eq!(envelope::encode(&vote), [1, 5, 3, 1]);
    }

    #[test]
    fn votes_and_log_ids_read_back() {
        let id = LogId::new(openraft::CommittedLeaderId::new(7, 2), 40);
        assert_eq!(LogId::from(LogIdForm::from(id)), id);
        for vote in [Vote::new(4, 1), Vote::new_committed(4, 1)] {
            assert_eq!(Vote::from(VoteForm::from(vote)), vote);
        }
    }

    #[test]
    fn a_voter_without_a_member_record_is_refused() {
        let form = MembershipForm { voters: vec![BTreeSet::from([1, 2])], members: BTreeMap::new() };
        assert_eq!(Membership::try_from(form), Err(UnknownVoter { voter: 1 }));
    }

    #[test]
    fn while_membership_changes_both_sets_must_agree() {
        let nodes: BTreeMap<u64, MemberNode> = (1..=5).map(|node| (node, MemberNode::default())).collect();
        let joint = Membership::new(vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([3, 4, 5])], nodes);
        assert!(!is_quorum(&joint, &BTreeSet::from([1, 2, 3])));
        assert!(is_quorum(&joint, &BTreeSet::from([2, 3, 4])));
        assert!(!is_quorum(&Membership::default(), &BTreeSet::from([1])));
    }
}
