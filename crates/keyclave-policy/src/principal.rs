//! Who asks. Made by whoever checked the credential: the vault for tokens and certificates, the listener for the
//! local socket, the node for itself and for members on keyed connections.

use keyclave_types::access::Subject;
use keyclave_types::ids::NodeId;
use keyclave_types::request::TokenId;

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Principal {
    /// Somebody with a credential that the ledger knows.
    Subject {
        /// Whom the credential names.
        subject: Subject,
        /// What was shown.
        credential: Credential,
        /// What the connection has proved.
        came: Came,
    },
    /// Whoever can open the socket in the data directory: the operator on the machine.
    LocalSocket,
    /// A member of the cluster that has proven to hold the keyring, acting on the cluster's own account.
    Member(NodeId),
    /// Nobody: no credential was shown.
    Unauthenticated,
}

/// What the connection of a caller has proved beside its credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Came {
    /// A certificate under one of the client roots.
    pub mtls: bool,
    /// The credential is that certificate, or tied to it.
    pub bound: bool,
}

/// What a subject has shown, whose record every decision depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Credential {
    /// A token.
    Token(TokenId),
    /// A certificate, under the root with this SHA-256.
    Certificate([u8; 32]),
}

impl Principal {
    /// What the connection has proved.
    pub fn came(&self) -> Came {
        match self {
            Self::Subject { came, .. } => *came,
            Self::LocalSocket | Self::Member(_) | Self::Unauthenticated => Came::default(),
        }
    }

    /// Whom the credential names.
    pub fn subject(&self) -> Option<&Subject> {
        match self {
            Self::Subject { subject, .. } => Some(subject),
            Self::LocalSocket | Self::Member(_) | Self::Unauthenticated => None,
        }
    }

    /// The token that was shown, if one was.
    pub fn token(&self) -> Option<TokenId> {
        match self {
            Self::Subject { credential: Credential::Token(token), .. } => Some(*token),
            Self::Subject { credential: Credential::Certificate(_), .. }
            | Self::LocalSocket
            | Self::Member(_)
            | Self::Unauthenticated => None,
        }
    }
}
