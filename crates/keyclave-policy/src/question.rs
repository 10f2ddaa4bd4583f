//! What is asked about: the key, the circumstances.
//!
//! Filled in by the vault and the server's pipeline from the same frozen view that the work is done on.

use std::collections::BTreeSet;
use std::sync::Arc;

use core::net::IpAddr;
use keyclave_types::key::{Algorithm, KeyState, Version};
use keyclave_types::name::{KeyName, KeyPrefix};
use keyclave_types::time::UnixMillis;

use crate::action::Action;

/// One question.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What is to be done.
    pub action: Action,
    /// With what.
    pub resource: Resource<'a>,
    /// How the caller came, and what they ask.
    pub circumstances: &'a Circumstances,
}

/// With what something is done.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    /// One key, whether there is one of that name or not.
    Key {
        /// Its name.
        name: &'a KeyName,
        /// What it is.
        facts: &'a KeyFacts,
    },
    /// All keys under a prefix.
    Prefix(&'a KeyPrefix),
    /// The keys that each ciphertext's header names. A yes to this permits nothing by itself: each key is asked for.
    Chosen,
    /// The cluster itself.
    Cluster,
}

/// What a key is, as far as policies may look.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct KeyFacts {
    /// What it does; none while there is no such key.
    pub algorithm: Option<Algorithm>,
    /// Whether it does anything; none while there is no such key.
    pub state: Option<KeyState>,
    /// Whether its material may leave.
    pub exportable: bool,
    /// Whether only callers whose credential is bound to a certificate may use it.
    pub bound_callers_only: bool,
    /// Its labels.
    pub tags: Arc<BTreeSet<String>>,
}

impl KeyFacts {
    /// Of a name without a key.
    pub fn absent() -> Self {
        Self {
            algorithm: None,
            state: None,
            exportable: false,
            bound_callers_only: false,
            tags: Arc::default(),
        }
    }
}

/// How a caller came, and what they ask beyond the action and the key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Circumstances {
    /// A certificate was proven on the connection.
    pub mtls: bool,
    /// The credential is bound to that certificate.
    pub bound: bool,
    /// Where the connection comes from.
    pub source: Option<IpAddr>,
    /// The time, while it is trusted.
    pub time: Option<UnixMillis>,
    /// The version that is named.
    pub version: Option<Version>,
    /// Whether there is associated data.
    pub associated_data: bool,
    /// What the caller says it is for.
    pub purpose: Option<String>,
    /// Messages in the request.
    pub batch_items: u32,
    /// Approvals of this very request by others.
    pub approvals: u32,
}
