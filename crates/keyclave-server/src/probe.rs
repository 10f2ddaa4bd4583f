//! The asking half of [`crate::monitoring`]: one word of a process, for probes where there is no other program, as in an
//! image that holds nothing but the binary.
//!
//! Called by `keyclave operator health`. Whose certificate is shown is deliberately not looked at: nothing secret
//! travels either way, and a node without a cluster has only one of its own making.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::health::Health;

/// How long a question may take.
const PROBE_MS_MAX: u64 = 2_000;
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 1_024;

/// Why a process did not say how it is.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nothing listens there, or the connection broke.
    #[error("nothing answers at {address}")]
    Silent {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection stands and nothing comes.
    #[error("no answer from {address} within {limit_ms} ms")]
    Slow {
        /// Where.
        address: SocketAddr,
        /// How long was waited.
        limit_ms: u64,
    },
    /// Something else listens there.
    #[error("what {address} answers is no state of a node")]
    Foreign {
        /// Where.
        address: SocketAddr,
    },
}

/// Asks the process whose health port this is.
pub async fn ask(address: SocketAddr) -> Result<Health, ProbeError> {
    let asked = tokio::time::timeout(Duration::from_millis(PROBE_MS_MAX), exchange(address)).await;
    let answer = asked
        .map_err(|_| ProbeError::Slow { address, limit_ms: PROBE_MS_MAX })?
        .map_err(|source| ProbeError::Silent { address, source })?;
    let body = answer.rsplit("\r\n\r\n").next().unwrap_or_default();
    let known = Health::ALL.into_iter().find(|health| health.word() == body);
    known.filter(|_| answer.starts_with("HTTP/1.1 ")).ok_or(ProbeError::Foreign { address })
}

async fn exchange(address: SocketAddr) -> std::io::Result<String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone { provider }))
        .with_no_client_auth();
    let tcp = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(address.ip().into(), tcp).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Takes every certificate; that its holder has the key is still looked at.
#[derive(Debug)]
struct Anyone {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_no_node_is_not_taken_for_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let other = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 16];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nunsealed").await;
        });
        assert!(matches!(ask(address).await, Err(ProbeError::Silent { .. })));
        other.await.unwrap();
        assert!(matches!(ask(address).await, Err(ProbeError::Silent { .. })), "its listener is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_stands_still_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let told = ask(listener.local_addr().unwrap()).await;
        assert!(matches!(told, Err(ProbeError::Slow { .. })), "{told:?}");
    }
}
