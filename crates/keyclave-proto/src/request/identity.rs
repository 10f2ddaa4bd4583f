//! Requests of `AccessService` about client roots, issuers, identities, and the renewal of tokens. A login is not among
//! them: its JWT is a credential, and whatever is wrong with that is answered alike.

use keyclave_types::identity::{CertificateNames, ClientRootSettings, IssuerSettings};
use keyclave_types::request::{Write, WriteKind};

use super::field::{self, At};
use super::{Asked, Cause, Invalid};
use crate::v1;

/// Certificates of one client root.
const CERTIFICATES_MAX: usize = 4;
/// Bytes of one of them.
const CERTIFICATE_BYTES_MAX: usize = 4 * 1024;
/// Bytes of what stands in `iss` or `aud`.
const CLAIM_BYTES_MAX: usize = 512;
/// Bytes of a set of keys.
const KEYS_BYTES_MAX: usize = 32 * 1024;

impl TryFrom<v1::RenewTokenRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::RenewTokenRequest) -> Result<Self, Invalid> {
        field::write(WriteKind::RenewToken, &request.request_id, request.floor)
    }
}

/// Whether they are authorities' certificates is said to who may put them.
impl TryFrom<v1::PutClientRootRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::PutClientRootRequest) -> Result<Self, Invalid> {
        let name = field::segment(&request.name).at("name")?;
        let names = match v1::CertificateNames::try_from(request.names) {
            Ok(v1::CertificateNames::Spiffe) => CertificateNames::Spiffe,
            Ok(v1::CertificateNames::Dns) => CertificateNames::Dns,
            Ok(v1::CertificateNames::Unspecified) => return Err(Cause::Missing).at("names"),
            Err(_) => return Err(Cause::Value { found: request.names }).at("names"),
        };
        let found = request.certificates.len();
        if found == 0 || found > CERTIFICATES_MAX {
            return Err(Cause::Items { most: CERTIFICATES_MAX, found }).at("certificates");
        }
        for certificate in &request.certificates {
            field::short(certificate.len(), CERTIFICATE_BYTES_MAX).at("certificates")?;
        }
        let root = ClientRootSettings { name, names, certificates: request.certificates };
        field::write(WriteKind::PutClientRoot(root), &request.request_id, request.floor)
    }
}

impl TryFrom<v1::RemoveClientRootRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::RemoveClientRootRequest) -> Result<Self, Invalid> {
        let name = field::segment(&request.name).at("name")?;
        field::write(WriteKind::RemoveClientRoot { name }, &request.request_id, request.floor)
    }
}

/// Whether they are keys is said to who may put them.
impl TryFrom<v1::PutIssuerRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::PutIssuerRequest) -> Result<Self, Invalid> {
        let name = field::segment(&request.name).at("name")?;
        let issuer = field::text(request.issuer, CLAIM_BYTES_MAX).at("issuer")?;
        let issuer = issuer.ok_or(Cause::Missing).at("issuer")?;
        let audience = field::text(request.audience, CLAIM_BYTES_MAX).at("audience")?;
        let audience = audience.ok_or(Cause::Missing).at("audience")?;
        let algorithms = field::algorithms(&request.algorithms)?;
        if algorithms.is_empty() {
            return Err(Cause::Missing).at("algorithms");
        }
        field::short(request.jwks.len(), KEYS_BYTES_MAX).at("jwks")?;
        let issuer = IssuerSettings { name, issuer, audience, algorithms, keys: request.jwks };
        field::write(WriteKind::PutIssuer(issuer), &request.request_id, request.floor)
    }
}

impl TryFrom<v1::RemoveIssuerRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::RemoveIssuerRequest) -> Result<Self, Invalid> {
        let name = field::segment(&request.name).at("name")?;
        field::write(WriteKind::RemoveIssuer { name }, &request.request_id, request.floor)
    }
}

impl TryFrom<v1::PutIdentityRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::PutIdentityRequest) -> Result<Self, Invalid> {
        let identity = field::identity(&request.identity).at("identity")?;
        let subject = field::subject(&request.subject).at("subject")?;
        field::write(WriteKind::PutIdentity { identity, subject }, &request.request_id, request.floor)
    }
}

impl TryFrom<v1::RemoveIdentityRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::RemoveIdentityRequest) -> Result<Self, Invalid> {
        let identity = field::identity(&request.identity).at("identity")?;
        field::write(WriteKind::RemoveIdentity { identity }, &request.request_id, request.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_says_how_names_are_taken_and_is_bounded() {
        let put = |names, certificates| {
            let (name, request_id) = ("corp".to_owned(), vec![1; 16]);
            Asked::<Write>::try_from(v1::PutClientRootRequest {
                name,
                names,
                certificates,
                request_id,
                floor: None,
            })
            .map(|_| ())
            .map_err(|invalid| invalid.field)
        };
        assert_eq!(put(1, vec![vec![1]]), Ok(()));
        assert_eq!(put(0, vec![vec![1]]), Err("names".to_owned()));
        assert_eq!(put(9, vec![vec![1]]), Err("names".to_owned()));
        assert_eq!(put(2, vec![]), Err("certificates".to_owned()));
        assert_eq!(put(2, vec![vec![]; CERTIFICATES_MAX + 1]), Err("certificates".to_owned()));
        assert_eq!(put(2, vec![vec![0; CERTIFICATE_BYTES_MAX + 1]]), Err("certificates".to_owned()));
    }

    #[test]
    fn an_issuer_cannot_be_given_a_symmetric_algorithm_or_none() {
        let put = |algorithms: &[&str]| {
            let request = v1::PutIssuerRequest {
                name: "ci".to_owned(),
                issuer: "https://ci".to_owned(),
                audience: "keyclave".to_owned(),
                algorithms: algorithms.iter().map(|&name| name.to_owned()).collect(),
                request_id: vec![1; 16],
                ..Default::default()
            };
            Asked::<Write>::try_from(request).map(|_| ()).map_err(|invalid| invalid.field)
        };
        assert_eq!(put(&["RS256", "EdDSA"]), Ok(()));
        for wrong in [&["none"][..], &["HS256"], &["RS256", "HS256"], &[]] {
            assert_eq!(put(wrong), Err("algorithms".to_owned()), "{wrong:?}");
        }
    }

    #[test]
    fn a_binding_that_says_nothing_is_not_free() {
        assert!(field::binding(None).is_ok());
        assert!(field::binding(Some(v1::TokenBinding { to: None })).is_err());
    }
}
