//! Tokens without their secrets.

use keyclave_types::request::{TokenDescription, TokenId};
use keyclave_types::time::UnixMillis;

use crate::request::Invalid;
use crate::request::field::{self, At};
use crate::v1;

impl From<&TokenDescription> for v1::Token {
    fn from(token: &TokenDescription) -> Self {
        Self {
            token_id: token.id.0.to_vec(),
            subject: token.subject.to_string(),
            created_at_unix_ms: token.created_at.0,
            expires_at_unix_ms: token.expires_at.map(|at| at.0),
        }
    }
}

impl TryFrom<v1::Token> for TokenDescription {
    type Error = Invalid;

    fn try_from(token: v1::Token) -> Result<Self, Invalid> {
        Ok(Self {
            id: TokenId(field::fixed(&token.token_id).at("token_id")?),
            subject: field::subject(&token.subject).at("subject")?,
            created_at: UnixMillis(token.created_at_unix_ms),
            expires_at: token.expires_at_unix_ms.map(UnixMillis),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_from_the_wire() {
        let token = TokenDescription {
            id: TokenId([1; 12]),
            subject: "service:billing".parse().unwrap(),
            created_at: UnixMillis(2),
            expires_at: Some(UnixMillis(3)),
        };
        assert_eq!(TokenDescription::try_from(v1::Token::from(&token)), Ok(token));
        assert!(TokenDescription::try_from(v1::Token::default()).is_err());
    }
}
