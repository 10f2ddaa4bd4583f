//! Why there is no connection to a peer.
//!
//! Made by the wire, the handshake and the connector; found again above tonic with [`refusal_in`], because tonic
//! wraps it and its own codes say only that something was unavailable.

use std::error::Error;
use std::io;
use std::sync::Arc;

/// Why a connection was refused, by either end. Cheap to clone: the connector remembers the last one for a while.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// The name did not resolve, or nobody listens there.
    #[error("the peer cannot be reached")]
    Unreachable(#[source] Arc<io::Error>),
    /// TLS failed: not a member's key, not our protocol, or the stream broke.
    #[error("the connection was cut or its handshake failed")]
    Broken(#[source] Arc<io::Error>),
    /// The other end speaks TLS and not ours.
    #[error("the peer did not agree on keyclave-peer/1")]
    Protocol,
    /// TLS gave no key or no exporter.
    #[error("the TLS session lacks what it must have")]
    Session,
    /// The other end is this node itself.
    #[error("the other end is this node itself")]
    Itself,
    /// The other end's key is nobody's, or no longer.
    #[error("the other end is not a current member")]
    NotMember,
    /// Somebody who holds the keyring says that this node was removed.
    #[error("this node was removed from the cluster")]
    Removed,
    /// Nothing says where the node is.
    #[error("no address is known for the peer")]
    NoAddress,
    /// This node holds no peer key, so it cannot prove.
    #[error("this node is sealed")]
    WeAreSealed,
    /// The other end holds no peer key.
    #[error("the peer is sealed")]
    PeerSealed,
    /// The other end did not accept our proof.
    #[error("the peer refused our proof")]
    WrongProof,
    /// The other end's proof is wrong.
    #[error("the peer's proof is wrong")]
    Unproven,
    /// The other end sent a byte that means nothing.
    #[error("the peer sent {found:#04x} where {expected} belongs")]
    UnknownByte {
        /// What belongs there.
        expected: &'static str,
        /// What was there.
        found: u8,
    },
    /// Connecting, TLS and proof together took too long.
    #[error("no connection within {} ms", super::handshake::HANDSHAKE_MS_MAX)]
    Deadline,
    /// All slots for unfinished handshakes were taken, and this was the oldest.
    #[error("a newer handshake took the place of this one")]
    Displaced,
    /// A stream that was opened for one purpose has ended; it does not come back by itself.
    #[error("the dedicated connection has ended")]
    Ended,
}

impl Refused {
    pub(crate) fn broken(error: io::Error) -> Self {
        Self::Broken(Arc::new(error))
    }

    pub(crate) fn unreachable(error: io::Error) -> Self {
        Self::Unreachable(Arc::new(error))
    }

    /// Whether the peer was reached and only the proof is missing, so that a plain connection may still do.
    pub fn lacks_only_proof(&self) -> bool {
        match self {
            Self::WeAreSealed | Self::PeerSealed | Self::WrongProof | Self::Unproven => true,
            Self::Unreachable(_)
            | Self::Broken(_)
            | Self::Protocol
            | Self::Session
            | Self::Itself
            | Self::NotMember
            | Self::Removed
            | Self::NoAddress
            | Self::UnknownByte { .. }
            | Self::Deadline
            | Self::Displaced
            | Self::Ended => false,
        }
    }
}

/// Our own reason, out of an error's chain of sources.
pub fn refusal_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Refused> {
    let mut next = Some(error);
    while let Some(link) = next {
        if let Some(refused) = link.downcast_ref::<Refused>() {
            return Some(refused);
        }
        next = link.source();
    }
    None
}
