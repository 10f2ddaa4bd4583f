//! What a caller puts on record: a draft of typed fields, and the receipt for it.
//!
//! Made by the server's pipeline and by the node for its own acts. Deliberately absent: request bodies, secrets,
//! and free text but for the purpose, which is limited and escaped.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use keyclave_types::access::Subject;
use keyclave_types::ids::{NodeId, RequestId};
use keyclave_types::key::Version;
use keyclave_types::name::KeyName;
use keyclave_types::position::{Position, Revision};
use keyclave_types::request::{SubjectName, TokenId};
use keyclave_types::time::UnixMillis;

use crate::text::Text;

/// Deciding policies named in one record; a decision that more policies took part in names the first ones.
pub const POLICIES_MAX: usize = 16;

/// One record before it has a place in the chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordDraft {
    /// When, by the node's clock.
    pub time: UnixMillis,
    /// The call. Intent and outcome of one call share it, and so does the leader's record of a forwarded write.
    pub request: RequestId,
    /// Which class of acts.
    pub class: Class,
    /// Before the act, after it, or after it for nothing.
    pub phase: Phase,
    /// How it ended: `OK` or a stable reason, in `[A-Z_]`. Plain in the line. An intent has [`PENDING`].
    pub outcome: &'static str,
    /// The rest, sealed in the line where the trail has a segment key.
    pub body: Body,
}

/// The outcome of an intent.
pub const PENDING: &str = "PENDING";
/// The outcome of what was done.
pub const OK: &str = "OK";

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word in the line. Stored: never changes.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            pub(crate) fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|each| each.word() == word)
            }
        }
    };
}

words!(
    /// Which class of acts a record is of.
    Class {
        /// Answers anyone.
        Open = "open",
        /// Concerns this very machine; on its own socket only.
        Machine = "machine",
        /// Needs a credential, whichever.
        Known = "known",
        /// Uses keys.
        Use = "use",
        /// Changes keys.
        Manage = "manage",
        /// Cannot be undone, or lets a secret out.
        Danger = "danger",
        /// Reads about keys.
        Read = "read",
        /// Runs the cluster.
        Operate = "operate",
        /// Decides who may do what.
        Access = "access",
        /// What the cluster does on its own account.
        Cluster = "cluster",
        /// What the trail says about itself.
        Trail = "trail",
    }
);

words!(
    /// Where in its act a record stands.
    Phase {
        /// Before a write is proposed.
        Intent = "intent",
        /// The act is done, or refused; the answer leaves after this.
        Done = "done",
        /// An answer was made and not given: what it had read changed meanwhile.
        Withheld = "withheld",
    }
);

/// The fields that a record may have. What does not apply is `None`, or zero for a size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body {
    /// What was asked, as `Encrypt`: letters and digits.
    pub operation: &'static str,
    /// Who asked.
    pub who: Who,
    /// From where.
    pub source: Source,
    /// About which key.
    pub key: Option<KeyName>,
    /// Which version of it.
    pub version: Option<Version>,
    /// About whom or what else.
    pub target: Option<Target>,
    /// The policies and roles that decided, as `policy NAME` or `role GRANT`, at most [`POLICIES_MAX`].
    pub policies: Vec<String>,
    /// The revision of the access head that they were read at.
    pub policy_revision: Option<Revision>,
    /// The position of the view that authorisation and work read.
    pub view: Option<Position>,
    /// The gRPC code of the answer.
    pub code: u8,
    /// Items of a batch.
    pub items: u32,
    /// Bytes that came in.
    pub bytes_in: u64,
    /// Bytes that go out.
    pub bytes_out: u64,
    /// A keyed MAC of the associated data, so that two uses can be compared and nothing can be read.
    pub associated_data: Option<[u8; 32]>,
    /// What the caller said it is for.
    pub purpose: Option<Text>,
    /// The position at which a write was committed.
    pub transaction: Option<Position>,
    /// From arrival to this record, in microseconds.
    pub duration_us: u64,
}

impl Body {
    /// A body with nothing but an operation, a caller and where it came from.
    pub fn new(operation: &'static str, who: Who, source: Source) -> Self {
        Self {
            operation,
            who,
            source,
            key: None,
            version: None,
            target: None,
            policies: Vec::new(),
            policy_revision: None,
            view: None,
            code: 0,
            items: 0,
            bytes_in: 0,
            bytes_out: 0,
            associated_data: None,
            purpose: None,
            transaction: None,
            duration_us: 0,
        }
    }
}

/// Who asked, by what credential.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Who {
    /// No valid credential. Printed `nobody`.
    Nobody,
    /// The operator on the machine. Printed `socket`.
    LocalSocket,
    /// A member on the cluster's own account. Printed `node:1`.
    Node(NodeId),
    /// A service's token. Printed `service:NAME`.
    Service {
        /// Whom it names.
        subject: SubjectName,
        /// Which.
        token: TokenId,
    },
    /// A person's token. Printed `user:NAME`.
    User {
        /// Whom it names.
        subject: SubjectName,
        /// Which.
        token: TokenId,
    },
    /// A certificate. Printed `service:NAME` or `user:NAME`.
    Certificate {
        /// Whom it names.
        subject: Subject,
        /// SHA-256 of the client root that it is under.
        authority: [u8; 32],
    },
}

/// Where a request came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A client's address.
    Address(SocketAddr),
    /// The socket in the data directory.
    LocalSocket,
    /// Another member, on its caller's behalf.
    Member(NodeId),
    /// This process itself.
    Inside,
}

/// About whom or what an act was, where it is not a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A member. Printed `node:1`.
    Node(NodeId),
    /// A token. Printed `token:ID`, the id in hex.
    Token(TokenId),
    /// A service. Printed `service:NAME`.
    Service(SubjectName),
    /// A person. Printed `user:NAME`.
    User(SubjectName),
    /// A policy. Printed `policy:NAME`.
    Policy(KeyName),
    /// The whole cluster. Printed `cluster`.
    Cluster,
}

/// Proof to the caller that a record is in the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Whose chain.
    pub node: NodeId,
    /// Its number there.
    pub sequence: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// Why a text is no receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a receipt has the form NODE.SEQUENCE.HASH, the hash in 64 digits of hex")]
pub struct ReceiptError;

/// As replies carry it.
impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.node, self.sequence, HEXLOWER.encode(&self.hash))
    }
}

impl FromStr for Receipt {
    type Err = ReceiptError;

    fn from_str(text: &str) -> Result<Self, ReceiptError> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(ReceiptError);
        let (node, sequence, hash) = (part()?, part()?, part()?);
        let node = node.parse().ok().and_then(NodeId::new).ok_or(ReceiptError)?;
        let sequence = sequence.parse().map_err(|_| ReceiptError)?;
        let hash = HEXLOWER.decode(hash.as_bytes()).ok().and_then(|hash| hash.try_into().ok());
        let read = Self { node, sequence, hash: hash.ok_or(ReceiptError)? };
        if read.to_string() == text { Ok(read) } else { Err(ReceiptError) }
    }
}

/// Where a node's chain stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The last record's number; 0 before the first.
    pub sequence: u64,
    /// The hash of the last line, a record's or a segment header's; zeros before the first.
    pub hash: [u8; 32],
}

impl Head {
    /// Before anything is written.
    pub const NOTHING: Self = Self { sequence: 0, hash: [0; 32] };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_has_one_spelling() {
        let receipt = Receipt { node: NodeId::new(3).unwrap(), sequence: 42, hash: [0xab; 32] };
        let text = format!("3.42.{}", "ab".repeat(32));
        assert_eq!((receipt.to_string(), text.parse()), (text.clone(), Ok(receipt)));
        for wrong in ["", "3", "3.42", &text.replace("42", "042"), &text.to_uppercase(), &format!("{text}0")]
        {
            assert_eq!(wrong.parse::<Receipt>(), Err(ReceiptError), "{wrong}");
        }
    }
}
