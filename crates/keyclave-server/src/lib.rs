//! The shell around a node: listeners, authentication, the request pipeline, configuration, telemetry.
//!
//! Called by the binary, and, from the pipeline inwards, by the simulator. Invariants:
//! - [`mod@pipeline`] and its second half [`mod@writing`] are the only places where request, permit, view,
//!   confirmation and audit record meet.
//! - Nothing is answered before its audit record is durable.
//! - There is no listener without TLS but the operator's socket, which is a file of this user. What [`mod@danger`]
//!   serves without it is the simulator's.

#![forbid(unsafe_code)]

pub mod run;

pub mod client_tls;
pub mod config;
pub mod hardening;
pub mod health;
pub mod joiner;
pub mod probe;
pub mod socket;
pub mod telemetry;

pub mod danger;
pub mod pipeline;

mod caller;
mod operations;
mod receipt;
mod recording;
mod refusals;
mod writing;

mod admission;
mod budget;
mod connections;
mod door;
mod failures;
mod grpc_health;
mod machine;
mod metrics;
mod monitoring;
mod origin;
mod pem;
mod possession;
mod routes;
mod runtime_directory;
