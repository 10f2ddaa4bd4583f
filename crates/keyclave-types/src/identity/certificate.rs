//! What names somebody in a certificate: its one SPIFFE id, or its one DNS name where a root is configured so.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identity::{DnsName, SpiffeId};

/// How names are taken from certificates under one root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum CertificateNames {
    /// The only URI among its alternative names, which is a SPIFFE id.
    Spiffe,
    /// The only DNS name among its alternative names.
    Dns,
}

/// The text names no way to take names.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[error("names are taken by spiffe or by dns")]
pub struct CertificateNamesError;

impl CertificateNames {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spiffe => "spiffe",
            Self::Dns => "dns",
        }
    }
}

impl FromStr for CertificateNames {
    type Err = CertificateNamesError;

    fn from_str(text: &str) -> Result<Self, CertificateNamesError> {
        match text {
            "spiffe" => Ok(Self::Spiffe),
            "dns" => Ok(Self::Dns),
            _ => Err(CertificateNamesError),
        }
    }
}

/// Whom a certificate names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum CertificateName {
    /// By a SPIFFE id.
    Spiffe(SpiffeId),
    /// By a DNS name.
    Dns(DnsName),
}

impl CertificateName {
    /// How it was taken.
    pub fn kind(&self) -> CertificateNames {
        match self {
            Self::Spiffe(_) => CertificateNames::Spiffe,
            Self::Dns(_) => CertificateNames::Dns,
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(id) => id.fmt(f),
            Self::Dns(name) => name.fmt(f),
        }
    }
}
