//! A token for a subject.

use keyclave_crypto::token::{Token, mac};
use keyclave_types::access::Subject;
use keyclave_types::request::WriteAnswer;

use crate::authenticate::kind_of;
use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::access::{SubjectRecord, TokenRecord};
use crate::refusal::Refusal;

/// Shortest life of a token.
const LIFETIME_MS_MIN: u64 = 1_000;

pub(super) fn create_token(
    draft: &mut Draft<'_>,
    subject: &Subject,
    lifetime_ms: Option<u64>,
) -> Result<WriteAnswer, Refusal> {
    let found = draft.reader.get::<SubjectRecord>(&RecordName::Subject(subject));
    let credential_epoch = found.ok_or(Refusal::SubjectUnknown)?.credential_epoch;
    let expires_at = match lifetime_ms {
        None => None,
        Some(lifetime_ms) if lifetime_ms < LIFETIME_MS_MIN => return Err(Refusal::Lifetime),
        Some(lifetime_ms) => {
            let now = draft.occasion.now.relied().ok_or(Refusal::ClockDoubtful)?;
            Some(now.after(lifetime_ms))
        }
    };
    let token = Token::new(kind_of(subject.kind), draft.entropy);
    let (mac_key, key) = draft.reader.view().keyring().token_keys().active();
    draft.put(&TokenRecord {
        id: token.id,
        subject: subject.clone(),
        credential_epoch,
        mac: mac(key, &token),
        mac_key,
        created_at: draft.now(),
        expires_at,
    });
    Ok(WriteAnswer::Token { id: token.id, text: token.to_text(), expires_at })
}
