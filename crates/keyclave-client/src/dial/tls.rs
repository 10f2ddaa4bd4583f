//! TCP and TLS 1.3 with ring, to servers whose certificate the cluster's CA issued.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::{Resumption, WantsClientCert};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem};
use rustls::{AlertDescription, ClientConfig, ConfigBuilder};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Anchor, Dial, DialError, Dialling, Stream};
use crate::endpoint::Endpoint;

/// How long one connection may take, handshake included.
const DIAL_MS_MAX: u64 = 3_000;
const HTTP_2: &[u8] = b"h2";

/// Why a client's certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ClientCertificateError {
    /// The file holds none.
    #[error("there is no certificate in the client's certificate file")]
    Empty,
    /// Not PEM.
    #[error("the client's certificate cannot be read: {0}")]
    Chain(#[source] pem::Error),
    /// Not PEM, or no private key.
    #[error("the client's private key cannot be read: {0}")]
    Key(#[source] pem::Error),
    /// They do not belong together, or the key is of a sort that is not supported.
    #[error("the client's private key does not belong to its certificate: {0}")]
    Pair(#[source] rustls::Error),
}

/// Connects to `https://` endpoints.
pub struct Tls {
    connector: TlsConnector,
}

impl Tls {
    /// Trusts what `anchor` says, and nothing that the operating system trusts.
    pub fn new(anchor: &Anchor) -> Self {
        let building = building(anchor).with_no_client_auth();
        Self::with(building)
    }

    /// The same, showing a certificate and proving to hold its key: both PEM, the client's own certificate first.
    pub fn presenting(anchor: &Anchor, chain: &[u8], key: &[u8]) -> Result<Self, ClientCertificateError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(ClientCertificateError::Chain)?;
        if chain.is_empty() {
            return Err(ClientCertificateError::Empty);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(ClientCertificateError::Key)?;
        let config = building(anchor).with_client_auth_cert(chain, key);
        config.map(Self::with).map_err(ClientCertificateError::Pair)
    }

    fn with(mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![HTTP_2.to_vec()];
        // A resumed session would skip the verifier, and with it a CA that was replaced.
        config.resumption = Resumption::disabled();
        Self { connector: TlsConnector::from(Arc::new(config)) }
    }
}

fn building(anchor: &Anchor) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::clone(anchor.provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has cipher suites for TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(anchor.verifier())
}

impl Dial for Tls {
    fn dial(&self, endpoint: &Endpoint) -> Dialling {
        let connector = self.connector.clone();
        let address = endpoint.address().cloned();
        Box::pin(async move {
            let address = address.ok_or(DialError::Way)?;
            let connecting = connect(connector, address.host().to_owned(), address.port());
            timeout(Duration::from_millis(DIAL_MS_MAX), connecting)
                .await
                .map_err(|_| DialError::Slow { limit_ms: DIAL_MS_MAX })?
        })
    }
}

async fn connect(connector: TlsConnector, host: String, port: u16) -> Result<Box<dyn Stream>, DialError> {
    let refused = |error| DialError::Connect(Arc::new(error));
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(refused)?;
    // Small requests would wait for the acknowledgement of the ones before.
    stream.set_nodelay(true).map_err(refused)?;
    let name = ServerName::try_from(host).map_err(|_| DialError::Way)?;
    let stream = connector.connect(name, stream).await.map_err(handshake_error)?;
    if stream.get_ref().1.alpn_protocol() != Some(HTTP_2) {
        return Err(DialError::Protocol);
    }
    Ok(Box::new(stream))
}

fn handshake_error(error: io::Error) -> DialError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(certificate @ rustls::Error::InvalidCertificate(_)) => {
            DialError::Certificate(certificate.clone())
        }
        Some(
            rustls::Error::NoApplicationProtocol
            | rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)
            | rustls::Error::InvalidMessage(_),
        ) => DialError::Protocol,
        Some(_) | None => DialError::Handshake(Arc::new(error)),
    }
}
