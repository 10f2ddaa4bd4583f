//! Wire types generated from `proto/`, and the only conversions between wire and domain (Raft's own, in
//! keyclave-cluster, excepted).
//!
//! Called by keyclave-server and keyclave-node (requests in, answers out), keyclave-cluster (the peers' services)
//! and keyclave-client. Deliberately absent: deciding anything; a parsed request says what is asked, not whether
//! it may be.
//!
//! Invariants:
//! - No bytes from outside panic here, and every limit of [`keyclave_types::limits`] on a request is checked while
//!   it is parsed.
//! - A message that holds a plaintext, a credential or a share prints only its name.
//! - [`reason::Reason`] has exactly one map to gRPC codes.

#![forbid(unsafe_code)]

pub mod request;

pub mod answer;

pub mod message;
pub mod page;

pub mod share_terms;

pub mod reason;

pub mod status;

mod redacted;

/// The API that clients see.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::restriction,
    reason = "generated from proto/"
)]
pub mod v1 {
    tonic::include_proto!("keyclave.v1");
}

/// What members ask of each other.
pub mod peer {
    /// See [`super::peer`].
    #[allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        clippy::restriction,
        reason = "generated from proto/"
    )]
    pub mod v1 {
        tonic::include_proto!("keyclave.peer.v1");
    }
}

/// The encoded `FileDescriptorSet` of the API that clients see, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/client_descriptors.bin"));

/// One RPC of a service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rpc {
    /// The package, as `keyclave.v1`.
    pub package: &'static str,
    /// The service without its package, as `KeyService`.
    pub service: &'static str,
    /// The method, as `CreateKey`.
    pub method: &'static str,
    /// The path of its HTTP/2 requests, as `/keyclave.v1.KeyService/CreateKey`.
    pub path: &'static str,
}

/// Every RPC of every package, taken from the descriptors.
pub const RPCS: &[Rpc] = include!(concat!(env!("OUT_DIR"), "/rpcs.rs"));

/// The RPCs that clients see.
pub fn client_rpcs() -> impl Iterator<Item = &'static Rpc> {
    RPCS.iter().filter(|rpc| rpc.package == "keyclave.v1")
}

/// The RPC that clients see at `path`.
pub fn client_rpc(path: &str) -> Option<&'static Rpc> {
    client_rpcs().find(|rpc| rpc.path == path)
}

/// The RPCs that answer without a credential: they say nothing secret, or their body is the credential.
pub const OPEN_PATHS: [&str; 5] = [
    "/keyclave.v1.SealService/GetSealStatus",
    "/keyclave.v1.SealService/SubmitShare",
    "/keyclave.v1.SealService/ResetCeremony",
    "/keyclave.v1.ClusterService/Join",
    "/keyclave.v1.AccessService/Login",
];

/// Whether the RPC at `path` answers anyone.
pub fn answers_anyone(path: &str) -> bool {
    OPEN_PATHS.contains(&path)
}

/// The RPCs between members.
pub fn peer_rpcs() -> impl Iterator<Item = &'static Rpc> {
    RPCS.iter().filter(|rpc| rpc.package == "keyclave.peer.v1")
}
