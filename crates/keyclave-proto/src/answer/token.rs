//! Tokens without their secrets.

use keyclave_types::identity::TokenBinding;
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
            renewable_until_unix_ms: token.renewable_until.map(|at| at.0),
            binding: bound_to(&token.binding),
            sources: token.sources.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What a token is tied to, for the wire.
pub fn bound_to(binding: &TokenBinding) -> Option<v1::TokenBinding> {
    use v1::token_binding::To;
    let to = match binding {
        TokenBinding::Free => return None,
        TokenBinding::Key(key) => To::KeySha256(key.to_vec()),
        TokenBinding::Identity(identity) => To::Identity(identity.to_string()),
    };
    Some(v1::TokenBinding { to: Some(to) })
}

impl TryFrom<v1::Token> for TokenDescription {
    type Error = Invalid;

    fn try_from(token: v1::Token) -> Result<Self, Invalid> {
        Ok(Self {
            id: TokenId(field::fixed(&token.token_id).at("token_id")?),
            subject: field::subject(&token.subject).at("subject")?,
            created_at: UnixMillis(token.created_at_unix_ms),
            expires_at: token.expires_at_unix_ms.map(UnixMillis),
            renewable_until: token.renewable_until_unix_ms.map(UnixMillis),
            binding: field::binding(token.binding).at("binding")?,
            sources: field::sources(&token.sources)?,
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
            renewable_until: Some(UnixMillis(4)),
            binding: TokenBinding::Identity("root:r:a.example".parse().unwrap()),
            sources: ["10.0.0.0/8".parse().unwrap()].into(),
        };
        assert_eq!(TokenDescription::try_from(v1::Token::from(&token)), Ok(token));
        assert!(TokenDescription::try_from(v1::Token::default()).is_err());
    }
}
