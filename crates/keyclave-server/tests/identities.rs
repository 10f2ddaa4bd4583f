//! Certificates and JWTs against real servers, over TLS: who is let in by them at any node, and what takes that back on
//! connections that are open.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use keyclave_client::cluster::NewCluster;
use keyclave_client::{Client, certificates};
use keyclave_crypto::secret::Secret;
use keyclave_crypto::sign::SigningKey;
use keyclave_types::access::Subject;
use keyclave_types::identity::{
    CertificateNames, ClientRootSettings, IssuerSettings, TokenBinding, TokenTerms,
};
use keyclave_types::key::Algorithm;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use support::raw::{call_with, channel};
use support::{Server, cluster, subject};

const SPIFFE_ID: &str = "spiffe://example.org/ns/payments/sa/billing";

/// An authority for clients.
struct Ca {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
struct Pair {
    chain: String,
    key: String,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "clients");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn pair(&self, id: &str) -> Pair {
        let mut params = CertificateParams::default();
        // Whatever stands here names nobody.
        params.distinguished_name.push(DnType::CommonName, "user:root");
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Pair { chain: leaf.pem(), key: key.serialize_pem() }
    }
}

fn root(name: &str, certificates: Vec<Vec<u8>>) -> ClientRootSettings {
    ClientRootSettings { name: name.parse().unwrap(), names: CertificateNames::Spiffe, certificates }
}

fn client(server: &Server, cluster: &NewCluster, pair: &Pair, token: Option<&str>) -> Client {
    let endpoint = format!("https://{}", server.clients).parse().unwrap();
    let builder = Client::builder()
        .endpoints([endpoint])
        .ca_pem(cluster.ca_pem.as_bytes())
        .client_certificate(pair.chain.as_bytes(), pair.key.as_bytes());
    match token {
        Some(token) => builder.token(token).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

async fn billing(admin: &Client) -> Subject {
    subject(admin, "service:billing", &["application@app/", "key-owner@app/"]).await
}

fn refused<T, E: std::fmt::Display>(answer: Result<T, E>) -> String {
    answer.map(|_| ()).map_err(|error| error.to_string()).unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_serves_at_any_node_until_its_root_is_removed_under_an_open_connection() {
    let directory = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(directory.path(), 1).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    let ca = Ca::new();
    let (own, other) = (ca.pair(SPIFFE_ID), ca.pair("spiffe://example.org/other"));
    let who = billing(&admin).await;
    let leaf = certificates::from_pem(own.chain.as_bytes()).unwrap();
    let wrong = refused(admin.put_client_root(&root("leaf", leaf)).await);
    assert!(wrong.contains("do not say CA"), "{wrong}");
    admin.put_client_root(&root("corp", vec![ca.der.clone()])).await.unwrap();
    let identity = format!("root:corp:{SPIFFE_ID}").parse().unwrap();
    // At the node that does not lead: writes are forwarded, and the leader verifies anew.
    let follower = servers.iter().rev().collect::<Vec<_>>()[0];
    let service = client(follower, &founded, &own, None);
    let key = "app/k".parse().unwrap();
    refused(service.create_key(&key, Algorithm::Xaes256Gcm, Default::default()).await);
    admin.put_identity(&identity, &who).await.unwrap();
    service.create_key(&key, Algorithm::Xaes256Gcm, Default::default()).await.unwrap();
    service.encrypt(&key, None, b"x", b"").await.unwrap();
    let outside = "other/k".parse().unwrap();
    refused(service.create_key(&outside, Algorithm::Xaes256Gcm, Default::default()).await);
    // A common name like an administrator's, another authority's certificate, and a token's id in place of a token.
    refused(client(follower, &founded, &other, None).encrypt(&key, None, b"x", b"").await);
    refused(
        client(follower, &founded, &Ca::new().pair(SPIFFE_ID), None).encrypt(&key, None, b"x", b"").await,
    );
    let free = admin.create_token(&who, None).await.unwrap().value;
    let shown_id = HEXLOWER.encode(&free.id.0);
    refused(client(follower, &founded, &other, Some(&shown_id)).encrypt(&key, None, b"x", b"").await);
    // Bound to the certificate's key.
    let binding = TokenBinding::Key(certificates::key_from_pem(own.chain.as_bytes()).unwrap());
    let terms = TokenTerms { binding, ..TokenTerms::default() };
    let bound = admin.create_token_on(&who, &terms).await.unwrap().value;
    client(follower, &founded, &own, Some(&bound.text)).encrypt(&key, None, b"x", b"").await.unwrap();
    client(follower, &founded, &own, Some(&bound.text)).rotate_key(&key).await.unwrap();
    refused(client(follower, &founded, &other, Some(&bound.text)).encrypt(&key, None, b"x", b"").await);
    refused(follower.client(&founded, Some(&bound.text)).encrypt(&key, None, b"x", b"").await);
    // Addresses are the connection's own.
    let elsewhere = ["10.0.0.0/8".parse().unwrap()].into();
    let terms = TokenTerms { sources: elsewhere, ..TokenTerms::default() };
    let elsewhere = admin.create_token_on(&who, &terms).await.unwrap().value;
    refused(follower.client(&founded, Some(&elsewhere.text)).encrypt(&key, None, b"x", b"").await);
    let here = ["127.0.0.0/8".parse().unwrap()].into();
    let terms = TokenTerms { sources: here, ..TokenTerms::default() };
    let here = admin.create_token_on(&who, &terms).await.unwrap().value;
    follower.client(&founded, Some(&here.text)).encrypt(&key, None, b"x", b"").await.unwrap();
    follower.client(&founded, Some(&here.text)).rotate_key(&key).await.unwrap();
    // The same client, on the connection that it has.
    service.encrypt(&key, None, b"x", b"").await.unwrap();
    admin.remove_client_root(&"corp".parse().unwrap()).await.unwrap();
    refused(service.encrypt(&key, None, b"x", b"").await);
    refused(service.rotate_key(&key).await);
    refused(client(follower, &founded, &own, Some(&bound.text)).encrypt(&key, None, b"x", b"").await);
    let admin = follower.client(&founded, Some(&founded.root_token));
    let trail = admin.search_audit(Default::default()).await.unwrap().value;
    let by_certificate =
        |record: &str| record.contains("\"authority\"") && record.contains("service:billing");
    assert!(trail.records.iter().any(|record| by_certificate(&record.body_json)), "{trail:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_says_of_itself_in_headers_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(directory.path(), 0).await;
    let channel = channel(&format!("https://{}", servers[0].clients), &founded.ca_pem).await;
    let path = "/keyclave.v1.ClusterService/ListMembers";
    let token = Some(founded.root_token.as_str());
    call_with(channel.clone(), path, token, &[], Vec::new()).await.unwrap();
    for name in ["x-forwarded-client-cert", "x-spiffe-id", "keyclave-principal", "x-remote-user"] {
        let status = call_with(channel.clone(), path, token, &[(name, "user:root")], Vec::new()).await;
        let reason = keyclave_proto::status::Details::of(&status.unwrap_err()).reason;
        assert_eq!(reason, "IDENTITY_IN_METADATA", "{name}");
        let status = call_with(channel.clone(), path, None, &[(name, "user:root")], Vec::new()).await;
        assert_eq!(status.unwrap_err().code(), tonic::Code::Unauthenticated, "{name}");
    }
}

fn jwt(key: &SigningKey, audience: &str, subject: &str) -> String {
    let header = BASE64URL_NOPAD.encode(br#"{"alg":"EdDSA"}"#);
    let ends = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
    let claims = format!(r#"{{"iss":"https://k8s","aud":["{audience}"],"sub":"{subject}","exp":{ends}}}"#);
    let signed = format!("{header}.{}", BASE64URL_NOPAD.encode(claims.as_bytes()));
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jwt_logs_in_at_any_node_and_wrong_ones_are_refused_without_locking_anyone_out() {
    let directory = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(directory.path(), 1).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    let who = billing(&admin).await;
    let key = SigningKey::from_seed(Secret::from_fn("seed", |bytes| bytes.fill(7)));
    let x = BASE64URL_NOPAD.encode(&key.public());
    let issuer = IssuerSettings {
        name: "k8s".parse().unwrap(),
        issuer: "https://k8s".to_owned(),
        audience: "keyclave".to_owned(),
        algorithms: ["EdDSA".parse().unwrap()].into(),
        keys: format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}]}}"#),
    };
    let private =
        IssuerSettings { keys: issuer.keys.replace("\"kty\"", "\"d\":\"AA\",\"kty\""), ..issuer.clone() };
    let wrong = refused(admin.put_issuer(&private).await);
    assert!(wrong.contains("private"), "{wrong}");
    admin.put_issuer(&issuer).await.unwrap();
    let account = "system:serviceaccount:payments:billing";
    admin.put_identity(&format!("issuer:k8s:{account}").parse().unwrap(), &who).await.unwrap();
    let name = "app/k".parse().unwrap();
    admin.create_key(&name, Algorithm::Xaes256Gcm, Default::default()).await.unwrap();
    let good = jwt(&key, "keyclave", account);
    for server in &servers {
        let logged_in = server.client(&founded, None).login(&good).await.unwrap().value;
        assert_eq!(logged_in.subject, who);
        let service = server.client(&founded, Some(&logged_in.token.text));
        service.encrypt(&name, None, b"x", b"").await.unwrap();
        refused(service.renew_token().await);
    }
    let anyone = servers[1].client(&founded, None);
    let bad = jwt(&key, "other", account);
    let mut said = std::collections::BTreeSet::new();
    // More than a source may have at a time, however many come back meanwhile.
    for _ in 0..10_000 {
        said.insert(refused(anyone.login(&bad).await));
        if said.len() == 2 {
            break;
        }
    }
    assert!(said.iter().any(|text| text.contains("too many wrong credentials")), "{said:?}");
    assert_eq!(said.len(), 2, "{said:?}");
    anyone.login(&good).await.unwrap();
}
