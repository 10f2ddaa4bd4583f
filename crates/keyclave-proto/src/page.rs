//! Page tokens: opaque to callers, base64url of a kind byte and where the page ended. They hold nothing that their
//! holder has not been shown, and give no right: a changed one only starts a page elsewhere.

use std::num::NonZeroU32;

use data_encoding::BASE64URL_NOPAD;
use keyclave_types::ids::NodeId;
use keyclave_types::name::KeyName;
use keyclave_types::request::{TokenDescription, TokenId};
use keyclave_types::time::UnixMillis;

use crate::request::Invalid;
use crate::request::field::{self, At as _};
use crate::v1;

/// Bytes of a token's text; the longest SPIFFE id, its kind byte, and base64's third.
const TOKEN_BYTES_MAX: usize = 3 * 1024;
const KEY: u8 = 0x01;
const ACCESS_TOKEN: u8 = 0x02;
const AUDIT: u8 = 0x03;
const NAMED: u8 = 0x04;

/// Why a text is not a page token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a page token of this list")]
pub struct PageTokenError;

/// A record of the merged trail: time first, because pages are in that order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AuditCursor {
    /// When it was written.
    pub time: UnixMillis,
    /// Where.
    pub node: NodeId,
    /// Its number there.
    pub sequence: u64,
}

/// The token of the page after `last`.
pub fn key_token(last: &KeyName) -> String {
    token(KEY, last.as_str().as_bytes())
}

/// The last name of the page before; none for the first page.
pub fn parse_key_token(text: &str) -> Result<Option<KeyName>, PageTokenError> {
    let Some(body) = body(KEY, text)? else { return Ok(None) };
    let name = String::from_utf8(body).map_err(|_| PageTokenError)?;
    name.parse().map(Some).map_err(|_| PageTokenError)
}

/// The token of the page after `last`.
pub fn audit_token(last: AuditCursor) -> String {
    let fields = [last.time.0, last.node.get(), last.sequence].map(u64::to_be_bytes);
    token(AUDIT, fields.as_flattened())
}

/// The last record of the page before; none for the first page.
pub fn parse_audit_token(text: &str) -> Result<Option<AuditCursor>, PageTokenError> {
    let Some(body) = body(AUDIT, text)? else { return Ok(None) };
    let fields: [u8; 24] = body.try_into().map_err(|_| PageTokenError)?;
    let [time, node, sequence] = u64s(fields);
    let node = NodeId::new(node).ok_or(PageTokenError)?;
    Ok(Some(AuditCursor { time: UnixMillis(time), node, sequence }))
}

fn u64s(bytes: [u8; 24]) -> [u64; 3] {
    let (fields, _) = bytes.as_chunks::<8>();
    let mut numbers = [0; 3];
    for (number, field) in numbers.iter_mut().zip(fields) {
        *number = u64::from_be_bytes(*field);
    }
    numbers
}

/// One page of the tokens, which the domain lists as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenPage {
    after: Option<TokenId>,
    items: NonZeroU32,
}

impl TryFrom<&v1::ListTokensRequest> for TokenPage {
    type Error = Invalid;

    fn try_from(request: &v1::ListTokensRequest) -> Result<Self, Invalid> {
        let after = parse_access_token(&request.page_token).at("page_token")?;
        Ok(Self { after, items: field::page_items(request.page_size)? })
    }
}

impl TokenPage {
    /// Cuts the page out of all tokens, in the order of their ids, and gives the next page's token; empty on the
    /// last.
    pub fn cut(self, mut all: Vec<TokenDescription>) -> (Vec<TokenDescription>, String) {
        all.retain(|token| self.after.is_none_or(|after| token.id > after));
        all.sort_by_key(|described| described.id);
        let items = usize::try_from(self.items.get()).unwrap_or(usize::MAX);
        let more = all.len() > items;
        all.truncate(items);
        let next =
            all.last().filter(|_| more).map(|last| token(ACCESS_TOKEN, &last.id.0)).unwrap_or_default();
        (all, next)
    }
}

fn parse_access_token(text: &str) -> Result<Option<TokenId>, PageTokenError> {
    let Some(body) = body(ACCESS_TOKEN, text)? else { return Ok(None) };
    body.try_into().map(|id| Some(TokenId(id))).map_err(|_| PageTokenError)
}

/// The token of the page after what is printed so: a subject, a group, a policy.
pub fn named_token(last: &impl std::fmt::Display) -> String {
    token(NAMED, last.to_string().as_bytes())
}

/// The last of the page before; none for the first page.
pub fn parse_named_token<T: std::str::FromStr>(text: &str) -> Result<Option<T>, PageTokenError> {
    let Some(body) = body(NAMED, text)? else { return Ok(None) };
    let name = String::from_utf8(body).map_err(|_| PageTokenError)?;
    name.parse().map(Some).map_err(|_| PageTokenError)
}

fn token(kind: u8, body: &[u8]) -> String {
    BASE64URL_NOPAD.encode(&[&[kind], body].concat())
}

fn body(kind: u8, text: &str) -> Result<Option<Vec<u8>>, PageTokenError> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > TOKEN_BYTES_MAX {
        return Err(PageTokenError);
    }
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| PageTokenError)?;
    match bytes.split_first() {
        Some((found, body)) if *found == kind => Ok(Some(body.to_vec())),
        Some(_) | None => Err(PageTokenError),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn described(id: u8) -> TokenDescription {
        TokenDescription {
            id: TokenId([id; 12]),
            subject: "service:s".parse().unwrap(),
            created_at: UnixMillis(1),
            expires_at: None,
            renewable_until: None,
            binding: Default::default(),
            sources: Default::default(),
        }
    }

    #[test]
    fn golden_tokens_stay() {
        let cursor = AuditCursor { time: UnixMillis(1), node: NodeId::new(2).unwrap(), sequence: 3 };
        assert_eq!(key_token(&"app/key".parse().unwrap()), "AWFwcC9rZXk");
        assert_eq!(audit_token(cursor), "AwAAAAAAAAABAAAAAAAAAAIAAAAAAAAAAw");
        assert_eq!(parse_audit_token(&audit_token(cursor)), Ok(Some(cursor)));
    }

    #[test]
    fn a_token_of_another_list_is_refused() {
        let key = key_token(&"app/key".parse().unwrap());
        assert_eq!(parse_audit_token(&key), Err(PageTokenError));
        assert_eq!(parse_access_token(&key), Err(PageTokenError));
        assert_eq!(parse_key_token(&token(KEY, b"../x")), Err(PageTokenError));
        assert_eq!(parse_key_token(&"A".repeat(3 * 1024 + 1)), Err(PageTokenError));
    }

    #[test]
    fn pages_of_tokens_join_to_the_whole_list() {
        let all: Vec<_> = [3, 1, 5, 2, 4].map(described).to_vec();
        let (mut page_token, mut seen) = (String::new(), Vec::new());
        loop {
            let request = v1::ListTokensRequest { page_size: 2, page_token, floor: None };
            let (page, next) = TokenPage::try_from(&request).unwrap().cut(all.clone());
            assert!(page.len() <= 2);
            seen.extend(page.iter().map(|t| t.id.0[0]));
            page_token = next;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, [1, 2, 3, 4, 5]);
    }

    proptest! {
        #[test]
        fn no_token_panics(text in "\\PC*") {
            let _ = (parse_key_token(&text), parse_audit_token(&text), parse_access_token(&text));
            let _ = parse_named_token::<keyclave_types::access::Subject>(&text);
        }
    }
}
