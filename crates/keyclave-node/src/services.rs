//! What this node answers its peers, besides Raft: forwarded writes, confirmations and upkeep on keyed connections;
//! rejoin and ceremonies on any.

pub mod forward;

pub(crate) mod ceremony;
pub(crate) mod rejoin;
