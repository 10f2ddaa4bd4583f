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
