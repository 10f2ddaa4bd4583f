//! One member of the cluster: it keeps the view, confirms reads, holds ceremonies, membership and the certificate
//! authority, and runs rotation.

#![forbid(unsafe_code)]

pub mod authority;
pub mod confirmer;
pub mod world;
