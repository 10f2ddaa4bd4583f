//! The shell around a node: listeners, authentication, the request pipeline, configuration, telemetry.
//!
//! Invariants:
//! - [`pipeline`] is the only place where request, permit, view, confirmation and audit record meet.
//! - Nothing is answered before its audit record is durable.
//! - There is no listener without TLS but the operator's socket, which is a file of this user, and the health port,
//!   which answers one word.

#![forbid(unsafe_code)]

pub mod config;
pub mod hardening;
pub mod telemetry;

pub mod client_tls;
pub mod door;
pub mod health;
pub mod origin;
pub mod runtime_directory;
pub mod socket;
