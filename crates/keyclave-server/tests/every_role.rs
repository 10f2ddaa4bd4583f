//! Every RPC of the descriptor, called on the wire with a token of each role, of somebody without any and of one whose
//! roles end elsewhere: who is denied is what the table says. A new RPC without a row here fails the test.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use keyclave_proto::message::WireMessage;
use keyclave_proto::status::Details;
use keyclave_proto::v1;
use keyclave_types::ids::RequestId;
use keyclave_types::key::Algorithm;
use support::raw::{call, channel};
use support::{cluster, subject};

/// Who calls: a name, its roles, and the letter that stands for it in a row.
const CALLERS: [(&str, &[&str], char); 9] = [
    ("user:administrator", &["administrator"], 'A'),
    ("user:operator", &["operator"], 'O'),
    ("user:auditor", &["auditor"], 'U'),
    ("user:owner", &["key-owner"], 'K'),
    ("service:application", &["application"], 'P'),
    ("user:reader", &["reader"], 'R'),
    // Under the prefix of the key that everything here is about.
    ("service:inside", &["key-owner@app/", "application@app/", "reader@app/"], 'i'),
    // Under one that begins alike.
    ("service:beside", &["key-owner@app2/", "application@app2/", "reader@app2/"], 'b'),
    ("user:nobody", &[], 'n'),
];

/// Says no to every caller, because it is done on the machine.
const ON_THE_MACHINE: &str = "";
/// Says no to no caller.
const ANYONE: &str = "AOUKPRibn";

/// Whom the RPC does not deny.
fn row(path: &str) -> &'static str {
    let (_, method) = path.strip_prefix("/keyclave.v1.").unwrap().split_once('/').unwrap();
    match method {
        "GetSealStatus" | "SubmitShare" | "ResetCeremony" | "Join" | "Login" | "RenewToken" => ANYONE,
        "Init" | "GetCode" | "SealThisNode" => ON_THE_MACHINE,
        "Encrypt" | "Decrypt" | "BatchEncrypt" | "BatchDecrypt" => "APi",
        "CreateKey" | "UpdateKey" | "RotateKey" | "EnableKey" | "DisableKey" | "DestroyKeyVersion" => "AKi",
        "GetKey" | "ListKeys" => "AUKRi",
        "CreateToken" | "RevokeToken" | "RevokeCredentials" | "PutSubject" | "RemoveSubject" | "PutGroup"
        | "RemoveGroup" | "PutPolicy" | "RemovePolicy" | "PutClientRoot" | "RemoveClientRoot"
        | "PutIssuer" | "RemoveIssuer" | "PutIdentity" | "RemoveIdentity" => "A",
        "ListTokens" | "ListSubjects" | "ListGroups" | "GetPolicy" | "ListPolicies" | "Explain"
        | "WhoCan" | "Search" | "GetTrails" | "ListClientRoots" | "ListIssuers" | "ListIdentities" => "AU",
        "HoldTrail" | "ReleaseTrail" | "RetainTrail" | "AcknowledgeTrail" => "A",
        "GetClusterStatus" | "ListMembers" => "AOU",
        "SealNode" | "Admit" | "CreateJoinToken" | "RemoveMember" | "SetMemberAddress" | "StepDown"
        | "AcceptTime" => "AO",
        _ => panic!("{path} has no row"),
    }
}

/// A message that parses, and that changes nothing which the other calls need.
fn message(path: &str, request_id: Vec<u8>) -> Vec<u8> {
    let (_, method) = path.strip_prefix("/keyclave.v1.").unwrap().split_once('/').unwrap();
    let (key, absent) = ("app/k".to_owned(), "user:absent".to_owned());
    let (page_size, page_token, floor) = (0, String::new(), None);
    match method {
        "CreateKey" => {
            v1::CreateKeyRequest { name: key, algorithm: 1, request_id, ..Default::default() }.to_wire()
        }
        "GetKey" => v1::GetKeyRequest { name: key, floor }.to_wire(),
        "ListKeys" => {
            v1::ListKeysRequest { prefix: "app/".to_owned(), page_size, page_token, floor }.to_wire()
        }
        "UpdateKey" => {
            v1::UpdateKeyRequest { name: key, rules: Some(v1::KeyRules::default()), request_id, floor }
                .to_wire()
        }
        "RotateKey" => v1::RotateKeyRequest { name: key, request_id, floor }.to_wire(),
        "EnableKey" => v1::EnableKeyRequest { name: key, version: None, request_id, floor }.to_wire(),
        // A version that there is not.
        "DisableKey" => v1::DisableKeyRequest { name: key, version: Some(99), request_id, floor }.to_wire(),
        "DestroyKeyVersion" => {
            v1::DestroyKeyVersionRequest { name: key, version: 99, request_id, floor }.to_wire()
        }
        "Encrypt" => v1::EncryptRequest { key_name: key, ..Default::default() }.to_wire(),
        "Decrypt" => {
            v1::DecryptRequest { key_name: key, ciphertext: vec![1; 60], ..Default::default() }.to_wire()
        }
        "BatchEncrypt" => {
            let items = vec![v1::EncryptItem::default()];
            v1::BatchEncryptRequest { key_name: key, items, ..Default::default() }.to_wire()
        }
        "BatchDecrypt" => {
            let items = vec![v1::DecryptItem { ciphertext: vec![1; 60], ..Default::default() }];
            v1::BatchDecryptRequest { key_name: key, items, ..Default::default() }.to_wire()
        }
        "SealNode" => {
            let target = Some(v1::seal_node_request::Target::Node(99));
            v1::SealNodeRequest { target, request_id }.to_wire()
        }
        "Admit" => v1::AdmitRequest { node: 99, code: "A".repeat(25), request_id }.to_wire(),
        "CreateJoinToken" => v1::CreateJoinTokenRequest { request_id }.to_wire(),
        "RemoveMember" => v1::RemoveMemberRequest { node: 99, request_id }.to_wire(),
        "SetMemberAddress" => {
            let (peer_address, client_address) = ("h:1".to_owned(), "h:2".to_owned());
            v1::SetMemberAddressRequest { node: 99, peer_address, client_address, request_id }.to_wire()
        }
        "StepDown" => v1::StepDownRequest { to_node: Some(99) }.to_wire(),
        "AcceptTime" => v1::AcceptTimeRequest { time_unix_ms: 1, request_id }.to_wire(),
        "Search" => v1::SearchRequest::default().to_wire(),
        "GetTrails" => v1::GetTrailsRequest {}.to_wire(),
        "HoldTrail" => v1::HoldTrailRequest { reason: "a trial".to_owned(), request_id }.to_wire(),
        "ReleaseTrail" => v1::ReleaseTrailRequest { request_id }.to_wire(),
        "RetainTrail" => v1::RetainTrailRequest { keep_ms: None, request_id }.to_wire(),
        "AcknowledgeTrail" => v1::AcknowledgeTrailRequest { node: 99, request_id }.to_wire(),
        "CreateToken" => {
            v1::CreateTokenRequest { subject: absent, request_id, ..Default::default() }.to_wire()
        }
        "RevokeToken" => v1::RevokeTokenRequest { token_id: vec![9; 12], request_id, floor }.to_wire(),
        "RenewToken" => v1::RenewTokenRequest { request_id, floor }.to_wire(),
        // Parses, and is no certificate: told to whoever may put one.
        "PutClientRoot" => {
            let (name, certificates) = ("corp".to_owned(), vec![vec![1]]);
            v1::PutClientRootRequest { name, names: 1, certificates, request_id, floor }.to_wire()
        }
        "PutIssuer" => {
            let (issuer, audience) = ("https://ci".to_owned(), "keyclave".to_owned());
            let (name, algorithms) = ("ci".to_owned(), vec!["RS256".to_owned()]);
            let jwks = String::new();
            v1::PutIssuerRequest { name, issuer, audience, algorithms, jwks, request_id, floor }.to_wire()
        }
        "PutIdentity" => {
            let identity = "root:absent:a.example".to_owned();
            v1::PutIdentityRequest { identity, subject: absent, request_id, floor }.to_wire()
        }
        "RemoveClientRoot" => {
            v1::RemoveClientRootRequest { name: "absent".to_owned(), request_id, floor }.to_wire()
        }
        "RemoveIssuer" => v1::RemoveIssuerRequest { name: "absent".to_owned(), request_id, floor }.to_wire(),
        "RemoveIdentity" => {
            let identity = "root:absent:a.example".to_owned();
            v1::RemoveIdentityRequest { identity, request_id, floor }.to_wire()
        }
        "RevokeCredentials" => v1::RevokeCredentialsRequest { subject: absent, request_id, floor }.to_wire(),
        "PutSubject" => {
            let subject = "user:somebody".to_owned();
            v1::PutSubjectRequest { subject, request_id, ..Default::default() }.to_wire()
        }
        "RemoveSubject" => v1::RemoveSubjectRequest { subject: absent, request_id, floor }.to_wire(),
        "PutGroup" => {
            v1::PutGroupRequest { name: "some".to_owned(), request_id, ..Default::default() }.to_wire()
        }
        "RemoveGroup" => v1::RemoveGroupRequest { name: "absent".to_owned(), request_id, floor }.to_wire(),
        "PutPolicy" => {
            let text = "permit(principal, action, resource);".to_owned();
            v1::PutPolicyRequest { name: "p".to_owned(), text, request_id, floor }.to_wire()
        }
        "RemovePolicy" => v1::RemovePolicyRequest { name: "absent".to_owned(), request_id, floor }.to_wire(),
        "GetPolicy" => v1::GetPolicyRequest { name: "absent".to_owned(), floor }.to_wire(),
        "Explain" => {
            let (action, on) = ("encrypt".to_owned(), "app/k".to_owned());
            v1::ExplainRequest { subject: absent, action, on, floor }.to_wire()
        }
        "WhoCan" => {
            let (action, on) = ("encrypt".to_owned(), "app/k".to_owned());
            v1::WhoCanRequest { action, on, floor }.to_wire()
        }
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rpc_denies_whom_the_table_says_and_nobody_else() {
    let root = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(root.path(), 0).await;
    let channel = channel(&format!("https://{}", servers[0].clients), &founded.ca_pem).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    let key = "app/k".parse().unwrap();
    admin.create_key(&key, Algorithm::Xaes256Gcm, Default::default()).await.unwrap();
    let mut unique = 0_u64;
    for (name, roles, letter) in CALLERS {
        let who = subject(&admin, name, roles).await;
        let token = admin.create_token(&who, None).await.unwrap().value.text;
        let position = admin.list_members().await.unwrap().position;
        for rpc in keyclave_proto::client_rpcs() {
            unique += 1;
            let id = RequestId::at(position.index, unique.to_be_bytes()).as_bytes().to_vec();
            let answer = call(channel.clone(), rpc.path, Some(&token), message(rpc.path, id)).await;
            let reason = answer.err().map(|status| Details::of(&status).reason);
            let allowed = row(rpc.path).contains(letter);
            match reason.as_deref() {
                Some("DENIED") => assert!(!allowed, "{name} is denied {}", rpc.path),
                Some("LOCAL_ONLY") => assert_eq!(row(rpc.path), ON_THE_MACHINE, "{}", rpc.path),
                // It was asked rightly, and whether it is done or refused is another matter.
                other => {
                    assert!(allowed, "{name} is not denied {}: {other:?}", rpc.path);
                    let why = other.unwrap_or_default();
                    assert!(!["INVALID_FIELD", "REQUEST_ID_OLD"].contains(&why), "{}: {why}", rpc.path);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_outside_the_grammar_is_refused_before_anybody_is_asked_for_rights() {
    let root = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(root.path(), 0).await;
    let channel = channel(&format!("https://{}", servers[0].clients), &founded.ca_pem).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    let nobody = subject(&admin, "user:nobody", &[]).await;
    let nobody = admin.create_token(&nobody, None).await.unwrap().value.text;
    let position = admin.list_members().await.unwrap().position;
    let id = RequestId::at(position.index, [1; 8]).as_bytes().to_vec();
    for name in
        ["app/../k", "app//k", "app/%2fk", "app/\u{200b}k", "caf\u{e9}", "cafe\u{301}", "App/k", "", "$meta"]
    {
        let (name, request_id, floor) = (name.to_owned(), id.clone(), None);
        let calls: [(&'static str, Vec<u8>); 5] = [
            ("/keyclave.v1.KeyService/GetKey", v1::GetKeyRequest { name: name.clone(), floor }.to_wire()),
            (
                "/keyclave.v1.CryptoService/Encrypt",
                v1::EncryptRequest { key_name: name.clone(), ..Default::default() }.to_wire(),
            ),
            (
                "/keyclave.v1.KeyService/RotateKey",
                v1::RotateKeyRequest { name: name.clone(), request_id: request_id.clone(), floor }.to_wire(),
            ),
            (
                "/keyclave.v1.AccessService/RemoveGroup",
                v1::RemoveGroupRequest { name: name.clone(), request_id: request_id.clone(), floor }
                    .to_wire(),
            ),
            (
                "/keyclave.v1.AccessService/RemoveSubject",
                v1::RemoveSubjectRequest { subject: format!("user:{name}"), request_id, floor }.to_wire(),
            ),
        ];
        for (path, message) in calls {
            let status = call(channel.clone(), path, Some(&nobody), message).await.unwrap_err();
            assert_eq!(Details::of(&status).reason, "INVALID_FIELD", "{path} {name:?}: {status:?}");
        }
    }
    // The names of what every cluster has are names like others: they give nothing.
    for name in ["root", "administrator", "cluster"] {
        let message = v1::GetKeyRequest { name: name.to_owned(), floor: None }.to_wire();
        let status = call(channel.clone(), "/keyclave.v1.KeyService/GetKey", Some(&nobody), message).await;
        assert_eq!(Details::of(&status.unwrap_err()).reason, "DENIED", "{name}");
        let service = subject(&admin, &format!("service:{name}"), &[]).await;
        let token = admin.create_token(&service, None).await.unwrap().value.text;
        let client = servers[0].client(&founded, Some(&token));
        assert!(client.list_members().await.is_err(), "{name}");
    }
}
