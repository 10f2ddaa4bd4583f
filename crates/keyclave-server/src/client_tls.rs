//! TLS towards clients: 1.3 only, ring only, one certificate at a time that can be replaced while serving.
//!
//! Called by the client listener and by whoever renews the certificate. Deliberately absent: resumption (a renewed
//! or withdrawn certificate must count at once), and judging clients' certificates ([`crate::possession`]).

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::possession::Possession;

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The files or records hold no certificate.
    #[error("there is no certificate to serve")]
    Empty,
    /// Not PEM or not a certificate or key.
    #[error("the certificate or key cannot be read")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// Key and certificate do not belong together, or the key is of a kind that is not supported.
    #[error("the private key cannot serve this certificate")]
    Key(#[source] rustls::Error),
}

/// The certificate being served; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Certificate {
    current: Arc<RwLock<Option<Arc<CertifiedKey>>>>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate")
    }
}

impl Certificate {
    /// Serves `chain` with `key` (DER, PKCS#8) from the next handshake on.
    pub(crate) fn replace(&self, chain: Vec<Vec<u8>>, key: &[u8]) -> Result<(), CertificateError> {
        let key = PrivateKeyDer::Pkcs8(key.to_vec().into());
        self.serve(chain.into_iter().map(CertificateDer::from).collect(), key)
    }

    /// Serves a PEM chain with a PEM key from the next handshake on.
    pub(crate) fn replace_pem(&self, chain: &[u8], key: &[u8]) -> Result<(), CertificateError> {
        let chain =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(CertificateError::Pem)?;
        self.serve(chain, PrivateKeyDer::from_pem_slice(key).map_err(CertificateError::Pem)?)
    }

    fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn serve(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(), CertificateError> {
        if chain.is_empty() {
            return Err(CertificateError::Empty);
        }
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(CertificateError::Key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certified));
        Ok(())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

/// TLS 1.3 over ring, given explicitly everywhere: with a second provider compiled in, a default would panic.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The client listener's configuration.
pub(crate) fn server_config(certificate: Certificate) -> Result<ServerConfig, CertificateError> {
    let possession = Arc::new(Possession::new(provider()));
    config_for(Arc::new(certificate), possession, b"h2")
}

/// The monitoring listener's: while there is no certificate to show, `meanwhile`, one of the process's own making.
pub(crate) fn monitoring_config(
    certificate: Certificate,
    meanwhile: Certificate,
) -> Result<ServerConfig, CertificateError> {
    config_for(Arc::new(FirstOf([certificate, meanwhile])), Arc::new(NoClientAuth), b"http/1.1")
}

#[derive(Debug)]
struct FirstOf([Certificate; 2]);

impl ResolvesServerCert for FirstOf {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.iter().find_map(Certificate::current)
    }
}

fn config_for(
    certificate: Arc<dyn ResolvesServerCert>,
    clients: Arc<dyn ClientCertVerifier>,
    protocol: &[u8],
) -> Result<ServerConfig, CertificateError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(CertificateError::Key)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![protocol.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use keyclave_node::authority::{Authority, X509};
    use keyclave_types::time::UnixMillis;

    use super::*;

    #[test]
    fn an_issued_certificate_serves_and_another_key_does_not() {
        let now = UnixMillis(1_795_516_756_000);
        let authority = X509.found(now).unwrap();
        let names = ["127.0.0.1:1".parse().unwrap()];
        let (first, second) =
            (X509.issue(&authority, &names, now).unwrap(), X509.issue(&authority, &names, now).unwrap());
        let serving = Certificate::default();
        assert!(serving.replace(vec![first.certificate.clone()], &first.key_pkcs8).is_ok());
        assert!(matches!(
            serving.replace(vec![first.certificate], &second.key_pkcs8),
            Err(CertificateError::Key(_))
        ));
        assert!(matches!(serving.replace(vec![], &first.key_pkcs8), Err(CertificateError::Empty)));
        assert!(matches!(
            serving.replace_pem(b"", b""),
            Err(CertificateError::Pem(_) | CertificateError::Empty)
        ));
    }

    #[test]
    fn no_process_default_is_ever_installed() {
        server_config(Certificate::default()).unwrap();
        assert!(CryptoProvider::get_default().is_none());
    }
}
