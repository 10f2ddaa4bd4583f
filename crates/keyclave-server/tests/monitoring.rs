//! What a node tells who watches it: a word to anyone, its metrics, its services' health, and its descriptors to who has
//! a credential; each in every state of a node.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use keyclave_client::Client;
use keyclave_client::audit::AuditQuery;
use keyclave_client::cluster::{AdmissionPolicy, NewCluster};
use keyclave_server::health::Health;
use keyclave_server::probe::ask;
use keyclave_types::key::Algorithm;
use keyclave_types::seal::Threshold;
use prost::Message;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use support::raw::{call, channel};
use support::{Server, give_shares, subject, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

const CHECK: &str = "/grpc.health.v1.Health/Check";

async fn until(server: &Server, wanted: Health) {
    within(Duration::from_secs(20), async {
        while ask(server.monitoring).await.ok() != Some(wanted) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// What is answered to `GET path`, over TLS whose certificate the cluster's CA must have issued.
async fn get(server: &Server, cluster: &NewCluster, path: &str, token: Option<&str>) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cluster.ca_pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(server.monitoring).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(server.monitoring.ip().into(), tcp).await.unwrap();
    let credential = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{credential}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn recorded(admin: &Client, operation: &str) -> usize {
    let query = AuditQuery { operation: Some(operation.to_owned()), ..Default::default() };
    admin.search_audit(query).await.unwrap().value.records.len()
}

async fn serving(server: &Server, cluster: &NewCluster, service: &str) -> Result<i32, tonic::Status> {
    let channel = channel(&format!("https://{}", server.clients), &cluster.ca_pem).await;
    let request = HealthCheckRequest { service: service.to_owned() }.encode_to_vec();
    let answer = call(channel, CHECK, None, request).await?;
    Ok(HealthCheckResponse::decode(answer.as_slice()).unwrap().status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_says_in_every_state_how_it_is_and_its_metrics_only_to_who_has_a_credential() {
    let root = tempfile::tempdir().unwrap();
    let mut server = Server::start(root.path().join("1"), None);
    until(&server, Health::Vacant).await;
    let operator = server.operator().await;
    let cluster = operator.init(Threshold::new(2, 3).unwrap(), AdmissionPolicy::Strict).await.unwrap().value;
    until(&server, Health::Sealed).await;
    give_shares(&server, &cluster, 2).await;
    until(&server, Health::Unsealed).await;
    let admin = server.client(&cluster, Some(&cluster.root_token));
    let name = "app/secret-name".parse().unwrap();
    admin.create_key(&name, Algorithm::Xaes256Gcm, Default::default()).await.unwrap();

    assert!(get(&server, &cluster, "/healthz", None).await.ends_with("\r\n\r\nunsealed"));
    for wrong in [None, Some("x"), Some("")] {
        let refused = get(&server, &cluster, "/metrics", wrong).await;
        assert!(refused.starts_with("HTTP/1.1 401 ") && !refused.contains("keyclave_"), "{refused}");
    }
    // Metrics name nobody and no key: any credential will do.
    let scraper = subject(&admin, "service:scraper", &[]).await;
    let token = admin.create_token(&scraper, None).await.unwrap().value;
    let metrics = get(&server, &cluster, "/metrics", Some(&token.text)).await;
    for line in [
        "keyclave_unsealed 1",
        "keyclave_leading 1",
        "keyclave_member 1",
        "keyclave_calls_total{service=\"KeyService\",method=\"CreateKey\",code=\"OK\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in:\n{metrics}");
    }
    for secret in ["secret-name", "scraper", token.text.as_str(), cluster.root_token.as_str()] {
        assert!(!metrics.contains(secret), "{secret}");
    }
    assert_eq!(recorded(&admin, "ReadMetrics").await, 4, "each answer and each refusal");
    within(Duration::from_secs(20), server.end()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_probes_are_told_that_a_sealed_node_does_not_serve() {
    let root = tempfile::tempdir().unwrap();
    let mut server = Server::without_return(root.path().join("1"));
    let cluster = support::found(&server).await;
    assert_eq!(serving(&server, &cluster, "").await.unwrap(), ServingStatus::Serving as i32);
    within(Duration::from_secs(20), server.end()).await.unwrap();
    server.begin();
    until(&server, Health::Sealed).await;
    let not = ServingStatus::NotServing as i32;
    assert_eq!(serving(&server, &cluster, "").await.unwrap(), not);
    assert_eq!(serving(&server, &cluster, "keyclave.v1.KeyService").await.unwrap(), not);
    let unsealing = serving(&server, &cluster, "keyclave.v1.SealService").await.unwrap();
    assert_eq!(unsealing, ServingStatus::Serving as i32);
    let unknown = serving(&server, &cluster, "keyclave.peer.v1.RaftService").await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    // Whoever cannot be known is not told what there is.
    let refused = get(&server, &cluster, "/metrics", Some(&cluster.root_token)).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    within(Duration::from_secs(20), server.end()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptors_are_for_who_has_a_credential_and_their_reading_is_on_record() {
    let root = tempfile::tempdir().unwrap();
    let (servers, cluster) = support::cluster(root.path(), 0).await;
    let channel = channel(&format!("https://{}", servers[0].clients), &cluster.ca_pem).await;
    let reflect = async |token: Option<&str>| -> Result<Option<ServerReflectionResponse>, tonic::Status> {
        let asked = ServerReflectionRequest {
            message_request: Some(MessageRequest::ListServices(String::new())),
            ..Default::default()
        };
        let mut request = tonic::Request::new(tokio_stream::once(asked));
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let mut client = ServerReflectionClient::new(channel.clone());
        client.server_reflection_info(request).await?.into_inner().message().await
    };
    for wrong in [None, Some("x")] {
        assert_eq!(reflect(wrong).await.unwrap_err().code(), Code::Unauthenticated);
    }
    let answer = reflect(Some(&cluster.root_token)).await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(services)) = answer.message_response else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    assert!(names.iter().any(|name| name == "keyclave.v1.KeyService"), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("peer")), "{names:?}");
    let admin = servers[0].client(&cluster, Some(&cluster.root_token));
    assert_eq!(recorded(&admin, "Reflect").await, 3);
}
