//! Who is believed about callers, and who callers are: client roots, issuers of JWTs, identities. All of them are
//! counted by the access head; losing one only takes rights away.

use std::collections::BTreeSet;

use keyclave_types::access::Subject;
use keyclave_types::envelope::Stored;
use keyclave_types::identity::{CertificateNames, Identity, IssuerName, JwtAlgorithm, RootName};
use serde::{Deserialize, Serialize};

use crate::records::{Body, RecordName};

/// Certificates that may issue callers' certificates.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClientRootRecord {
    /// What they are called together.
    pub name: RootName,
    /// How names are taken from what they issue.
    pub names: CertificateNames,
    /// X.509, DER.
    pub certificates: Vec<Vec<u8>>,
}

impl Stored for ClientRootRecord {
    const FORMAT: u8 = 1;
}

impl Body for ClientRootRecord {
    fn name(&self) -> RecordName<'_> {
        RecordName::ClientRoot(&self.name)
    }
}

/// How JWTs of one issuer are believed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IssuerRecord {
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

impl Stored for IssuerRecord {
    const FORMAT: u8 = 1;
}

impl Body for IssuerRecord {
    fn name(&self) -> RecordName<'_> {
        RecordName::Issuer(&self.name)
    }
}

/// Which subject somebody is of whom others vouch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IdentityRecord {
    /// Who, as others vouch for them.
    pub identity: Identity,
    /// Who that is here.
    pub subject: Subject,
    /// The subject's epoch when this was said: ending its credentials ends this too, and a subject that is made again
    /// does not revive it.
    pub credential_epoch: u64,
}

impl Stored for IdentityRecord {
    const FORMAT: u8 = 1;
}

impl Body for IdentityRecord {
    fn name(&self) -> RecordName<'_> {
        RecordName::Identity(&self.identity)
    }
}
