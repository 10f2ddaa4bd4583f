//! The seam between the transport and what carries bytes: TLS in the product ([`super::tls`]), plain TCP in the
//! simulator, which lives with the simulator.
//!
//! A wire authenticates the other end by its key and binds a proof to this one connection; it knows nothing of
//! proofs, kinds or HTTP/2.

use std::fmt;

use keyclave_types::ids::ClusterId;
use keyclave_types::member::{HostPort, NodePublicKey};
use tokio::io::{AsyncRead, AsyncWrite};

use super::refused::Refused;

/// Makes connections whose other end is known by its key.
pub trait Wire: Clone + Send + Sync + 'static {
    /// What a listener yields before any handshake.
    type Raw: Send + 'static;
    /// An authenticated stream.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Connects to `address`, resolving its name, and accepts exactly the key `expected` there.
    fn dial(
        &self,
        address: &HostPort,
        expected: &NodePublicKey,
    ) -> impl Future<Output = Result<Bound<Self::Stream>, Refused>> + Send;

    /// Authenticates whoever connected. Only a member's key gets through, and that of one who was removed lately, whom
    /// the layer above tells so and nothing else.
    fn accept(&self, raw: Self::Raw) -> impl Future<Output = Result<Bound<Self::Stream>, Refused>> + Send;
}

/// An authenticated stream and what was learned while it was made.
pub struct Bound<S> {
    /// The stream.
    pub stream: S,
    /// The key that the other end holds.
    pub peer: NodePublicKey,
    /// What both ends of this connection, and no other, know.
    pub exporter: Exporter,
}

/// 32 bytes that both ends of one connection agree on and no other connection shares.
///
/// In TLS: the exporter (RFC 8446 §7.5) with [`exporter_context`] as its context. It is what a keyed proof and a
/// restart key's signature are bound to, so it is never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Exporter(pub [u8; 32]);

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

/// `cluster id (16) ‖ dialler's key (32) ‖ acceptor's key (32)`.
///
/// The TLS 1.3 exporter covers the handshake only up to the server's Finished, so not the dialler's key: without
/// both keys in the context, a member could present another's connection as its own.
pub fn exporter_context(cluster: ClusterId, dialler: &NodePublicKey, acceptor: &NodePublicKey) -> Vec<u8> {
    [cluster.as_bytes().as_slice(), &dialler.0, &acceptor.0].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_context_stays() {
        let context = exporter_context(
            ClusterId::from_bytes([1; 16]),
            &NodePublicKey([2; 32]),
            &NodePublicKey([3; 32]),
        );
        assert_eq!(context, [vec![1; 16], vec![2; 32], vec![3; 32]].concat());
    }

    #[test]
    fn an_exporter_is_not_printed() {
        assert_eq!(format!("{:?}", Exporter([7; 32])), "Exporter");
    }
}
