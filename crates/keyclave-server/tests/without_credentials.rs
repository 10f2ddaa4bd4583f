//! Every RPC of the descriptor without a credential, with a wrong one, another cluster's, a revoked one and one whose
//! time is over: nothing is answered that the design does not list. A new RPC without a place here fails the test.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use keyclave_proto::status::Details;
use keyclave_types::access::Subject;
use keyclave_types::request::SubjectDescription;
use support::raw::{call, channel};
use support::{cluster, subject, within};
use tonic::Code;

/// What may be answered without a credential: their bodies say nothing, or are the credential.
const OPEN: [&str; 5] = [
    "/keyclave.v1.SealService/GetSealStatus",
    "/keyclave.v1.SealService/SubmitShare",
    "/keyclave.v1.SealService/ResetCeremony",
    "/keyclave.v1.ClusterService/Join",
    "/keyclave.v1.AccessService/Login",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_rpc_answers_without_a_valid_credential_but_those_that_must() {
    let root = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(root.path(), 0).await;
    let channel = channel(&format!("https://{}", servers[0].clients), &founded.ca_pem).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    let app = subject(&admin, "service:app", &["reader"]).await;
    let ended = admin.create_token(&app, None).await.unwrap().value;
    admin.revoke_token(ended.id).await.unwrap();
    // Another cluster's: good there, nothing here.
    let other_root = tempfile::tempdir().unwrap();
    let (_other_servers, other_cluster) = cluster(other_root.path(), 0).await;
    let brief = Some(Duration::from_secs(1));
    let over = admin.create_token(&app, brief).await.unwrap().value;
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
    // An id is in lists and in the trail; it is no secret, and no credential: alone, spelled, or before another secret.
    let (id, secret) = founded.root_token.split_at("kclo_".len() + 17);
    let spelled = keyclave_crypto::token::Token::parse(&founded.root_token).unwrap().id;
    let spelled: String = spelled.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let swapped = format!("{id}{}", other_cluster.root_token.split_at(id.len()).1);
    assert_ne!(swapped.split_at(id.len()).1, secret);
    let credentials = [
        None,
        Some(""),
        Some("x"),
        Some(long.as_str()),
        Some(flipped.as_str()),
        Some(ended.text.as_str()),
        Some(over.text.as_str()),
        Some(other_cluster.root_token.as_str()),
        Some(id),
        Some(spelled.as_str()),
        Some(swapped.as_str()),
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
async fn a_service_uses_its_keys_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(root.path(), 0).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    let app = subject(&admin, "service:app", &["key-owner@app/", "application@app/", "reader@app/"]).await;
    let token = admin.create_token(&app, None).await.unwrap().value;
    let service = servers[0].client(&founded, Some(&token.text));
    let key = "app/k".parse().unwrap();
    service.create_key(&key, keyclave_types::key::Algorithm::Aes256Gcm, Default::default()).await.unwrap();
    service.encrypt(&key, None, b"x", b"").await.unwrap();
    assert!(service.create_join_token().await.is_err());
    assert!(service.create_token(&app, None).await.is_err());
    assert!(service.list_members().await.is_err());
    assert!(service.put_subject(&all_for(&app)).await.is_err());
    assert!(service.explain(&app, "encrypt", "app/k").await.is_err());
    let other = "app2/k".parse().unwrap();
    admin.create_key(&other, keyclave_types::key::Algorithm::Xaes256Gcm, Default::default()).await.unwrap();
    // A key that is forbidden and one that does not exist are refused alike.
    let denied = service.encrypt(&other, None, b"x", b"").await.map(|_| ()).unwrap_err().to_string();
    let absent = service.encrypt(&"app3/k".parse().unwrap(), None, b"x", b"").await.map(|_| ()).unwrap_err();
    assert_eq!(denied, absent.to_string());
    let forbid =
        "forbid(principal == Service::\"app\", action == Action::\"encrypt\", resource in Prefix::\"app/\");";
    let stop = "stop".parse().unwrap();
    admin.put_policy(&stop, forbid).await.unwrap();
    assert!(service.encrypt(&key, None, b"x", b"").await.is_err());
    let why = admin.explain(&app, "encrypt", "app/k").await.unwrap().value;
    assert_eq!((why.allowed, why.by), (false, vec!["policy stop".to_owned()]));
    assert!(admin.put_policy(&stop, "permit(principal, action, resource);").await.is_err());
    admin.remove_policy(&stop).await.unwrap();
    service.encrypt(&key, None, b"x", b"").await.unwrap();
    let able = admin.who_can("encrypt", "app/k").await.unwrap().value;
    assert_eq!(
        able.iter().map(|able| able.subject.to_string()).collect::<Vec<_>>(),
        ["user:root", "service:app"]
    );
    assert!(service.search_audit(Default::default()).await.is_err());
    admin.revoke_token(token.id).await.unwrap();
    assert!(service.encrypt(&key, None, b"x", b"").await.is_err());
    let found = admin.search_audit(Default::default()).await.unwrap().value;
    let of_encrypt = |what: &str| {
        let mut records = found.records.iter().map(|record| &record.body_json);
        assert!(records.any(|body| body.contains("\"Encrypt\"") && body.contains(what)), "{what}: {found:?}");
    };
    // Why is for the trail, and was not for the caller.
    for decided_by in ["\"role application@app/\"", "\"policy stop\""] {
        of_encrypt(decided_by);
    }
}

/// What a subject would make of itself if it could.
fn all_for(subject: &Subject) -> SubjectDescription {
    let roles = BTreeSet::from(["administrator".parse().unwrap()]);
    SubjectDescription { subject: subject.clone(), roles, groups: BTreeSet::new() }
}
