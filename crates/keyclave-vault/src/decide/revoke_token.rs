//! The end of a token.

use keyclave_types::request::{TokenId, WriteAnswer};

use crate::decide::access;
use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::access::{JoinToken, TokenRecord};
use crate::refusal::Refusal;

/// The last lasting token of the last administrator stays.
pub(super) fn revoke_token(draft: &mut Draft<'_>, id: TokenId) -> Result<WriteAnswer, Refusal> {
    let (token, join) = (RecordName::Token(id), RecordName::JoinToken(id));
    if draft.reader.get::<TokenRecord>(&token).is_some() {
        draft.delete(&token);
        access::administrators_stay(draft, access::Change::EndToken(id))?;
    } else if draft.reader.get::<JoinToken>(&join).is_some() {
        draft.delete(&join);
    } else {
        return Err(Refusal::TokenUnknown);
    }
    Ok(WriteAnswer::Revoked)
}
