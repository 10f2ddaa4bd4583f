//! Who is a member, as the cluster room says ([`KnownMembers`]), and where: the plain address records.

use std::collections::BTreeMap;

use keyclave_cluster::cluster::Cluster;
use keyclave_cluster::transport::directory::Directory;
use keyclave_cluster::transport::known::KnownMembers;
use keyclave_ledger::disk::Disk;
use keyclave_ledger::ledger::Ledger;
use keyclave_types::envelope;
use keyclave_types::ids::{NodeId, PlainKind, RecordId};
use keyclave_types::member::{Addresses, HostPort, Member, NodePublicKey, Removed};

/// The directory of one node.
pub(crate) struct NodeDirectory<D: Disk> {
    members: KnownMembers<D>,
    /// Where those were whom this node knew when it joined.
    at_join: BTreeMap<NodeId, Addresses>,
    /// Addresses given at start that win over recorded ones.
    overrides: BTreeMap<NodeId, HostPort>,
    ledger: Ledger<D>,
}

impl<D: Disk> NodeDirectory<D> {
    pub(crate) fn new(
        me: NodeId,
        known: Vec<(NodeId, Member, Addresses)>,
        overrides: BTreeMap<NodeId, HostPort>,
        ledger: Ledger<D>,
    ) -> Self {
        let members = known.iter().map(|(node, member, _)| (*node, *member)).collect();
        let at_join = known.into_iter().map(|(node, _, addresses)| (node, addresses)).collect();
        Self { members: KnownMembers::new(me, members), at_join, overrides, ledger }
    }

    /// From now on the log says who is a member.
    pub(crate) fn follow(&self, cluster: Cluster<D>) {
        self.members.follow(cluster);
    }

    /// From now on nobody is a member.
    pub(crate) fn stop(&self) {
        self.members.stop();
    }

    /// The recorded addresses of a node, whatever overrides them.
    pub(crate) fn addresses(&self, node: NodeId) -> Option<Addresses> {
        let record = self.ledger.read(&RecordId::plain(PlainKind::Address, node.get())).ok().flatten();
        let recorded = record.and_then(|record| envelope::decode::<Addresses>(&record.blob).ok());
        recorded.or_else(|| self.at_join.get(&node).cloned())
    }

    /// Whose place `me` has taken by being reached at `own`: another member's, as recorded, and not its own.
    pub(crate) fn taken_place(&self, me: NodeId, own: &Addresses) -> Option<NodeId> {
        let is_at = |node: &NodeId| self.addresses(*node).is_some_and(|recorded| recorded.peer == own.peer);
        if is_at(&me) {
            return None;
        }
        self.nodes().into_iter().filter(|node| *node != me).find(is_at)
    }
}

impl<D: Disk> Directory for NodeDirectory<D> {
    fn node(&self, key: &NodePublicKey) -> Option<NodeId> {
        self.members.by_key(key)
    }

    fn removed(&self, key: &NodePublicKey) -> Option<NodeId> {
        let record = self.ledger.read(&RecordId::plain(PlainKind::Removed, 0)).ok().flatten()?;
        let removed: Removed = envelope::decode(&record.blob).ok()?;
        removed.nodes.iter().rev().find(|removed| removed.key == *key).map(|removed| removed.node)
    }

    fn member(&self, node: NodeId) -> Option<Member> {
        self.members.all().get(&node).copied()
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.members.all().into_keys().collect()
    }

    fn address(&self, node: NodeId) -> Option<HostPort> {
        match self.overrides.get(&node) {
            Some(address) => Some(address.clone()),
            None => self.addresses(node).map(|addresses| addresses.peer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyclave_ledger::sled_disk::SledDisk;
    use keyclave_types::ids::Incarnation;

    use super::*;

    #[test]
    fn a_directory_in_another_member_s_place_is_told_from_one_that_has_moved() {
        let store = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(Arc::new(SledDisk::open(store.path()).unwrap())).unwrap();
        let [me, other] = [1, 2].map(|number| NodeId::new(number).unwrap());
        let at = |host: &str| Addresses {
            peer: format!("{host}:7421").parse().unwrap(),
            client: format!("{host}:7420").parse().unwrap(),
        };
        let member = |byte: u8| Member {
            incarnation: Incarnation::from_bytes([byte; 16]),
            key: NodePublicKey([byte; 32]),
        };
        let known = vec![(me, member(1), at("one")), (other, member(2), at("two"))];
        let directory = NodeDirectory::new(me, known, BTreeMap::new(), ledger);
        assert_eq!(directory.taken_place(me, &at("one")), None);
        assert_eq!(directory.taken_place(me, &at("elsewhere")), None);
        assert_eq!(directory.taken_place(me, &at("two")), Some(other));
    }
}
