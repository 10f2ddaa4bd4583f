//! Whom to believe: the cluster's CA, given as a certificate or only by the fingerprint that a join token carries.

use std::sync::Arc;

use keyclave_crypto::hash::sha256;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Certificates in one file of CAs.
const CERTIFICATES_MAX: usize = 64;

/// The CA that servers must have their certificate from.
pub struct Anchor {
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
}

/// Why a text gives no CA.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// Not PEM.
    #[error("the CA file is not PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// No certificate in it.
    #[error("the CA file holds no certificate")]
    Empty,
    /// More than anybody needs.
    #[error("the CA file holds more than {CERTIFICATES_MAX} certificates")]
    Many,
    /// A certificate that cannot be a CA's.
    #[error("a certificate in the CA file cannot be used as a CA")]
    Certificate(#[source] Error),
    /// The verifier refused them.
    #[error("the CA file cannot be used")]
    Verifier(#[source] rustls::client::VerifierBuilderError),
}

impl Anchor {
    /// The CAs in a PEM file.
    pub fn from_pem(pem: &[u8]) -> Result<Self, AnchorError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            if roots.len() >= CERTIFICATES_MAX {
                return Err(AnchorError::Many);
            }
            roots.add(certificate.map_err(AnchorError::Pem)?).map_err(AnchorError::Certificate)?;
        }
        if roots.is_empty() {
            return Err(AnchorError::Empty);
        }
        let provider = provider();
        let verifier = webpki(roots, &provider).map_err(AnchorError::Verifier)?;
        Ok(Self { provider, verifier })
    }

    /// The CA whose public key has this fingerprint: SHA-256 of its SubjectPublicKeyInfo (DER). The server shows the
    /// CA's certificate after its own.
    pub fn from_fingerprint(fingerprint: [u8; 32]) -> Self {
        let provider = provider();
        let verifier = Arc::new(Fingerprint { fingerprint, provider: Arc::clone(&provider) });
        Self { provider, verifier }
    }

    pub(super) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    pub(super) fn verifier(&self) -> Arc<dyn ServerCertVerifier> {
        Arc::clone(&self.verifier)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn webpki(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, rustls::client::VerifierBuilderError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build()
}

/// Finds the CA in what the server shows and then verifies as if its certificate had been given.
#[derive(Debug)]
struct Fingerprint {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl Fingerprint {
    fn root(&self, shown: &[CertificateDer<'_>]) -> Result<RootCertStore, Error> {
        for certificate in shown {
            let mut roots = RootCertStore::empty();
            // One that cannot be a CA is simply not the one that is sought.
            if roots.add(certificate.clone().into_owned()).is_err() {
                continue;
            }
            if roots
                .roots
                .iter()
                .any(|root| public_key_hash(&root.subject_public_key_info) == self.fingerprint)
            {
                return Ok(roots);
            }
        }
        Err(CertificateError::UnknownIssuer.into())
    }
}

impl ServerCertVerifier for Fingerprint {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let roots = self.root(intermediates)?;
        let verifier = webpki(roots, &self.provider).map_err(|_| CertificateError::UnknownIssuer)?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    /// TLS 1.2 is not offered; refused all the same.
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// SHA-256 of a SubjectPublicKeyInfo, given as a trust anchor holds it: without the outer tag and length.
fn public_key_hash(body: &[u8]) -> [u8; 32] {
    let length = body.len();
    let big_endian = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    // DER: one byte up to 127; otherwise 0x80 + the number of length bytes, then those.
    let skipped = big_endian.iter().take_while(|byte| **byte == 0).count();
    let long = big_endian.get(skipped..).unwrap_or_default();
    let header = match u8::try_from(length) {
        Ok(short) if short < 0x80 => vec![0x30, short],
        Ok(_) | Err(_) => [&[0x30, 0x80 | u8::try_from(long.len()).unwrap_or_default()], long].concat(),
    };
    sha256(&[&header, body])
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData};

    use super::*;

    #[test]
    fn a_fingerprint_is_the_hash_of_the_whole_public_key_info() {
        for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let certificate = CertificateParams::default().self_signed(&key).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(certificate.der().clone()).unwrap();
            let body = &roots.roots[0].subject_public_key_info;
            assert_eq!(public_key_hash(body), sha256(&[&key.subject_public_key_info()]));
        }
        // A longer key needs a length of two bytes.
        let body = vec![7; 300];
        assert_eq!(public_key_hash(&body), sha256(&[&[0x30, 0x82, 0x01, 0x2c], &body]));
        let body = vec![7; 200];
        assert_eq!(public_key_hash(&body), sha256(&[&[0x30, 0x81, 200], &body]));
    }

    #[test]
    fn a_file_without_certificates_gives_no_anchor() {
        assert!(matches!(Anchor::from_pem(b""), Err(AnchorError::Empty)));
        assert!(matches!(Anchor::from_pem(b"-----BEGIN CERTIFICATE-----\n!\n"), Err(AnchorError::Pem(_))));
        let wrong = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(Anchor::from_pem(wrong), Err(AnchorError::Certificate(_))));
    }
}
