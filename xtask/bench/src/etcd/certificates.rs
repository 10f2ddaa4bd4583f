//! A CA of its own, and one certificate with which nodes and clients show themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, RootCertStore};

use crate::failure::BenchError;

/// Files for etcd, and the same for a client.
pub(super) struct Certificates {
    /// The CA.
    pub(super) ca: PathBuf,
    /// The certificate.
    pub(super) certificate: PathBuf,
    /// Its key.
    pub(super) key: PathBuf,
    /// A client that trusts the CA and shows the certificate.
    pub(super) client: Arc<ClientConfig>,
}

/// Makes them in `directory`.
pub(super) fn make(directory: &Path) -> Result<Certificates, BenchError> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut node = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    node.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = node.signed_by(&key, &issuer)?;
    let write = |name: &str, pem: String| {
        let path = directory.join(name);
        std::fs::write(&path, pem).map_err(|source| BenchError::File { path: path.clone(), source })?;
        Ok::<_, BenchError>(path)
    };
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )?;
    client.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Certificates {
        ca: write("ca.pem", issuer.pem())?,
        certificate: write("node.pem", certificate.pem())?,
        key: write("node.key", key.serialize_pem())?,
        client: Arc::new(client),
    })
}
