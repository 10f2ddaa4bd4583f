//! The deterministic simulator: whole clusters in one process over a simulated network, from one seed.
//!
//! [`run::run`] is the way in. A run makes a cluster, makes faults, ends them, and waits for the cluster to heal;
//! what happened is a history that the invariants judge.

pub mod run;

pub mod schedule;

pub mod links;

pub mod world;

pub mod host;

pub mod client;

pub mod whole;

pub mod forger;

pub mod forged;

pub mod start;

pub mod identity;

pub mod members;

pub mod net;

pub mod wire;

pub mod ear;

pub mod disk;

pub mod records;

pub mod dice;

pub mod planted;

pub mod report;
