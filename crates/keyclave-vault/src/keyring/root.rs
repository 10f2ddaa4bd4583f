//! The root key: made at founding or out of shares, in memory only, and only while the node is unsealed.
//!
//! Deliberately absent: any way to its bytes for other rooms. It can be split into shares, sealed to the boot key
//! of a process that was vouched for, and it opens a keyring.

use keyclave_crypto::aead::Unopened;
use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::hpke::{BadPublicKey, BootKey, seal_to};
use keyclave_crypto::labels::ROOT_TO_NODE;
use keyclave_crypto::secret::Secret;
use keyclave_crypto::shamir;
use keyclave_crypto::share::Share;
use keyclave_types::ids::ClusterId;
use keyclave_types::seal::Threshold;

/// The root key, or a candidate: only a keyring that opens proves it.
#[derive(Debug)]
pub struct Root(Secret<32>);

impl Root {
    /// A fresh root.
    pub fn create(entropy: &mut Entropy) -> Self {
        Self(entropy.secret("root key"))
    }

    /// The root in shares.
    pub fn split(&self, threshold: Threshold, entropy: &mut Entropy) -> Vec<Share> {
        shamir::split(&self.0, threshold, entropy)
    }

    /// The root for one process of a member that was vouched for: sealed to its boot key, bound to the cluster.
    pub fn seal_to(
        &self,
        boot_public: &[u8; 32],
        cluster: ClusterId,
        entropy: &mut Entropy,
    ) -> Result<Vec<u8>, BadPublicKey> {
        seal_to(boot_public, ROOT_TO_NODE, cluster.as_bytes(), self.0.expose(), entropy)
    }

    /// What [`Root::seal_to`] made for this process. Believe it only once it opens the keyring.
    pub fn open(boot: &BootKey, cluster: ClusterId, sealed: &[u8]) -> Result<Self, Unopened> {
        let bytes = boot.open(ROOT_TO_NODE, cluster.as_bytes(), sealed)?;
        Secret::from_slice("root key", &bytes).map(Self).ok_or(Unopened)
    }

    pub(crate) fn from_secret(secret: Secret<32>) -> Self {
        Self(secret)
    }

    pub(super) fn secret(&self) -> &Secret<32> {
        &self.0
    }
}
