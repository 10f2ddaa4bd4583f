//! The product's wire: TLS 1.3 with raw public keys (RFC 7250) over TCP, on ring.
//!
//! Each side accepts exactly a key that membership records, so there is no certificate, no expiry and no parser
//! before authentication. Made once per process by the node. Deliberately absent: session resumption, which
//! would skip the verifier and let a removed member back in; every rustls builder without an explicit provider,
//! which panics where two providers are compiled in.

use std::fmt;
use std::sync::Arc;

use keyclave_types::ids::ClusterId;
use keyclave_types::member::{HostPort, NodePublicKey};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, PeerIncompatible,
    ServerConfig, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::directory::Directory;
use super::refused::Refused;
use super::wire::{Bound, Exporter, Wire, exporter_context};

/// The only application protocol of the peer port.
pub const ALPN: &[u8] = b"keyclave-peer/1";

const EXPORTER_LABEL: &[u8] = b"EXPORTER-keyclave-peer-v1";

/// SubjectPublicKeyInfo of an Ed25519 key up to the key itself (RFC 8410 §4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// TLS as one node speaks it.
#[derive(Clone)]
pub struct Tls {
    cluster: ClusterId,
    local: NodePublicKey,
    certified: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
    server: Arc<ServerConfig>,
}

/// Why a node's key cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsKeyError {
    /// Not the PKCS #8 form of an Ed25519 key.
    #[error("the node's private key is not readable as PKCS #8")]
    Unreadable(#[source] rustls::Error),
    /// The two halves do not belong together.
    #[error("the node's private key does not belong to its public key {public:?}")]
    OtherKey {
        /// The public half that was expected.
        public: NodePublicKey,
    },
    /// rustls refused the configuration.
    #[error("TLS 1.3 cannot be configured")]
    Configuration(#[source] rustls::Error),
}

impl Tls {
    /// TLS for the node whose key is `public`, with its private half as PKCS #8. `directory` says who may connect.
    pub fn new(
        cluster: ClusterId,
        public: NodePublicKey,
        private_pkcs8: &[u8],
        directory: Arc<dyn Directory>,
    ) -> Result<Self, TlsKeyError> {
        let provider = provider();
        let certified = certified(&provider, &public, private_pkcs8)?;
        let verifier =
            Arc::new(Verifier { accepted: Accepted::Members(directory), provider: provider.clone() });
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsKeyError::Configuration)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(OnlyKey(certified.clone())));
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self { cluster, local: public, certified, provider, server: Arc::new(server) })
    }

    fn client(&self, expected: &NodePublicKey) -> Result<ClientConfig, rustls::Error> {
        let verifier = Verifier { accepted: Accepted::Exactly(*expected), provider: self.provider.clone() };
        let mut client = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(OnlyKey(self.certified.clone())));
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Ok(client)
    }

    /// What a finished handshake must have, and what is learned from it.
    fn bind(
        &self,
        stream: TlsStream<TcpStream>,
        dialled: bool,
    ) -> Result<Bound<TlsStream<TcpStream>>, Refused> {
        let session: &CommonState = stream.get_ref().1;
        // rustls lets a client through that names no protocol at all.
        if session.alpn_protocol() != Some(ALPN) {
            return Err(Refused::Protocol);
        }
        let shown = session.peer_certificates().and_then(<[_]>::first).ok_or(Refused::Session)?;
        let peer = key_in(shown).ok_or(Refused::Session)?;
        if peer == self.local {
            return Err(Refused::Itself);
        }
        let (dialler, acceptor) = if dialled { (&self.local, &peer) } else { (&peer, &self.local) };
        let context = exporter_context(self.cluster, dialler, acceptor);
        let exported = match &stream {
            TlsStream::Client(s) => {
                s.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, Some(&context))
            }
            TlsStream::Server(s) => {
                s.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, Some(&context))
            }
        };
        let exporter = Exporter(exported.map_err(|_| Refused::Session)?);
        Ok(Bound { stream, peer, exporter })
    }
}

impl Wire for Tls {
    type Raw = TcpStream;
    type Stream = TlsStream<TcpStream>;

    async fn dial(
        &self,
        address: &HostPort,
        expected: &NodePublicKey,
    ) -> Result<Bound<Self::Stream>, Refused> {
        let client = self.client(expected).map_err(|_| Refused::Session)?;
        let tcp = TcpStream::connect((address.host(), address.port())).await.map_err(Refused::unreachable)?;
        tcp.set_nodelay(true).map_err(Refused::unreachable)?;
        let connecting = TlsConnector::from(Arc::new(client)).connect(unnamed(), tcp);
        let stream = connecting.await.map_err(Refused::broken)?;
        self.bind(stream.into(), true)
    }

    async fn accept(&self, tcp: TcpStream) -> Result<Bound<Self::Stream>, Refused> {
        tcp.set_nodelay(true).map_err(Refused::broken)?;
        let stream = TlsAcceptor::from(self.server.clone()).accept(tcp).await.map_err(Refused::broken)?;
        self.bind(stream.into(), false)
    }
}

/// ring, and of it TLS 1.3 alone.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    Arc::new(provider)
}

fn certified(
    provider: &CryptoProvider,
    public: &NodePublicKey,
    private_pkcs8: &[u8],
) -> Result<Arc<CertifiedKey>, TlsKeyError> {
    let private = PrivatePkcs8KeyDer::from(private_pkcs8.to_vec());
    let private = provider.key_provider.load_private_key(private.into()).map_err(TlsKeyError::Unreadable)?;
    let spki = spki(public);
    if private.public_key().is_none_or(|own| own.as_ref() != spki) {
        return Err(TlsKeyError::OtherKey { public: *public });
    }
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], private)))
}

/// A raw public key carries no name and none is checked; rustls asks for one all the same.
fn unnamed() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

fn spki(key: &NodePublicKey) -> Vec<u8> {
    [SPKI_PREFIX.as_slice(), &key.0].concat()
}

/// The key in what TLS calls a certificate, which here is the SubjectPublicKeyInfo itself.
fn key_in(shown: &CertificateDer<'_>) -> Option<NodePublicKey> {
    let key = shown.as_ref().strip_prefix(&SPKI_PREFIX)?;
    Some(NodePublicKey(key.try_into().ok()?))
}

/// Offers this node's one key.
#[derive(Debug)]
struct OnlyKey(Arc<CertifiedKey>);

impl rustls::server::ResolvesServerCert for OnlyKey {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

impl rustls::client::ResolvesClientCert for OnlyKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

/// Accepts keys, by membership or exactly one, and the signature made with them.
struct Verifier {
    accepted: Accepted,
    provider: Arc<CryptoProvider>,
}

enum Accepted {
    /// The acceptor's side: any member's, and a removed one's, which is only told so.
    Members(Arc<dyn Directory>),
    /// The dialler's side: the one it wants.
    Exactly(NodePublicKey),
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verifier {
    fn key(&self, shown: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let key = key_in(shown).ok_or(rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let accepted = match &self.accepted {
            Accepted::Members(directory) => {
                directory.node(&key).is_some() || directory.removed(&key).is_some()
            }
            Accepted::Exactly(expected) => *expected == key,
        };
        if accepted {
            Ok(())
        } else {
            Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = SubjectPublicKeyInfoDer::from(shown.as_ref());
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
    }
}

fn never_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.key(shown).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        never_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.key(shown).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        never_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
