//! Who belongs to the cluster, and changing it: the first node alone, then learners, then voters, one at a time.
//!
//! A member record is never changed in place: a node that comes back on another data directory is removed and
//! added under another number. Called through [`crate::cluster`] by keyclave-node.

use std::collections::{BTreeMap, BTreeSet};

use keyclave_ledger::disk::Disk;
use keyclave_types::ids::NodeId;
use keyclave_types::limits::MEMBERS_MAX;
use keyclave_types::member::Member;
use openraft::ChangeMembers;
use openraft::error::{ChangeMembershipError, ClientWriteError, InitializeError, RaftError};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::raft::{MemberNode, StoredMembership};

/// How many entries a learner may lack when it is made a voter.
const LAG_ENTRIES_MAX: u64 = 128;

/// What a member's vote counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It votes and counts for a quorum.
    Voter,
    /// It only follows.
    Learner,
}

/// Why the members are as they were, or may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Only the leader can, and only while it may decide.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Another change is under way.
    #[error("another change of membership is under way")]
    InProgress,
    /// The number belongs to another member record.
    #[error("node {node} is already a member, with another data directory or key")]
    Exists {
        /// The number.
        node: NodeId,
    },
    /// No such member.
    #[error("node {node} is not a member")]
    Unknown {
        /// The number.
        node: NodeId,
    },
    /// There is no room.
    #[error("a cluster has at most {MEMBERS_MAX} members")]
    Full,
    /// The learner lacks too much to be counted.
    #[error("node {node} lacks {entries} entries; at most {LAG_ENTRIES_MAX} may be missing")]
    Behind {
        /// The number.
        node: NodeId,
        /// How many.
        entries: u64,
    },
    /// Nothing was heard of the learner since this node leads.
    #[error("node {node} has not answered yet")]
    Silent {
        /// The number.
        node: NodeId,
    },
    /// Another member's log does not name the learner yet, so that member would not hear it if it led.
    #[error(
        "node {node} waits until node {by} knows of it; a member that is gone for good has to be removed first"
    )]
    Unknowing {
        /// The learner.
        node: NodeId,
        /// Who does not know it.
        by: NodeId,
    },
    /// Nobody would be left.
    #[error("the last voter cannot be removed")]
    LastVoter,
    /// The leader cannot remove itself; it hands over first.
    #[error("the leader cannot remove itself: hand over first")]
    Itself,
    /// The log is not empty.
    #[error("the cluster was already initialised")]
    Initialised,
    /// The pinned first member is another node.
    #[error("the cluster begins on node {first}, not here")]
    NotFirst {
        /// The pinned one.
        first: NodeId,
    },
    /// The deadline passed; the change may still be made.
    #[error("whether the members changed is not known")]
    Unanswered,
    /// This node's log has stopped.
    #[error("this node's log has stopped")]
    Stopped,
}

type Changed = Result<(), MembershipError>;

impl<D: Disk> Cluster<D> {
    /// Begins the cluster on this node alone, as the pins say.
    pub async fn initialize(&self) -> Changed {
        let pins = &self.inner.guard.pins;
        if pins.first != self.inner.guard.me {
            return Err(MembershipError::NotFirst { first: pins.first });
        }
        let first = BTreeMap::from([(pins.first.get(), MemberNode(pins.member))]);
        self.inner.raft.initialize(first).await.map_err(|error| match error {
            RaftError::APIError(InitializeError::NotAllowed(_)) => MembershipError::Initialised,
            RaftError::APIError(InitializeError::NotInMembers(_)) => {
                MembershipError::NotFirst { first: pins.first }
            }
            RaftError::Fatal(_) => MembershipError::Stopped,
        })
    }

    /// Every member as the log has it, the last change included even if it is not committed yet.
    pub fn members(&self) -> BTreeMap<NodeId, (Member, Role)> {
        listed(&self.inner.ground.membership())
    }

    /// Every member as of what was applied here.
    pub fn applied_members(&self) -> BTreeMap<NodeId, (Member, Role)> {
        listed(&self.inner.ground.applied_membership())
    }

    /// Whom this node hears: whoever is added counts from the moment at which it stands in the log, whoever is removed
    /// until that is applied. Until then it may lead, and may be the one who finishes its own removal.
    pub fn heard_members(&self) -> BTreeMap<NodeId, Member> {
        let mut heard = self.applied_members();
        heard.extend(self.members());
        heard.into_iter().map(|(node, (member, _))| (node, member)).collect()
    }

    /// Adds a member that only follows. Adding the same one again changes nothing.
    pub async fn add_member(&self, node: NodeId, member: Member, deadline: Instant) -> Changed {
        let members = self.members();
        match members.get(&node) {
            Some((known, _)) if *known == member => return Ok(()),
            Some(_) => return Err(MembershipError::Exists { node }),
            None if members.len() >= MEMBERS_MAX => return Err(MembershipError::Full),
            None => {}
        }
        let learner = BTreeMap::from([(node.get(), MemberNode(member))]);
        self.change(ChangeMembers::AddNodes(learner), deadline).await
    }

    /// Makes a member that follows closely a voter. A voter stays one.
    ///
    /// Only once every member's log names it: a member hears nobody whom its log does not name, so one that does not
    /// know the leader gets nothing for as long as that one leads. This way every voter is known to every member.
    pub async fn promote(&self, node: NodeId, deadline: Instant) -> Changed {
        match self.members().get(&node) {
            None => return Err(MembershipError::Unknown { node }),
            Some((_, Role::Voter)) => return Ok(()),
            Some((_, Role::Learner)) => {}
        }
        match self.lag(node) {
            None => return Err(MembershipError::Silent { node }),
            Some(entries) if entries > LAG_ENTRIES_MAX => {
                return Err(MembershipError::Behind { node, entries });
            }
            Some(_) => {}
        }
        if let Some(by) = self.unknowing() {
            return Err(MembershipError::Unknowing { node, by });
        }
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([node.get()])), deadline).await
    }

    /// A member whose log is not known to reach the membership in effect.
    fn unknowing(&self) -> Option<NodeId> {
        let membership = self.inner.ground.membership();
        let made_at = membership.log_id().map_or(0, |made_at| made_at.index);
        let reaches = |node: &NodeId| self.matched(*node).is_some_and(|matched| matched >= made_at);
        let others = membership.nodes().filter_map(|(node, _)| NodeId::new(*node));
        others.filter(|node| *node != self.inner.guard.me).find(|node| !reaches(node))
    }

    /// Removes a member. Removing one that is none changes nothing.
    pub async fn remove_member(&self, node: NodeId, deadline: Instant) -> Changed {
        if node == self.inner.guard.me {
            return Err(MembershipError::Itself);
        }
        let gone = BTreeSet::from([node.get()]);
        match self.members().get(&node) {
            None => Ok(()),
            Some((_, Role::Voter)) => self.change(ChangeMembers::RemoveVoters(gone), deadline).await,
            Some((_, Role::Learner)) => self.change(ChangeMembers::RemoveNodes(gone), deadline).await,
        }
    }

    /// How many entries of this leader's log `node` is not known to have. `None`: nothing was heard of it, and however
    /// short the log is, it may lack all of it.
    pub fn lag(&self, node: NodeId) -> Option<u64> {
        let last = self.inner.raft.metrics().borrow().last_log_index?;
        self.matched(node).map(|matched| last.saturating_sub(matched))
    }

    /// Up to where `node` is known to have this leader's log.
    fn matched(&self, node: NodeId) -> Option<u64> {
        let receiver = self.inner.raft.metrics();
        let metrics = receiver.borrow();
        let matched = metrics.replication.as_ref()?.get(&node.get()).copied().flatten()?;
        Some(matched.index)
    }

    async fn change(&self, change: ChangeMembers<u64, MemberNode>, deadline: Instant) -> Changed {
        let leadership = *self.inner.leadership.borrow();
        if leadership.mine.is_none() {
            return Err(MembershipError::NotLeader { leader: leadership.leader });
        }
        let changing = self.inner.raft.change_membership(change, false);
        match tokio::time::timeout_at(deadline, changing).await {
            Err(_) => Err(MembershipError::Unanswered),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.explain_change(error)),
        }
    }

    fn explain_change(&self, error: RaftError<u64, ClientWriteError<u64, MemberNode>>) -> MembershipError {
        match error {
            RaftError::Fatal(_) => MembershipError::Stopped,
            // openraft says the same of a change that it never appended and of one that it lost.
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => MembershipError::Unanswered,
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
                ChangeMembershipError::InProgress(_) => MembershipError::InProgress,
                ChangeMembershipError::EmptyMembership(_) => MembershipError::LastVoter,
                ChangeMembershipError::LearnerNotFound(missing) => match NodeId::new(missing.node_id) {
                    Some(node) => MembershipError::Unknown { node },
                    None => MembershipError::Unanswered,
                },
            },
        }
    }
}

fn listed(stored: &StoredMembership) -> BTreeMap<NodeId, (Member, Role)> {
    let voters: BTreeSet<u64> = stored.voter_ids().collect();
    let role = |node: &u64| if voters.contains(node) { Role::Voter } else { Role::Learner };
    stored.nodes().filter_map(|(node, member)| Some((NodeId::new(*node)?, (member.0, role(node))))).collect()
}
