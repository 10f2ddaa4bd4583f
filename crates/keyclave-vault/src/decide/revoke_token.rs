//! The end of a token.

use keyclave_types::request::{TokenId, WriteAnswer};

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::access::{JoinToken, TokenRecord};
use crate::refusal::Refusal;
use crate::view::head_of;

/// A root token's end also changes the access head, so that of two that end at once one is decided anew; the last
/// one stays.
pub(super) fn revoke_token(draft: &mut Draft<'_>, id: TokenId) -> Result<WriteAnswer, Refusal> {
    let (token, join) = (RecordName::Token(id), RecordName::JoinToken(id));
    if let Some(found) = draft.reader.get::<TokenRecord>(&token) {
        if found.root {
            leave_access(draft, &token)?;
        }
        draft.delete(&token);
    } else if draft.reader.get::<JoinToken>(&join).is_some() {
        draft.delete(&join);
    } else {
        return Err(Refusal::TokenUnknown);
    }
    Ok(WriteAnswer::Revoked)
}

fn leave_access(draft: &mut Draft<'_>, leaving: &RecordName<'_>) -> Result<(), Refusal> {
    let view = draft.reader.view();
    let leaving = view.id_of(leaving);
    let rest = view.indexes().access().iter().filter(|(id, _)| **id != leaving);
    let head = head_of(rest.map(|(id, revision)| (*id, *revision)));
    if head.count == 0 {
        return Err(Refusal::LastRoot);
    }
    draft.put(&head);
    Ok(())
}
