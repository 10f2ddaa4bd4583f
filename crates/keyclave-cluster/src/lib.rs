//! One Raft: propose in batches, check what arrives, confirm, membership, handover, and the peers' transport.
//!
//! Called by keyclave-node. Invariants:
//! - Every entry of the log is signed as the leader's own log store appends it, and checked by every node before
//!   openraft sees it ([`mod@guard`]).
//! - A write is acknowledged only while this node's vote is the entry's own.
//! - An index is confirmed only after a quorum has answered a round that began after the question.
//! - Whatever the disk refuses stops the node; nothing is retried over a store whose state is unknown.
//! - No type of openraft leaves this crate, and no key byte enters it: signatures come in as values.
//!
//! Deliberately absent: what a transaction means, and every clock, thread, socket and source of randomness that
//! did not come in as a value.

#![forbid(unsafe_code)]

pub mod cluster;
pub mod confirm;
pub mod entry;
mod ground;
pub mod guard;
pub mod handover;
pub mod keys;
pub mod leadership;
mod log_store;
mod machine;
pub mod members;
pub mod message;
mod network;
pub mod peer;
mod presence;
pub mod propose;
mod raft;
pub mod receive;
mod rollback;
mod runtime;
pub mod snapshot;
pub mod start;
mod timing;
pub mod transport;
mod upkeep;

#[cfg(test)]
mod tests;
