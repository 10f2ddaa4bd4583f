//! The deterministic simulator: whole clusters in one process over a simulated network, from one seed.

pub mod dice;
pub mod links;
pub mod planted;
pub mod report;
pub mod schedule;
pub mod wire;
