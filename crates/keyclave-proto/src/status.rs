//! Refusals on the wire: a gRPC status whose details are `google.rpc.ErrorInfo` and, for a wrong field,
//! `google.rpc.BadRequest`; and the way back for the client.
//!
//! The three google.rpc messages are written by hand from their definitions in googleapis, so that no copy of
//! those files is needed.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

use crate::reason::Reason;
use crate::request::Invalid;

/// The domain of every `ErrorInfo` of ours.
pub const DOMAIN: &str = "keyclave";
/// The entry of `ErrorInfo.metadata` that holds the ledger's position.
pub const POSITION_KEY: &str = "position";

/// Bytes of details that are read; a status travels in HTTP/2 headers, so an honest one is smaller.
const DETAILS_BYTES_MAX: usize = 16 * 1024;
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// A refusal: the reason's code, a text for people, and `ErrorInfo { reason, domain, metadata }`.
///
/// `metadata` holds what a program may need (the position, the leader's number), never a secret.
pub fn status(reason: Reason, message: &str, metadata: BTreeMap<String, String>) -> Status {
    with_details(reason, message, vec![error_info(reason, metadata)])
}

impl From<&Invalid> for Status {
    fn from(invalid: &Invalid) -> Self {
        let violation =
            FieldViolation { field: invalid.field.clone(), description: invalid.cause.to_string() };
        let bad_request = Any {
            type_url: BAD_REQUEST.to_owned(),
            value: BadRequest { violations: vec![violation] }.encode_to_vec(),
        };
        let reason = Reason::InvalidField;
        with_details(reason, &invalid.to_string(), vec![error_info(reason, BTreeMap::new()), bad_request])
    }
}

impl From<Invalid> for Status {
    fn from(invalid: Invalid) -> Self {
        Self::from(&invalid)
    }
}

/// What a status says beyond its code and text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Details {
    /// The reason's text; empty if the status came from no Keyclave server, but from a proxy or the transport.
    pub reason: String,
    /// `ErrorInfo.metadata`.
    pub metadata: BTreeMap<String, String>,
    /// The wrong fields and what is wrong with each.
    pub violations: Vec<(String, String)>,
}

impl Details {
    /// Reads them. Details that cannot be read, or are of another domain, are as if absent.
    pub fn of(status: &Status) -> Self {
        let mut found = Self::default();
        let bytes = status.details();
        if bytes.len() > DETAILS_BYTES_MAX {
            return found;
        }
        let Ok(rpc_status) = RpcStatus::decode(bytes) else { return found };
        for detail in rpc_status.details {
            if detail.type_url == ERROR_INFO {
                if let Ok(info) = ErrorInfo::decode(detail.value.as_slice())
                    && info.domain == DOMAIN
                {
                    found.reason = info.reason;
                    found.metadata = info.metadata;
                }
            } else if detail.type_url == BAD_REQUEST
                && let Ok(bad) = BadRequest::decode(detail.value.as_slice())
            {
                found.violations = bad.violations.into_iter().map(|v| (v.field, v.description)).collect();
            }
        }
        found
    }

    /// The reason, if there is one that this version knows.
    pub fn known_reason(&self) -> Option<Reason> {
        self.reason.parse().ok()
    }
}

/// The refusal as bytes, for the peers' forwarding of an answer.
pub fn encode_status(status: &Status) -> Vec<u8> {
    let mut encoded = RpcStatus::decode(status.details()).unwrap_or_default();
    encoded.code = status.code().into();
    status.message().clone_into(&mut encoded.message);
    encoded.encode_to_vec()
}

/// A refusal that a peer forwarded; INTERNAL if the bytes are none.
pub fn decode_status(bytes: &[u8]) -> Status {
    match RpcStatus::decode(bytes) {
        Ok(read) if read.code != 0 => {
            Status::with_details(Code::from(read.code), read.message, bytes.to_vec().into())
        }
        Ok(_) | Err(_) => status(Reason::Internal, "the leader's refusal could not be read", BTreeMap::new()),
    }
}

fn error_info(reason: Reason, metadata: BTreeMap<String, String>) -> Any {
    let info = ErrorInfo { reason: reason.as_str().to_owned(), domain: DOMAIN.to_owned(), metadata };
    Any { type_url: ERROR_INFO.to_owned(), value: info.encode_to_vec() }
}

fn with_details(reason: Reason, message: &str, details: Vec<Any>) -> Status {
    let code = reason.code();
    let rpc_status = RpcStatus { code: code.into(), message: message.to_owned(), details };
    Status::with_details(code, message, rpc_status.encode_to_vec().into())
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

/// `google.rpc.BadRequest`.
#[derive(Clone, PartialEq, Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    violations: Vec<FieldViolation>,
}

/// `google.rpc.BadRequest.FieldViolation`.
#[derive(Clone, PartialEq, Message)]
struct FieldViolation {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::request::Cause;

    fn position() -> BTreeMap<String, String> {
        BTreeMap::from([(POSITION_KEY.to_owned(), "1.45".to_owned())])
    }

    #[test]
    fn golden_details_stay() {
        let status = status(Reason::NodeSealed, "sealed", position());
        assert_eq!(status.code(), Code::Unavailable);
        let mut golden = b"\x08\x0e\x12\x06sealed\x1a\x55".to_vec();
        golden.extend_from_slice(b"\x0a\x28type.googleapis.com/google.rpc.ErrorInfo\x12\x29");
        golden.extend_from_slice(b"\x0a\x0bNODE_SEALED\x12\x08keyclave\x1a\x10\x0a\x08position\x12\x041.45");
        assert_eq!(String::from_utf8_lossy(status.details()), String::from_utf8_lossy(&golden));
    }

    #[test]
    fn a_refusal_reads_back() {
        let details = Details::of(&status(Reason::KeyNotFound, "no such key", position()));
        assert_eq!(details.known_reason(), Some(Reason::KeyNotFound));
        assert_eq!(details.metadata, position());
        assert!(details.violations.is_empty());
    }

    #[test]
    fn a_wrong_field_is_named() {
        let invalid = Invalid { field: "items[3].plaintext".to_owned(), cause: Cause::Missing };
        let status = Status::from(invalid);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "items[3].plaintext: must be given");
        let details = Details::of(&status);
        assert_eq!(details.known_reason(), Some(Reason::InvalidField));
        assert_eq!(details.violations, [("items[3].plaintext".to_owned(), "must be given".to_owned())]);
    }

    #[test]
    fn another_domain_gives_no_reason() {
        let info =
            ErrorInfo { reason: "NODE_SEALED".to_owned(), domain: "other".to_owned(), ..Default::default() };
        let any = Any { type_url: ERROR_INFO.to_owned(), value: info.encode_to_vec() };
        let foreign = with_details(Reason::Internal, "", vec![any]);
        assert_eq!(Details::of(&foreign), Details::default());
        assert_eq!(Details::of(&Status::unavailable("a proxy's")), Details::default());
    }

    #[test]
    fn a_refusal_survives_forwarding() {
        let original = status(Reason::KeyExists, "taken", position());
        let forwarded = decode_status(&encode_status(&original));
        assert_eq!(forwarded.code(), original.code());
        assert_eq!(forwarded.message(), original.message());
        assert_eq!(Details::of(&forwarded), Details::of(&original));
        assert_eq!(decode_status(b"").code(), Code::Internal);
        assert_eq!(decode_status(b"\xff\xff").code(), Code::Internal);
    }

    proptest! {
        #[test]
        fn no_details_panic(bytes: Vec<u8>) {
            let _ = Details::of(&Status::with_details(Code::Internal, "", bytes.clone().into()));
            prop_assert_ne!(decode_status(&bytes).code(), Code::Ok);
        }
    }
}
