//! Whole nodes in the simulation: keyclave-node over the simulator's disk, network, clock and entropy, with its
//! ceremonies, joins, rejoins, confirmations, forwarded writes, rotations and trail.
//!
//! Callers are on the nodes themselves ([`caller`]); what stands between them and the node's answers is what the
//! server's pipeline does, without a listener.

pub mod machine;

pub mod process;

pub mod caller;

pub mod secrets;
