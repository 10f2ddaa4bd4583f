//! Every RPC of the descriptor without a credential, with a wrong one, and with a revoked one: nothing is answered
//! that the design does not list. A new RPC without a place here fails the test.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;

use keyclave_client::dial::Dial;
use keyclave_proto::status::Details;
use support::cluster;
use tonic::Code;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// What may be answered without a credential: their bodies say nothing, or are the credential.
const OPEN: [&str; 4] = [
    "/keyclave.v1.SealService/GetSealStatus",
    "/keyclave.v1.SealService/SubmitShare",
    "/keyclave.v1.SealService/ResetCeremony",
    "/keyclave.v1.ClusterService/Join",
];

/// An empty message, whatever the method takes.
#[derive(Clone, Default)]
struct Empty;

impl Codec for Empty {
    type Encode = ();
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Empty {
    type Item = ();
    type Error = tonic::Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        Ok(())
    }
}

impl Decoder for Empty {
    type Item = ();
    type Error = tonic::Status;

    fn decode(&mut self, _: &mut DecodeBuf<'_>) -> Result<Option<()>, tonic::Status> {
        Ok(Some(()))
    }
}

async fn call(
    channel: tonic::transport::Channel,
    path: &'static str,
    credential: Option<&str>,
) -> Result<(), tonic::Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| tonic::Status::unknown(error.to_string()))?;
    let mut request = tonic::Request::new(());
    if let Some(credential) = credential {
        let value = format!("Bearer {credential}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let path = http::uri::PathAndQuery::from_static(path);
    grpc.unary(request, path, Empty).await.map(|_| ())
}

async fn channel(endpoint: &str, ca_pem: &str) -> tonic::transport::Channel {
    let dial = Arc::new(keyclave_client::dial::Tls::new(
        &keyclave_client::dial::Anchor::from_pem(ca_pem.as_bytes()).unwrap(),
    ));
    let endpoint: keyclave_client::endpoint::Endpoint = endpoint.parse().unwrap();
    let connect = tower::service_fn(move |_: http::Uri| {
        let dialling = dial.dial(&endpoint);
        async move { dialling.await.map(hyper_util::rt::TokioIo::new) }
    });
    tonic::transport::Endpoint::from_static("http://keyclave").connect_with_connector(connect).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_rpc_answers_without_a_valid_credential_but_those_that_must() {
    let root = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(root.path(), 0).await;
    let channel = channel(&format!("https://{}", servers[0].clients), &founded.ca_pem).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    let ended = admin.create_token(&"app".parse().unwrap(), None).await.unwrap().value;
    admin.revoke_token(ended.id).await.unwrap();
    let last = founded.root_token.chars().last().unwrap();
    let other = if last == '0' { '1' } else { '0' };
    let mut flipped = founded.root_token.to_string();
    flipped.pop();
    flipped.push(other);
    let credentials = [None, Some(""), Some("x"), Some(flipped.as_str()), Some(ended.text.as_str())];
    let mut walked = 0;
    for rpc in keyclave_proto::client_rpcs() {
        for credential in credentials {
            let answer = call(channel.clone(), rpc.path, credential).await;
            if OPEN.contains(&rpc.path) {
                // Open does not mean answered: an empty share or join token is refused for what it is.
                continue;
            }
            let status = answer.expect_err(rpc.path);
            let reason = Details::of(&status).reason;
            // Before anyone is told what is wrong with a message, or where a thing is done, they have a credential.
            assert_eq!(status.code(), Code::Unauthenticated, "{} with {credential:?}: {status:?}", rpc.path);
            assert_eq!(reason, "UNAUTHENTICATED", "{} with {credential:?}", rpc.path);
            walked += 1;
        }
    }
    assert!(walked > 100, "only {walked} calls were tried");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_token_uses_keys_and_operates_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(root.path(), 0).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    let token = admin.create_token(&"app".parse().unwrap(), None).await.unwrap().value;
    let service = servers[0].client(&founded, Some(&token.text));
    let key = "app/k".parse().unwrap();
    service.create_key(&key, keyclave_types::key::Algorithm::Aes256Gcm, Default::default()).await.unwrap();
    service.encrypt(&key, None, b"x", b"").await.unwrap();
    assert!(service.create_join_token().await.is_err());
    assert!(service.create_token(&"other".parse().unwrap(), None).await.is_err());
    assert!(service.list_members().await.is_err());
    assert!(service.search_audit(Default::default()).await.is_err());
    admin.revoke_token(token.id).await.unwrap();
    assert!(service.encrypt(&key, None, b"x", b"").await.is_err());
    let found = admin.search_audit(Default::default()).await.unwrap().value;
    assert!(found.records.iter().any(|record| record.body_json.contains("\"Encrypt\"")), "{found:?}");
}
