//! Somebody as others vouch for them: the name in a certificate under a root, or the subject of an issuer's JWTs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identity::{CertificateName, IssuerName, RootName};
use crate::name::NameError;

/// Bytes of a JWT's subject.
const CLAIMED_BYTES_MAX: usize = 255;

/// `root:NAME:spiffe://…`, `root:NAME:host.example`, or `issuer:NAME:SUBJECT`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Identity {
    /// Whoever holds the key of a certificate.
    Certificate {
        /// Under which root.
        root: RootName,
        /// Its only name of the root's sort.
        name: CertificateName,
    },
    /// Whoever an issuer's JWTs name.
    Claim {
        /// Which issuer.
        issuer: IssuerName,
        /// Whom.
        subject: ClaimedSubject,
    },
}

/// What stands in `sub`: printable ASCII without spaces, compared byte by byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClaimedSubject(String);

/// Why a text names no identity.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum IdentityError {
    /// Not the shape.
    #[error("expected root:NAME:spiffe://ID, root:NAME:HOST or issuer:NAME:SUBJECT")]
    Shape,
    /// The root's or the issuer's name is outside the grammar.
    #[error("the name of the root or issuer is wrong")]
    Name(#[source] NameError),
    /// Neither a SPIFFE id nor a DNS name.
    #[error(
        "what stands in the certificate must be a SPIFFE id of a workload, or a DNS name without a wildcard"
    )]
    Certificate,
    /// No subject.
    #[error("an issuer's subject has 1 to {CLAIMED_BYTES_MAX} printable ASCII characters and no space")]
    Claimed,
}

impl ClaimedSubject {
    /// The subject as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClaimedSubject {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let right =
            (1..=CLAIMED_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        right.then(|| Self(text.to_owned())).ok_or(IdentityError::Claimed)
    }
}

impl TryFrom<String> for ClaimedSubject {
    type Error = IdentityError;

    fn try_from(text: String) -> Result<Self, IdentityError> {
        text.parse()
    }
}

impl From<ClaimedSubject> for String {
    fn from(subject: ClaimedSubject) -> Self {
        subject.0
    }
}

impl fmt::Debug for ClaimedSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimedSubject({})", self.0)
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let (kind, rest) = text.split_once(':').ok_or(IdentityError::Shape)?;
        let (by, name) = rest.split_once(':').ok_or(IdentityError::Shape)?;
        let by = by.parse::<RootName>().map_err(IdentityError::Name);
        match kind {
            "root" => {
                let spiffe = || name.parse().map(CertificateName::Spiffe).ok();
                let dns = || name.parse().map(CertificateName::Dns).ok();
                let name = spiffe().or_else(dns).ok_or(IdentityError::Certificate)?;
                Ok(Self::Certificate { root: by?, name })
            }
            "issuer" => Ok(Self::Claim { issuer: by?, subject: name.parse()? }),
            _ => Err(IdentityError::Shape),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { root, name } => write!(f, "root:{root}:{name}"),
            Self::Claim { issuer, subject } => write!(f, "issuer:{issuer}:{}", subject.as_str()),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_as_it_is_printed() {
        for text in [
            "root:corp:spiffe://example.org/ns/prod/sa/billing",
            "root:corp:billing.example",
            "issuer:k8s:system:serviceaccount:payments:billing",
            "issuer:ci:repo:org/app:ref:refs/heads/main",
        ] {
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nothing_else_is_one() {
        for (wrong, error) in [
            ("", IdentityError::Shape),
            ("root:corp", IdentityError::Shape),
            ("user:corp:a", IdentityError::Shape),
            ("root:corp:*.example", IdentityError::Certificate),
            ("root:corp:spiffe://example.org", IdentityError::Certificate),
            ("root:corp:CN=root", IdentityError::Certificate),
            ("issuer:k8s:", IdentityError::Claimed),
            ("issuer:k8s:a b", IdentityError::Claimed),
            ("issuer:k8s:a\n", IdentityError::Claimed),
            ("issuer:k8s:\u{e4}", IdentityError::Claimed),
        ] {
            assert_eq!(wrong.parse::<Identity>(), Err(error), "{wrong:?}");
        }
        assert!(matches!("root:Corp:a".parse::<Identity>(), Err(IdentityError::Name(_))));
    }
}
