//! How members reach each other: one port, TLS 1.3 with raw public keys, and a proof of the keyring on top.
//!
//! The node starts it ([`serve::serve_peers`], [`peers::Peers`]); the Raft half of this room, forwarding, rejoin
//! and ceremonies speak through it. Invariants:
//! - A connection's other end is a member by its recorded key, at the handshake and again on each request.
//! - Only a connection over which both ends proved the keyring's peer key is keyed; [`gate`] alone decides, from
//!   a list, which services answer on any other.
//! - Key bytes never come in here: [`proof::PeerKeys`] gives and checks proofs, and says when there is no key.
//! - Everything above [`wire::Wire`] is the same over TLS and over the simulator's plain TCP.
//!
//! Deliberately absent: certificates, expiry, session resumption, and any trust in an address.

pub mod directory;

pub mod known;

pub mod wire;

pub mod tls;

pub mod proof;

pub mod handshake;

pub mod refused;

pub mod connection;

pub mod establish;

pub mod incoming;

pub(crate) mod header;

pub mod gate;

pub mod call;

pub mod peers;

pub mod raft_calls;
pub mod raft_service;
mod raft_transport;

mod raft_handler;

pub mod serve;

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod testing;
