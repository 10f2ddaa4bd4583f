//! The generated clients with our limits, and the position in every response.

use keyclave_proto::request::{Cause, Invalid};
use keyclave_proto::v1;
use keyclave_proto::v1::access_service_client::AccessServiceClient;
use keyclave_proto::v1::audit_service_client::AuditServiceClient;
use keyclave_proto::v1::cluster_service_client::ClusterServiceClient;
use keyclave_proto::v1::crypto_service_client::CryptoServiceClient;
use keyclave_proto::v1::key_service_client::KeyServiceClient;
use keyclave_proto::v1::seal_service_client::SealServiceClient;
use keyclave_types::limits::MESSAGE_BYTES_MAX;
use tonic::transport::Channel;

macro_rules! clients {
    ($($name:ident => $client:ident),+ $(,)?) => {
        $(pub(crate) fn $name(channel: Channel) -> $client<Channel> {
            $client::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        })+
    };
}

clients!(
    keys => KeyServiceClient,
    crypto => CryptoServiceClient,
    seal => SealServiceClient,
    access => AccessServiceClient,
    audit => AuditServiceClient,
    cluster => ClusterServiceClient,
);

/// A response that says where the ledger stands.
pub(crate) trait Positioned {
    fn position(&self) -> Option<v1::Position>;
}

macro_rules! positioned {
    ($($response:ident),+ $(,)?) => {
        $(impl Positioned for v1::$response {
            fn position(&self) -> Option<v1::Position> {
                self.position
            }
        })+
    };
}

positioned!(
    CreateKeyResponse,
    GetKeyResponse,
    ListKeysResponse,
    UpdateKeyResponse,
    RotateKeyResponse,
    EnableKeyResponse,
    DisableKeyResponse,
    DestroyKeyVersionResponse,
    EncryptResponse,
    DecryptResponse,
    BatchEncryptResponse,
    BatchDecryptResponse,
    CreateTokenResponse,
    RevokeTokenResponse,
    ListTokensResponse,
    PutSubjectResponse,
    RemoveSubjectResponse,
    RevokeCredentialsResponse,
    ListSubjectsResponse,
    PutGroupResponse,
    RemoveGroupResponse,
    ListGroupsResponse,
    PutPolicyResponse,
    RemovePolicyResponse,
    GetPolicyResponse,
    ListPoliciesResponse,
    ExplainResponse,
    WhoCanResponse,
    RenewTokenResponse,
    LoginResponse,
    PutClientRootResponse,
    RemoveClientRootResponse,
    ListClientRootsResponse,
    PutIssuerResponse,
    RemoveIssuerResponse,
    ListIssuersResponse,
    PutIdentityResponse,
    RemoveIdentityResponse,
    ListIdentitiesResponse,
    SearchResponse,
    GetTrailsResponse,
    HoldTrailResponse,
    ReleaseTrailResponse,
    RetainTrailResponse,
    AcknowledgeTrailResponse,
    GetSealStatusResponse,
    SubmitShareResponse,
    ResetCeremonyResponse,
    SealNodeResponse,
    AdmitResponse,
    SealThisNodeResponse,
    InitResponse,
    GetClusterStatusResponse,
    JoinResponse,
    CreateJoinTokenResponse,
    ListMembersResponse,
    RemoveMemberResponse,
    SetMemberAddressResponse,
    StepDownResponse,
    AcceptTimeResponse,
);

/// A code is about a process; there may be no ledger yet.
impl Positioned for v1::GetCodeResponse {
    fn position(&self) -> Option<v1::Position> {
        None
    }
}

/// A field of a response that must be there.
pub(crate) fn required<T>(value: Option<T>, field: &str) -> Result<T, Invalid> {
    value.ok_or_else(|| Invalid { field: field.to_owned(), cause: Cause::Missing })
}

/// A field of a response that has exactly `N` bytes.
pub(crate) fn bytes<const N: usize>(value: &[u8], field: &str) -> Result<[u8; N], Invalid> {
    let wrong =
        |_| Invalid { field: field.to_owned(), cause: Cause::Bytes { expected: N, found: value.len() } };
    value.try_into().map_err(wrong)
}

/// A field of a response that is a text with a grammar.
pub(crate) fn parsed<T: std::str::FromStr>(text: &str, field: &str) -> Result<T, Invalid>
where
    Cause: From<T::Err>,
{
    text.parse().map_err(|cause| Invalid { field: field.to_owned(), cause: Cause::from(cause) })
}

/// The same, or nothing at all.
pub(crate) fn optional_bytes<const N: usize>(value: &[u8], field: &str) -> Result<Option<[u8; N]>, Invalid> {
    if value.is_empty() { Ok(None) } else { bytes(value, field).map(Some) }
}

/// A node's number in a response.
pub(crate) fn node(number: u64, field: &str) -> Result<keyclave_types::ids::NodeId, Invalid> {
    let least_most = Cause::Range { least: 1, most: keyclave_types::ids::NodeId::MAX, found: number };
    keyclave_types::ids::NodeId::new(number)
        .ok_or_else(|| Invalid { field: field.to_owned(), cause: least_most })
}

/// A version in a response.
pub(crate) fn version(number: u32, field: &str) -> Result<keyclave_types::key::Version, Invalid> {
    let cause = Cause::Range { least: 1, most: u32::MAX.into(), found: number.into() };
    keyclave_types::key::Version::new(number).ok_or_else(|| Invalid { field: field.to_owned(), cause })
}
