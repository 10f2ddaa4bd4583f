//! Clients' certificates in the handshake: that the client holds the key, and nothing else.
//!
//! Whether anybody vouches for the certificate is asked of each request's own view (keyclave-vault), because roots and
//! identities change while connections stay open. A client may come without one.

use std::sync::Arc;

use keyclave_crypto::certificate::{CHAIN_BYTES_MAX, CHAIN_CERTIFICATES_MAX};
use keyclave_vault::presented::Presented;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// The verifier: it checks signatures with the provider's algorithms.
#[derive(Debug)]
pub(crate) struct Possession {
    provider: Arc<CryptoProvider>,
}

impl Possession {
    /// With these algorithms.
    pub(crate) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider }
    }
}

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// Names nobody: who is believed is not said to whoever connects.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes = intermediates.iter().map(|der| der.len()).sum::<usize>() + end_entity.len();
        if intermediates.len() >= CHAIN_CERTIFICATES_MAX || bytes > CHAIN_BYTES_MAX {
            return Err(Error::General("the client's chain is longer than any that counts".to_owned()));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
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

/// What a finished handshake has proved, if the client came with a certificate.
pub(crate) fn presented(certificates: Option<&[CertificateDer<'_>]>) -> Option<Arc<Presented>> {
    let chain = certificates?.iter().map(|certificate| certificate.to_vec()).collect();
    Presented::new(chain).map(Arc::new)
}
