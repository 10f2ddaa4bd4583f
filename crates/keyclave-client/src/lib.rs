//! The Rust SDK: speaks to any node of a cluster, goes on to the next when one does not answer, repeats what may be
//! repeated, and hands a share to a ceremony only after its node's code was compared.
//!
//! Called by the `keyclave` binary, by services, and by cluster-tests, which bring their own network and entropy.
//! Deliberately absent: TLS below 1.3, plain connections (the network comes in as a [`dial::Dial`]; the only other
//! one here is the operator's socket), and any retry of a write under another request id than its own, unless it is
//! known not to have been done.
//!
//! Invariants:
//! - A write is sent under one request id however often it is repeated, so that it is done once.
//! - Every answer is at or after the position of every answer before it (the position is sent as a floor), and an
//!   answer of another generation is an error, never a value.
//! - Every call ends by its deadline.
//! - A share leaves only encrypted, and only to a boot key whose code was compared ([`seal::ComparedKey`]).
//! - No error or `Debug` text holds a token, a share, a plaintext or a ciphertext.

#![forbid(unsafe_code)]

mod builder;
mod client;
pub mod dial;
pub mod endpoint;

pub mod access;
pub mod audit;
pub mod certificates;
pub mod cluster;
pub mod crypto;
pub mod keys;
pub mod receipts;
pub mod rights;
pub mod seal;

pub mod error;
pub mod refusal;

mod call;
mod fleet;
mod seen;
mod verdict;
mod wire;

pub use builder::{BuildError, Builder};
pub use client::{Answer, Client};
