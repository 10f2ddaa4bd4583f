//! TCP and TLS 1.3 with ring, to servers whose certificate the cluster's CA issued.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Anchor, Dial, DialError, Dialling, Stream};
use crate::endpoint::Endpoint;

/// How long one connection may take, handshake included.
const DIAL_MS_MAX: u64 = 3_000;
const HTTP_2: &[u8] = b"h2";

/// Connects to `https://` endpoints.
pub struct Tls {
    connector: TlsConnector,
}

impl Tls {
    /// Trusts what `anchor` says, and nothing that the operating system trusts.
    pub fn new(anchor: &Anchor) -> Self {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(anchor.provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring has cipher suites for TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(anchor.verifier())
            .with_no_client_auth();
        config.alpn_protocols = vec![HTTP_2.to_vec()];
        // A resumed session would skip the verifier, and with it a CA that was replaced.
        config.resumption = Resumption::disabled();
        Self { connector: TlsConnector::from(Arc::new(config)) }
    }
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
