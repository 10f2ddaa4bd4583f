//! Wire messages as bytes, for rooms that carry them on and must not know how they are coded.

use prost::Message;

/// Bytes that are not the message they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not a message of this kind")]
pub struct Undecodable;

/// Any message of the API or between peers.
pub trait WireMessage: Sized {
    /// The message's bytes.
    fn to_wire(&self) -> Vec<u8>;
    /// The message of these bytes; unknown fields are passed over.
    fn from_wire(bytes: &[u8]) -> Result<Self, Undecodable>;
}

impl<M: Message + Default> WireMessage for M {
    fn to_wire(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    fn from_wire(bytes: &[u8]) -> Result<Self, Undecodable> {
        Self::decode(bytes).map_err(|_| Undecodable)
    }
}
