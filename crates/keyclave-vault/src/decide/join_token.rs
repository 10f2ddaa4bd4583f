//! A token that lets one node join, for an hour.

use keyclave_crypto::token::{Token, TokenKind, mac};
use keyclave_types::limits::JOIN_TOKEN_MS;
use keyclave_types::request::WriteAnswer;

use crate::draft::Draft;
use crate::records::access::JoinToken;
use crate::refusal::Refusal;

/// What is answered is the `kclj_` token alone; whoever shows it adds the fingerprint of the CA.
pub(super) fn create_join_token(draft: &mut Draft<'_>) -> Result<WriteAnswer, Refusal> {
    let now = draft.occasion.now.relied().ok_or(Refusal::ClockDoubtful)?;
    let expires_at = now.after(JOIN_TOKEN_MS);
    let token = Token::new(TokenKind::Join, draft.entropy);
    let (mac_key, key) = draft.reader.view().keyring().token_keys().active();
    draft.put(&JoinToken {
        id: token.id,
        mac: mac(key, &token),
        mac_key,
        created_at: now,
        expires_at,
        joined: None,
    });
    Ok(WriteAnswer::Token { id: token.id, text: token.to_text(), expires_at: Some(expires_at) })
}
