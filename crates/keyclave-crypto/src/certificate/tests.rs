//! Chains that rcgen issues: what is believed, and everything that is not.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use super::*;

const NOW: UnixMillis = UnixMillis(1_795_516_756_000);
const SPIFFE_ID: &str = "spiffe://example.org/ns/prod/sa/billing";

fn moment(offset_s: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(NOW.0 / 1000).unwrap()).unwrap()
        + Duration::seconds(offset_s)
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (params.not_before, params.not_after) = (moment(-3600), moment(7200));
    params
}

fn leaf_params(names: &[SanType]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.to_vec();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (moment(-60), moment(3600));
    params
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

struct Ca {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

impl Ca {
    fn new(params: CertificateParams) -> Self {
        let key = key();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn under(params: CertificateParams, above: &Self) -> Self {
        let key = key();
        let certificate = params.signed_by(&key, &above.issuer).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn leaf(&self, params: CertificateParams) -> Vec<u8> {
        params.signed_by(&key(), &self.issuer).unwrap().der().to_vec()
    }

    fn der(&self) -> Vec<u8> {
        self.certificate.der().to_vec()
    }

    fn root(&self) -> ClientRoot {
        ClientRoot::parse(&self.der()).unwrap()
    }
}

fn chain(certificates: &[Vec<u8>]) -> Chain {
    Chain::new(certificates.to_vec()).unwrap()
}

fn spiffe(certificates: &[Vec<u8>], root: &ClientRoot) -> Result<VerifiedChain, ChainError> {
    verify(&chain(certificates), root, CertificateNames::Spiffe, NOW)
}

#[test]
fn a_chain_names_the_only_spiffe_id_and_the_key() {
    let ca = Ca::new(ca_params("root"));
    let leaf = ca.leaf(leaf_params(&[uri(SPIFFE_ID), dns("billing.example")]));
    let verified = spiffe(std::slice::from_ref(&leaf), &ca.root()).unwrap();
    assert_eq!(verified.name.to_string(), SPIFFE_ID);
    assert_eq!(Some(verified.key), key_of(&leaf));
    assert_eq!(verified.not_after, UnixMillis(NOW.0 + 3_600_999));
    // And over two authorities between, in any order.
    let one = Ca::under(ca_params("one"), &ca);
    let two = Ca::under(ca_params("two"), &one);
    let leaf = two.leaf(leaf_params(&[uri(SPIFFE_ID)]));
    assert!(spiffe(&[leaf.clone(), two.der(), one.der()], &ca.root()).is_ok());
    assert!(spiffe(&[leaf.clone(), one.der(), two.der(), ca.der()], &ca.root()).is_ok());
    assert!(matches!(spiffe(&[leaf, two.der()], &ca.root()), Err(ChainError::Path(_))));
}

#[test]
fn every_kind_of_key_that_clients_have_is_taken() {
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let (params, key) = (ca_params("root"), KeyPair::generate_for(algorithm).unwrap());
        let certificate = params.self_signed(&key).unwrap();
        let ca = Ca { certificate, issuer: Issuer::new(params, key) };
        assert!(spiffe(&[ca.leaf(leaf_params(&[uri(SPIFFE_ID)]))], &ca.root()).is_ok());
    }
}

#[test]
fn another_root_of_the_same_name_is_another_root() {
    let (ca, other) = (Ca::new(ca_params("root")), Ca::new(ca_params("root")));
    let leaf = ca.leaf(leaf_params(&[uri(SPIFFE_ID)]));
    assert!(matches!(spiffe(std::slice::from_ref(&leaf), &other.root()), Err(ChainError::Path(_))));
    // A root that the client brings along is nobody's.
    assert!(matches!(spiffe(&[leaf, ca.der()], &other.root()), Err(ChainError::Path(_))));
}

#[test]
fn a_leaf_is_no_root_and_an_authority_no_client() {
    let ca = Ca::new(ca_params("root"));
    let leaf = ca.leaf(leaf_params(&[uri(SPIFFE_ID)]));
    assert_eq!(ClientRoot::parse(&leaf), Err(RootError::NotAuthority));
    let own = leaf_params(&[uri(SPIFFE_ID)]).self_signed(&key()).unwrap().der().to_vec();
    assert_eq!(ClientRoot::parse(&own), Err(RootError::NotAuthority));
    let mut explicit = leaf_params(&[uri(SPIFFE_ID)]);
    explicit.is_ca = IsCa::ExplicitNoCa;
    let explicit = explicit.self_signed(&key()).unwrap().der().to_vec();
    assert_eq!(ClientRoot::parse(&explicit), Err(RootError::NotAuthority));
    let mut other_use = ca_params("root");
    other_use.key_usages = vec![KeyUsagePurpose::CrlSign];
    assert_eq!(ClientRoot::parse(&Ca::new(other_use).der()), Err(RootError::NotSigning));
    assert_eq!(ClientRoot::parse(b"not a certificate"), Err(RootError::Unreadable));
    assert_eq!(ClientRoot::parse(&[&ca.der()[..], &[0]].concat()), Err(RootError::Unreadable));
    assert_eq!(ClientRoot::parse(&[0; ROOT_BYTES_MAX + 1]), Err(RootError::Size));
    // An authority as a client, and the root itself as one.
    let mut both = ca_params("both");
    both.subject_alt_names = vec![uri(SPIFFE_ID)];
    both.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    assert!(matches!(spiffe(&[Ca::under(both, &ca).der()], &ca.root()), Err(ChainError::Path(_))));
    assert!(matches!(spiffe(&[ca.der()], &ca.root()), Err(ChainError::Path(_))));
    // A leaf that signs another.
    let (params, leaf_key) = (leaf_params(&[uri(SPIFFE_ID)]), key());
    let middle = params.signed_by(&leaf_key, &ca.issuer).unwrap().der().to_vec();
    let forged = leaf_params(&[uri("spiffe://example.org/admin")])
        .signed_by(&key(), &Issuer::new(params, leaf_key))
        .unwrap();
    assert!(matches!(spiffe(&[forged.der().to_vec(), middle], &ca.root()), Err(ChainError::Path(_))));
}

#[test]
fn it_must_say_that_it_is_for_clients() {
    let ca = Ca::new(ca_params("root"));
    for purposes in [vec![], vec![ExtendedKeyUsagePurpose::ServerAuth], vec![ExtendedKeyUsagePurpose::Any]] {
        let mut params = leaf_params(&[uri(SPIFFE_ID)]);
        params.extended_key_usages = purposes.clone();
        assert!(spiffe(&[ca.leaf(params)], &ca.root()).is_err(), "{purposes:?}");
    }
    let mut params = leaf_params(&[uri(SPIFFE_ID)]);
    params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    assert_eq!(spiffe(&[ca.leaf(params)], &ca.root()), Err(ChainError::Usage));
    // An authority between that may not sign certificates.
    let mut between = ca_params("between");
    between.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let between = Ca::under(between, &ca);
    let leaf = between.leaf(leaf_params(&[uri(SPIFFE_ID)]));
    assert_eq!(spiffe(&[leaf, between.der()], &ca.root()), Err(ChainError::Usage));
}

#[test]
fn exactly_one_name_of_the_roots_sort_counts_and_a_common_name_never() {
    let ca = Ca::new(ca_params("root"));
    let by = |names: &[SanType], sort| {
        let mut params = leaf_params(names);
        params.distinguished_name.push(DnType::CommonName, "user:root");
        verify(&chain(&[ca.leaf(params)]), &ca.root(), sort, NOW).map(|verified| verified.name.to_string())
    };
    let (first, second) = (uri(SPIFFE_ID), uri("spiffe://example.org/other"));
    for names in [
        vec![],
        vec![dns("billing.example")],
        vec![first.clone(), second],
        vec![first.clone(), first.clone()],
        vec![first.clone(), uri("https://example.org/")],
        vec![uri("https://example.org/")],
        vec![uri("spiffe://example.org")],
        vec![uri("SPIFFE://example.org/a")],
        vec![SanType::Rfc822Name("root@example.org".try_into().unwrap())],
    ] {
        assert_eq!(by(&names, CertificateNames::Spiffe), Err(ChainError::Name), "{names:?}");
    }
    let host = dns("billing.example");
    assert_eq!(by(&[host.clone(), first.clone()], CertificateNames::Dns).as_deref(), Ok("billing.example"));
    for names in [
        vec![first],
        vec![host, dns("other.example")],
        vec![dns("*.example")],
        vec![dns("Billing.example")],
        vec![],
    ] {
        assert_eq!(by(&names, CertificateNames::Dns), Err(ChainError::Name), "{names:?}");
    }
}

#[test]
fn each_certificate_of_the_path_bounds_when_it_is_good() {
    let mut short = ca_params("root");
    short.not_after = moment(100);
    let ca = Ca::new(short);
    let mut later = ca_params("between");
    later.not_before = moment(-10);
    let between = Ca::under(later, &ca);
    let certificates = [between.leaf(leaf_params(&[uri(SPIFFE_ID)])), between.der()];
    let at = |offset_ms: i64| {
        let now = UnixMillis(NOW.0.checked_add_signed(offset_ms).unwrap());
        verify(&chain(&certificates), &ca.root(), CertificateNames::Spiffe, now)
    };
    let good = at(0).unwrap();
    assert_eq!((good.not_before.0, good.not_after.0), (NOW.0 - 10_000, NOW.0 + 100_999));
    assert!(at(-10_000).is_ok() && matches!(at(-10_001), Err(ChainError::Path(_))));
    assert!(at(100_999).is_ok());
    assert_eq!(at(101_000), Err(ChainError::Root), "the root has ended");
    assert!(matches!(at(3_602_000), Err(ChainError::Path(_))), "the leaf has");
}

#[test]
fn a_root_that_allows_nobody_between_is_heeded() {
    let mut direct = ca_params("root");
    direct.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca = Ca::new(direct);
    assert!(spiffe(&[ca.leaf(leaf_params(&[uri(SPIFFE_ID)]))], &ca.root()).is_ok());
    let between = Ca::under(ca_params("between"), &ca);
    let leaf = between.leaf(leaf_params(&[uri(SPIFFE_ID)]));
    assert_eq!(spiffe(&[leaf, between.der()], &ca.root()), Err(ChainError::Root));
}

#[test]
fn any_change_of_the_leaf_is_found() {
    let ca = Ca::new(ca_params("root"));
    let leaf = ca.leaf(leaf_params(&[uri(SPIFFE_ID)]));
    for at in 0..leaf.len() {
        let mut changed = leaf.clone();
        changed[at] ^= 1;
        assert!(spiffe(&[changed], &ca.root()).is_err(), "byte {at}");
    }
}

#[test]
fn a_chain_is_bounded() {
    assert_eq!(Chain::new(vec![]), None);
    assert_eq!(Chain::new(vec![vec![1]; CHAIN_CERTIFICATES_MAX + 1]), None);
    assert_eq!(Chain::new(vec![vec![0; CHAIN_BYTES_MAX + 1]]), None);
    let junk = chain(&[vec![1], vec![]]);
    assert!(verify(&junk, &Ca::new(ca_params("root")).root(), CertificateNames::Spiffe, NOW).is_err());
}
