//! Whole nodes in the simulation: keyclave-node and the server's pipeline over the simulator's disk, network, clock and
//! entropy, with their ceremonies, joins, rejoins, confirmations, forwarded writes, rotations and trail.
//!
//! [`callers`] and the [`operator`] are hosts of their own and use the product's client; what they ask goes through
//! the product's own services. Only what a person does on a machine itself (founding, giving shares) is called here.

pub mod machine;

pub mod process;

pub mod dial;

pub mod callers;

pub mod operator;

pub mod secrets;

pub mod search;
