//! What a token is tied to, beside its secret: a certificate, addresses, time.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::identity::{AddressRange, Identity};

/// What must be proved on the connection that a token comes over.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum TokenBinding {
    /// Nothing: whoever has the token is believed.
    #[default]
    Free,
    /// A certificate under a client root, with this key: SHA-256 of its SubjectPublicKeyInfo.
    Key([u8; 32]),
    /// A certificate that names this, whatever its key.
    Identity(Identity),
}

/// How long a token lives, and where it may be used.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TokenTerms {
    /// How long from when it is made, or renewed; until it is revoked if none.
    pub lifetime_ms: Option<u64>,
    /// How long renewing may prolong it, from when it is made; not at all if none.
    pub renewable_ms: Option<u64>,
    /// What it is tied to.
    pub binding: TokenBinding,
    /// Where its callers may come from; anywhere if empty.
    pub sources: BTreeSet<AddressRange>,
}
