//! The cluster's certificate authority for what clients see: made at init, kept as a sealed record, used to issue
//! each node's certificate. Peers use raw public keys and never meet it.
//!
//! A value behind a trait, because key generation in here draws its own randomness: the simulator, which has no
//! TLS, gives another.

use keyclave_types::member::HostPort;
use keyclave_types::time::UnixMillis;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use zeroize::Zeroizing;

/// How long a node's certificate lives; it is renewed at two thirds.
pub const CERTIFICATE_MS: u64 = 90 * 24 * 3_600_000;
/// How long the authority lives.
pub const AUTHORITY_MS: u64 = 20 * 365 * 24 * 3_600_000;
/// How far back validity reaches, so that a client whose clock is behind accepts a fresh certificate.
const BACKDATE_MS: u64 = 3_600_000;

/// Names that every certificate holds beside the node's own: whoever is on the machine itself, or before a port that is
/// published or forwarded from it, does not reach the node by the name that others use.
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// An authority's key and certificate.
pub struct AuthorityKeys {
    /// PKCS#8, DER.
    pub key_pkcs8: Zeroizing<Vec<u8>>,
    /// X.509, DER.
    pub certificate: Vec<u8>,
}

/// What a node serves clients with.
pub struct Issued {
    /// PKCS#8, DER.
    pub key_pkcs8: Zeroizing<Vec<u8>>,
    /// X.509, DER: the node's certificate.
    pub certificate: Vec<u8>,
    /// When it ends.
    pub expires_at: UnixMillis,
}

/// Makes authorities and certificates.
pub trait Authority: Send + Sync + 'static {
    /// A fresh authority.
    fn found(&self, now: UnixMillis) -> Result<AuthorityKeys, AuthorityError>;
    /// A certificate for a node reached as `names`, and on its own machine.
    fn issue(
        &self,
        keys: &AuthorityKeys,
        names: &[HostPort],
        now: UnixMillis,
    ) -> Result<Issued, AuthorityError>;
    /// The authority's public key (SubjectPublicKeyInfo, DER), which join tokens pin.
    fn public_key(&self, keys: &AuthorityKeys) -> Result<Vec<u8>, AuthorityError>;
}

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Key generation or signing failed, or the stored key is damaged.
    #[error("the certificate authority's key cannot be used")]
    Key(#[source] rcgen::Error),
    /// A moment outside what a certificate can hold.
    #[error("the clock shows a time that no certificate can hold")]
    Time,
}

/// X.509 with ECDSA P-256, which every TLS client knows.
#[derive(Debug, Default)]
pub struct X509;

impl Authority for X509 {
    fn found(&self, now: UnixMillis) -> Result<AuthorityKeys, AuthorityError> {
        let key = fresh_key()?;
        let certificate = authority_params(now)?.self_signed(&key).map_err(AuthorityError::Key)?;
        Ok(AuthorityKeys {
            key_pkcs8: Zeroizing::new(key.serialize_der()),
            certificate: certificate.der().to_vec(),
        })
    }

    fn issue(
        &self,
        keys: &AuthorityKeys,
        names: &[HostPort],
        now: UnixMillis,
    ) -> Result<Issued, AuthorityError> {
        let ca_key = KeyPair::try_from(keys.key_pkcs8.as_slice()).map_err(AuthorityError::Key)?;
        // Only the distinguished name and the key identifier of the parameters reach what is issued; validity is
        // the stored certificate's own.
        let issuer = Issuer::new(authority_params(now)?, ca_key);
        let expires_at = now.after(CERTIFICATE_MS);
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Keyclave node");
        let names = names.iter().map(HostPort::host).chain(LOOPBACK_HOSTS);
        params.subject_alt_names = names.map(alternative_name).collect::<Result<_, _>>()?;
        params.not_before = moment(UnixMillis(now.0.saturating_sub(BACKDATE_MS)))?;
        params.not_after = moment(expires_at)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = fresh_key()?;
        let certificate = params.signed_by(&key, &issuer).map_err(AuthorityError::Key)?;
        Ok(Issued {
            key_pkcs8: Zeroizing::new(key.serialize_der()),
            certificate: certificate.der().to_vec(),
            expires_at,
        })
    }

    fn public_key(&self, keys: &AuthorityKeys) -> Result<Vec<u8>, AuthorityError> {
        let key = KeyPair::try_from(keys.key_pkcs8.as_slice()).map_err(AuthorityError::Key)?;
        Ok(key.subject_public_key_info())
    }
}

fn fresh_key() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Key)
}

fn authority_params(now: UnixMillis) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Keyclave cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = moment(UnixMillis(now.0.saturating_sub(BACKDATE_MS)))?;
    params.not_after = moment(now.after(AUTHORITY_MS))?;
    Ok(params)
}

fn alternative_name(host: &str) -> Result<SanType, AuthorityError> {
    match host.parse() {
        Ok(ip) => Ok(SanType::IpAddress(ip)),
        Err(_) => Ok(SanType::DnsName(host.try_into().map_err(AuthorityError::Key)?)),
    }
}

/// The last millisecond of the year 9998: later ones, with a lifetime added, do not fit into a certificate.
const LAST_MOMENT: UnixMillis = UnixMillis(253_370_764_799_999);

fn moment(at: UnixMillis) -> Result<time::OffsetDateTime, AuthorityError> {
    if at > LAST_MOMENT {
        return Err(AuthorityError::Time);
    }
    Ok(rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_millis(at.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_516_756_000);

    #[test]
    fn an_issued_certificate_carries_every_name_and_its_end() {
        let keys = X509.found(NOW).unwrap();
        let names = ["kc-1.example:7420".parse().unwrap(), "198.51.100.7:7420".parse().unwrap()];
        let issued = X509.issue(&keys, &names, NOW).unwrap();
        assert_eq!(issued.expires_at, NOW.after(CERTIFICATE_MS));
        let holds = |needle: &[u8]| issued.certificate.windows(needle.len()).any(|w| w == needle);
        assert!(holds(b"kc-1.example") && holds(&[198, 51, 100, 7]));
        assert!(holds(b"localhost") && holds(&[127, 0, 0, 1]) && holds(&[0; 15]), "its own machine");
    }

    #[test]
    fn the_public_key_is_the_certificates_own() {
        let keys = X509.found(NOW).unwrap();
        let public = X509.public_key(&keys).unwrap();
        assert!(keys.certificate.windows(public.len()).any(|w| w == public));
    }

    #[test]
    fn a_wild_clock_is_an_error_and_not_a_panic() {
        assert!(matches!(X509.found(UnixMillis(u64::MAX)), Err(AuthorityError::Time)));
    }
}
