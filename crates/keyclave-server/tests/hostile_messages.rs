//! Messages that no honest client sends, with a valid credential, to every RPC of the descriptor: each is refused with
//! a standard code, nothing is done, and the next honest call is answered.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod support;

use keyclave_client::Client;
use keyclave_client::audit::AuditQuery;
use keyclave_proto::FILE_DESCRIPTOR_SET;
use keyclave_proto::reason::Reason;
use keyclave_proto::status::Details;
use keyclave_types::key::Algorithm;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use support::cluster;
use support::raw::{call, call_with, channel};
use tonic::Code;

/// Codes that tell a caller that it was the caller's fault.
const REFUSED: [Code; 5] = [
    Code::InvalidArgument,
    Code::Unauthenticated,
    Code::PermissionDenied,
    Code::OutOfRange,
    Code::FailedPrecondition,
];

fn request_of(method: &str) -> DescriptorProto {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
    let name = format!("{method}Request");
    files.into_iter().flat_map(|file| file.message_type).find(|message| message.name() == name).unwrap()
}

fn varint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push((number as u8 & 0x7f) | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn bytes_field(number: i32, bytes: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    varint((number as u64) << 3 | 2, &mut field);
    varint(bytes.len() as u64, &mut field);
    field.extend_from_slice(bytes);
    field
}

/// Bytes that are no message of a method with these fields.
fn malformed(fields: &[FieldDescriptorProto]) -> Vec<Vec<u8>> {
    let mut messages = vec![
        // A field that is longer than what is left, one without its length, a number without its end, number zero.
        vec![0x0a, 0x7f, b'x'],
        vec![0x0a],
        vec![0x08, 0xff, 0xff, 0xff],
        vec![0x02, 0x00],
        // Eleven bytes of a number, and a length that overflows.
        [&[0x08][..], &[0xff; 11]].concat(),
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        // Ten thousand groups inside each other, and groups that end before they begin.
        vec![0x7b; 10_000],
        vec![0x7c; 10],
    ];
    for field in fields {
        // Every field with each wire type that is not its own.
        let own = match field.r#type() {
            Type::String | Type::Bytes | Type::Message => 2,
            Type::Double | Type::Fixed64 | Type::Sfixed64 => 1,
            Type::Float | Type::Fixed32 | Type::Sfixed32 => 5,
            _ => 0,
        };
        let packs = field.label() == Label::Repeated && own != 2;
        for wrong in [0_u64, 1, 2, 5, 6, 7].into_iter().filter(|wire| *wire != own && !(packs && *wire == 2))
        {
            let mut message = Vec::new();
            varint((field.number() as u64) << 3 | wrong, &mut message);
            message.extend_from_slice(&[1; 16]);
            messages.push(message);
        }
        if field.r#type() == Type::String {
            messages.push(bytes_field(field.number(), b"\xff\xfe"));
        }
        if field.r#type() == Type::Message {
            messages.push(bytes_field(field.number(), &[0x7b; 10_000]));
        }
    }
    messages
}

async fn still_answers(admin: &Client) {
    admin.encrypt(&"app/k".parse().unwrap(), None, b"x", b"").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_message_are_refused_by_every_rpc() {
    let root = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(root.path(), 0).await;
    let channel = channel(&format!("https://{}", servers[0].clients), &founded.ca_pem).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    admin.create_key(&"app/k".parse().unwrap(), Algorithm::Xaes256Gcm, Default::default()).await.unwrap();
    let token = Some(founded.root_token.as_str());
    let mut tried = 0;
    for rpc in keyclave_proto::client_rpcs() {
        for message in malformed(&request_of(rpc.method).field) {
            let shown: Vec<u8> = message.iter().take(24).copied().collect();
            let refused = call(channel.clone(), rpc.path, token, message).await;
            let status = refused.expect_err(&format!("{} took {shown:02x?}", rpc.path));
            assert!(REFUSED.contains(&status.code()), "{} on {shown:02x?}: {status:?}", rpc.path);
            assert!(status.message().len() < 1024, "{}: {status:?}", rpc.path);
            tried += 1;
        }
    }
    assert!(tried > 500, "only {tried} messages were tried");
    still_answers(&admin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_its_limit_is_refused_and_one_just_below_is_looked_at() {
    let root = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(root.path(), 0).await;
    let channel = channel(&format!("https://{}", servers[0].clients), &founded.ca_pem).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    admin.create_key(&"app/k".parse().unwrap(), Algorithm::Xaes256Gcm, Default::default()).await.unwrap();
    let token = Some(founded.root_token.as_str());
    for (path, open, bytes_max) in [
        ("/keyclave.v1.CryptoService/Encrypt", false, 8 * 1024 * 1024),
        ("/keyclave.v1.KeyService/GetKey", false, 256 * 1024),
        ("/keyclave.v1.SealService/SubmitShare", true, 64 * 1024 - 5),
    ] {
        // An unknown field of that length, which is skipped.
        let of = |bytes: usize| bytes_field(1_000, &vec![7; bytes]);
        let head = of(bytes_max).len() - bytes_max;
        let over = call(channel.clone(), path, token, of(bytes_max - head + 1)).await.unwrap_err();
        let below = call(channel.clone(), path, token, of(bytes_max - head)).await.unwrap_err();
        assert_eq!(over.code(), Code::ResourceExhausted, "{path}: {over:?}");
        assert_eq!(Details::of(&over).known_reason(), Some(Reason::MessageMax), "{path}: {over:?}");
        // Without its share there is nobody whose message would be looked at.
        let reason = if open { Reason::Unauthenticated } else { Reason::InvalidField };
        assert_eq!(Details::of(&below).known_reason(), Some(reason), "{path}: {below:?}");
    }
    still_answers(&admin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_does_not_reach_its_operation_is_on_record_like_any_other() {
    let root = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(root.path(), 0).await;
    let channel = channel(&format!("https://{}", servers[0].clients), &founded.ca_pem).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    let root_token = Some(founded.root_token.as_str());
    let gzip: &[_] = &[("grpc-encoding", "gzip")];
    let large = bytes_field(1_000, &vec![7; 9 * 1024 * 1024]);
    let cut = vec![0x0a, 0x7f, b'x'];
    let encrypt = "/keyclave.v1.CryptoService/Encrypt";
    let get_key = "/keyclave.v1.KeyService/GetKey";
    let submit_share = "/keyclave.v1.SealService/SubmitShare";
    for (path, credential, headers, message, code, operation, outcome) in [
        (encrypt, root_token, &[][..], large.clone(), Code::ResourceExhausted, "Encrypt", "MESSAGE_MAX"),
        (encrypt, root_token, gzip, Vec::new(), Code::Unimplemented, "Encrypt", "OTHER"),
        (get_key, root_token, &[], cut.clone(), Code::InvalidArgument, "GetKey", "INVALID_FIELD"),
        (get_key, root_token, &[], large.clone(), Code::ResourceExhausted, "GetKey", "MESSAGE_MAX"),
        ("/keyclave.v1.KeyService/Get", root_token, &[], Vec::new(), Code::Unimplemented, "Unknown", "OTHER"),
        ("/no/such", root_token, &[], Vec::new(), Code::Unimplemented, "Unknown", "OTHER"),
        ("/no/such", None, &[], Vec::new(), Code::Unauthenticated, "Unknown", "UNAUTHENTICATED"),
        (submit_share, None, &[], cut, Code::InvalidArgument, "SubmitShare", "INVALID_FIELD"),
        (submit_share, None, &[], large, Code::ResourceExhausted, "SubmitShare", "MESSAGE_MAX"),
        (submit_share, None, gzip, Vec::new(), Code::Unimplemented, "SubmitShare", "OTHER"),
    ] {
        let on_record = async || {
            let query = AuditQuery { operation: Some(operation.to_owned()), ..Default::default() };
            let found = admin.search_audit(query).await.unwrap().value.records;
            let such = found.iter().filter(|record| record.outcome == outcome);
            such.filter(|record| record.body_json.contains("nobody") == credential.is_none()).count()
        };
        let before = on_record().await;
        let refused = call_with(channel.clone(), path, credential, headers, message).await.unwrap_err();
        assert_eq!(refused.code(), code, "{path}: {refused:?}");
        assert_eq!(on_record().await, before + 1, "{path}: {outcome}");
    }
}

/// Names outside the one grammar.
fn hostile_names() -> Vec<String> {
    let deep = ["a"; 9].join("/");
    let texts = [
        "..",
        ".",
        "/",
        "//",
        "a//b",
        "/a",
        "a/",
        "%2f",
        "a%2fb",
        "a/../b",
        "a\0b",
        "\0",
        ".a",
        "a/.b",
        "a.",
        "a./b",
        "-a",
        "_a",
        "a b",
        " a",
        "a ",
        "a\nb",
        "a\x1b[31mb",
        "A",
        "App/K",
        "app/K",
        "\u{202e}ppa",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{430}pp",
        "\u{feff}a",
        "a\u{200b}b",
        "\u{ff0f}",
        "a\\b",
        "*",
        "a*",
        "~",
        "$meta",
    ];
    let mut names: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    names.extend([deep, "a".repeat(65), "a".repeat(64 * 1024), "a/".repeat(32 * 1024)]);
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_outside_the_grammar_is_refused_wherever_one_is_taken_and_not_repeated() {
    let root = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(root.path(), 0).await;
    let channel = channel(&format!("https://{}", servers[0].clients), &founded.ca_pem).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    admin.create_key(&"app/k".parse().unwrap(), Algorithm::Xaes256Gcm, Default::default()).await.unwrap();
    let token = Some(founded.root_token.as_str());
    let (mut names, mut texts) = (0, 0);
    for rpc in keyclave_proto::client_rpcs() {
        let request = request_of(rpc.method);
        let id = request.field.iter().find(|field| field.name() == "request_id");
        for field in request.field.iter().filter(|field| field.r#type() == Type::String) {
            for name in hostile_names() {
                if field.name() == "prefix" && name == "a/" {
                    continue; // The one thing that ends a prefix and no name.
                }
                let mut message = bytes_field(field.number(), name.as_bytes());
                if let Some(items) = request.field.iter().find(|field| field.name() == "items") {
                    message.extend(bytes_field(items.number(), &bytes_field(1, &[1; 64])));
                }
                message.extend(id.map(|id| bytes_field(id.number(), &[0; 16])).unwrap_or_default());
                let answer = call(channel.clone(), rpc.path, token, message).await;
                let shown = format!("{} {}={:?}", rpc.path, field.name(), name.get(..20).unwrap_or(&name));
                if ["name", "key_name", "prefix"].contains(&field.name()) {
                    let status = answer.err().unwrap_or_else(|| panic!("{shown} was taken"));
                    assert_eq!(status.code(), Code::InvalidArgument, "{shown}: {status:?}");
                    let violations = Details::of(&status).violations;
                    assert_eq!(violations.first().map(|(at, _)| at.as_str()), Some(field.name()), "{shown}");
                    names += 1;
                } else if let Err(status) = answer {
                    // Other texts may have other grammars; none breaks anything.
                    let broken = [Code::Internal, Code::Unknown, Code::Unavailable, Code::DataLoss];
                    assert!(!broken.contains(&status.code()), "{shown}: {status:?}");
                    assert!(status.message().len() < 1024, "{shown}");
                    assert!(!status.message().chars().any(char::is_control), "{shown}: {status:?}");
                    texts += 1;
                }
            }
        }
    }
    assert!(names > 500 && texts > 100, "only {names} names and {texts} texts were refused");
    let listed = admin.list_keys(&"".parse().unwrap(), 0, None).await.unwrap().value;
    assert_eq!(listed.keys.len(), 1, "nothing was made: {listed:?}");
    still_answers(&admin).await;
}
