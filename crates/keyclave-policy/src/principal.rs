//! Who asks. Made by whoever checked the credential: the vault for tokens, the listener for the local socket, the
//! node for itself and for members on keyed connections.

use keyclave_types::ids::NodeId;
use keyclave_types::request::{SubjectName, TokenId};

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Principal {
    /// The holder of a root token.
    Root {
        /// The token shown.
        token: TokenId,
    },
    /// The holder of a service token.
    Service {
        /// Whom the token names.
        subject: SubjectName,
        /// The token shown.
        token: TokenId,
    },
    /// Whoever can open the socket in the data directory: the operator on the machine.
    LocalSocket,
    /// A member of the cluster that has proven to hold the keyring, acting on the cluster's own account.
    Member(NodeId),
    /// Nobody: no credential was shown.
    Unauthenticated,
}

impl Principal {
    /// The token that was shown, whose record every decision depends on.
    pub fn token(&self) -> Option<TokenId> {
        match self {
            Self::Root { token } | Self::Service { token, .. } => Some(*token),
            Self::LocalSocket | Self::Member(_) | Self::Unauthenticated => None,
        }
    }
}
