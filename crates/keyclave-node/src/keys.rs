//! The keys of a running node, as the values that keyclave-cluster asks for: it signs entries, proves to peers that
//! the node holds the keyring, and has nothing to prove with while it is sealed.

use std::sync::{Arc, PoisonError, RwLock};

use keyclave_cluster::keys::{EntryKeys, PublicKey, Signature};
use keyclave_cluster::transport::proof::{PeerKeys, Transcript};
use keyclave_crypto::mac;
use keyclave_crypto::sign::{self, SigningKey};
use keyclave_vault::keyring::Keyring;

/// A node's own key, and the keyring while there is one.
#[derive(Debug)]
pub(crate) struct NodeKeys {
    own: SigningKey,
    keyring: RwLock<Option<Arc<Keyring>>>,
}

impl NodeKeys {
    /// A sealed node's keys.
    pub(crate) fn new(own: SigningKey) -> Self {
        Self { own, keyring: RwLock::default() }
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
}
