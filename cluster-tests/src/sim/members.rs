//! Who may connect to a simulated process: whom the product's own rule names ([`KnownMembers`]), where a node's join
//! told it of everybody that there can be.

use keyclave_cluster::cluster::Cluster;
use keyclave_cluster::transport::directory::Directory;
use keyclave_cluster::transport::known::KnownMembers;
use keyclave_types::ids::NodeId;
use keyclave_types::member::{HostPort, Member, NodePublicKey};

use super::disk::MemoryDisk;
use super::identity::{PEER_PORT, address, member};

/// The directory of one process.
pub struct Members(KnownMembers<MemoryDisk>);

impl Members {
    /// The directory of `me`, which knows everybody up to this number until the log that it follows names it.
    pub fn new(me: NodeId, everybody: u64) -> Self {
        let everybody = (1..=everybody).filter_map(NodeId::new);
        Self(KnownMembers::new(me, everybody.map(|node| (node, member(node.get()))).collect()))
    }

    /// From here on the log decides.
    pub fn follow(&self, cluster: Cluster<MemoryDisk>) {
        self.0.follow(cluster);
    }
}

impl Directory for Members {
    fn node(&self, key: &NodePublicKey) -> Option<NodeId> {
        self.0.by_key(key)
    }

    fn removed(&self, _: &NodePublicKey) -> Option<NodeId> {
        None
    }

    fn member(&self, node: NodeId) -> Option<Member> {
        self.0.all().get(&node).copied()
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.0.all().into_keys().collect()
    }

    fn address(&self, node: NodeId) -> Option<HostPort> {
        address(node.get(), PEER_PORT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_a_log_knows_everybody() {
        let members = Members::new(NodeId::new(1).unwrap(), 3);
        for node in members.nodes() {
            assert_eq!(members.node(&member(node.get()).key), Some(node));
            assert!(members.address(node).is_some());
        }
        assert_eq!(members.nodes().len(), 3);
        assert_eq!(members.member(NodeId::new(4).unwrap()), None);
    }
}
