//! The proof that a node holds the keyring: `HMAC-SHA-256(peer key, side's label ‖ exporter)`.
//!
//! The peer key itself stays in the node; this room sees tags. The two sides have different labels, because with
//! one label a reflected proof passed; the exporter is of this connection alone, because without it a relay passed.

use keyclave_types::ids::NodeId;

use super::wire::Exporter;

/// The keyring's peer keys, as a value. Versioned: a node accepts a new key before any node proves with it, so a
/// proof is made with the active one and checked against every accepted one.
pub trait PeerKeys: Send + Sync + 'static {
    /// Whether there is a key at all, so that nothing is dialled in vain.
    fn unsealed(&self) -> bool;
    /// The active key's tag over `transcript`. `None`: this node is sealed.
    fn tag(&self, transcript: &Transcript) -> Option<[u8; 32]>;
    /// Whether `tag` is any accepted key's over `transcript`, compared in constant time. `None`: sealed.
    fn verify(&self, transcript: &Transcript, tag: &[u8; 32]) -> Option<bool>;
    /// The word for the other end of this connection, which was node `node` once, that it was removed. `None`: sealed.
    fn tell_removed(&self, node: NodeId, exporter: &Exporter) -> Option<Removal>;
    /// Whether somebody who holds the keyring has said over this connection that this node was removed.
    fn believes_removed(&self, exporter: &Exporter, removal: &Removal) -> bool;
}

/// A signature by the writer key, good for one node and one connection.
pub type Removal = [u8; 64];

/// Who proves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The end that connected; it proves first.
    Dialler,
    /// The end that was connected to.
    Acceptor,
}

/// Bytes of a transcript.
pub const TRANSCRIPT_BYTES: usize = LABEL_BYTES + 32;

/// What one side proves over: its label, then the exporter. Cannot repeat: the exporter belongs to one connection.
pub type Transcript = [u8; TRANSCRIPT_BYTES];

const LABEL_BYTES: usize = 28;
const DIALLER: &[u8; LABEL_BYTES] = b"keyclave-peer-v1 dialler\0\0\0\0";
const ACCEPTOR: &[u8; LABEL_BYTES] = b"keyclave-peer-v1 acceptor\0\0\0";

/// What `side` of the connection with this `exporter` proves over.
pub fn transcript(side: Side, exporter: &Exporter) -> Transcript {
    let label = match side {
        Side::Dialler => DIALLER,
        Side::Acceptor => ACCEPTOR,
    };
    let mut bytes = [0; TRANSCRIPT_BYTES];
    let (head, tail) = bytes.split_at_mut(LABEL_BYTES);
    head.copy_from_slice(label);
    tail.copy_from_slice(&exporter.0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_transcripts_stay() {
        let exporter = Exporter([0xe5; 32]);
        let dialler = transcript(Side::Dialler, &exporter);
        let acceptor = transcript(Side::Acceptor, &exporter);
        assert_eq!(
            dialler.as_slice(),
            [b"keyclave-peer-v1 dialler\0\0\0\0".as_slice(), &[0xe5; 32]].concat()
        );
        assert_eq!(
            acceptor.as_slice(),
            [b"keyclave-peer-v1 acceptor\0\0\0".as_slice(), &[0xe5; 32]].concat()
        );
    }

    #[test]
    fn the_sides_never_prove_over_the_same_bytes() {
        let exporter = Exporter([1; 32]);
        assert_ne!(transcript(Side::Dialler, &exporter), transcript(Side::Acceptor, &exporter));
    }
}
