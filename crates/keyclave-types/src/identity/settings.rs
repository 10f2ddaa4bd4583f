//! Whom the cluster believes about callers, as it is configured and as it is shown.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::access::Subject;
use crate::identity::{CertificateNames, Identity, IssuerName, JwtAlgorithm, RootName};
use crate::time::UnixMillis;

/// Certificates that may issue callers' certificates.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClientRootSettings {
    /// What they are called together.
    pub name: RootName,
    /// How names are taken from what they issue.
    pub names: CertificateNames,
    /// X.509, DER: one, or several while one follows another.
    pub certificates: Vec<Vec<u8>>,
}

/// How JWTs of one issuer are believed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IssuerSettings {
    /// What it is called here.
    pub name: IssuerName,
    /// Exactly what stands in `iss`.
    pub issuer: String,
    /// Exactly what must stand in `aud`.
    pub audience: String,
    /// What it may sign with.
    pub algorithms: BTreeSet<JwtAlgorithm>,
    /// Its public keys: a JWK set, as it was put.
    pub keys: String,
}

/// One client root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientRootDescription {
    /// Its name.
    pub name: RootName,
    /// How names are taken.
    pub names: CertificateNames,
    /// SHA-256 of each certificate, and until when it is good.
    pub certificates: Vec<([u8; 32], UnixMillis)>,
}

/// One issuer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IssuerDescription {
    /// Its name.
    pub name: IssuerName,
    /// What stands in `iss`.
    pub issuer: String,
    /// What must stand in `aud`.
    pub audience: String,
    /// What it may sign with.
    pub algorithms: BTreeSet<JwtAlgorithm>,
}

/// One identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdentityDescription {
    /// Who, as others vouch for them.
    pub identity: Identity,
    /// Who that is here.
    pub subject: Subject,
    /// Whether the subject is there and has not ended its credentials since.
    pub counts: bool,
}
