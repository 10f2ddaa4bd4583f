//! JWTs that an independent implementation signs: every algorithm that it knows and we verify, and a token as
//! Kubernetes issues it to a pod.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use keyclave_crypto::jwk::KeySet;
use keyclave_crypto::jwt::{Expected, JwtError, UnverifiedToken};
use keyclave_types::identity::JwtAlgorithm;
use keyclave_types::time::UnixMillis;
use serde_json::json;

const NOW_S: u64 = 1_795_516_756;
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Made by `openssl genpkey`, for these tests and nothing else.
const PRIVATE: [(&str, &[u8]); 4] = [
    ("rsa", include_bytes!("../testdata/jwt/rsa.pem")),
    ("p256", include_bytes!("../testdata/jwt/p256.pem")),
    ("p384", include_bytes!("../testdata/jwt/p384.pem")),
    ("ed25519", include_bytes!("../testdata/jwt/ed25519.pem")),
];
const PUBLIC: &[u8] = include_bytes!("../testdata/jwt/keys.json");

fn private(name: &str) -> EncodingKey {
    let (_, pem) = PRIVATE.iter().find(|(known, _)| *known == name).unwrap();
    let read = match name {
        "rsa" => EncodingKey::from_rsa_pem(pem),
        "ed25519" => EncodingKey::from_ed_pem(pem),
        _ => EncodingKey::from_ec_pem(pem),
    };
    read.unwrap()
}

fn sign(algorithm: Algorithm, key: &str, claims: &serde_json::Value) -> String {
    let header = Header { kid: Some(key.to_owned()), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, &private(key)).unwrap()
}

fn subject(token: &str, algorithms: &[JwtAlgorithm]) -> Result<String, JwtError> {
    let expected = Expected {
        keys: &KeySet::parse(PUBLIC).unwrap(),
        algorithms: &BTreeSet::from_iter(algorithms.iter().copied()),
        issuer: ISSUER,
        audience: "keyclave",
    };
    let verified = UnverifiedToken::parse(token)?.verify(&expected, UnixMillis(NOW_S * 1000))?;
    Ok(verified.subject)
}

/// As `kubectl create token billing -n payments --audience keyclave` prints it.
fn service_account() -> serde_json::Value {
    json!({
        "aud": ["keyclave"],
        "exp": NOW_S + 600,
        "iat": NOW_S - 1,
        "iss": ISSUER,
        "jti": "5ae9e3b5-c9a7-4d2c-bb83-1bd6c4fc0c3c",
        "kubernetes.io": {
            "namespace": "payments",
            "node": { "name": "node-1", "uid": "8f2ad7d1-5a83-47b7-a0d0-c2f3d0f7ab09" },
            "pod": { "name": "billing-0", "uid": "6bd5d7ba-6f4b-4a5b-9f6b-e1b63a5e2dd3" },
            "serviceaccount": { "name": "billing", "uid": "0c5f1a56-3b29-4c2c-8b85-ef4b1c7d4a1b" },
            "warnafter": NOW_S + 60
        },
        "nbf": NOW_S - 1,
        "sub": "system:serviceaccount:payments:billing"
    })
}

#[test]
fn every_algorithm_of_an_independent_signer_verifies_and_only_as_itself() {
    for (theirs, ours, key) in [
        (Algorithm::RS256, JwtAlgorithm::Rs256, "rsa"),
        (Algorithm::RS384, JwtAlgorithm::Rs384, "rsa"),
        (Algorithm::RS512, JwtAlgorithm::Rs512, "rsa"),
        (Algorithm::PS256, JwtAlgorithm::Ps256, "rsa"),
        (Algorithm::PS384, JwtAlgorithm::Ps384, "rsa"),
        (Algorithm::PS512, JwtAlgorithm::Ps512, "rsa"),
        (Algorithm::ES256, JwtAlgorithm::Es256, "p256"),
        (Algorithm::ES384, JwtAlgorithm::Es384, "p384"),
        (Algorithm::EdDSA, JwtAlgorithm::EdDsa, "ed25519"),
    ] {
        let token = sign(theirs, key, &service_account());
        assert_eq!(
            subject(&token, &[ours]).as_deref(),
            Ok("system:serviceaccount:payments:billing"),
            "{ours}"
        );
        let others: Vec<_> = JwtAlgorithm::ALL.into_iter().filter(|known| *known != ours).collect();
        assert!(subject(&token, &others).is_err(), "{ours}");
    }
}

#[test]
fn a_service_accounts_token_for_somebody_else_is_refused() {
    let with = |claim: &str, to: serde_json::Value| {
        let mut claims = service_account();
        claims[claim] = to;
        subject(&sign(Algorithm::RS256, "rsa", &claims), &[JwtAlgorithm::Rs256])
    };
    assert_eq!(with("aud", json!([ISSUER])), Err(JwtError::Audience), "the cluster's own");
    assert_eq!(with("aud", serde_json::Value::Null), Err(JwtError::Audience));
    assert_eq!(with("iss", json!("https://kubernetes.default.svc")), Err(JwtError::Issuer));
    assert_eq!(with("exp", json!(NOW_S - 31)), Err(JwtError::Ended));
    // A legacy token out of a secret never ends.
    let mut legacy = service_account();
    legacy.as_object_mut().unwrap().remove("exp");
    let legacy = sign(Algorithm::RS256, "rsa", &legacy);
    assert_eq!(subject(&legacy, &[JwtAlgorithm::Rs256]), Err(JwtError::Ended));
}

#[test]
fn a_shared_secret_is_no_key_whatever_it_is() {
    for secret in [PUBLIC, b"secret"] {
        let header = Header { kid: Some("rsa".to_owned()), ..Header::new(Algorithm::HS256) };
        let token =
            jsonwebtoken::encode(&header, &service_account(), &EncodingKey::from_secret(secret)).unwrap();
        assert!(matches!(subject(&token, &JwtAlgorithm::ALL), Err(JwtError::Signature(_))));
    }
}
