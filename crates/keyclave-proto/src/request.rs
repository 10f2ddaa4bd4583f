//! Requests, from the wire into the domain: each `TryFrom` either gives a value that cannot be wrong or names the
//! field that is.
//!
//! Called by keyclave-server before authorisation. Deliberately absent: credentials, and anything that depends on
//! what the ledger holds.

mod access;
mod audit;
pub(crate) mod cluster;
mod crypto;
pub(crate) mod field;
mod identity;
pub(crate) mod key;
mod seal;

use keyclave_types::access::{RoleGrantError, SubjectError};
use keyclave_types::ciphertext::CiphertextError;
use keyclave_types::identity::{AddressRangeError, IdentityError, JwtAlgorithmError};
use keyclave_types::member::HostPortError;
use keyclave_types::name::NameError;
use keyclave_types::position::Position;
use keyclave_types::request::NodeCodeError;
use keyclave_types::seal::ThresholdError;

pub use audit::AuditSearch;
pub use cluster::{AdmissionPolicy, Init, Join, StepDown};
pub use seal::{EncryptedShare, ResetCeremony, SubmitShare};

use crate::page::PageTokenError;

/// A parsed request, and the oldest state that may answer it.
#[derive(Clone, Debug)]
pub struct Asked<T> {
    /// What is asked.
    pub request: T,
    /// The caller's floor.
    pub floor: Option<Position>,
}

/// Why a message is not a request (or, at the client, not an answer).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {cause}")]
pub struct Invalid {
    /// The field, as a path in the message: `items[3].plaintext`.
    pub field: String,
    /// What is wrong with it.
    pub cause: Cause,
}

/// What is wrong with a field. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// Nothing there.
    #[error("must be given")]
    Missing,
    /// Something there that excludes another field.
    #[error("must not be given together with {other}")]
    Excluded {
        /// The other field.
        other: &'static str,
    },
    /// Another number of bytes.
    #[error("must be {expected} bytes, found {found}")]
    Bytes {
        /// The number it must be.
        expected: usize,
        /// The number found.
        found: usize,
    },
    /// Too many bytes.
    #[error("must be at most {most} bytes, found {found}")]
    Long {
        /// The largest number.
        most: usize,
        /// The number found.
        found: usize,
    },
    /// Too few or too many items.
    #[error("must be 1 to {most} items, found {found}")]
    Items {
        /// The largest number.
        most: usize,
        /// The number found.
        found: usize,
    },
    /// A number outside its range.
    #[error("must be from {least} to {most}, found {found}")]
    Range {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
        /// The number found.
        found: u64,
    },
    /// A number that the enum has no value for.
    #[error("{found} is not a known value")]
    Value {
        /// The number found.
        found: i32,
    },
    /// Not a key's name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Not `host:port`.
    #[error(transparent)]
    Address(#[from] HostPortError),
    /// Not a node's code.
    #[error(transparent)]
    Code(#[from] NodeCodeError),
    /// Not a threshold.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
    /// Not a page token of this list.
    #[error(transparent)]
    PageToken(#[from] PageTokenError),
    /// Not a ciphertext.
    #[error(transparent)]
    Ciphertext(#[from] CiphertextError),
    /// Not a subject.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// Not a role and where it holds.
    #[error(transparent)]
    Role(#[from] RoleGrantError),
    /// Not an identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Not an algorithm of JWTs that is verified.
    #[error(transparent)]
    Algorithm(#[from] JwtAlgorithmError),
    /// Not a range of addresses.
    #[error(transparent)]
    Addresses(#[from] AddressRangeError),
}

#[cfg(test)]
mod tests {
    use keyclave_types::request::{Read, Write};
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::v1;

    /// Every message that is parsed, as `parse!(bytes)`; a request that is missing here is in no property below.
    macro_rules! parse_all {
        ($bytes:expr, $($message:ident => $parsed:ty),+ $(,)?) => {
            $(if let Ok(message) = v1::$message::decode($bytes) {
                let _ = <$parsed>::try_from(message);
            })+
        };
    }

    fn parse_everything(bytes: &[u8]) {
        parse_all!(bytes,
            CreateKeyRequest => Asked<Write>,
            UpdateKeyRequest => Asked<Write>,
            RotateKeyRequest => Asked<Write>,
            EnableKeyRequest => Asked<Write>,
            DisableKeyRequest => Asked<Write>,
            DestroyKeyVersionRequest => Asked<Write>,
            GetKeyRequest => Asked<Read>,
            ListKeysRequest => Asked<Read>,
            EncryptRequest => Asked<Read>,
            DecryptRequest => Asked<Read>,
            BatchEncryptRequest => Asked<Read>,
            BatchDecryptRequest => Asked<Read>,
            CreateTokenRequest => Asked<Write>,
            RevokeTokenRequest => Asked<Write>,
            ListTokensRequest => Asked<Read>,
            PutSubjectRequest => Asked<Write>,
            RemoveSubjectRequest => Asked<Write>,
            RevokeCredentialsRequest => Asked<Write>,
            ListSubjectsRequest => Asked<Read>,
            PutGroupRequest => Asked<Write>,
            RemoveGroupRequest => Asked<Write>,
            ListGroupsRequest => Asked<Read>,
            PutPolicyRequest => Asked<Write>,
            RemovePolicyRequest => Asked<Write>,
            GetPolicyRequest => Asked<Read>,
            ListPoliciesRequest => Asked<Read>,
            ExplainRequest => Asked<Read>,
            WhoCanRequest => Asked<Read>,
            RenewTokenRequest => Asked<Write>,
            PutClientRootRequest => Asked<Write>,
            RemoveClientRootRequest => Asked<Write>,
            ListClientRootsRequest => Asked<Read>,
            PutIssuerRequest => Asked<Write>,
            RemoveIssuerRequest => Asked<Write>,
            ListIssuersRequest => Asked<Read>,
            PutIdentityRequest => Asked<Write>,
            RemoveIdentityRequest => Asked<Write>,
            ListIdentitiesRequest => Asked<Read>,
            SearchRequest => AuditSearch,
            SubmitShareRequest => SubmitShare,
            ResetCeremonyRequest => ResetCeremony,
            SealNodeRequest => Asked<Write>,
            AdmitRequest => Asked<Write>,
            InitRequest => Init,
            JoinRequest => Join,
            CreateJoinTokenRequest => Asked<Write>,
            RemoveMemberRequest => Asked<Write>,
            SetMemberAddressRequest => Asked<Write>,
            AcceptTimeRequest => Asked<Write>,
            HoldTrailRequest => Asked<Write>,
            ReleaseTrailRequest => Asked<Write>,
            RetainTrailRequest => Asked<Write>,
            AcknowledgeTrailRequest => Asked<Write>,
            StepDownRequest => StepDown,
        );
    }

    /// Fields of every number and wire type that the requests use, so that random bytes get past the decoder.
    fn fields() -> impl Strategy<Value = Vec<u8>> {
        let field = (1_u8..=15, any::<u64>(), prop::collection::vec(any::<u8>(), 0..40), any::<bool>());
        prop::collection::vec(field, 0..12).prop_map(|fields| {
            let mut bytes = Vec::new();
            for (number, varint, text, as_varint) in fields {
                if as_varint {
                    bytes.push(number << 3);
                    prost::encoding::encode_varint(varint, &mut bytes);
                } else {
                    bytes.push(number << 3 | 2);
                    prost::encoding::encode_varint(text.len() as u64, &mut bytes);
                    bytes.extend_from_slice(&text);
                }
            }
            bytes
        })
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            parse_everything(&bytes);
        }

        #[test]
        fn no_fields_panic(bytes in fields()) {
            parse_everything(&bytes);
        }
    }
}
