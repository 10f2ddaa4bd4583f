//! Whom the client believes: the CA that it was given, or the one that a fingerprint names, and nobody else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use keyclave_client::Client;
use keyclave_client::dial::DialError;
use keyclave_client::error::{ReadError, Silence};
use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::hash::sha256;
use keyclave_proto::v1::seal_service_server::SealServiceServer;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ED25519, PublicKeyData,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncWriteExt, copy_bidirectional, duplex};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;

use crate::scripted::Node;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    fn fingerprint(&self) -> [u8; 32] {
        sha256(&[&self.0.key().subject_public_key_info()])
    }

    /// A server's chain, its CA included, and its key.
    fn issue(&self, host: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let leaf = CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let chain = vec![leaf.der().clone(), self.0.der().clone()];
        (chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }
}

/// A server on loopback; its port.
async fn serve(chain: (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), protocol: &[u8]) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.0, chain.1)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let incoming = TcpListenerStream::new(listener)
        .then(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let mut tls = acceptor.accept(stream?).await?;
                // tonic takes no TLS stream of ours, so the bytes go on through memory.
                let (mut near, far) = duplex(64 * 1024);
                tokio::spawn(async move { copy_bidirectional(&mut tls, &mut near).await });
                io::Result::Ok(far)
            }
        })
        .filter(Result::is_ok);
    let router = Server::builder().add_service(SealServiceServer::new(Node::new(1)));
    tokio::spawn(router.serve_with_incoming(incoming));
    port
}

fn trusting(port: u16, trust: impl FnOnce(keyclave_client::Builder) -> keyclave_client::Builder) -> Client {
    let builder = Client::builder().endpoint_list(&format!("https://localhost:{port}")).unwrap();
    let builder = builder.entropy(Entropy::from_seed([1; 32])).deadline(Duration::from_secs(5));
    trust(builder).build().unwrap()
}

/// How the only endpoint failed.
async fn silence(client: &Client) -> DialError {
    match client.seal_status().await {
        Err(ReadError::NoAnswer(mut no_answer)) => match no_answer.tried.remove(0).1 {
            Silence::Dial(error) => error,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_given_ca_is_believed_and_no_other() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let port = serve(ours.issue("localhost"), b"h2").await;
    trusting(port, |b| b.ca_pem(&ours.pem())).seal_status().await.unwrap();
    let stranger = trusting(port, |b| b.ca_pem(&foreign.pem()));
    assert!(matches!(silence(&stranger).await, DialError::Certificate(_)));
    let error = stranger.seal_status().await.unwrap_err();
    assert!(error.advice().contains("KEYCLAVE_CACERT"));
}

#[tokio::test]
async fn a_fingerprint_names_one_ca() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let port = serve(ours.issue("localhost"), b"h2").await;
    trusting(port, |b| b.ca_fingerprint(ours.fingerprint())).seal_status().await.unwrap();
    for wrong in [foreign.fingerprint(), [0; 32]] {
        let stranger = trusting(port, |b| b.ca_fingerprint(wrong));
        assert!(matches!(silence(&stranger).await, DialError::Certificate(_)));
    }
}

#[tokio::test]
async fn showing_our_ca_after_a_foreign_certificate_convinces_nobody() {
    let (ours, thief) = (Authority::new(), Authority::new());
    let (mut chain, key) = thief.issue("localhost");
    chain[1] = ours.0.der().clone();
    let port = serve((chain, key), b"h2").await;
    let client = trusting(port, |b| b.ca_fingerprint(ours.fingerprint()));
    assert!(matches!(silence(&client).await, DialError::Certificate(_)));
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let ours = Authority::new();
    let port = serve(ours.issue("elsewhere"), b"h2").await;
    for trust in [true, false] {
        let client =
            trusting(
                port,
                |b| {
                    if trust { b.ca_pem(&ours.pem()) } else { b.ca_fingerprint(ours.fingerprint()) }
                },
            );
        assert!(matches!(silence(&client).await, DialError::Certificate(_)));
    }
}

#[tokio::test]
async fn a_server_without_http_2_is_refused() {
    let ours = Authority::new();
    let port = serve(ours.issue("localhost"), b"http/1.1").await;
    let client = trusting(port, |b| b.ca_pem(&ours.pem()));
    let error = silence(&client).await;
    assert!(matches!(error, DialError::Protocol), "{error:?}");
}

#[tokio::test]
async fn random_bytes_instead_of_tls_are_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let client = trusting(port, |b| b.ca_pem(&Authority::new().pem()));
    let error = silence(&client).await;
    assert!(matches!(error, DialError::Protocol), "{error:?}");
}

#[tokio::test]
async fn the_operators_socket_needs_no_tls() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("operator.sock");
    let build = || Client::local(&path).entropy(Entropy::from_seed([1; 32])).build().unwrap();
    // No process yet: said at once, not after the deadline.
    let error = build().seal_status().await.unwrap_err();
    assert!(error.advice().contains("keyclave server"), "{error}");
    let listener = UnixListener::bind(&path).unwrap();
    let router = Server::builder().add_service(SealServiceServer::new(Node::new(1)));
    tokio::spawn(router.serve_with_incoming(UnixListenerStream::new(listener)));
    build().seal_status().await.unwrap();
}

#[test]
fn no_crypto_provider_is_installed_for_the_whole_process() {
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
}
