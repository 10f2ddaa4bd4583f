//! Every RPC of the descriptor without a credential, with a wrong one, another cluster's, a revoked one and one whose
//! time is over: nothing is answered that the design does not list. A new RPC without a place here fails the test.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use keyclave_proto::status::Details;
use support::raw::{call, channel};
use support::{cluster, within};
use tonic::Code;

/// What may be answered without a credential: their bodies say nothing, or are the credential.
const OPEN: [&str; 4] = [
    "/keyclave.v1.SealService/GetSealStatus",
    "/keyclave.v1.SealService/SubmitShare",
    "/keyclave.v1.SealService/ResetCeremony",
    "/keyclave.v1.ClusterService/Join",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_rpc_answers_without_a_valid_credential_but_those_that_must() {
    let root = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(root.path(), 0).await;
    let channel = channel(&format!("https://{}", servers[0].clients), &founded.ca_pem).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    let ended = admin.create_token(&"app".parse().unwrap(), None).await.unwrap().value;
    admin.revoke_token(ended.id).await.unwrap();
    // Another cluster's: good there, nothing here.
    let other_root = tempfile::tempdir().unwrap();
    let (_other_servers, other_cluster) = cluster(other_root.path(), 0).await;
    let brief = Some(Duration::from_secs(1));
    let over = admin.create_token(&"app".parse().unwrap(), brief).await.unwrap().value;
    within(Duration::from_secs(20), async {
        while servers[0]
            .client(&founded, Some(&over.text))
            .list_keys(&"".parse().unwrap(), 0, None)
            .await
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let last = founded.root_token.chars().last().unwrap();
    let other = if last == '0' { '1' } else { '0' };
    let mut flipped = founded.root_token.to_string();
    flipped.pop();
    flipped.push(other);
    let long = "k".repeat(9 * 1024);
    let credentials = [
        None,
        Some(""),
        Some("x"),
        Some(long.as_str()),
        Some(flipped.as_str()),
        Some(ended.text.as_str()),
        Some(over.text.as_str()),
        Some(other_cluster.root_token.as_str()),
    ];
    let mut walked = 0;
    for rpc in keyclave_proto::client_rpcs() {
        for credential in credentials {
            let answer = call(channel.clone(), rpc.path, credential, Vec::new()).await;
            if OPEN.contains(&rpc.path) {
                // Open does not mean answered: an empty share or join token is no credential either.
                assert!(keyclave_proto::answers_anyone(rpc.path), "{}", rpc.path);
                if !rpc.path.ends_with("/GetSealStatus") {
                    let status = answer.expect_err(rpc.path);
                    assert_eq!(status.code(), Code::Unauthenticated, "{}: {status:?}", rpc.path);
                }
                continue;
            }
            let status = answer.expect_err(rpc.path);
            assert!(!keyclave_proto::answers_anyone(rpc.path), "{}", rpc.path);
            let reason = Details::of(&status).reason;
            // Before anyone is told what is wrong with a message, or where a thing is done, they have a credential.
            assert_eq!(status.code(), Code::Unauthenticated, "{} with {credential:?}: {status:?}", rpc.path);
            assert_eq!(reason, "UNAUTHENTICATED", "{} with {credential:?}", rpc.path);
            walked += 1;
        }
    }
    assert!(walked > 160, "only {walked} calls were tried");
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
