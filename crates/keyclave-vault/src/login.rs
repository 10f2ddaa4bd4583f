//! A JWT of an issuer that is believed, swapped for a token that lives for minutes.
//!
//! Called for `AccessService.Login`, whose body is the credential: by the node where it arrives, to refuse, and by the
//! leader, which decides. Whatever is wrong with the JWT is answered alike.

use std::collections::BTreeSet;

use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::jwt::{Claims, Expected, UnverifiedToken};
use keyclave_crypto::token::{Token, mac};
use keyclave_policy::{Action, Permit};
use keyclave_types::access::Subject;
use keyclave_types::identity::{Identity, IssuerName, TokenBinding};
use keyclave_types::request::TokenId;
use keyclave_types::time::UnixMillis;
use zeroize::Zeroizing;

use crate::authenticate::kind_of;
use crate::decide::Decision;
use crate::draft::Draft;
use crate::occasion::{Now, Occasion};
use crate::reader::Reader;
use crate::records::RecordName;
use crate::records::access::TokenRecord;
use crate::records::foreign::{IdentityRecord, IssuerRecord};
use crate::refusal::{Refusal, Refused};
use crate::view::View;

/// How long a token of a login lives at most.
pub const LOGIN_TOKEN_MS_MAX: u64 = 15 * 60_000;
/// Tokens of logins of one subject at a time.
pub(crate) const LOGIN_TOKENS_MAX: usize = 10_000;

/// A token for who logged in.
#[derive(Debug)]
pub struct LoggedIn {
    /// Whom it speaks for.
    pub subject: Subject,
    /// Its id.
    pub id: TokenId,
    /// The whole token, as its holder must send it.
    pub text: Zeroizing<String>,
    /// When it ends.
    pub expires_at: UnixMillis,
}

/// Refuses what cannot be a login, over the view of the node where it arrives; whom it is of otherwise.
pub fn judge_login(view: &View, jwt: &str, now: Now) -> Result<Subject, Refused> {
    let mut reader = Reader::new(view);
    let judged = check(&mut reader, jwt, now);
    let reads = reader.into_reads();
    judged.map(|(identity, _)| identity.subject.clone()).map_err(|refusal| Refused { refusal, reads })
}

/// Decides a login.
pub fn decide_login(
    view: &View,
    permit: &Permit,
    jwt: &str,
    occasion: &Occasion,
    entropy: &mut Entropy,
) -> Result<Decision<LoggedIn>, Refused> {
    Draft::decide(view, occasion, entropy, |draft| {
        if !permit.covers(Action::Login, None) {
            return Err(Refusal::PermitForeign);
        }
        let (identity, claims) = check(&mut draft.reader, jwt, occasion.now)?;
        let now = occasion.now.relied().ok_or(Refusal::ClockDoubtful)?;
        let subject = identity.subject.clone();
        if draft.reader.view().indexes().by_login(&subject) >= LOGIN_TOKENS_MAX {
            return Err(Refusal::AccessMax { limit: LOGIN_TOKENS_MAX });
        }
        let expires_at = now.after(LOGIN_TOKEN_MS_MAX).min(claims.believed_until);
        let token = Token::new(kind_of(subject.kind), draft.entropy);
        let (mac_key, key) = draft.reader.view().keyring().token_keys().active();
        draft.put(&TokenRecord {
            id: token.id,
            subject: subject.clone(),
            credential_epoch: identity.credential_epoch,
            mac: mac(key, &token),
            mac_key,
            created_at: draft.now(),
            expires_at: Some(expires_at),
            renewal: None,
            binding: TokenBinding::Free,
            sources: BTreeSet::new(),
            by_login: Some(identity.identity.clone()),
        });
        Ok(LoggedIn { subject, id: token.id, text: token.to_text(), expires_at })
    })
}

/// Whom a JWT names, and what it says. Several issuers may share a name in `iss`, as clusters of Kubernetes do; the
/// one whose key signed it counts.
fn check<'a>(reader: &mut Reader<'a>, jwt: &str, now: Now) -> Result<(&'a IdentityRecord, Claims), Refusal> {
    reader.foundations()?;
    let token = UnverifiedToken::parse(jwt).map_err(|_| Refusal::Unauthenticated)?;
    let claimed = token.claimed_issuer().ok_or(Refusal::Unauthenticated)?;
    let at = now.relied().ok_or(Refusal::ClockDoubtful)?;
    for opened in reader.view().indexes().foreign_records().issuers() {
        let record = &opened.record;
        if record.issuer != claimed {
            continue;
        }
        let (algorithms, issuer, audience) =
            (&record.algorithms, record.issuer.as_str(), record.audience.as_str());
        let expected = Expected { keys: &opened.keys, algorithms, issuer, audience };
        let Ok(claims) = token.verify(&expected, at) else { continue };
        let identity = identity_of(reader, &record.name, &claims)?;
        return Ok((identity, claims));
    }
    Err(Refusal::Unauthenticated)
}

fn identity_of<'a>(
    reader: &mut Reader<'a>,
    issuer: &IssuerName,
    claims: &Claims,
) -> Result<&'a IdentityRecord, Refusal> {
    reader.get::<IssuerRecord>(&RecordName::Issuer(issuer)).ok_or(Refusal::Unauthenticated)?;
    let subject = claims.subject.parse().map_err(|_| Refusal::Unauthenticated)?;
    let identity = Identity::Claim { issuer: issuer.clone(), subject };
    let found = reader.get::<IdentityRecord>(&RecordName::Identity(&identity));
    let found = found.ok_or(Refusal::Unauthenticated)?;
    if reader.stands(found) { Ok(found) } else { Err(Refusal::Unauthenticated) }
}
