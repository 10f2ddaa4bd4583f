//! Client roots, issuers and identities on the wire.

use keyclave_types::identity::{
    CertificateNames, ClientRootDescription, IdentityDescription, IssuerDescription,
};
use keyclave_types::time::UnixMillis;

use crate::request::field::{self, At};
use crate::request::{Cause, Invalid};
use crate::v1;

/// How names are taken, for the wire.
pub fn certificate_names(names: CertificateNames) -> v1::CertificateNames {
    match names {
        CertificateNames::Spiffe => v1::CertificateNames::Spiffe,
        CertificateNames::Dns => v1::CertificateNames::Dns,
    }
}

impl From<&ClientRootDescription> for v1::ClientRoot {
    fn from(root: &ClientRootDescription) -> Self {
        let certificates = root.certificates.iter().map(|(sha256, not_after)| v1::RootCertificate {
            sha256: sha256.to_vec(),
            not_after_unix_ms: not_after.0,
        });
        Self {
            name: root.name.to_string(),
            names: certificate_names(root.names).into(),
            certificates: certificates.collect(),
        }
    }
}

impl TryFrom<v1::ClientRoot> for ClientRootDescription {
    type Error = Invalid;

    fn try_from(root: v1::ClientRoot) -> Result<Self, Invalid> {
        let names = match v1::CertificateNames::try_from(root.names) {
            Ok(v1::CertificateNames::Spiffe) => CertificateNames::Spiffe,
            Ok(v1::CertificateNames::Dns) => CertificateNames::Dns,
            Ok(v1::CertificateNames::Unspecified) | Err(_) => {
                return Err(Cause::Value { found: root.names }).at("names");
            }
        };
        let certificates = root.certificates.iter().map(|certificate| {
            let sha256 = field::fixed(&certificate.sha256).at("certificates.sha256")?;
            Ok((sha256, UnixMillis(certificate.not_after_unix_ms)))
        });
        let name = field::segment(&root.name).at("name")?;
        Ok(Self { name, names, certificates: certificates.collect::<Result<_, _>>()? })
    }
}

impl From<&IssuerDescription> for v1::Issuer {
    fn from(issuer: &IssuerDescription) -> Self {
        Self {
            name: issuer.name.to_string(),
            issuer: issuer.issuer.clone(),
            audience: issuer.audience.clone(),
            algorithms: issuer.algorithms.iter().map(ToString::to_string).collect(),
        }
    }
}

impl TryFrom<v1::Issuer> for IssuerDescription {
    type Error = Invalid;

    fn try_from(issuer: v1::Issuer) -> Result<Self, Invalid> {
        let name = field::segment(&issuer.name).at("name")?;
        let algorithms = field::algorithms(&issuer.algorithms)?;
        Ok(Self { name, issuer: issuer.issuer, audience: issuer.audience, algorithms })
    }
}

impl From<&IdentityDescription> for v1::Identity {
    fn from(identity: &IdentityDescription) -> Self {
        Self {
            identity: identity.identity.to_string(),
            subject: identity.subject.to_string(),
            counts: identity.counts,
        }
    }
}

impl TryFrom<v1::Identity> for IdentityDescription {
    type Error = Invalid;

    fn try_from(identity: v1::Identity) -> Result<Self, Invalid> {
        Ok(Self {
            identity: field::identity(&identity.identity).at("identity")?,
            subject: field::subject(&identity.subject).at("subject")?,
            counts: identity.counts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_read_back_from_the_wire() {
        let root = ClientRootDescription {
            name: "corp".parse().unwrap(),
            names: CertificateNames::Dns,
            certificates: vec![([7; 32], UnixMillis(8))],
        };
        assert_eq!(ClientRootDescription::try_from(v1::ClientRoot::from(&root)), Ok(root));
        let issuer = IssuerDescription {
            name: "ci".parse().unwrap(),
            issuer: "https://ci".to_owned(),
            audience: "keyclave".to_owned(),
            algorithms: ["RS256".parse().unwrap()].into(),
        };
        assert_eq!(IssuerDescription::try_from(v1::Issuer::from(&issuer)), Ok(issuer));
        let identity = IdentityDescription {
            identity: "issuer:ci:app".parse().unwrap(),
            subject: "service:app".parse().unwrap(),
            counts: true,
        };
        assert_eq!(IdentityDescription::try_from(v1::Identity::from(&identity)), Ok(identity));
    }
}
