//! The root, and the keyring that it opens.
//!
//! Made at founding, opened by whoever reconstructed or was given the root, and then held for as long as the node is
//! unsealed. Each accessor hands out one thing for one purpose; nothing hands out the whole.

mod root;
mod stored;

use std::collections::BTreeMap;

use keyclave_crypto::aead::Unopened;
use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::record::{Epoch, EpochKey, record_id};
use keyclave_crypto::secret::Secret;
use keyclave_crypto::sign::SigningKey;
use keyclave_crypto::wrap;
use keyclave_types::ids::{ClusterId, RecordId};

pub use root::Root;

use crate::records::RecordName;

/// Everything that is under the root.
pub struct Keyring {
    epochs: BTreeMap<u32, SealingKey>,
    active_epoch: u32,
    index_key: Secret<32>,
    token_keys: Versioned,
    writer: SigningKey,
    peer_keys: Versioned,
}

/// An epoch's key, as it is stored and as it is used.
struct SealingKey {
    secret: Secret<32>,
    expanded: EpochKey,
}

/// Keys of one purpose by number, one of them active.
pub struct Versioned {
    keys: BTreeMap<u32, Secret<32>>,
    active: u32,
}

/// Why a wrapped keyring does not open.
#[derive(Debug, thiserror::Error)]
pub enum UnwrapError {
    /// The root is not this keyring's.
    #[error("the root does not open the keyring")]
    Root(#[source] Unopened),
    /// It opens, and holds something that this version does not read.
    #[error("the keyring holds {length} bytes of format {format:#04x}, which this version does not read")]
    Format {
        /// Its first byte; 0 if there is none.
        format: u8,
        /// How long it is.
        length: usize,
    },
}

impl Keyring {
    /// A keyring of fresh keys, each with the number 1.
    pub fn create(entropy: &mut Entropy) -> Self {
        Self {
            epochs: BTreeMap::from([(1, SealingKey::new(1, entropy.secret("epoch key")))]),
            active_epoch: 1,
            index_key: entropy.secret("index key"),
            token_keys: Versioned::create("token key", entropy),
            writer: SigningKey::from_seed(entropy.secret("writer key")),
            peer_keys: Versioned::create("peer key", entropy),
        }
    }

    /// The keyring under a root, for one cluster and one share set.
    pub fn wrap(
        &self,
        root: &Root,
        cluster: ClusterId,
        share_set: [u8; 8],
        entropy: &mut Entropy,
    ) -> Vec<u8> {
        wrap::wrap(root.secret(), &bound(cluster, share_set), &stored::encode(self), entropy)
    }

    /// The keyring that `root` opens. That it opens is the proof that `root` is the root.
    pub fn unwrap(
        root: &Root,
        cluster: ClusterId,
        share_set: [u8; 8],
        wrapped: &[u8],
    ) -> Result<Self, UnwrapError> {
        let plaintext =
            wrap::unwrap(root.secret(), &bound(cluster, share_set), wrapped).map_err(UnwrapError::Root)?;
        stored::decode(plaintext.expose())
    }

    /// Signs entries as the cluster's writer.
    pub fn writer(&self) -> &SigningKey {
        &self.writer
    }

    /// Proves to peers that this node holds the keyring: the active one proves, each of them is accepted.
    pub fn peer_keys(&self) -> &Versioned {
        &self.peer_keys
    }

    pub(crate) fn token_keys(&self) -> &Versioned {
        &self.token_keys
    }

    /// Seals what is written.
    pub(crate) fn sealing(&self) -> &EpochKey {
        self.epoch(Epoch(self.active_epoch)).expect("made and read with the active epoch among its epochs")
    }

    /// Opens what was sealed under this epoch.
    pub(crate) fn epoch(&self, epoch: Epoch) -> Option<&EpochKey> {
        self.epochs.get(&epoch.0).map(|key| &key.expanded)
    }

    pub(crate) fn record_id(&self, name: &RecordName<'_>) -> RecordId {
        record_id(&self.index_key, name.kind().number(), &name.bytes())
    }
}

impl SealingKey {
    fn new(number: u32, secret: Secret<32>) -> Self {
        let expanded = EpochKey::new(Epoch(number), &secret);
        Self { secret, expanded }
    }
}

impl Versioned {
    fn create(name: &'static str, entropy: &mut Entropy) -> Self {
        Self { keys: BTreeMap::from([(1, entropy.secret(name))]), active: 1 }
    }

    /// The number and the key that is used from now on.
    pub fn active(&self) -> (u32, &Secret<32>) {
        let key = self.keys.get(&self.active).expect("made and read with the active key among its keys");
        (self.active, key)
    }

    /// The key of one number.
    pub fn key(&self, number: u32) -> Option<&Secret<32>> {
        self.keys.get(&number)
    }

    /// All that are accepted.
    pub fn accepted(&self) -> impl Iterator<Item = &Secret<32>> {
        self.keys.values()
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring")
    }
}

impl std::fmt::Debug for Versioned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Versioned")
    }
}

/// Cluster id (16) ‖ share-set id (8).
fn bound(cluster: ClusterId, share_set: [u8; 8]) -> Vec<u8> {
    [cluster.as_bytes().as_slice(), &share_set].concat()
}
