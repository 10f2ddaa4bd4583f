//! Walks the descriptors: the promises that every RPC and message of `proto/` keeps, so that the next one does too.

use keyclave_proto::{FILE_DESCRIPTOR_SET, RPCS, client_rpcs, peer_rpcs};
use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};

fn files() -> Vec<FileDescriptorProto> {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("build.rs encoded it").file
}

fn message(name: &str) -> DescriptorProto {
    let short = name.strip_prefix(".keyclave.v1.").expect("all messages are the package's own");
    let mut all = files().into_iter().flat_map(|file| file.message_type);
    all.find(|message| message.name() == short).expect("the compiler resolved it")
}

fn field(message: &DescriptorProto, name: &str) -> Option<i32> {
    message.field.iter().find(|field| field.name() == name).map(|field| field.number())
}

#[test]
fn requests_and_responses_are_named_after_their_rpc() {
    for file in files() {
        for service in &file.service {
            assert!(service.name().ends_with("Service"), "{}", service.name());
            for method in &service.method {
                let name = method.name();
                assert_eq!(method.input_type(), format!(".keyclave.v1.{name}Request"));
                assert_eq!(method.output_type(), format!(".keyclave.v1.{name}Response"));
            }
        }
    }
}

#[test]
fn every_answer_carries_its_position() {
    for file in files() {
        for method in file.service.iter().flat_map(|service| &service.method) {
            // A code is about a process and there may be no ledger yet.
            let expected = if method.name() == "GetCode" { None } else { Some(1) };
            assert_eq!(field(&message(method.output_type()), "position"), expected, "{}", method.name());
        }
    }
}

#[test]
fn floors_and_request_ids_have_one_number() {
    for file in files() {
        for method in file.service.iter().flat_map(|service| &service.method) {
            let request = message(method.input_type());
            assert!(field(&request, "floor").is_none_or(|number| number == 15), "{}", request.name());
            assert!(field(&request, "request_id").is_none_or(|number| number == 14), "{}", request.name());
        }
    }
}

#[test]
fn lists_have_page_tokens() {
    for file in files() {
        for method in file.service.iter().flat_map(|service| &service.method) {
            let lists = method.name().starts_with("List") || method.name() == "Search";
            // A cluster has at most seven members.
            if lists && method.name() != "ListMembers" {
                assert!(field(&message(method.input_type()), "page_token").is_some(), "{}", method.name());
                assert!(
                    field(&message(method.output_type()), "next_page_token").is_some(),
                    "{}",
                    method.name()
                );
            }
        }
    }
}

#[test]
fn no_enum_means_something_by_being_absent() {
    for file in files() {
        for named in &file.enum_type {
            let prefix = screaming(named.name());
            for value in &named.value {
                assert!(value.name().starts_with(&format!("{prefix}_")), "{}", value.name());
            }
            let zero = named.value.iter().find(|value| value.number() == 0);
            assert_eq!(zero.map(|value| value.name().to_owned()), Some(format!("{prefix}_UNSPECIFIED")));
        }
    }
}

#[test]
fn everything_is_documented() {
    for file in files() {
        let info = file.source_code_info.as_ref().expect("protox keeps comments");
        let documented = |path: &[i32]| {
            info.location.iter().any(|at| at.path == path && !at.leading_comments().trim().is_empty())
        };
        for (at, message) in (0..).zip(&file.message_type) {
            assert!(documented(&[4, at]), "{}", message.name());
            for (number, field) in (0..).zip(&message.field) {
                assert!(documented(&[4, at, 2, number]), "{}.{}", message.name(), field.name());
            }
        }
        for (at, service) in (0..).zip(&file.service) {
            for (number, method) in (0..).zip(&service.method) {
                assert!(documented(&[6, at, 2, number]), "{}.{}", service.name(), method.name());
            }
        }
    }
}

#[test]
fn the_list_of_rpcs_is_the_descriptors_own() {
    let walked: Vec<String> = files()
        .iter()
        .flat_map(|file| {
            file.service.iter().flat_map(|service| {
                let of = |method: &str| format!("/keyclave.v1.{}/{method}", service.name());
                service.method.iter().map(|method| of(method.name())).collect::<Vec<_>>()
            })
        })
        .collect();
    let listed: Vec<String> = client_rpcs().map(|rpc| rpc.path.to_owned()).collect();
    assert_eq!(listed.len(), walked.len());
    assert!(walked.iter().all(|path| listed.contains(path)));
    assert_eq!(client_rpcs().count() + peer_rpcs().count(), RPCS.len());
    assert!(peer_rpcs().count() > 0);
}

fn screaming(camel: &str) -> String {
    let mut text = String::new();
    for (at, character) in camel.chars().enumerate() {
        if at > 0 && character.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(character.to_ascii_uppercase());
    }
    text
}
