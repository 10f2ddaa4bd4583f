//! Disks that were rolled back: what each peer's data directory once had, so that less is noticed.
//!
//! For each incarnation this node remembers the highest vote that it sent us and the highest committed index that
//! it acknowledged to us. A request or an answer that shows less is refused: such a node would vote twice in one
//! term, or be counted for entries that it no longer has. A wiped directory has another incarnation and starts anew.
//!
//! Kept in memory and written through [`Marks::FORMAT`] bytes to wherever the caller says; a vote at once, an index
//! when it has grown by [`INDEXES_UNSAVED_MAX`]. Deliberately absent: a verdict that lasts. A message that merely
//! came late is refused by the same rule, and nothing else follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyclave_types::envelope::{self, EnvelopeError, Stored};
use keyclave_types::ids::{Incarnation, NodeId};
use keyclave_types::transaction::LeaderId;
use serde::{Deserialize, Serialize};

use crate::cluster::StorageFailure;
use crate::ground::Ground;
use crate::guard::Refused;
use crate::raft::{LogId, Vote};

/// How far an acknowledged index may grow before it is written again.
const INDEXES_UNSAVED_MAX: u64 = 256;

/// What one data directory once had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Mark {
    incarnation: Incarnation,
    vote: LeaderId,
    acknowledged: u64,
    saved: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Marks(BTreeMap<u64, Mark>);

impl Stored for Marks {
    const FORMAT: u8 = 1;
}

/// Where marks are written. A failure stops the node; nothing that needed the mark may go on.
pub(crate) type SaveMarks = Arc<dyn Fn(Vec<u8>) -> Result<(), StorageFailure> + Send + Sync>;

/// The marks of every peer. Clones share them.
#[derive(Clone)]
pub(crate) struct Rollback {
    marks: Arc<Mutex<Marks>>,
    save: SaveMarks,
    /// Of whom it was said, and who has acknowledged nothing since.
    told: Arc<Mutex<BTreeSet<NodeId>>>,
}

impl Rollback {
    /// With what was saved before.
    pub(crate) fn new(saved: Option<&[u8]>, save: SaveMarks) -> Result<Self, EnvelopeError> {
        let marks = saved.map(envelope::decode).transpose()?.unwrap_or_default();
        Ok(Self { marks: Arc::new(Mutex::new(marks)), save, told: Arc::default() })
    }

    /// Says that `node` was refused by one of these checks: once, and again after it has acknowledged something.
    pub(crate) fn tell(&self, node: NodeId) {
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(node) {
            tracing::error!(%node, "a peer has less than it once acknowledged: was its disk rolled back?");
        }
    }

    /// A request from `node` under its own vote, with what it says its log's end is.
    pub(crate) fn check_request(
        &self,
        node: NodeId,
        vote: &Vote,
        last: Option<LogId>,
        ground: &Ground,
    ) -> Result<(), Refused> {
        let claimed = LeaderId { term: vote.leader_id.term, node: vote.leader_id.node_id };
        self.of(node, ground, |mark| {
            if claimed < mark.vote || last.is_some_and(|last| last.index < mark.acknowledged) {
                return Err(Refused::RolledBack { node });
            }
            let news = claimed > mark.vote;
            mark.vote = claimed;
            Ok(news)
        })
    }

    /// An answer from `node` that says where its log ends.
    pub(crate) fn check_last(
        &self,
        node: NodeId,
        last: Option<LogId>,
        ground: &Ground,
    ) -> Result<(), Refused> {
        self.of(node, ground, |mark| {
            let ends = last.map_or(0, |last| last.index);
            if ends < mark.acknowledged { Err(Refused::RolledBack { node }) } else { Ok(false) }
        })
    }

    /// `node` says that it does not have `previous`, or not so.
    pub(crate) fn check_conflict(
        &self,
        node: NodeId,
        previous: Option<LogId>,
        ground: &Ground,
    ) -> Result<(), Refused> {
        self.of(node, ground, |mark| {
            let missing = previous.map_or(0, |previous| previous.index);
            if missing <= mark.acknowledged && mark.acknowledged > 0 {
                return Err(Refused::RolledBack { node });
            }
            Ok(false)
        })
    }

    /// `node` says that it has everything up to `matched`; what of that is committed it must never lose.
    pub(crate) fn acknowledged(
        &self,
        node: NodeId,
        matched: Option<LogId>,
        ground: &Ground,
    ) -> Result<(), Refused> {
        let Some((matched, applied)) = matched.zip(ground.applied()) else { return Ok(()) };
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
        self.of(node, ground, |mark| {
            mark.acknowledged = mark.acknowledged.max(matched.index.min(applied.index));
            Ok(mark.acknowledged >= mark.saved.saturating_add(INDEXES_UNSAVED_MAX))
        })
    }

    /// Changes one peer's mark and writes all if `change` says so, before anyone sees the change: a mark that others act
    /// on is never one that a crash takes back, and no older marks are written over later ones. A node that is no
    /// member has none.
    fn of(
        &self,
        node: NodeId,
        ground: &Ground,
        change: impl FnOnce(&mut Mark) -> Result<bool, Refused>,
    ) -> Result<(), Refused> {
        let membership = ground.membership();
        let Some(member) = membership.membership().get_node(&node.get()).map(|member| member.0) else {
            return Ok(());
        };
        let mut marks = self.lock();
        let fresh = Mark {
            incarnation: member.incarnation,
            vote: LeaderId { term: 0, node: 0 },
            acknowledged: 0,
            saved: 0,
        };
        let mark = marks.0.entry(node.get()).or_insert(fresh);
        if mark.incarnation != member.incarnation {
            *mark = fresh;
        }
        let before = *mark;
        if !change(mark)? {
            return Ok(());
        }
        mark.saved = mark.acknowledged;
        let saved = (self.save)(envelope::encode(&*marks));
        if saved.is_err() {
            marks.0.insert(node.get(), before);
        }
        Ok(saved?)
    }

    fn lock(&self) -> MutexGuard<'_, Marks> {
        // Each mark is changed by whole assignments, so a panic elsewhere does not spoil it.
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use keyclave_types::member::{Member, NodePublicKey};
    use openraft::{CommittedLeaderId, ErrorSubject, ErrorVerb};

    use super::*;
    use crate::raft::{MemberNode, Membership, StoredMembership, storage_error};

    fn id(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(2, 1), index)
    }

    fn node(number: u64) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn ground(incarnation: u8) -> Ground {
        let member =
            Member { incarnation: Incarnation::from_bytes([incarnation; 16]), key: NodePublicKey([1; 32]) };
        let nodes = BTreeMap::from([(2, MemberNode(member))]);
        let membership =
            StoredMembership::new(Some(id(0)), Membership::new(vec![BTreeSet::from([2])], nodes));
        let ground = Ground::default();
        ground.set_applied(Some(id(500)), &membership);
        ground
    }

    fn saved_marks() -> (Rollback, Arc<Mutex<Vec<u8>>>) {
        let saved: Arc<Mutex<Vec<u8>>> = Arc::default();
        let sink = Arc::clone(&saved);
        let save = move |bytes| {
            *sink.lock().unwrap() = bytes;
            Ok(())
        };
        let rollback = Rollback::new(None, Arc::new(save)).unwrap();
        (rollback, saved)
    }

    #[test]
    fn a_node_with_an_older_vote_or_a_shorter_log_is_refused_even_after_our_restart() {
        let (rollback, saved) = saved_marks();
        let ground = ground(1);
        rollback.acknowledged(node(2), Some(id(400)), &ground).unwrap();
        rollback.check_request(node(2), &Vote::new(7, 2), Some(id(400)), &ground).unwrap();
        let bytes = saved.lock().unwrap().clone();
        let again = Rollback::new(Some(&bytes), Arc::new(|_| Ok(()))).unwrap();
        for rollback in [rollback, again] {
            assert!(rollback.check_request(node(2), &Vote::new(6, 2), Some(id(400)), &ground).is_err());
            assert!(rollback.check_request(node(2), &Vote::new(8, 2), Some(id(399)), &ground).is_err());
            assert!(rollback.check_last(node(2), Some(id(399)), &ground).is_err());
            assert!(rollback.check_last(node(2), None, &ground).is_err());
            assert!(rollback.check_conflict(node(2), Some(id(400)), &ground).is_err());
            assert!(rollback.check_conflict(node(2), Some(id(401)), &ground).is_ok());
            assert!(rollback.check_request(node(2), &Vote::new(8, 2), Some(id(400)), &ground).is_ok());
        }
    }

    #[test]
    fn what_is_not_committed_may_be_lost() {
        let (rollback, _) = saved_marks();
        let ground = ground(1);
        rollback.acknowledged(node(2), Some(id(900)), &ground).unwrap();
        assert!(rollback.check_last(node(2), Some(id(500)), &ground).is_ok());
        assert!(rollback.check_last(node(2), Some(id(499)), &ground).is_err());
    }

    #[test]
    fn another_data_directory_starts_anew() {
        let (rollback, _) = saved_marks();
        rollback.acknowledged(node(2), Some(id(400)), &ground(1)).unwrap();
        assert!(rollback.check_last(node(2), None, &ground(2)).is_ok());
    }

    #[test]
    fn marks_are_written_before_anyone_else_sees_or_changes_them() {
        let own: Arc<std::sync::OnceLock<Rollback>> = Arc::default();
        let seen = Arc::clone(&own);
        let save = move |_| {
            assert!(seen.get().unwrap().marks.try_lock().is_err(), "later marks could be written first");
            Ok(())
        };
        let rollback = own.get_or_init(|| Rollback::new(None, Arc::new(save)).unwrap());
        rollback.check_request(node(2), &Vote::new(7, 2), Some(id(400)), &ground(1)).unwrap();
        rollback.acknowledged(node(2), Some(id(400)), &ground(1)).unwrap();
    }

    #[test]
    fn a_vote_that_was_not_written_is_never_taken_for_one_that_was() {
        let failure = || {
            let failed = std::io::Error::other("injected");
            StorageFailure::from(storage_error(ErrorSubject::Store, ErrorVerb::Write, &failed))
        };
        let rollback = Rollback::new(None, Arc::new(move |_| Err(failure()))).unwrap();
        for _ in 0..2 {
            let refused = rollback.check_request(node(2), &Vote::new(7, 2), Some(id(400)), &ground(1));
            assert!(matches!(refused, Err(Refused::Storage(_))), "{refused:?}");
        }
    }

    #[test]
    fn golden_bytes_stay() {
        let incarnation = Incarnation::from_bytes([9; 16]);
        let mark = Mark { incarnation, vote: LeaderId { term: 3, node: 2 }, acknowledged: 7, saved: 5 };
        let bytes = envelope::encode(&Marks(BTreeMap::from([(2, mark)])));
        assert_eq!(bytes, [&[1, 1, 2][..], &[9; 16], &[3, 2, 7, 5]].concat());
    }
}
