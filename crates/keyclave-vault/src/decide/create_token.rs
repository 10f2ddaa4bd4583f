//! A token for a service.

use keyclave_crypto::token::{Token, TokenKind, mac};
use keyclave_types::request::{SubjectName, WriteAnswer};

use crate::draft::Draft;
use crate::records::access::{TokenRecord, TokenUse};
use crate::refusal::Refusal;

/// Shortest life of a token.
const LIFETIME_MS_MIN: u64 = 1_000;

pub(super) fn create_token(
    draft: &mut Draft<'_>,
    subject: &SubjectName,
    lifetime_ms: Option<u64>,
) -> Result<WriteAnswer, Refusal> {
    let expires_at = match lifetime_ms {
        None => None,
        Some(lifetime_ms) if lifetime_ms < LIFETIME_MS_MIN => return Err(Refusal::Lifetime),
        Some(lifetime_ms) => {
            let now = draft.occasion.now.relied().ok_or(Refusal::ClockDoubtful)?;
            Some(now.after(lifetime_ms))
        }
    };
    let token = Token::new(TokenKind::Service, draft.entropy);
    let (mac_key, key) = draft.reader.view().keyring().token_keys().active();
    draft.put(&TokenRecord {
        id: token.id,
        usage: TokenUse::Service,
        subject: subject.clone(),
        root: false,
        mac: mac(key, &token),
        mac_key,
        created_at: draft.now(),
        expires_at,
    });
    Ok(WriteAnswer::Token { id: token.id, text: token.to_text(), expires_at })
}
