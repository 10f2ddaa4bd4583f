//! What needs several nodes: the deterministic simulator, and the live tests (real processes, real faults), which share
//! the invariants.
//!
//! Invariants:
//! - One seed, one history: nothing here reads a clock, draws randomness or starts a thread outside the simulation;
//!   only `live`, which is about real time and real processes, does.
//! - A run in which something could not be judged, or a fault never happened, is unknown and never passed.

#![forbid(unsafe_code)]

#[cfg(not(any(tokio_unstable, doc, doctest)))]
compile_error!(
    "build with `--cfg tokio_unstable` (.cargo/config.toml sets it; RUSTFLAGS from outside replaces it)"
);

pub mod history;
pub mod invariants;
pub mod live;
pub mod sim;
pub mod windows;
