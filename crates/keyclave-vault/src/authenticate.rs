//! Who a caller is: whom its token speaks for, or else its certificate.
//!
//! Called once per request, on the same view as everything else of that request. One refusal for every failure.
//! Deliberately absent: what the principal may do.

use core::net::IpAddr;
use std::sync::Arc;

use keyclave_crypto::token::{Token, TokenKind};
use keyclave_policy::{Came, Credential, Principal};
use keyclave_types::access::SubjectKind;
use keyclave_types::identity::TokenBinding;

use crate::join::proves;
use crate::occasion::Now;
use crate::presented::{Found, Presented};
use crate::reader::Reader;
use crate::reads::ReadSet;
use crate::records::RecordName;
use crate::records::access::TokenRecord;
use crate::records::foreign::IdentityRecord;
use crate::refusal::{Refusal, Refused};
use crate::view::View;

/// What a caller has shown, and where it comes from.
#[derive(Clone, Copy, Default)]
pub struct Shown<'a> {
    /// A token's text.
    pub bearer: Option<&'a str>,
    /// A certificate whose key the connection has proved.
    pub certificate: Option<&'a Presented>,
    /// The address that the connection comes from; none over the operator's socket.
    pub source: Option<IpAddr>,
}

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shown(from {:?})", self.source)
    }
}

/// A principal, and what says so.
#[derive(Debug)]
pub struct Authenticated {
    /// Who.
    pub principal: Principal,
    /// What was read to know.
    pub reads: ReadSet,
}

/// The principal of a caller. A token is looked up by its id, and compared in constant time whether there is one or
/// not; where one is shown, the certificate alone is nobody.
pub fn authenticate(view: &View, shown: &Shown<'_>, now: Now) -> Result<Authenticated, Refused> {
    let mut reader = Reader::new(view);
    let outcome = match shown.bearer {
        Some(bearer) => by_token(&mut reader, bearer, shown, now),
        None => by_certificate(&mut reader, shown, now),
    };
    let reads = reader.into_reads();
    match outcome {
        Ok(principal) => Ok(Authenticated { principal, reads }),
        Err(refusal) => Err(Refused { refusal, reads }),
    }
}

fn by_token(
    reader: &mut Reader<'_>,
    bearer: &str,
    shown: &Shown<'_>,
    now: Now,
) -> Result<Principal, Refusal> {
    reader.foundations()?;
    let token = Token::parse(bearer).map_err(|_| Refusal::Unauthenticated)?;
    let found = reader.get::<TokenRecord>(&RecordName::Token(token.id));
    let proven = proves(reader.view().keyring(), &token, found.map(|found| (found.mac_key, found.mac)));
    let found = found.filter(|_| proven).ok_or(Refusal::Unauthenticated)?;
    if token.kind != kind_of(found.subject.kind) {
        return Err(Refusal::Unauthenticated);
    }
    reader.counts(found, now)?;
    let came_from = |source| found.sources.iter().any(|range| range.covers(source));
    if !found.sources.is_empty() && !shown.source.is_some_and(came_from) {
        return Err(Refusal::Unauthenticated);
    }
    let vouching = vouching(reader, shown, now);
    let bound = found.binding != TokenBinding::Free;
    if bound
        && !vouching.as_ref().ok_or(Refusal::ClockDoubtful)?.iter().any(|by| by.satisfies(&found.binding))
    {
        return Err(Refusal::Unauthenticated);
    }
    let mtls = vouching.is_some_and(|vouching| !vouching.is_empty());
    let (subject, credential) = (found.subject.clone(), Credential::Token(token.id));
    Ok(Principal::Subject { subject, credential, came: Came { mtls, bound } })
}

/// Exactly one subject must be named, by however many roots.
fn by_certificate(reader: &mut Reader<'_>, shown: &Shown<'_>, now: Now) -> Result<Principal, Refusal> {
    reader.foundations()?;
    if shown.certificate.is_none() {
        return Err(Refusal::Unauthenticated);
    }
    let mut who: Option<Principal> = None;
    for by in vouching(reader, shown, now).ok_or(Refusal::ClockDoubtful)?.iter() {
        let Some(identity) = reader.get::<IdentityRecord>(&RecordName::Identity(&by.identity)) else {
            continue;
        };
        if !reader.stands(identity) {
            continue;
        }
        let subject = &identity.subject;
        if who.as_ref().and_then(Principal::subject).is_some_and(|other| other != subject) {
            return Err(Refusal::Unauthenticated);
        }
        let credential = Credential::Certificate(by.fingerprint);
        let came = Came { mtls: true, bound: true };
        who = Some(Principal::Subject { subject: subject.clone(), credential, came });
    }
    who.ok_or(Refusal::Unauthenticated)
}

/// Who vouches for the certificate that was shown; none while it is not known what time it is.
fn vouching(reader: &Reader<'_>, shown: &Shown<'_>, now: Now) -> Option<Arc<Vec<Found>>> {
    match shown.certificate {
        None => Some(Arc::default()),
        Some(presented) => Some(presented.verified(reader.view(), now.relied()?)),
    }
}

/// The letter of a subject's tokens: people's are operators' tokens, programs' are services'.
pub(crate) fn kind_of(subject: SubjectKind) -> TokenKind {
    match subject {
        SubjectKind::User => TokenKind::Operator,
        SubjectKind::Service => TokenKind::Service,
    }
}
