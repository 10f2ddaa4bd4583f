//! What openraft would believe blindly, checked before it sees it.
//!
//! openraft trusts its peers: it obeys any committed vote, even one that names its receiver, believes any commit
//! index, compares nothing at or below its own, and takes any snapshot. Every rule here answers an attack that
//! worked. Called by [`crate::receive`], under the same lock as what follows, and by [`crate::network`] on answers.
//!
//! Pure: what the node stands on comes in as [`Standing`] and [`LogView`]; nothing here waits or writes.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use keyclave_types::ids::NodeId;
use keyclave_types::member::Member;

use crate::cluster::StorageFailure;
use crate::entry::{Entry, EntryError, Line, Payload};
use crate::keys::{EntryKeys, PublicKey, Signature};
use crate::message::{Append, MessageError};
use crate::raft::{LogId, MemberNode, Membership, StoredMembership, Vote, leader_of};

/// How far ahead of a node's own term another's may be. The largest term makes openraft panic.
pub const TERMS_AHEAD_MAX: u64 = 1 << 24;

/// What every data directory holds from its first hour on: whose writes count, and how the log began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pins {
    /// The public half of the cluster's writer key.
    pub writer: PublicKey,
    /// The node that the cluster was initialised on.
    pub first: NodeId,
    /// Its member record, as entry 0 has it.
    pub member: Member,
}

/// Why a peer's message was not given to openraft.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Not a message.
    #[error("the message is not readable")]
    Message(#[from] MessageError),
    /// Not an entry.
    #[error("the checkpoint is not readable")]
    Entry(#[from] EntryError),
    /// A vote that is not its sender's own.
    #[error("the vote names node {named}, not its sender, node {sender}")]
    Vote {
        /// Whom the vote names.
        named: u64,
        /// Who sent it.
        sender: NodeId,
    },
    /// A candidate's vote where a leader's belongs, or the other way round.
    #[error("the vote is of the wrong kind")]
    VoteKind,
    /// A term out of reach.
    #[error("term {term} is more than {TERMS_AHEAD_MAX} ahead of {own}")]
    Term {
        /// The term claimed.
        term: u64,
        /// This node's.
        own: u64,
    },
    /// Enough members prove that they hold the keyring; whoever cannot is not heard.
    #[error("a quorum holds the keyring, and this connection does not prove it")]
    NotKeyed,
    /// Entries that do not follow each other, or are newer than the vote they came under.
    #[error("the entry at {index} is out of order")]
    Order {
        /// Where.
        index: u64,
    },
    /// What was applied cannot be otherwise. An alarm.
    #[error("the append contradicts the applied log at {index}")]
    Contradiction {
        /// Where.
        index: u64,
    },
    /// The log began otherwise.
    #[error("entry 0 is not the one pinned at the beginning")]
    FirstEntry,
    /// Neither the writer's, nor, on a blank, its leader's.
    #[error("the entry at {index} is not signed by whom it should be")]
    Signature {
        /// Where.
        index: u64,
    },
    /// A snapshot that is not of a signed checkpoint.
    #[error("the snapshot is not of a checkpoint")]
    NoCheckpoint,
    /// A snapshot whose contents are not what its checkpoint signed.
    #[error("the snapshot's contents are not what its checkpoint says")]
    Digest,
    /// The peer's log or vote is behind what it once acknowledged: its disk was rolled back.
    #[error("node {node} has less than it once acknowledged")]
    RolledBack {
        /// The node.
        node: NodeId,
    },
    /// A leader asked for a campaign that cannot be won, or that it has no right to ask for.
    #[error("this node will not campaign now")]
    NoCampaign,
    /// This node's Raft has stopped.
    #[error("this node's log has stopped")]
    Stopped,
    /// The disk failed; the node stops.
    #[error("the disk failed")]
    Storage(#[from] StorageFailure),
}

/// Where this node stands when a message arrives.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) vote: Option<Vote>,
    pub(crate) applied: Option<LogId>,
    pub(crate) purged: Option<LogId>,
}

impl Standing {
    fn term(&self) -> u64 {
        self.vote.map_or(0, |vote| vote.leader_id.term)
    }
}

/// What the log holds.
pub(crate) trait LogView {
    /// The log id at `index`, if it is there.
    fn log_id(&self, index: u64) -> Result<Option<LogId>, StorageFailure>;

    /// The membership in effect just before the entry at `index`.
    fn membership_before(&self, index: u64) -> StoredMembership;
}

/// The rules, and what they are checked with.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) me: NodeId,
    pub(crate) line: Line,
    pub(crate) pins: Pins,
    pub(crate) keys: Arc<dyn EntryKeys>,
}

impl Guard {
    /// A request's vote is its sender's own, of the right kind, and within reach.
    pub(crate) fn check_vote(
        &self,
        standing: &Standing,
        vote: &Vote,
        sender: NodeId,
        committed: bool,
    ) -> Result<(), Refused> {
        let named = vote.leader_id.node_id;
        if named != sender.get() || sender == self.me {
            return Err(Refused::Vote { named, sender });
        }
        if vote.committed != committed {
            return Err(Refused::VoteKind);
        }
        let (term, own) = (vote.leader_id.term, standing.term());
        if term > own.saturating_add(TERMS_AHEAD_MAX) {
            return Err(Refused::Term { term, own });
        }
        Ok(())
    }

    /// The commit index that a writer signed, with its signature.
    pub(crate) fn vouched_commit(&self, append: &Append) -> Option<(LogId, Signature)> {
        let (committed, signature) = append.request.leader_commit.zip(append.commit_signature)?;
        let message = self.line.commit_message(&committed);
        self.keys.verify(&self.pins.writer, &message, &signature).then_some((committed, signature))
    }

    /// Everything about an append. A commit index that is not `vouched` for is taken out; whatever else may not be
    /// refuses the whole.
    pub(crate) fn check_append(
        &self,
        standing: &Standing,
        log: &impl LogView,
        append: &mut Append,
        sender: NodeId,
        vouched: bool,
    ) -> Result<(), Refused> {
        self.check_vote(standing, &append.request.vote, sender, true)?;
        if !vouched {
            append.request.leader_commit = None;
        }
        // openraft answers a vote below ours with ours and touches nothing. Only here may entries be dropped: at or
        // below its commit index it compares nothing and says Success, so the leader would count what nobody holds.
        if standing.vote.is_some_and(|own| is_below(&append.request.vote, &own)) {
            append.request.entries.clear();
            append.request.leader_commit = None;
            append.request.prev_log_id = None;
            return Ok(());
        }
        self.check_against_applied(standing, log, append)?;
        if self.begins_behind_our_end(standing, log, append)? {
            // openraft answers Conflict, appends nothing and counts nothing. The entries cannot be judged: who was a
            // member before them is not known here. A node that joins is asked so first.
            append.request.entries.clear();
            return Ok(());
        }
        self.check_entries(log, append)
    }

    /// Whether the append follows an entry that this log does not reach. Where it holds another one, openraft may
    /// have committed that, and would compare nothing.
    fn begins_behind_our_end(
        &self,
        standing: &Standing,
        log: &impl LogView,
        append: &Append,
    ) -> Result<bool, Refused> {
        let Some(prev) = append.request.prev_log_id else { return Ok(false) };
        let beyond = standing.applied.is_none_or(|applied| prev.index > applied.index);
        Ok(beyond && log.log_id(prev.index)?.is_none())
    }

    fn check_against_applied(
        &self,
        standing: &Standing,
        log: &impl LogView,
        append: &Append,
    ) -> Result<(), Refused> {
        let Some(applied) = standing.applied else { return Ok(()) };
        let named = append.request.prev_log_id.iter().chain(append.request.entries.iter().map(|e| &e.log_id));
        for id in named.filter(|id| id.index <= applied.index) {
            let ours = log.log_id(id.index)?.or(standing.purged.filter(|purged| purged.index == id.index));
            if ours.is_some_and(|ours| ours != *id) || id.leader_id > applied.leader_id {
                return Err(Refused::Contradiction { index: id.index });
            }
        }
        Ok(())
    }

    fn check_entries(&self, log: &impl LogView, append: &Append) -> Result<(), Refused> {
        let mut next = append.request.prev_log_id.map_or(0, |prev| prev.index.saturating_add(1));
        let mut leader = append.request.prev_log_id.map(|prev| prev.leader_id);
        let mut membership = log.membership_before(next).membership().clone();
        for entry in &append.request.entries {
            let index = entry.log_id.index;
            let newer = entry.log_id.leader_id > append.request.vote.leader_id;
            if index != next || Some(entry.log_id.leader_id) < leader || newer {
                return Err(Refused::Order { index });
            }
            next = next.saturating_add(1);
            leader = Some(entry.log_id.leader_id);
            // What is ours already is skipped by openraft too. Every log begins at the same log id, so that one alone
            // says nothing about entry 0.
            if index == 0 || log.log_id(index)? != Some(entry.log_id) {
                self.check_entry(entry, &membership)?;
            }
            if let Payload::Membership(changed) = entry.payload() {
                membership = changed.clone();
            }
        }
        Ok(())
    }

    /// Entry 0 is the pinned one; a blank may be its leader's own; everything else is the writer's.
    pub(crate) fn check_entry(&self, entry: &Entry, membership: &Membership) -> Result<(), Refused> {
        let index = entry.log_id.index;
        if index == 0 {
            return if self.is_first(entry) { Ok(()) } else { Err(Refused::FirstEntry) };
        }
        let wrong = Refused::Signature { index };
        let Some(signature) = entry.signature else { return Err(wrong) };
        let message = self.line.entry_message(entry);
        if self.keys.verify(&self.pins.writer, &message, &signature) {
            return Ok(());
        }
        let leader = membership.get_node(&leader_of(&entry.log_id).node);
        let own_blank = matches!(entry.payload(), Payload::Blank)
            && leader.is_some_and(|member| self.keys.verify(&member.0.key.0, &message, &signature));
        if own_blank { Ok(()) } else { Err(wrong) }
    }

    fn is_first(&self, entry: &Entry) -> bool {
        let Payload::Membership(membership) = entry.payload() else { return false };
        entry.log_id == LogId::default() && *membership == self.pins.first_membership()
    }

    /// A snapshot's checkpoint: the writer's signature over its log id and digest. Returns the digest.
    pub(crate) fn check_checkpoint(&self, checkpoint: &Entry) -> Result<[u8; 32], Refused> {
        let Payload::Checkpoint(Some(digest)) = checkpoint.payload() else {
            return Err(Refused::NoCheckpoint);
        };
        let signed = checkpoint.signature.is_some_and(|signature| {
            self.keys.verify(&self.pins.writer, &self.line.entry_message(checkpoint), &signature)
        });
        if signed { Ok(*digest) } else { Err(Refused::Signature { index: checkpoint.log_id.index }) }
    }

    /// The vote in an answer to what was sent under `sent`. It never makes its receiver a leader: a higher one is
    /// taken as a candidate's, and refused if it names this node or is out of reach.
    pub(crate) fn tame(&self, standing: &Standing, vote: Vote, sent: &Vote) -> Result<Vote, Refused> {
        if vote == *sent {
            return Ok(vote);
        }
        let (term, own) = (vote.leader_id.term, standing.term());
        if vote.leader_id.node_id == self.me.get() && vote > *sent {
            return Err(Refused::Vote { named: self.me.get(), sender: self.me });
        }
        if term > own.saturating_add(TERMS_AHEAD_MAX) {
            return Err(Refused::Term { term, own });
        }
        Ok(if vote.leader_id == sent.leader_id { vote } else { Vote { committed: false, ..vote } })
    }
}

/// Whether openraft refuses `vote` for `own`. Votes are ordered only in part.
pub(crate) fn is_below(vote: &Vote, own: &Vote) -> bool {
    !matches!(vote.partial_cmp(own), Some(Ordering::Equal | Ordering::Greater))
}

impl Pins {
    /// The membership in entry 0.
    pub(crate) fn first_membership(&self) -> Membership {
        let node = self.first.get();
        Membership::new(vec![[node].into()], BTreeMap::from([(node, MemberNode(self.member))]))
    }
}
