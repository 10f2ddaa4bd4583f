//! Requests of `AccessService`.

use keyclave_types::position::Position;
use keyclave_types::request::{Read, TokenId, Write, WriteKind};

use super::field::{self, At};
use super::{Asked, Invalid};
use crate::page::TokenPage;
use crate::v1;

impl TryFrom<v1::CreateTokenRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::CreateTokenRequest) -> Result<Self, Invalid> {
        let subject = field::key_name(&request.subject, "subject")?;
        let lifetime_ms =
            request.lifetime_ms.map(|ms| field::range(ms, 1, u64::MAX)).transpose().at("lifetime_ms")?;
        field::write(WriteKind::CreateToken { subject, lifetime_ms }, &request.request_id, request.floor)
    }
}

impl TryFrom<v1::RevokeTokenRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::RevokeTokenRequest) -> Result<Self, Invalid> {
        let id = TokenId(field::fixed(&request.token_id).at("token_id")?);
        field::write(WriteKind::RevokeToken { id }, &request.request_id, request.floor)
    }
}

/// The page is checked here and cut by [`TokenPage`]: the domain knows all tokens or none.
impl TryFrom<v1::ListTokensRequest> for Asked<Read> {
    type Error = Invalid;

    fn try_from(request: v1::ListTokensRequest) -> Result<Self, Invalid> {
        TokenPage::try_from(&request)?;
        Ok(Self { request: Read::ListTokens, floor: request.floor.map(Position::from) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_at_least_a_millisecond() {
        let create = |lifetime_ms| {
            Asked::<Write>::try_from(v1::CreateTokenRequest {
                subject: "billing".to_owned(),
                lifetime_ms,
                request_id: vec![1; 16],
                floor: None,
            })
        };
        assert!(create(None).is_ok());
        assert!(create(Some(1)).is_ok());
        assert_eq!(create(Some(0)).unwrap_err().field, "lifetime_ms");
    }

    #[test]
    fn a_token_id_has_twelve_bytes() {
        for length in [0, 11, 13] {
            let request =
                v1::RevokeTokenRequest { token_id: vec![1; length], request_id: vec![1; 16], floor: None };
            assert_eq!(Asked::<Write>::try_from(request).unwrap_err().field, "token_id");
        }
    }
}
