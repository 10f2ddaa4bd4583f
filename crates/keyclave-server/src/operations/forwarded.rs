//! Calls that arrived at another node and were forwarded to this one because it leads: parsed, authenticated and
//! decided here as if they had come here.

use keyclave_node::failure::Failure;
use keyclave_node::host::Host;
use keyclave_policy::Circumstances;
use keyclave_proto::answer::WriteResponse;
use keyclave_proto::message::WireMessage;
use keyclave_proto::peer::v1::ForwardRequest;
use keyclave_proto::request::{Asked, Invalid};
use keyclave_proto::v1;
use keyclave_types::ids::NodeId;
use keyclave_types::request::Write;
use keyclave_vault::authenticate::Shown;
use keyclave_vault::presented::Presented;
use tokio::time::Instant;
use tonic::Status;

use super::{joining, login};
use crate::pipeline::Pipeline;
use crate::writing::{decide_here, respond};

/// The encoded answer to a forwarded call.
pub(crate) async fn answer<H: Host>(
    pipeline: &Pipeline<H>,
    from: NodeId,
    request: &ForwardRequest,
    deadline: Instant,
) -> Result<Vec<u8>, Status> {
    macro_rules! writes {
        ($($path:literal: $message:ident => $response:ident,)+) => {
            match request.method.as_str() {
                $($path => write::<H, v1::$message, v1::$response>(pipeline, from, request, deadline).await,)+
                login::LOGIN => login::forwarded(pipeline, from, request, deadline).await,
                joining::JOIN => joining::join_forwarded(pipeline, request, deadline).await,
                _ => Err(Status::unimplemented("this version forwards no such call")),
            }
        };
    }
    writes! {
        "/keyclave.v1.KeyService/CreateKey": CreateKeyRequest => CreateKeyResponse,
        "/keyclave.v1.KeyService/UpdateKey": UpdateKeyRequest => UpdateKeyResponse,
        "/keyclave.v1.KeyService/RotateKey": RotateKeyRequest => RotateKeyResponse,
        "/keyclave.v1.KeyService/EnableKey": EnableKeyRequest => EnableKeyResponse,
        "/keyclave.v1.KeyService/DisableKey": DisableKeyRequest => DisableKeyResponse,
        "/keyclave.v1.KeyService/DestroyKeyVersion": DestroyKeyVersionRequest => DestroyKeyVersionResponse,
        "/keyclave.v1.AccessService/CreateToken": CreateTokenRequest => CreateTokenResponse,
        "/keyclave.v1.AccessService/RevokeToken": RevokeTokenRequest => RevokeTokenResponse,
        "/keyclave.v1.AccessService/PutSubject": PutSubjectRequest => PutSubjectResponse,
        "/keyclave.v1.AccessService/RemoveSubject": RemoveSubjectRequest => RemoveSubjectResponse,
        "/keyclave.v1.AccessService/RevokeCredentials": RevokeCredentialsRequest => RevokeCredentialsResponse,
        "/keyclave.v1.AccessService/PutGroup": PutGroupRequest => PutGroupResponse,
        "/keyclave.v1.AccessService/RemoveGroup": RemoveGroupRequest => RemoveGroupResponse,
        "/keyclave.v1.AccessService/RenewToken": RenewTokenRequest => RenewTokenResponse,
        "/keyclave.v1.AccessService/PutClientRoot": PutClientRootRequest => PutClientRootResponse,
        "/keyclave.v1.AccessService/RemoveClientRoot": RemoveClientRootRequest => RemoveClientRootResponse,
        "/keyclave.v1.AccessService/PutIssuer": PutIssuerRequest => PutIssuerResponse,
        "/keyclave.v1.AccessService/RemoveIssuer": RemoveIssuerRequest => RemoveIssuerResponse,
        "/keyclave.v1.AccessService/PutIdentity": PutIdentityRequest => PutIdentityResponse,
        "/keyclave.v1.AccessService/RemoveIdentity": RemoveIdentityRequest => RemoveIdentityResponse,
        "/keyclave.v1.AccessService/PutPolicy": PutPolicyRequest => PutPolicyResponse,
        "/keyclave.v1.AccessService/RemovePolicy": RemovePolicyRequest => RemovePolicyResponse,
        "/keyclave.v1.SealService/SealNode": SealNodeRequest => SealNodeResponse,
        "/keyclave.v1.SealService/Admit": AdmitRequest => AdmitResponse,
        "/keyclave.v1.ClusterService/CreateJoinToken": CreateJoinTokenRequest => CreateJoinTokenResponse,
        "/keyclave.v1.ClusterService/RemoveMember": RemoveMemberRequest => RemoveMemberResponse,
        "/keyclave.v1.ClusterService/SetMemberAddress": SetMemberAddressRequest => SetMemberAddressResponse,
        "/keyclave.v1.ClusterService/AcceptTime": AcceptTimeRequest => AcceptTimeResponse,
        "/keyclave.v1.AuditService/HoldTrail": HoldTrailRequest => HoldTrailResponse,
        "/keyclave.v1.AuditService/ReleaseTrail": ReleaseTrailRequest => ReleaseTrailResponse,
        "/keyclave.v1.AuditService/RetainTrail": RetainTrailRequest => RetainTrailResponse,
        "/keyclave.v1.AuditService/AcknowledgeTrail": AcknowledgeTrailRequest => AcknowledgeTrailResponse,
    }
}

async fn write<H, M, R>(
    pipeline: &Pipeline<H>,
    from: NodeId,
    request: &ForwardRequest,
    deadline: Instant,
) -> Result<Vec<u8>, Status>
where
    H: Host,
    M: WireMessage,
    Asked<Write>: TryFrom<M, Error = Invalid>,
    R: WriteResponse + WireMessage,
{
    let message = M::from_wire(&request.request)
        .map_err(|_| Status::invalid_argument("the forwarded request does not decode"))?;
    let asked: Asked<Write> = message.try_into().map_err(|invalid: Invalid| Status::from(invalid))?;
    let member = pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
    let serving = member.serving().map_err(Failure::into_status)?;
    // The member that forwards has seen the connection; it is believed about that because it holds the keyring.
    let source = request.source.parse().ok();
    let caller = Circumstances { source, ..Circumstances::default() };
    let presented = Presented::new(request.certificates.clone());
    let bearer = Some(request.credential.as_str()).filter(|bearer| !bearer.is_empty());
    let shown = Shown { bearer, certificate: presented.as_ref(), source };
    let decided = decide_here(&serving, &shown, &caller, &asked.request, from, deadline).await;
    let (answer, position) = decided.map_err(|failure| failure.to_status(Some(member.position())))?;
    let response: R = respond(position, answer).map_err(Failure::into_status)?;
    Ok(response.to_wire())
}
