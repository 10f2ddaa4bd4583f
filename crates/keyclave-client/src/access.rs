//! Tokens. Subjects, groups and policies are in [`crate::rights`].

use std::time::Duration;

use keyclave_proto::answer::bound_to;
use keyclave_proto::request::Invalid;
use keyclave_proto::v1;
use keyclave_types::access::Subject;
use keyclave_types::identity::TokenTerms;
use keyclave_types::request::{TokenDescription, TokenId};
use keyclave_types::time::UnixMillis;
use zeroize::Zeroizing;

use crate::client::{Answer, Client, answer};
use crate::error::{ReadError, WriteError};
use crate::keys::PageToken;
use crate::wire;

/// A token as it was made. Its text is shown to this caller only.
pub struct CreatedToken {
    /// Its id, the part that may be shown.
    pub id: TokenId,
    /// The whole token, as its holder sends it.
    pub text: Zeroizing<String>,
    /// When it ends.
    pub expires_at: Option<UnixMillis>,
}

/// A token for a JWT.
pub struct LoggedIn {
    /// Whom it speaks for.
    pub subject: Subject,
    /// The token.
    pub token: CreatedToken,
}

/// One page of tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenPage {
    /// The tokens, by id, without their secrets.
    pub tokens: Vec<TokenDescription>,
    /// What to ask the next page with; none on the last.
    pub next: Option<PageToken>,
}

impl Client {
    /// Makes a token for a subject that exists.
    pub async fn create_token(
        &self,
        subject: &Subject,
        lifetime: Option<Duration>,
    ) -> Result<Answer<CreatedToken>, WriteError> {
        let lifetime_ms = lifetime.map(|l| u64::try_from(l.as_millis()).unwrap_or(u64::MAX));
        self.create_token_on(subject, &TokenTerms { lifetime_ms, ..TokenTerms::default() }).await
    }

    /// Makes a token for a subject that exists, tied to a certificate or to addresses, or one that can be renewed.
    pub async fn create_token_on(
        &self,
        subject: &Subject,
        terms: &TokenTerms,
    ) -> Result<Answer<CreatedToken>, WriteError> {
        let subject = subject.to_string();
        let make = |request_id, floor| v1::CreateTokenRequest {
            subject: subject.clone(),
            lifetime_ms: terms.lifetime_ms,
            renewable_ms: terms.renewable_ms,
            binding: bound_to(&terms.binding),
            sources: terms.sources.iter().map(ToString::to_string).collect(),
            request_id,
            floor,
        };
        let send = |channel, request| async move { wire::access(channel).create_token(request).await };
        let parse = |response: v1::CreateTokenResponse| {
            let text = Zeroizing::new(response.token);
            let id = TokenId(wire::bytes(&response.token_id, "token_id")?);
            Ok(CreatedToken { id, text, expires_at: response.expires_at_unix_ms.map(UnixMillis) })
        };
        Ok(answer(self.write(make, send).await?, parse)?)
    }

    /// Prolongs the token that this client has, as far as it was made for; until when it lives.
    pub async fn renew_token(&self) -> Result<Answer<UnixMillis>, WriteError> {
        let make = |request_id, floor| v1::RenewTokenRequest { request_id, floor };
        let send = |channel, request| async move { wire::access(channel).renew_token(request).await };
        let parse = |response: v1::RenewTokenResponse| Ok(UnixMillis(response.expires_at_unix_ms));
        Ok(answer(self.write(make, send).await?, parse)?)
    }

    /// Swaps a JWT of an issuer that the cluster believes for a token of minutes. Needs no other credential.
    pub async fn login(&self, jwt: &str) -> Result<Answer<LoggedIn>, ReadError> {
        let request = v1::LoginRequest { jwt: jwt.trim_ascii().to_owned() };
        let send = |channel, request| async move { wire::access(channel).login(request).await };
        let parse = |response: v1::LoginResponse| {
            let text = Zeroizing::new(response.token);
            let id = TokenId(wire::bytes(&response.token_id, "token_id")?);
            let expires_at = Some(UnixMillis(response.expires_at_unix_ms));
            let subject = wire::parsed(&response.subject, "subject")?;
            Ok(LoggedIn { subject, token: CreatedToken { id, text, expires_at } })
        };
        Ok(answer(self.read(request, send).await?, parse)?)
    }

    /// Ends a token on every node.
    pub async fn revoke_token(&self, id: TokenId) -> Result<Answer<()>, WriteError> {
        let make = |request_id, floor| v1::RevokeTokenRequest { token_id: id.0.to_vec(), request_id, floor };
        let send = |channel, request| async move { wire::access(channel).revoke_token(request).await };
        Ok(answer(self.write(make, send).await?, |_| Ok(()))?)
    }

    /// One page of tokens; `page_size` 0 leaves it to the server.
    pub async fn list_tokens(
        &self,
        page_size: u32,
        after: Option<PageToken>,
    ) -> Result<Answer<TokenPage>, ReadError> {
        let page_token = after.map(|token| token.0).unwrap_or_default();
        let request = v1::ListTokensRequest { page_size, page_token, floor: self.floor() };
        let send = |channel, request| async move { wire::access(channel).list_tokens(request).await };
        let parse = |response: v1::ListTokensResponse| {
            let tokens = response.tokens.into_iter().map(TryInto::try_into);
            let tokens = tokens.collect::<Result<_, Invalid>>()?;
            Ok(TokenPage { tokens, next: PageToken::of(response.next_page_token) })
        };
        Ok(answer(self.read(request, send).await?, parse)?)
    }
}
