//! Who the simulated nodes are: numbers, keys and addresses that follow from the node's number alone, and keys of
//! the cluster that a node has while it is unsealed.
//!
//! Signatures here are hashes that anyone who knows the public half could make. No simulated node does: a member
//! that forges has its own harness, and what is tested is who checks what, not Ed25519.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyclave_cluster::keys::{EntryKeys, PublicKey, Signature};
use keyclave_cluster::transport::directory::LocalNode;
use keyclave_cluster::transport::proof::{PeerKeys, Removal, Transcript};
use keyclave_cluster::transport::wire::Exporter;
use keyclave_types::ids::{ClusterId, Incarnation, NodeId};
use keyclave_types::member::{HostPort, Member, NodePublicKey};
use keyclave_types::position::Generation;

/// Where every node listens for its peers.
pub const PEER_PORT: u16 = 7421;
/// The simulated cluster.
pub const CLUSTER: ClusterId = ClusterId::from_bytes([0xc1; 16]);
/// Its line.
pub const GENERATION: Generation = Generation(1);

/// The public half of the cluster's writer key.
pub fn writer() -> PublicKey {
    derive(&[b"writer"])
}

/// A node's name in the simulated network.
pub fn name(number: u64) -> String {
    format!("n{number}")
}

/// Where a node is reached on a port.
pub fn address(number: u64, port: u16) -> Option<HostPort> {
    format!("{}:{port}", name(number)).parse().ok()
}

/// What membership says of a node.
pub fn member(number: u64) -> Member {
    let (incarnation, _) = split(derive(&[b"incarnation", &number.to_le_bytes()]));
    Member { incarnation: Incarnation::from_bytes(incarnation), key: NodePublicKey(node_key(number)) }
}

/// A node as its transport knows it.
pub fn local(node: NodeId) -> LocalNode {
    let Member { incarnation, key } = member(node.get());
    LocalNode { cluster: CLUSTER, generation: GENERATION, node, incarnation, key }
}

pub(super) fn node_key(number: u64) -> PublicKey {
    derive(&[b"node", &number.to_le_bytes()])
}

fn derive(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

fn split(bytes: [u8; 32]) -> ([u8; 16], [u8; 16]) {
    let (mut first, mut second) = ([0; 16], [0; 16]);
    for ((one, other), pair) in first.iter_mut().zip(&mut second).zip(bytes.chunks_exact(2)) {
        if let [a, b] = pair {
            (*one, *other) = (*a, *b);
        }
    }
    (first, second)
}

/// The keys of one node's process: its own always, the cluster's while it is unsealed.
#[derive(Clone)]
pub struct SimKeys {
    node: u64,
    sealed: Arc<AtomicBool>,
}

impl SimKeys {
    /// The keys of a process that starts sealed or not.
    pub fn new(node: u64, sealed: bool) -> Self {
        Self { node, sealed: Arc::new(AtomicBool::new(sealed)) }
    }

    /// From here on the cluster's keys are gone, or there.
    pub fn set_sealed(&self, sealed: bool) {
        self.sealed.store(sealed, Ordering::Relaxed);
    }

    fn sealed(&self) -> bool {
        self.sealed.load(Ordering::Relaxed)
    }
}

fn sign(public: &PublicKey, message: &[u8]) -> Signature {
    let mut signature = [0; 64];
    let (first, second) = signature.split_at_mut(32);
    first.copy_from_slice(&derive(&[b"first", public, message]));
    second.copy_from_slice(&derive(&[b"second", public, message]));
    signature
}

impl EntryKeys for SimKeys {
    fn sign_as_writer(&self, message: &[u8]) -> Option<Signature> {
        (!self.sealed()).then(|| sign(&writer(), message))
    }

    fn sign_as_node(&self, message: &[u8]) -> Signature {
        sign(&node_key(self.node), message)
    }

    fn verify(&self, public: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        sign(public, message) == *signature
    }
}

impl PeerKeys for SimKeys {
    fn unsealed(&self) -> bool {
        !self.sealed()
    }

    fn tag(&self, transcript: &Transcript) -> Option<[u8; 32]> {
        (!self.sealed()).then(|| derive(&[b"peer key", transcript]))
    }

    fn verify(&self, transcript: &Transcript, tag: &[u8; 32]) -> Option<bool> {
        PeerKeys::tag(self, transcript).map(|right| right == *tag)
    }

    fn tell_removed(&self, _: NodeId, _: &Exporter) -> Option<Removal> {
        None
    }

    fn believes_removed(&self, _: &Exporter, _: &Removal) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_key_and_one_message() {
        let keys = SimKeys::new(1, false);
        let signature = keys.sign_as_writer(b"a").unwrap();
        assert!(EntryKeys::verify(&keys, &writer(), b"a", &signature));
        assert!(!EntryKeys::verify(&keys, &writer(), b"b", &signature));
        assert!(!EntryKeys::verify(&keys, &node_key(1), b"a", &signature));
    }

    #[test]
    fn a_sealed_node_signs_only_as_itself_and_proves_nothing() {
        let keys = SimKeys::new(1, true);
        assert_eq!(keys.sign_as_writer(b"a"), None);
        assert!(EntryKeys::verify(&keys, &node_key(1), b"a", &keys.sign_as_node(b"a")));
        assert_eq!(PeerKeys::tag(&keys, &[0; 60]), None);
    }
}
