//! The keys of a running node, as the values that keyclave-cluster asks for: it signs entries, proves to peers that
//! the node holds the keyring, and has nothing to prove with while it is sealed.

use std::sync::{Arc, PoisonError, RwLock};

use keyclave_cluster::keys::{EntryKeys, PublicKey, Signature};
use keyclave_cluster::transport::proof::{PeerKeys, Removal, Transcript};
use keyclave_cluster::transport::wire::Exporter;
use keyclave_crypto::sign::{self, SigningKey};
use keyclave_crypto::{labels, mac};
use keyclave_types::ids::{ClusterId, NodeId};
use keyclave_vault::keyring::Keyring;

/// A node's own key, and the keyring while there is one.
#[derive(Debug)]
pub(crate) struct NodeKeys {
    own: SigningKey,
    cluster: ClusterId,
    node: NodeId,
    writer: PublicKey,
    keyring: RwLock<Option<Arc<Keyring>>>,
}

impl NodeKeys {
    /// The keys of a sealed node, which believes whoever signs with `writer`.
    pub(crate) fn new(own: SigningKey, cluster: ClusterId, node: NodeId, writer: PublicKey) -> Self {
        Self { own, cluster, node, writer, keyring: RwLock::default() }
    }

    /// From now on this node signs as the writer and proves itself to peers.
    pub(crate) fn hold(&self, keyring: Arc<Keyring>) {
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = Some(keyring);
    }

    /// From now on it does not.
    pub(crate) fn drop_keyring(&self) {
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn keyring(&self) -> Option<Arc<Keyring>> {
        self.keyring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl EntryKeys for NodeKeys {
    fn sign_as_writer(&self, message: &[u8]) -> Option<Signature> {
        Some(self.keyring()?.writer().sign(message))
    }

    fn sign_as_node(&self, message: &[u8]) -> Signature {
        self.own.sign(message)
    }

    fn verify(&self, public: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        sign::verify(public, message, signature)
    }
}

impl PeerKeys for NodeKeys {
    fn unsealed(&self) -> bool {
        self.keyring().is_some()
    }

    fn tag(&self, transcript: &Transcript) -> Option<[u8; 32]> {
        let keyring = self.keyring()?;
        let (_, active) = keyring.peer_keys().active();
        Some(mac::hmac_sha256(active, &[transcript]))
    }

    fn verify(&self, transcript: &Transcript, tag: &[u8; 32]) -> Option<bool> {
        let keyring = self.keyring()?;
        // Every accepted key is tried, whichever fits, so that time says nothing.
        let fits = keyring.peer_keys().accepted().map(|key| mac::verify(key, &[transcript], tag));
        Some(fits.fold(false, |any, this| any | this))
    }

    fn tell_removed(&self, node: NodeId, exporter: &Exporter) -> Option<Removal> {
        self.sign_as_writer(&removed_message(self.cluster, node, exporter))
    }

    fn believes_removed(&self, exporter: &Exporter, removal: &Removal) -> bool {
        sign::verify(&self.writer, &removed_message(self.cluster, self.node, exporter), removal)
    }
}

/// What the writer key signs to tell node `node` that it was removed. A number is never given twice, so a node that
/// came back under another is not meant.
fn removed_message(cluster: ClusterId, node: NodeId, exporter: &Exporter) -> Vec<u8> {
    [labels::REMOVED.bytes(), cluster.as_bytes(), &node.get().to_be_bytes(), &exporter.0].concat()
}

#[cfg(test)]
mod tests {
    use keyclave_crypto::entropy::Entropy;

    use super::*;

    #[test]
    fn a_node_believes_that_it_was_removed_only_from_a_holder_of_the_keyring_over_this_connection() {
        let mut entropy = Entropy::from_seed([1; 32]);
        let mut key = || SigningKey::from_seed(entropy.secret("a test's key"));
        let (writer, thief) = (key(), key());
        let (cluster, node) = (ClusterId::from_bytes([2; 16]), NodeId::new(3).unwrap());
        let keys = NodeKeys::new(key(), cluster, node, writer.public());
        let (here, elsewhere) = (Exporter([4; 32]), Exporter([5; 32]));
        let right = removed_message(cluster, node, &here);
        assert_eq!(
            right,
            [b"keyclave removed 1\0".as_slice(), &[2; 16], &[0, 0, 0, 0, 0, 0, 0, 3], &[4; 32]].concat()
        );
        assert!(keys.believes_removed(&here, &writer.sign(&right)));
        assert!(!keys.believes_removed(&elsewhere, &writer.sign(&right)));
        assert!(!keys.believes_removed(&here, &thief.sign(&right)));
        assert!(!keys.believes_removed(&here, &keys.sign_as_node(&right)));
        let other = removed_message(cluster, NodeId::new(4).unwrap(), &here);
        assert!(!keys.believes_removed(&here, &writer.sign(&other)));
        assert_eq!(keys.tell_removed(node, &here), None, "a sealed node has no word in this");
    }
}
