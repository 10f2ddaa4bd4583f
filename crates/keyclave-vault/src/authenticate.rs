//! Who a bearer token speaks for.
//!
//! Called once per request, on the same view as everything else of that request. One refusal for every failure.
//! Deliberately absent: what the principal may do.

use keyclave_crypto::token::{Token, TokenKind};
use keyclave_policy::{Credential, Principal};
use keyclave_types::access::SubjectKind;

use crate::join::proves;
use crate::occasion::Now;
use crate::reader::Reader;
use crate::reads::ReadSet;
use crate::records::RecordName;
use crate::records::access::TokenRecord;
use crate::refusal::{Refusal, Refused};
use crate::view::View;

/// A principal, and what says so.
#[derive(Debug)]
pub struct Authenticated {
    /// Who.
    pub principal: Principal,
    /// What was read to know.
    pub reads: ReadSet,
}

/// The principal of a token's text. The look-up is by the token's id, the comparison takes constant time and is
/// made whether there is such a token or not.
pub fn authenticate(view: &View, bearer: &str, now: Now) -> Result<Authenticated, Refused> {
    let mut reader = Reader::new(view);
    let outcome = principal(&mut reader, bearer, now);
    let reads = reader.into_reads();
    match outcome {
        Ok(principal) => Ok(Authenticated { principal, reads }),
        Err(refusal) => Err(Refused { refusal, reads }),
    }
}

fn principal(reader: &mut Reader<'_>, bearer: &str, now: Now) -> Result<Principal, Refusal> {
    reader.foundations()?;
    let token = Token::parse(bearer).map_err(|_| Refusal::Unauthenticated)?;
    let found = reader.get::<TokenRecord>(&RecordName::Token(token.id));
    let proven = proves(reader.view().keyring(), &token, found.map(|found| (found.mac_key, found.mac)));
    let found = found.filter(|_| proven).ok_or(Refusal::Unauthenticated)?;
    if token.kind != kind_of(found.subject.kind) {
        return Err(Refusal::Unauthenticated);
    }
    reader.counts(found, now)?;
    Ok(Principal::Subject { subject: found.subject.clone(), credential: Credential::Token(token.id) })
}

/// The letter of a subject's tokens: people's are operators' tokens, programs' are services'.
pub(crate) fn kind_of(subject: SubjectKind) -> TokenKind {
    match subject {
        SubjectKind::User => TokenKind::Operator,
        SubjectKind::Service => TokenKind::Service,
    }
}
