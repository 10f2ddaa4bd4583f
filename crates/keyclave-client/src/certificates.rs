//! Certificates out of PEM files, and what a token is bound to of one: for whoever configures client roots and tokens.

use keyclave_crypto::certificate::key_of;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

/// Why a text holds no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// Not PEM.
    #[error("it is not PEM: {0}")]
    Pem(#[source] pem::Error),
    /// PEM of something else.
    #[error("it holds no certificate (BEGIN CERTIFICATE)")]
    Empty,
    /// Not X.509 of version 3.
    #[error("its first certificate is not X.509 of version 3")]
    Unreadable,
}

/// Every certificate of a PEM text, in DER.
pub fn from_pem(text: &[u8]) -> Result<Vec<Vec<u8>>, CertificatesError> {
    let certificates = CertificateDer::pem_slice_iter(text).map(|found| found.map(|der| der.to_vec()));
    let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(CertificatesError::Pem)?;
    if certificates.is_empty() { Err(CertificatesError::Empty) } else { Ok(certificates) }
}

/// SHA-256 of the first certificate's SubjectPublicKeyInfo: what a token is bound to.
pub fn key_from_pem(text: &[u8]) -> Result<[u8; 32], CertificatesError> {
    let certificates = from_pem(text)?;
    certificates.first().and_then(|leaf| key_of(leaf)).ok_or(CertificatesError::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_named() {
        assert!(matches!(from_pem(b""), Err(CertificatesError::Empty)));
        let wrong = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(from_pem(wrong).unwrap(), [[0, 0, 0]]);
        assert!(matches!(key_from_pem(wrong), Err(CertificatesError::Unreadable)));
        assert!(matches!(from_pem(b"-----BEGIN CERTIFICATE-----\n"), Err(CertificatesError::Pem(_))));
    }
}
