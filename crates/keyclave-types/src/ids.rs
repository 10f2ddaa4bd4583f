//! Identifiers: sixteen random or derived bytes, printed as lower-case hex, and the small node number.
//!
//! Called by every room. Deliberately absent: making random ones (entropy comes in as bytes).

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// Why a text is not an identifier.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    /// Not 32 characters of lower-case hex.
    #[error("expected 32 characters of lower-case hex, found {length} characters")]
    Hex {
        /// Length of what was found, in bytes.
        length: usize,
    },
    /// Not a node number.
    #[error("expected a node number from 1 to {max}", max = NodeId::MAX)]
    Node,
}

macro_rules! id16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Takes the sixteen bytes as they are.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The sixteen bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let wrong = || IdError::Hex { length: text.len() };
                let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| wrong())?;
                Ok(Self(bytes.try_into().map_err(|_| wrong())?))
            }
        }
    };
}

id16!(
    /// One cluster, for its whole life; random at `operator init`.
    ClusterId
);
id16!(
    /// One data directory of one node; random when the directory is made. A wiped disk is another incarnation.
    Incarnation
);
id16!(
    /// One key, for its whole life; random at creation. A deleted and recreated name is another key.
    KeyId
);
id16!(
    /// A caller's name for one write, so that a retry is answered and not done again.
    RequestId
);
id16!(
    /// One ceremony at one node.
    CeremonyId
);

impl RequestId {
    /// A request id: the ledger index that its client last saw (8, big-endian), then what makes it unique. An
    /// index below the ledger's horizon is refused, because its outcome may have been forgotten.
    pub fn at(index: u64, unique: [u8; 8]) -> Self {
        Self((u128::from(index) << 64 | u128::from(u64::from_be_bytes(unique))).to_be_bytes())
    }

    /// The ledger index that its client last saw.
    pub fn index(self) -> u64 {
        // The upper half of 128 bits fits 64.
        (u128::from_be_bytes(self.0) >> 64) as u64
    }
}

/// Names one record of the ledger.
///
/// The first byte says which kind of id it is: `0x00` a plain record (seal record, addresses, format
/// versions), whose remaining bytes are the kind and a number; `0x01` a sealed record, whose remaining
/// bytes are a keyed pseudorandom function of kind and name, so that they reveal neither.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordId([u8; 16]);

impl RecordId {
    const PLAIN: u8 = 0x00;
    const SEALED: u8 = 0x01;

    /// The plain record `number` of `kind`.
    pub const fn plain(kind: PlainKind, number: u64) -> Self {
        // Marker, kind, six zero bytes, number.
        let bytes = ((Self::PLAIN as u128) << 120 | (kind as u128) << 112 | number as u128).to_be_bytes();
        Self(bytes)
    }

    /// A sealed record: the first byte of the pseudorandom output gives way to the marker.
    pub const fn sealed(mut pseudorandom: [u8; 16]) -> Self {
        pseudorandom[0] = Self::SEALED;
        Self(pseudorandom)
    }

    /// An id as it was stored or sent, whatever it names.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The sixteen bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether the record's blob is readable without the keyring.
    pub const fn is_plain(&self) -> bool {
        self.0[0] == Self::PLAIN
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordId({self})")
    }
}

/// The kinds of record that are plain by necessity. Numbers are stored: never reuse one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PlainKind {
    /// [`crate::seal::SealRecord`], number 0.
    Seal = 1,
    /// The writer key's public half, number 0.
    WriterKey = 2,
    /// A node's addresses, by node number.
    Address = 3,
    /// The cluster's format and feature versions, number 0.
    Formats = 4,
    /// A seal mark, by node number; 0 is the whole cluster's.
    SealMark = 5,
    /// A node's certificate for clients, by node number.
    Certificate = 6,
    /// [`crate::member::Removed`], number 0.
    Removed = 7,
}

/// A node's number, from 1 up, never used twice in a cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(u64);

impl NodeId {
    /// The largest node number.
    pub const MAX: u64 = 65_535;

    /// The node number, if it is one.
    pub const fn new(number: u64) -> Option<Self> {
        if number >= 1 && number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.0)
    }
}

impl FromStr for NodeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().ok().and_then(Self::new).ok_or(IdError::Node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_prints() {
        let id = KeyId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("00".parse::<KeyId>().is_err());
        assert!("3031323334353637383961626364656G".parse::<KeyId>().is_err());
        assert!("ABABABABABABABABABABABABABABABAB".parse::<KeyId>().is_err());
    }

    #[test]
    fn a_request_id_carries_the_index_that_its_client_saw() {
        let id = RequestId::at(0x0102, [7; 8]);
        assert_eq!(id.as_bytes(), &[0, 0, 0, 0, 0, 0, 1, 2, 7, 7, 7, 7, 7, 7, 7, 7]);
        assert_eq!(id.index(), 0x0102);
        assert_eq!(RequestId::from_bytes([255; 16]).index(), u64::MAX);
    }

    #[test]
    fn plain_and_sealed_ids_never_meet() {
        let plain = RecordId::plain(PlainKind::Address, 7);
        let sealed = RecordId::sealed(*plain.as_bytes());
        assert_ne!(plain, sealed);
        assert!(plain.is_plain());
        assert!(!sealed.is_plain());
        assert_ne!(plain, RecordId::plain(PlainKind::Address, 8));
        assert_ne!(plain, RecordId::plain(PlainKind::SealMark, 7));
    }

    #[test]
    fn node_zero_is_nobody() {
        assert!("0".parse::<NodeId>().is_err());
        assert_eq!("3".parse::<NodeId>().map(NodeId::get), Ok(3));
        assert!("65536".parse::<NodeId>().is_err());
    }
}
