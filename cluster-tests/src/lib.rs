//! What needs several nodes: the deterministic simulator, and the invariants that it shares with the live tests.
//!
//! Invariants:
//! - One seed, one history: nothing here reads a clock, draws randomness or starts a thread outside the simulation.
//! - A run in which something could not be judged, or a fault never happened, is unknown and never passed.

#![forbid(unsafe_code)]

#[cfg(not(any(tokio_unstable, doc, doctest)))]
compile_error!(
    "build with `--cfg tokio_unstable` (.cargo/config.toml sets it; RUSTFLAGS from outside replaces it)"
);

pub mod history;
pub mod invariants;
pub mod sim;
