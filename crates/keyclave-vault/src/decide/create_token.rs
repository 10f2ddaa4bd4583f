//! A token for a subject.

use keyclave_crypto::token::{Token, mac};
use keyclave_types::access::Subject;
use keyclave_types::identity::TokenTerms;
use keyclave_types::request::WriteAnswer;

use crate::authenticate::kind_of;
use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::access::{Renewal, SubjectRecord, TokenRecord};
use crate::refusal::Refusal;

/// Shortest life of a token.
const LIFETIME_MS_MIN: u64 = 1_000;

pub(super) fn create_token(
    draft: &mut Draft<'_>,
    subject: &Subject,
    terms: &TokenTerms,
) -> Result<WriteAnswer, Refusal> {
    let found = draft.reader.get::<SubjectRecord>(&RecordName::Subject(subject));
    let credential_epoch = found.ok_or(Refusal::SubjectUnknown)?.credential_epoch;
    let (expires_at, renewal) = match (terms.lifetime_ms, terms.renewable_ms) {
        (None, None) => (None, None),
        // What does not end cannot be prolonged.
        (None, Some(_)) => return Err(Refusal::Lifetime),
        (Some(lifetime_ms), renewable_ms) => {
            let whole_ms = renewable_ms.unwrap_or(lifetime_ms);
            if lifetime_ms < LIFETIME_MS_MIN || whole_ms < lifetime_ms {
                return Err(Refusal::Lifetime);
            }
            let now = draft.occasion.now.relied().ok_or(Refusal::ClockDoubtful)?;
            let renewal = renewable_ms.map(|ms| Renewal { lifetime_ms, until: now.after(ms) });
            (Some(now.after(lifetime_ms)), renewal)
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
        renewal,
        binding: terms.binding.clone(),
        sources: terms.sources.clone(),
        by_login: None,
    });
    Ok(WriteAnswer::Token { id: token.id, text: token.to_text(), expires_at })
}
