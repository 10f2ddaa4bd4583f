//! The trail: what one node did, as chained lines in files that are appended in groups, verified and searched.
//!
//! Called by keyclave-node and keyclave-server (a record before every answer), and by the binary (`audit verify`
//! on copied files). Deliberately absent: anchors in the ledger and the making of segment keys (the node's), which
//! acts are recorded (the caller's), and any clock, thread or source of randomness of its own.
//!
//! Invariants:
//! - [`trail::Trail::record`] resolves to a receipt only after the record is durable.
//! - A line is hashed as the bytes that were written; nothing is ever serialised again to check it.
//! - A name, an identity or an address stands only in a sealed body; without a segment key it is left out.
//! - After a failed write that could not be undone, or a failed sync, nothing is recorded any more.
//! - Reading never trusts a file: every length is bounded, and no bytes make it panic.

#![forbid(unsafe_code)]

pub mod record;
pub mod text;
pub mod trail;

mod append;
mod body;
mod chain;
mod header;
mod line;
mod scan;

pub mod open;
pub mod segment_key;
pub mod verify;

mod check;

pub mod tree;

pub mod checkpoint;
pub mod note;
pub mod proof;

pub mod finding;
pub mod search;
pub mod segments;

pub mod directory;
pub mod files;
pub mod memory;
