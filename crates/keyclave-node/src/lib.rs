//! One member of the cluster: it keeps the view, confirms reads, holds ceremonies, membership and the certificate
//! authority, and runs rotation.
//!
//! Called by keyclave-server and the simulator. Invariants:
//! - What a node answers was computed over one frozen view and stands at an index that was confirmed after the
//!   request arrived.
//! - The root leaves a process only encrypted to the boot key of another that was vouched for.
//! - A sealed node holds no keyring; what it is asked for then is refused before anything is read.
//! - Time, entropy, disk, wire and threads come in as values.
//!
//! Deliberately absent: what the API's messages look like, credentials on the wire, and every listener but the peers'.

#![forbid(unsafe_code)]

pub mod host;
pub mod world;

pub mod authority;
pub mod home;
pub mod node;

pub mod founding;
pub mod joining;

pub mod member;
pub mod members;
pub mod serving;

pub mod ceremony;
pub mod giving;
pub mod guesses;
pub mod unsealing;

pub mod confirmer;
pub mod failure;
pub mod keeper;
pub mod rewriting;
pub mod services;
pub mod timekeeping;

mod health;

mod anchoring;
mod asking;
mod certificate;
mod chores;
mod deciding;
mod directory;
mod forgetting;
mod keys;
mod maintaining;
mod noting;
mod rejoining;
mod retaining;
mod settling;
mod settling_in;
mod unsealed;
mod vouching;
