//! The keys of the log, as values: this room checks and asks for signatures and never sees a key byte.
//!
//! keyclave-node implements it with keyclave-crypto.

/// An Ed25519 signature.
pub type Signature = [u8; 64];

/// An Ed25519 public key.
pub type PublicKey = [u8; 32];

/// Signs what this node appends and checks what arrives.
pub trait EntryKeys: Send + Sync + 'static {
    /// Signs with the cluster's writer key. `None` while this node is sealed.
    fn sign_as_writer(&self, message: &[u8]) -> Option<Signature>;

    /// Signs with this node's own key; asked only for a sealed leader's blanks.
    fn sign_as_node(&self, message: &[u8]) -> Signature;

    /// Whether `signature` is `public`'s over `message`.
    fn verify(&self, public: &PublicKey, message: &[u8], signature: &Signature) -> bool;
}
