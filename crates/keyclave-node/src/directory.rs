//! Who is a member and where: Raft's membership and the plain address records, and until the log names this node
//! itself, what its join told it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use keyclave_cluster::cluster::Cluster;
use keyclave_cluster::transport::directory::Directory;
use keyclave_ledger::disk::Disk;
use keyclave_ledger::ledger::Ledger;
use keyclave_types::envelope;
use keyclave_types::ids::{NodeId, PlainKind, RecordId};
use keyclave_types::member::{Addresses, HostPort, Member, NodePublicKey};

/// The directory of one node.
pub(crate) struct NodeDirectory<D: Disk> {
    me: NodeId,
    /// Who was known when this node joined.
    known: BTreeMap<NodeId, (Member, Addresses)>,
    /// Addresses given at start that win over recorded ones.
    overrides: BTreeMap<NodeId, HostPort>,
    ledger: Ledger<D>,
    /// Set once Raft has started; the transport is there first.
    cluster: OnceLock<Cluster<D>>,
}

impl<D: Disk> NodeDirectory<D> {
    pub(crate) fn new(
        me: NodeId,
        known: Vec<(NodeId, Member, Addresses)>,
        overrides: BTreeMap<NodeId, HostPort>,
        ledger: Ledger<D>,
    ) -> Self {
        let known = known.into_iter().map(|(node, member, addresses)| (node, (member, addresses))).collect();
        Self { me, known, overrides, ledger, cluster: OnceLock::new() }
    }

    /// From now on the log says who is a member.
    pub(crate) fn follow(&self, cluster: Cluster<D>) {
        // Set once, by the only start of this node.
        let _ = self.cluster.set(cluster);
    }

    /// The recorded addresses of a node, whatever overrides them.
    pub(crate) fn addresses(&self, node: NodeId) -> Option<Addresses> {
        let record = self.ledger.read(&RecordId::plain(PlainKind::Address, node.get())).ok().flatten();
        let recorded = record.and_then(|record| envelope::decode::<Addresses>(&record.blob).ok());
        recorded.or_else(|| self.known.get(&node).map(|(_, addresses)| addresses.clone()))
    }

    fn members(&self) -> BTreeMap<NodeId, Member> {
        let logged = self.cluster.get().map(Cluster::members).unwrap_or_default();
        let mut members: BTreeMap<_, _> =
            logged.into_iter().map(|(node, (member, _))| (node, member)).collect();
        if !members.contains_key(&self.me) {
            // The log does not reach to this node's own joining yet, so it may lack others too.
            for (node, (member, _)) in &self.known {
                members.entry(*node).or_insert(*member);
            }
        }
        members
    }
}

impl<D: Disk> Directory for NodeDirectory<D> {
    fn node(&self, key: &NodePublicKey) -> Option<NodeId> {
        self.members().into_iter().find(|(_, member)| member.key == *key).map(|(node, _)| node)
    }

    fn member(&self, node: NodeId) -> Option<Member> {
        self.members().get(&node).copied()
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.members().into_keys().collect()
    }

    fn address(&self, node: NodeId) -> Option<HostPort> {
        match self.overrides.get(&node) {
            Some(address) => Some(address.clone()),
            None => self.addresses(node).map(|addresses| addresses.peer),
        }
    }
}
