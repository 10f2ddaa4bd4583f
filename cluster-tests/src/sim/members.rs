//! Who may connect to a simulated process: the members that its log names, and everybody until it names the node
//! itself, as a node that joins knows the cluster from its join.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use keyclave_cluster::cluster::Cluster;
use keyclave_cluster::transport::directory::Directory;
use keyclave_types::ids::NodeId;
use keyclave_types::member::{HostPort, Member, NodePublicKey};

use super::disk::MemoryDisk;
use super::identity::{PEER_PORT, member, name};

/// The directory of one process.
pub struct Members {
    me: NodeId,
    everybody: u64,
    cluster: OnceLock<Cluster<MemoryDisk>>,
}

impl Members {
    /// The directory of `me`, which knows everybody up to this number until the log that it follows names it.
    pub fn new(me: NodeId, everybody: u64) -> Self {
        Self { me, everybody, cluster: OnceLock::new() }
    }

    /// From here on the log decides.
    pub fn follow(&self, cluster: Cluster<MemoryDisk>) {
        // Called once, right after the cluster half was started.
        let _ = self.cluster.set(cluster);
    }

    fn known(&self) -> BTreeMap<NodeId, Member> {
        let members = self.cluster.get().map(Cluster::members).unwrap_or_default();
        if !members.contains_key(&self.me) {
            let everybody = (1..=self.everybody).filter_map(NodeId::new);
            return everybody.map(|node| (node, member(node.get()))).collect();
        }
        members.into_iter().map(|(node, (member, _))| (node, member)).collect()
    }
}

impl Directory for Members {
    fn node(&self, key: &NodePublicKey) -> Option<NodeId> {
        self.known().into_iter().find(|(_, member)| member.key == *key).map(|(node, _)| node)
    }

    fn member(&self, node: NodeId) -> Option<Member> {
        self.known().get(&node).copied()
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.known().into_keys().collect()
    }

    fn address(&self, node: NodeId) -> Option<HostPort> {
        format!("{}:{PEER_PORT}", name(node.get())).parse().ok()
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
