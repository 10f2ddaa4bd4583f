//! Answers to writes: one domain answer, many response messages of two or three shapes.

use keyclave_types::position::Position;
use keyclave_types::request::WriteAnswer;

use crate::v1;

/// A response message that a write's answer fills.
pub trait WriteResponse: Sized {
    /// The response at `position`.
    fn from_answer(position: Position, answer: WriteAnswer) -> Result<Self, AnswerMismatch>;
}

/// The answer is not of the kind that this RPC gives: a fault of the server's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the write was done, but its answer is of another kind than this RPC gives")]
pub struct AnswerMismatch;

macro_rules! key_responses {
    ($($response:ident),+ $(,)?) => {
        $(impl WriteResponse for v1::$response {
            fn from_answer(position: Position, answer: WriteAnswer) -> Result<Self, AnswerMismatch> {
                match answer {
                    WriteAnswer::Key(key) => Ok(Self { position: Some(position.into()), key: Some((&key).into()) }),
                    WriteAnswer::Token { .. }
                    | WriteAnswer::Revoked
                    | WriteAnswer::Renewed { .. }
                    | WriteAnswer::Done => Err(AnswerMismatch),
                }
            }
        })+
    };
}

macro_rules! plain_responses {
    ($($response:ident),+ $(,)?) => {
        $(impl WriteResponse for v1::$response {
            fn from_answer(position: Position, answer: WriteAnswer) -> Result<Self, AnswerMismatch> {
                match answer {
                    WriteAnswer::Revoked | WriteAnswer::Done => Ok(Self { position: Some(position.into()) }),
                    WriteAnswer::Key(_) | WriteAnswer::Token { .. } | WriteAnswer::Renewed { .. } => Err(AnswerMismatch),
                }
            }
        })+
    };
}

key_responses!(
    CreateKeyResponse,
    UpdateKeyResponse,
    RotateKeyResponse,
    EnableKeyResponse,
    DisableKeyResponse,
    DestroyKeyVersionResponse,
);

plain_responses!(
    RevokeTokenResponse,
    PutSubjectResponse,
    RemoveSubjectResponse,
    RevokeCredentialsResponse,
    PutGroupResponse,
    RemoveGroupResponse,
    PutPolicyResponse,
    RemovePolicyResponse,
    PutClientRootResponse,
    RemoveClientRootResponse,
    PutIssuerResponse,
    RemoveIssuerResponse,
    PutIdentityResponse,
    RemoveIdentityResponse,
    SealNodeResponse,
    AdmitResponse,
    RemoveMemberResponse,
    SetMemberAddressResponse,
    AcceptTimeResponse,
    HoldTrailResponse,
    ReleaseTrailResponse,
    RetainTrailResponse,
    AcknowledgeTrailResponse,
);

impl WriteResponse for v1::CreateTokenResponse {
    fn from_answer(position: Position, answer: WriteAnswer) -> Result<Self, AnswerMismatch> {
        match answer {
            WriteAnswer::Token { id, text, expires_at } => Ok(Self {
                position: Some(position.into()),
                token_id: id.0.to_vec(),
                token: text.to_string(),
                expires_at_unix_ms: expires_at.map(|at| at.0),
            }),
            WriteAnswer::Key(_) | WriteAnswer::Revoked | WriteAnswer::Renewed { .. } | WriteAnswer::Done => {
                Err(AnswerMismatch)
            }
        }
    }
}

impl WriteResponse for v1::RenewTokenResponse {
    fn from_answer(position: Position, answer: WriteAnswer) -> Result<Self, AnswerMismatch> {
        match answer {
            WriteAnswer::Renewed { expires_at } => {
                Ok(Self { position: Some(position.into()), expires_at_unix_ms: expires_at.0 })
            }
            WriteAnswer::Token { .. } | WriteAnswer::Key(_) | WriteAnswer::Revoked | WriteAnswer::Done => {
                Err(AnswerMismatch)
            }
        }
    }
}

/// The token's text must already have its dot and pin: they come from the CA, which the vault's answer knows
/// nothing of.
impl WriteResponse for v1::CreateJoinTokenResponse {
    fn from_answer(position: Position, answer: WriteAnswer) -> Result<Self, AnswerMismatch> {
        match answer {
            WriteAnswer::Token { text, expires_at: Some(expires_at), .. } if text.contains('.') => Ok(Self {
                position: Some(position.into()),
                join_token: text.to_string(),
                expires_at_unix_ms: expires_at.0,
            }),
            WriteAnswer::Token { .. }
            | WriteAnswer::Key(_)
            | WriteAnswer::Revoked
            | WriteAnswer::Renewed { .. }
            | WriteAnswer::Done => Err(AnswerMismatch),
        }
    }
}

#[cfg(test)]
mod tests {
    use keyclave_types::position::Generation;
    use keyclave_types::request::TokenId;
    use keyclave_types::time::UnixMillis;
    use zeroize::Zeroizing;

    use super::*;

    const AT: Position = Position { generation: Generation(1), index: 9 };

    fn token(text: &str, expires_at: Option<u64>) -> WriteAnswer {
        let text = Zeroizing::new(text.to_owned());
        WriteAnswer::Token { id: TokenId([1; 12]), text, expires_at: expires_at.map(UnixMillis) }
    }

    #[test]
    fn an_answer_of_another_kind_is_never_sent() {
        assert_eq!(v1::CreateKeyResponse::from_answer(AT, WriteAnswer::Done), Err(AnswerMismatch));
        assert_eq!(v1::AdmitResponse::from_answer(AT, token("t", None)), Err(AnswerMismatch));
        assert!(v1::CreateTokenResponse::from_answer(AT, WriteAnswer::Revoked).is_err());
    }

    #[test]
    fn every_answer_carries_its_position() {
        let revoked = v1::RevokeTokenResponse::from_answer(AT, WriteAnswer::Revoked).unwrap();
        assert_eq!(revoked.position, Some(AT.into()));
        let created = v1::CreateTokenResponse::from_answer(AT, token("kcls_x", None)).unwrap();
        assert_eq!((created.position, created.token.as_str()), (Some(AT.into()), "kcls_x"));
    }

    #[test]
    fn a_join_token_without_its_pin_is_never_sent() {
        assert!(v1::CreateJoinTokenResponse::from_answer(AT, token("kclj_x", Some(1))).is_err());
        assert!(v1::CreateJoinTokenResponse::from_answer(AT, token("kclj_x.pin", Some(1))).is_ok());
        assert!(v1::CreateJoinTokenResponse::from_answer(AT, token("kclj_x.pin", None)).is_err());
    }
}
