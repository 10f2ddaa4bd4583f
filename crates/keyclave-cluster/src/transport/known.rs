//! Whom a node hears: the members that its log names ([`Cluster::heard_members`](crate::cluster::Cluster)), and until
//! the log names the node itself, also whoever its join told it of.
//!
//! The one place of this rule, behind every [`super::directory::Directory`], real or simulated. It leaves nobody out:
//! a member becomes a voter only when every other member's log names it
//! ([`Cluster::promote`](crate::cluster::Cluster::promote)), so a leader is known to all. Deliberately absent: any
//! other way to be heard, the keyring included. A removed node keeps what it held, and must not come back with it.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use keyclave_ledger::disk::Disk;
use keyclave_types::ids::NodeId;
use keyclave_types::member::{Member, NodePublicKey};

use crate::cluster::Cluster;

/// See the module's page.
pub struct KnownMembers<D: Disk> {
    me: NodeId,
    at_join: BTreeMap<NodeId, Member>,
    log: RwLock<Log<D>>,
}

/// Whether there is a log to ask. It holds the transport, which holds this value: whoever stops it says so.
enum Log<D: Disk> {
    /// The transport is there first.
    NotYet,
    /// It runs.
    Runs(Cluster<D>),
    /// It was stopped, and nobody is heard any more.
    Stopped,
}

impl<D: Disk> KnownMembers<D> {
    /// Whom `me` hears that was told of `at_join`.
    pub fn new(me: NodeId, at_join: BTreeMap<NodeId, Member>) -> Self {
        Self { me, at_join, log: RwLock::new(Log::NotYet) }
    }

    /// From now on the log says who is a member.
    pub fn follow(&self, cluster: Cluster<D>) {
        self.set(Log::Runs(cluster));
    }

    /// From now on nobody is heard.
    pub fn stop(&self) {
        self.set(Log::Stopped);
    }

    fn set(&self, log: Log<D>) {
        // What was there before is dropped after the lock is free.
        let _before = std::mem::replace(&mut *self.log.write().unwrap_or_else(PoisonError::into_inner), log);
    }

    /// Every member, with what its record says.
    pub fn all(&self) -> BTreeMap<NodeId, Member> {
        let logged = match &*self.log.read().unwrap_or_else(PoisonError::into_inner) {
            Log::NotYet => BTreeMap::new(),
            Log::Runs(cluster) => cluster.heard_members(),
            Log::Stopped => return BTreeMap::new(),
        };
        with_join(self.me, logged, &self.at_join)
    }

    /// The member whose key this is.
    pub fn by_key(&self, key: &NodePublicKey) -> Option<NodeId> {
        self.all().into_iter().find(|(_, member)| member.key == *key).map(|(node, _)| node)
    }
}

fn with_join(
    me: NodeId,
    mut logged: BTreeMap<NodeId, Member>,
    at_join: &BTreeMap<NodeId, Member>,
) -> BTreeMap<NodeId, Member> {
    if !logged.contains_key(&me) {
        // The log does not reach to this node's own joining yet, so it may lack others too.
        for (node, member) in at_join {
            logged.entry(*node).or_insert(*member);
        }
    }
    logged
}

#[cfg(test)]
mod tests {
    use keyclave_types::ids::Incarnation;

    use super::*;

    fn members(numbers: &[u64]) -> BTreeMap<NodeId, Member> {
        let member = Member { incarnation: Incarnation::from_bytes([1; 16]), key: NodePublicKey([2; 32]) };
        numbers.iter().filter_map(|number| Some((NodeId::new(*number)?, member))).collect()
    }

    #[test]
    fn whom_the_join_told_of_counts_until_the_log_names_this_node() {
        let me = NodeId::new(3).unwrap();
        let at_join = members(&[1, 2, 3]);
        assert_eq!(with_join(me, members(&[]), &at_join), at_join);
        assert_eq!(with_join(me, members(&[1]), &at_join), at_join);
        assert_eq!(with_join(me, members(&[2, 3]), &at_join), members(&[2, 3]), "node 1 was removed");
    }
}
