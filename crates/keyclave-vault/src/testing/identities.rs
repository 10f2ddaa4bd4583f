//! Certificates, JWTs and what tokens are tied to: who is let in by them, and what takes that back.

use core::net::IpAddr;

use data_encoding::BASE64URL_NOPAD;
use keyclave_crypto::secret::Secret;
use keyclave_crypto::sign::SigningKey;
use keyclave_policy::built_in;
use keyclave_types::identity::{
    CertificateNames, ClientRootSettings, Identity, IssuerSettings, TokenBinding,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use super::*;
use crate::authenticate::{Shown, authenticate};
use crate::login::{LOGIN_TOKEN_MS_MAX, decide_login, judge_login};
use crate::presented::Presented;
use crate::records::RecordName;

const SPIFFE_ID: &str = "spiffe://example.org/ns/prod/sa/billing";
const LEAF_S: i64 = 3_600;

struct Ca {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn moment(after_s: i64) -> OffsetDateTime {
    let start = i64::try_from(START.0 / 1000).unwrap();
    OffsetDateTime::from_unix_timestamp(start + after_s).unwrap()
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "clients");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        (params.not_before, params.not_after) = (moment(-60), moment(10 * LEAF_S));
        let key = key();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn leaf(&self, id: &str, key: &KeyPair) -> Presented {
        let mut params = CertificateParams::default();
        // Whatever stands here names nobody.
        params.distinguished_name.push(DnType::CommonName, "user:root");
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (moment(-60), moment(LEAF_S));
        let leaf = params.signed_by(key, &self.issuer).unwrap();
        Presented::new(vec![leaf.der().to_vec()]).unwrap()
    }

    fn trusted_as(&self, name: &str) -> WriteKind {
        WriteKind::PutClientRoot(ClientRootSettings {
            name: name.parse().unwrap(),
            names: CertificateNames::Spiffe,
            certificates: vec![self.der.clone()],
        })
    }
}

fn identity(text: &str) -> Identity {
    text.parse().unwrap()
}

fn put_identity(text: &str, subject: Subject) -> WriteKind {
    WriteKind::PutIdentity { identity: identity(text), subject }
}

/// A ledger with `service:billing`, a root, and the identity of [`SPIFFE_ID`] under it.
fn with_certificates() -> (Ledger, Ca) {
    let mut ledger = Ledger::founded();
    let ca = Ca::new();
    ledger.service("billing");
    ledger.write(ca.trusted_as("corp")).unwrap();
    ledger.write(put_identity(&format!("root:corp:{SPIFFE_ID}"), service("billing"))).unwrap();
    (ledger, ca)
}

fn who(ledger: &Ledger, shown: &Shown<'_>) -> Result<Principal, Refusal> {
    let found = authenticate(&ledger.view, shown, ledger.now);
    found.map(|found| found.principal).map_err(|refused| refused.refusal)
}

fn by_certificate(ledger: &Ledger, certificate: &Presented) -> Result<Principal, Refusal> {
    who(ledger, &Shown { certificate: Some(certificate), ..Shown::default() })
}

fn by_token(ledger: &Ledger, bearer: &str, certificate: Option<&Presented>) -> Result<Principal, Refusal> {
    who(ledger, &Shown { bearer: Some(bearer), certificate, source: None })
}

fn token(ledger: &mut Ledger, terms: TokenTerms) -> Zeroizing<String> {
    token_of(ledger.write(WriteKind::CreateToken { subject: service("billing"), terms }).unwrap()).1
}

#[test]
fn a_certificate_is_whom_its_identity_says_and_its_common_name_is_nobody() {
    let (mut ledger, ca) = with_certificates();
    let principal = by_certificate(&ledger, &ca.leaf(SPIFFE_ID, &key())).unwrap();
    assert_eq!(principal.subject(), Some(&service("billing")));
    assert_eq!(principal.came(), Came { mtls: true, bound: true });
    ledger.create_plain("app/k");
    let asked = ledger.read_as(&principal, &Read::GetKey { name: name("app/k") });
    assert!(matches!(asked.outcome, Outcome::Answer(_)));
    let other = ca.leaf("spiffe://example.org/other", &key());
    assert_eq!(by_certificate(&ledger, &other), Err(Refusal::Unauthenticated));
    // Another authority, with the same name and the same identities.
    assert_eq!(by_certificate(&ledger, &Ca::new().leaf(SPIFFE_ID, &key())), Err(Refusal::Unauthenticated));
}

#[test]
fn every_withdrawal_holds_for_a_certificate_that_was_good_before() {
    let remove_root = WriteKind::RemoveClientRoot { name: "corp".parse().unwrap() };
    let remove_identity = WriteKind::RemoveIdentity { identity: identity(&format!("root:corp:{SPIFFE_ID}")) };
    let revoke = WriteKind::RevokeCredentials { subject: service("billing") };
    let remove = WriteKind::RemoveSubject { subject: service("billing") };
    let replace = Ca::new().trusted_as("corp");
    for withdrawal in [remove_root, remove_identity, revoke, remove, replace] {
        let (mut ledger, ca) = with_certificates();
        let leaf = ca.leaf(SPIFFE_ID, &key());
        assert!(by_certificate(&ledger, &leaf).is_ok());
        ledger.write(withdrawal.clone()).unwrap();
        assert_eq!(by_certificate(&ledger, &leaf), Err(Refusal::Unauthenticated), "{withdrawal:?}");
        // A subject that is made again does not revive what spoke for the one before it.
        ledger.service("billing");
        assert_eq!(by_certificate(&ledger, &leaf), Err(Refusal::Unauthenticated), "{withdrawal:?}");
    }
}

#[test]
fn an_answer_rests_on_the_root_that_vouched() {
    let (mut ledger, ca) = with_certificates();
    let leaf = ca.leaf(SPIFFE_ID, &key());
    let shown = Shown { certificate: Some(&leaf), ..Shown::default() };
    let reads = authenticate(&ledger.view, &shown, ledger.now).unwrap().reads;
    ledger.create_plain("app/other");
    assert!(ledger.view.holds(&reads));
    ledger.write(WriteKind::RemoveClientRoot { name: "corp".parse().unwrap() }).unwrap();
    assert!(!ledger.view.holds(&reads), "withheld, and made again");
}

#[test]
fn a_certificate_ends_on_an_open_connection_and_counts_for_nothing_while_the_clock_is_in_doubt() {
    let (mut ledger, ca) = with_certificates();
    let leaf = ca.leaf(SPIFFE_ID, &key());
    ledger.at(3_600_999);
    assert!(by_certificate(&ledger, &leaf).is_ok());
    ledger.at(3_601_000);
    assert_eq!(by_certificate(&ledger, &leaf), Err(Refusal::Unauthenticated));
    ledger.now = Now::Doubtful(START);
    assert_eq!(by_certificate(&ledger, &leaf), Err(Refusal::ClockDoubtful));
}

#[test]
fn a_lost_root_record_denies_everything() {
    let (mut ledger, ca) = with_certificates();
    let leaf = ca.leaf(SPIFFE_ID, &key());
    let root = "corp".parse().unwrap();
    let id = ledger.view.id_of(&RecordName::ClientRoot(&root));
    ledger.records.remove(&id);
    ledger.view = ledger.view.fold(ledger.view.index() + 1, [(id, None)]).unwrap();
    assert_eq!(by_certificate(&ledger, &leaf), Err(Refusal::AccessHead));
}

#[test]
fn what_cannot_vouch_is_refused_when_it_is_configured() {
    let (mut ledger, ca) = with_certificates();
    let leaf = ca.leaf(SPIFFE_ID, &key());
    let certificates = vec![leaf.certificates().next().unwrap().to_vec()];
    let root = |name: &str, certificates| {
        let name = name.parse().unwrap();
        WriteKind::PutClientRoot(ClientRootSettings { name, names: CertificateNames::Spiffe, certificates })
    };
    assert_eq!(ledger.write(root("leaf", certificates)).unwrap_err(), Refusal::RootUnusable);
    assert_eq!(ledger.write(root("none", vec![])).unwrap_err(), Refusal::RootUnusable);
    assert_eq!(ledger.write(root("twice", vec![ca.der.clone()])).unwrap_err(), Refusal::RootKnown);
    for (text, refusal) in [
        ("root:absent:spiffe://a/b", Refusal::RootUnknown),
        ("root:corp:a.example", Refusal::IdentitySort),
        ("issuer:absent:a", Refusal::IssuerUnknown),
    ] {
        assert_eq!(ledger.write(put_identity(text, service("billing"))).unwrap_err(), refusal);
    }
    let nobody = put_identity("root:corp:spiffe://a/b", service("nobody"));
    assert_eq!(ledger.write(nobody).unwrap_err(), Refusal::SubjectUnknown);
}

#[test]
fn a_bound_token_counts_with_its_certificate_only() {
    let (mut ledger, ca) = with_certificates();
    let own_key = key();
    let own = ca.leaf(SPIFFE_ID, &own_key);
    let own_der = own.certificates().next().unwrap();
    let key_hash = keyclave_crypto::certificate::key_of(own_der).unwrap();
    let to_key =
        token(&mut ledger, TokenTerms { binding: TokenBinding::Key(key_hash), ..Default::default() });
    let binding = TokenBinding::Identity(identity(&format!("root:corp:{SPIFFE_ID}")));
    let to_identity = token(&mut ledger, TokenTerms { binding, ..Default::default() });
    let bound = Ok(Came { mtls: true, bound: true });
    let came = |ledger: &Ledger, bearer: &str, with| by_token(ledger, bearer, with).map(|who| who.came());
    // The same key in a renewed certificate, and the same identity with another key.
    let (renewed, rekeyed) = (ca.leaf(SPIFFE_ID, &own_key), ca.leaf(SPIFFE_ID, &key()));
    let other = ca.leaf("spiffe://example.org/other", &key());
    let foreign = Ca::new().leaf(SPIFFE_ID, &own_key);
    for good in [&own, &renewed] {
        assert_eq!(came(&ledger, &to_key, Some(good)), bound);
    }
    for good in [&own, &renewed, &rekeyed] {
        assert_eq!(came(&ledger, &to_identity, Some(good)), bound);
    }
    for (bearer, wrong) in [
        (&to_key, None),
        (&to_key, Some(&rekeyed)),
        (&to_key, Some(&other)),
        (&to_key, Some(&foreign)),
        (&to_identity, None),
        (&to_identity, Some(&other)),
        (&to_identity, Some(&foreign)),
    ] {
        assert_eq!(came(&ledger, bearer, wrong), Err(Refusal::Unauthenticated));
    }
    // A token that is not bound, beside a certificate, is not bound by it.
    let free = token(&mut ledger, TokenTerms::default());
    assert_eq!(came(&ledger, &free, Some(&own)), Ok(Came { mtls: true, bound: false }));
    assert_eq!(came(&ledger, &free, Some(&foreign)), Ok(Came::default()));
    // Where the root is gone, so is what was bound through it.
    ledger.write(WriteKind::RemoveClientRoot { name: "corp".parse().unwrap() }).unwrap();
    assert_eq!(came(&ledger, &to_key, Some(&own)), Err(Refusal::Unauthenticated));
}

#[test]
fn a_token_counts_from_its_addresses_only() {
    let (mut ledger, _) = with_certificates();
    let sources = ["10.0.0.0/8", "2001:db8::/32"].map(|range| range.parse().unwrap());
    let bearer = token(&mut ledger, TokenTerms { sources: sources.into(), ..Default::default() });
    let from = |source: Option<&str>| {
        let source = source.map(|address| address.parse::<IpAddr>().unwrap());
        who(&ledger, &Shown { bearer: Some(&bearer), certificate: None, source }).is_ok()
    };
    assert!(from(Some("10.9.9.9")) && from(Some("2001:db8::1")) && from(Some("::ffff:10.0.0.1")));
    assert!(
        !from(Some("11.0.0.1")) && !from(Some("2001:db9::1")) && !from(None),
        "the socket has no address"
    );
}

#[test]
fn a_token_prolongs_itself_up_to_its_limit_and_nothing_else_changes() {
    let (mut ledger, _) = with_certificates();
    let sources: BTreeSet<_> = ["10.0.0.0/8".parse().unwrap()].into();
    let (lifetime_ms, renewable_ms) = (Some(60_000), Some(100_000));
    let terms = TokenTerms { lifetime_ms, renewable_ms, sources, ..Default::default() };
    let made = ledger.write(WriteKind::CreateToken { subject: service("billing"), terms }).unwrap();
    let (id, bearer) = token_of(made);
    let shown = Shown { bearer: Some(&bearer), source: Some("10.0.0.1".parse().unwrap()), certificate: None };
    let before = record(&ledger, id);
    let renew = |ledger: &mut Ledger| {
        let principal = who(ledger, &shown)?;
        let write = ledger.request(WriteKind::RenewToken);
        ledger.write_as(&principal, &write)
    };
    ledger.at(30_000);
    let renewed = renew(&mut ledger).unwrap();
    assert!(matches!(renewed, WriteAnswer::Renewed { expires_at } if expires_at == START.after(90_000)));
    let after = record(&ledger, id);
    assert_eq!(crate::records::access::TokenRecord { expires_at: before.expires_at, ..after }, before);
    ledger.at(80_000);
    let renewed = renew(&mut ledger).unwrap();
    assert!(matches!(renewed, WriteAnswer::Renewed { expires_at } if expires_at == START.after(100_000)));
    ledger.at(100_000);
    assert_eq!(renew(&mut ledger).unwrap_err(), Refusal::Unauthenticated, "it has ended");
    // What was not made for it, and a root that has no token at all.
    ledger.at(0);
    let plain = token(&mut ledger, TokenTerms { lifetime_ms: Some(60_000), ..Default::default() });
    let principal = by_token(&ledger, &plain, None).unwrap();
    let write = ledger.request(WriteKind::RenewToken);
    assert_eq!(ledger.write_as(&principal, &write).unwrap_err(), Refusal::NotRenewable);
    for (lifetime_ms, renewable_ms) in [(None, Some(1_000)), (Some(2_000), Some(1_000))] {
        let terms = TokenTerms { lifetime_ms, renewable_ms, ..Default::default() };
        let create = WriteKind::CreateToken { subject: service("billing"), terms };
        assert_eq!(ledger.write(create).unwrap_err(), Refusal::Lifetime);
    }
}

fn record(ledger: &Ledger, id: TokenId) -> crate::records::access::TokenRecord {
    use crate::view::HeldBody;
    let held = ledger.view.held(ledger.view.id_of(&RecordName::Token(id))).unwrap();
    crate::records::access::TokenRecord::held(&held.body).unwrap().clone()
}

#[test]
fn what_is_bound_or_limited_is_nobodys_last_way_in() {
    let mut ledger = Ledger::founded();
    let sources = BTreeSet::from(["10.0.0.0/8".parse().unwrap()]);
    let terms = TokenTerms { sources, ..Default::default() };
    ledger.write(WriteKind::CreateToken { subject: user("root"), terms }).unwrap();
    let first = ledger.root.token().unwrap();
    let revoke = WriteKind::RevokeToken { id: first };
    assert_eq!(ledger.write(revoke).unwrap_err(), Refusal::LastAdministrator);
}

fn jwt_key() -> SigningKey {
    SigningKey::from_seed(Secret::from_fn("seed", |bytes| bytes.fill(7)))
}

fn jwt(key: &SigningKey, issuer: &str, audience: &str, subject: &str, ends_s: u64) -> String {
    let header = BASE64URL_NOPAD.encode(br#"{"alg":"EdDSA"}"#);
    let ends = START.0 / 1000 + ends_s;
    let claims = format!(r#"{{"iss":"{issuer}","aud":["{audience}"],"sub":"{subject}","exp":{ends}}}"#);
    let signed = format!("{header}.{}", BASE64URL_NOPAD.encode(claims.as_bytes()));
    let signature = BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const SUBJECT: &str = "system:serviceaccount:payments:billing";

fn put_issuer(name: &str, key: &SigningKey) -> WriteKind {
    let x = BASE64URL_NOPAD.encode(&key.public());
    WriteKind::PutIssuer(IssuerSettings {
        name: name.parse().unwrap(),
        issuer: ISSUER.to_owned(),
        audience: "keyclave".to_owned(),
        algorithms: ["EdDSA".parse().unwrap()].into(),
        keys: format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}]}}"#),
    })
}

fn with_issuer() -> Ledger {
    let mut ledger = Ledger::founded();
    ledger.service("billing");
    ledger.write(put_issuer("k8s", &jwt_key())).unwrap();
    ledger.write(put_identity(&format!("issuer:k8s:{SUBJECT}"), service("billing"))).unwrap();
    ledger
}

fn login(ledger: &mut Ledger, jwt: &str) -> Result<(UnixMillis, Zeroizing<String>), Refusal> {
    let permit = built_in(&Principal::Unauthenticated, Action::Login, None).unwrap();
    let judged = judge_login(&ledger.view, jwt, ledger.now).map_err(|refused| refused.refusal);
    let decided = decide_login(&ledger.view, &permit, jwt, &ledger.occasion(), &mut ledger.entropy);
    let decided = decided.map_err(|refused| refused.refusal);
    assert_eq!(judged.as_ref().err(), decided.as_ref().err(), "both say the same");
    let logged_in = ledger.commit(decided?);
    assert_eq!(logged_in.subject, judged?);
    Ok((logged_in.expires_at, logged_in.text))
}

#[test]
fn a_jwt_is_swapped_for_a_token_of_at_most_fifteen_minutes_and_not_beyond_its_own_end() {
    let mut ledger = with_issuer();
    let long = jwt(&jwt_key(), ISSUER, "keyclave", SUBJECT, 7_200);
    let (ends, text) = login(&mut ledger, &long).unwrap();
    assert_eq!(ends, START.after(LOGIN_TOKEN_MS_MAX));
    assert_eq!(by_token(&ledger, &text, None).unwrap().subject(), Some(&service("billing")));
    let short = jwt(&jwt_key(), ISSUER, "keyclave", SUBJECT, 60);
    assert_eq!(login(&mut ledger, &short).unwrap().0, START.after(90_000), "its end, and the skew");
    ledger.at(LOGIN_TOKEN_MS_MAX);
    assert_eq!(by_token(&ledger, &text, None), Err(Refusal::Unauthenticated));
    // Nobody's record stays for good.
    let tokens = |ledger: &Ledger| ledger.view.indexes().tokens().count();
    let before = tokens(&ledger);
    assert_eq!(ledger.upkeep(&Upkeep::ForgetRequests), Ok(UpkeepAnswer::Forgotten { requests: 2 }));
    assert_eq!((tokens(&ledger), ledger.view.indexes().by_login(&service("billing"))), (before - 2, 0));
}

#[test]
fn every_wrong_jwt_gets_the_same_refusal() {
    let mut ledger = with_issuer();
    let other = SigningKey::from_seed(Secret::from_fn("seed", |bytes| bytes.fill(8)));
    let key = jwt_key();
    let good = jwt(&key, ISSUER, "keyclave", SUBJECT, 600);
    let (signed, _) = good.rsplit_once('.').unwrap();
    for wrong in [
        String::new(),
        "a.b.c".to_owned(),
        format!("{signed}."),
        jwt(&other, ISSUER, "keyclave", SUBJECT, 600),
        jwt(&key, "https://other", "keyclave", SUBJECT, 600),
        jwt(&key, ISSUER, "other", SUBJECT, 600),
        jwt(&key, ISSUER, "keyclave", "system:serviceaccount:payments:other", 600),
        jwt(&key, ISSUER, "keyclave", "a b", 600),
        jwt(&key, ISSUER, "keyclave", "", 600),
    ] {
        assert_eq!(login(&mut ledger, &wrong).unwrap_err(), Refusal::Unauthenticated, "{wrong}");
    }
    assert!(login(&mut ledger, &good).is_ok());
    ledger.now = Now::Doubtful(START);
    assert_eq!(login(&mut ledger, &good).unwrap_err(), Refusal::ClockDoubtful);
}

#[test]
fn of_issuers_with_one_name_the_one_whose_key_signed_counts() {
    let mut ledger = with_issuer();
    let other = SigningKey::from_seed(Secret::from_fn("seed", |bytes| bytes.fill(8)));
    ledger.write(put_issuer("a-k8s", &other)).unwrap();
    let theirs = jwt(&other, ISSUER, "keyclave", SUBJECT, 600);
    assert_eq!(
        login(&mut ledger, &theirs).unwrap_err(),
        Refusal::Unauthenticated,
        "its identity is nobody here"
    );
    assert!(login(&mut ledger, &jwt(&jwt_key(), ISSUER, "keyclave", SUBJECT, 600)).is_ok());
}

#[test]
fn every_withdrawal_ends_logins_and_the_tokens_that_were_given_for_them() {
    for withdrawal in [
        WriteKind::RemoveIssuer { name: "k8s".parse().unwrap() },
        WriteKind::RemoveIdentity { identity: identity(&format!("issuer:k8s:{SUBJECT}")) },
        WriteKind::RevokeCredentials { subject: service("billing") },
        WriteKind::RemoveSubject { subject: service("billing") },
        put_issuer("k8s", &SigningKey::from_seed(Secret::from_fn("seed", |bytes| bytes.fill(8)))),
    ] {
        let mut ledger = with_issuer();
        let good = jwt(&jwt_key(), ISSUER, "keyclave", SUBJECT, 600);
        let (_, token) = login(&mut ledger, &good).unwrap();
        assert!(by_token(&ledger, &token, None).is_ok());
        ledger.write(withdrawal.clone()).unwrap();
        // Other keys of the same issuer end no token that was given for its old ones.
        let rekeyed = matches!(withdrawal, WriteKind::PutIssuer(_));
        assert_eq!(by_token(&ledger, &token, None).is_ok(), rekeyed, "{withdrawal:?}");
        assert_eq!(login(&mut ledger, &good).unwrap_err(), Refusal::Unauthenticated, "{withdrawal:?}");
    }
}
