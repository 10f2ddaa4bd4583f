//! What this node stands on, in memory: its vote, how far it has applied and purged, who is a member as of each
//! entry, and the last commit index that a writer vouched for.
//!
//! Written by [`crate::log_store`] and [`crate::machine`] as they change it on disk; read by the checks, which must
//! not wait. Clones share it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyclave_types::transaction::LeaderId;

use crate::guard::Standing;
use crate::keys::Signature;
use crate::raft::{LogId, Membership, StoredMembership, Vote};

/// See the module's page.
#[derive(Clone, Default)]
pub(crate) struct Ground(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    standing: Standing,
    last: Option<LogId>,
    applied_membership: StoredMembership,
    logged_memberships: BTreeMap<u64, StoredMembership>,
    vouched: Option<(LogId, Signature)>,
    slow_syncs: u64,
}

impl Ground {
    pub(crate) fn standing(&self) -> Standing {
        self.state().standing
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        self.state().standing.vote
    }

    pub(crate) fn applied(&self) -> Option<LogId> {
        self.state().standing.applied
    }

    pub(crate) fn last(&self) -> Option<LogId> {
        self.state().last
    }

    /// Whether this node's vote is still the one under which it leads as `leader`.
    pub(crate) fn leads_as(&self, leader: LeaderId) -> bool {
        self.vote().is_some_and(|vote| {
            vote.committed && vote.leader_id.term == leader.term && vote.leader_id.node_id == leader.node
        })
    }

    pub(crate) fn set_vote(&self, vote: Vote) {
        self.state().standing.vote = Some(vote);
    }

    pub(crate) fn set_purged(&self, purged: Option<LogId>) {
        let mut state = self.state();
        state.standing.purged = purged;
        if let Some(purged) = purged {
            state.logged_memberships = state.logged_memberships.split_off(&purged.index.saturating_add(1));
        }
    }

    pub(crate) fn set_last(&self, last: Option<LogId>) {
        self.state().last = last;
    }

    pub(crate) fn set_applied(&self, applied: Option<LogId>, membership: &StoredMembership) {
        let mut state = self.state();
        state.standing.applied = applied;
        if state.applied_membership != *membership {
            state.applied_membership = membership.clone();
        }
    }

    /// A membership that the log holds, whether committed or not.
    pub(crate) fn logged(&self, at: LogId, membership: &Membership) {
        let stored = StoredMembership::new(Some(at), membership.clone());
        self.state().logged_memberships.insert(at.index, stored);
    }

    /// The log was cut from `index` on.
    pub(crate) fn truncated(&self, index: u64) {
        self.state().logged_memberships.split_off(&index);
    }

    /// The membership in effect just before the entry at `index`.
    pub(crate) fn membership_before(&self, index: u64) -> StoredMembership {
        let state = self.state();
        let logged = state.logged_memberships.range(..index).next_back().map(|(_, stored)| stored);
        match logged {
            Some(logged) if logged.log_id() >= state.applied_membership.log_id() => logged.clone(),
            Some(_) | None => state.applied_membership.clone(),
        }
    }

    /// The membership in effect, committed or not, as Raft takes it.
    pub(crate) fn membership(&self) -> StoredMembership {
        self.membership_before(u64::MAX)
    }

    /// The last membership that was applied.
    pub(crate) fn applied_membership(&self) -> StoredMembership {
        self.state().applied_membership.clone()
    }

    /// Remembers a writer's word that `committed` is committed, for passing it on while sealed.
    pub(crate) fn vouch(&self, committed: LogId, signature: Signature) {
        let mut state = self.state();
        if state.vouched.is_none_or(|(known, _)| known < committed) {
            state.vouched = Some((committed, signature));
        }
    }

    pub(crate) fn vouched(&self) -> Option<(LogId, Signature)> {
        self.state().vouched
    }

    /// The disk took longer than an append may.
    pub(crate) fn slow_sync(&self) {
        self.state().slow_syncs += 1;
    }

    pub(crate) fn slow_syncs(&self) -> u64 {
        self.state().slow_syncs
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment, so a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use openraft::CommittedLeaderId;

    use super::*;

    fn id(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(1, 1), index)
    }

    fn of(voters: &[u64]) -> Membership {
        Membership::new(vec![voters.iter().copied().collect::<BTreeSet<_>>()], ())
    }

    #[test]
    fn the_membership_of_a_place_is_the_last_one_before_it() {
        let ground = Ground::default();
        ground.set_applied(Some(id(4)), &StoredMembership::new(Some(id(2)), of(&[1])));
        ground.logged(id(6), &of(&[1, 2]));
        ground.logged(id(8), &of(&[1, 2, 3]));
        assert_eq!(ground.membership_before(6).membership(), &of(&[1]));
        assert_eq!(ground.membership_before(7).membership(), &of(&[1, 2]));
        assert_eq!(ground.membership().membership(), &of(&[1, 2, 3]));
        ground.truncated(8);
        assert_eq!(ground.membership().membership(), &of(&[1, 2]));
        ground.set_applied(Some(id(9)), &StoredMembership::new(Some(id(9)), of(&[2])));
        assert_eq!(ground.membership().membership(), &of(&[2]), "a snapshot may lie above the log");
    }
}
