//! Clients' certificates: a chain from a configured root to whoever holds the leaf's key (RFC 5280), and whom it names.
//!
//! That the client holds the key was proved in the handshake. Time comes in as a value, so that a certificate that ends
//! ends on open connections too. Deliberately absent: common names, wildcards, revocation lists (a root, a mapping or a
//! subject is withdrawn instead), and any root but the one that the caller names.

use keyclave_types::identity::{CertificateName, CertificateNames};
use keyclave_types::time::UnixMillis;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::der::{self, Authority, Fields};
use crate::hash::sha256;

/// Certificates that a client may present, its own included.
pub const CHAIN_CERTIFICATES_MAX: usize = 6;
/// Bytes of all of them.
pub const CHAIN_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one root.
pub const ROOT_BYTES_MAX: usize = 4 * 1024;

/// What certificates may be signed with: everything that ring verifies, with RSA from 2048 bits on.
const ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 14] = [
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P256_SHA384,
    webpki::ring::ECDSA_P384_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
    webpki::ring::ED25519,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256,
    webpki::ring::RSA_PKCS1_2048_8192_SHA384,
    webpki::ring::RSA_PKCS1_2048_8192_SHA512,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
    webpki::ring::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
    webpki::ring::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    webpki::ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    webpki::ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// A certificate that may issue clients' certificates.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientRoot {
    certificate: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    fields: Fields,
}

/// Why a certificate cannot be a root.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum RootError {
    /// Too long.
    #[error("a root has at most {ROOT_BYTES_MAX} bytes")]
    Size,
    /// No certificate of version 3 in strict DER.
    #[error("no X.509 certificate of version 3")]
    Unreadable,
    /// A leaf.
    #[error("the certificate is not an authority's: its basic constraints do not say CA")]
    NotAuthority,
    /// An authority that issues nothing.
    #[error("the certificate's key usage does not let it sign certificates (keyCertSign)")]
    NotSigning,
}

/// Certificates as a client presented them, its own first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain(Vec<CertificateDer<'static>>);

/// Whom a verified chain names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedChain {
    /// The only name of the root's sort.
    pub name: CertificateName,
    /// SHA-256 of the leaf's SubjectPublicKeyInfo.
    pub key: [u8; 32],
    /// From when on every certificate of the path is good.
    pub not_before: UnixMillis,
    /// Until when.
    pub not_after: UnixMillis,
}

/// Why a chain names nobody. For tests and a log: callers of the network are told one text.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ChainError {
    /// Something is no certificate, or one that is not understood.
    #[error("a certificate cannot be read")]
    Unreadable,
    /// No path to this root at this moment.
    #[error("the chain does not lead to the root")]
    Path(#[source] webpki::Error),
    /// The root itself is not good at this moment, or allows fewer authorities between.
    #[error("the root is not valid, or allows no path of this length")]
    Root,
    /// A certificate for something else.
    #[error("the certificate is not for clients")]
    Usage,
    /// No name of the root's sort, more than one, or one outside the grammar.
    #[error("the certificate does not have exactly one name of the sort that counts")]
    Name,
}

impl ClientRoot {
    /// Reads a certificate that is to be trusted, unless it is nobody's authority.
    pub fn parse(der: &[u8]) -> Result<Self, RootError> {
        if der.len() > ROOT_BYTES_MAX {
            return Err(RootError::Size);
        }
        let fields = der::fields(der).ok_or(RootError::Unreadable)?;
        if fields.authority == Authority::No {
            return Err(RootError::NotAuthority);
        }
        if fields.key_usage.is_some_and(|usage| !usage.certificates) {
            return Err(RootError::NotSigning);
        }
        let certificate = CertificateDer::from(der.to_vec());
        let anchor = webpki::anchor_from_trusted_cert(&certificate).map_err(|_| RootError::Unreadable)?;
        let anchor = anchor.to_owned();
        Ok(Self { certificate, anchor, fields })
    }

    /// SHA-256 of the certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&[&self.certificate])
    }

    /// Until when it is good.
    pub fn not_after(&self) -> UnixMillis {
        self.fields.not_after
    }
}

impl std::fmt::Debug for ClientRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientRoot")
    }
}

impl Chain {
    /// Certificates in DER, the client's own first. None if there is none, or more than a chain needs.
    pub fn new(certificates: Vec<Vec<u8>>) -> Option<Self> {
        let bytes: usize = certificates.iter().map(Vec::len).sum();
        let bounded = (1..=CHAIN_CERTIFICATES_MAX).contains(&certificates.len()) && bytes <= CHAIN_BYTES_MAX;
        bounded.then(|| Self(certificates.into_iter().map(CertificateDer::from).collect()))
    }

    /// The certificates, the client's own first.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(AsRef::as_ref)
    }
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo: what a token is bound to.
pub fn key_of(certificate: &[u8]) -> Option<[u8; 32]> {
    der::fields(certificate).map(|fields| sha256(&[&fields.public_key]))
}

/// Whom `chain` names under `root` at `now`.
pub fn verify(
    chain: &Chain,
    root: &ClientRoot,
    names: CertificateNames,
    now: UnixMillis,
) -> Result<VerifiedChain, ChainError> {
    let (leaf, between) = chain.0.split_first().ok_or(ChainError::Unreadable)?;
    let parsed = EndEntityCert::try_from(leaf).map_err(ChainError::Path)?;
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now.0));
    let anchors = std::slice::from_ref(&root.anchor);
    // Required where it stands: an authority between need not say what it is for. That the leaf does is seen below.
    let path = parsed
        .verify_for_usage(&ALGORITHMS, anchors, between, at, KeyUsage::client_auth(), None, None)
        .map_err(ChainError::Path)?;
    let fields = der::fields(leaf).ok_or(ChainError::Unreadable)?;
    if !fields.for_clients || fields.key_usage.is_some_and(|usage| !usage.digital_signature) {
        return Err(ChainError::Usage);
    }
    let Authority::Yes { between_max } = root.fields.authority else { return Err(ChainError::Root) };
    let length = path.intermediate_certificates().count();
    if between_max.is_some_and(|max| length > usize::from(max)) {
        return Err(ChainError::Root);
    }
    let (mut not_before, mut not_after) = (fields.not_before, fields.not_after);
    let mut within = |fields: &Fields| {
        not_before = not_before.max(fields.not_before);
        not_after = not_after.min(fields.not_after);
    };
    within(&root.fields);
    for authority in path.intermediate_certificates() {
        let fields = der::fields(&authority.der()).ok_or(ChainError::Unreadable)?;
        if fields.key_usage.is_some_and(|usage| !usage.certificates) {
            return Err(ChainError::Usage);
        }
        within(&fields);
    }
    if now < not_before || now > not_after {
        return Err(ChainError::Root);
    }
    let name = name(&fields, names).ok_or(ChainError::Name)?;
    Ok(VerifiedChain { name, key: sha256(&[&fields.public_key]), not_before, not_after })
}

fn name(fields: &Fields, names: CertificateNames) -> Option<CertificateName> {
    match (names, fields.uris.as_slice(), fields.dns_names.as_slice()) {
        (CertificateNames::Spiffe, [only], _) => only.parse().ok().map(CertificateName::Spiffe),
        (CertificateNames::Dns, _, [only]) => only.parse().ok().map(CertificateName::Dns),
        (CertificateNames::Spiffe | CertificateNames::Dns, _, _) => None,
    }
}

#[cfg(test)]
mod tests;
