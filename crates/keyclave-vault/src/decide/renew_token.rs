//! A token prolonged by whoever comes with it: nothing of it changes but its end.

use keyclave_policy::Principal;
use keyclave_types::request::WriteAnswer;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::access::TokenRecord;
use crate::refusal::Refusal;

pub(super) fn renew_token(draft: &mut Draft<'_>, caller: &Principal) -> Result<WriteAnswer, Refusal> {
    let id = caller.token().ok_or(Refusal::NotRenewable)?;
    let found = draft.reader.get::<TokenRecord>(&RecordName::Token(id)).ok_or(Refusal::Unauthenticated)?;
    let (renewal, end) = found.renewal.zip(found.expires_at).ok_or(Refusal::NotRenewable)?;
    let now = draft.occasion.now.relied().ok_or(Refusal::ClockDoubtful)?;
    // Never shorter than it was.
    let expires_at = now.after(renewal.lifetime_ms).min(renewal.until).max(end);
    if expires_at > end {
        draft.put(&TokenRecord { expires_at: Some(expires_at), ..found.clone() });
    }
    Ok(WriteAnswer::Renewed { expires_at })
}
