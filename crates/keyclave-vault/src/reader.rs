//! Reads a view for one request and notes everything that it finds, absences too.
//!
//! Nothing else in this crate looks at a view to decide or to answer, so nothing that was read can be forgotten.

use keyclave_policy::{Credential, Principal};
use keyclave_types::envelope::{Stored, decode};
use keyclave_types::identity::Identity;
use keyclave_types::ids::{PlainKind, RecordId};

use crate::occasion::Now;
use crate::reads::{ReadSet, SetRead};
use crate::records::RecordName;
use crate::records::access::{SubjectRecord, TokenRecord};
use crate::records::foreign::IdentityRecord;
use crate::records::key::KeyMeta;
use crate::refusal::Refusal;
use crate::view::{Held, HeldBody, Opened, View};

pub(crate) struct Reader<'a> {
    view: &'a View,
    reads: ReadSet,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(view: &'a View) -> Self {
        Self { view, reads: ReadSet::default() }
    }

    pub(crate) fn view(&self) -> &'a View {
        self.view
    }

    pub(crate) fn into_reads(self) -> ReadSet {
        self.reads
    }

    /// What every decision and every answer rests on: the keyring (its wrapped form changes with it), the access
    /// head, and the caller's token.
    pub(crate) fn standing(&mut self, principal: &Principal, now: Now) -> Result<(), Refusal> {
        self.foundations()?;
        match principal {
            Principal::LocalSocket | Principal::Member(_) | Principal::Unauthenticated => Ok(()),
            // Roots and identities are in the access head; that this view takes the certificate for the subject was
            // found over it.
            Principal::Subject { subject, credential: Credential::Certificate(_), .. } => {
                let there = self.get::<SubjectRecord>(&RecordName::Subject(subject));
                there.map(|_| ()).ok_or(Refusal::Unauthenticated)
            }
            Principal::Subject { subject, credential: Credential::Token(id), .. } => {
                let token =
                    self.get::<TokenRecord>(&RecordName::Token(*id)).ok_or(Refusal::Unauthenticated)?;
                if token.subject == *subject {
                    self.counts(token, now)
                } else {
                    Err(Refusal::Unauthenticated)
                }
            }
        }
    }

    /// Whether a token still counts: its subject is there, has not ended its credentials since, and it has not expired.
    pub(crate) fn counts(&mut self, token: &TokenRecord, now: Now) -> Result<(), Refusal> {
        let subject = self.get::<SubjectRecord>(&RecordName::Subject(&token.subject));
        let epoch = subject.map(|subject| subject.credential_epoch);
        if epoch != Some(token.credential_epoch) {
            return Err(Refusal::Unauthenticated);
        }
        if let Some(identity) = &token.by_login
            && !self.still_logs_in(identity, token)
        {
            return Err(Refusal::Unauthenticated);
        }
        unexpired(token, now)
    }

    /// Whether the identity whose JWT a token was given for still is the token's subject, and its issuer still believed.
    fn still_logs_in(&mut self, identity: &Identity, token: &TokenRecord) -> bool {
        let believed = match identity {
            Identity::Claim { issuer, .. } => self.exists(&RecordName::Issuer(issuer)),
            Identity::Certificate { .. } => false,
        };
        let found = self.get::<IdentityRecord>(&RecordName::Identity(identity));
        let same = |found: &IdentityRecord| {
            found.subject == token.subject && found.credential_epoch == token.credential_epoch
        };
        believed && found.is_some_and(same)
    }

    /// Whether an identity still counts: its subject is there, and has not ended its credentials since.
    pub(crate) fn stands(&mut self, identity: &IdentityRecord) -> bool {
        let subject = self.get::<SubjectRecord>(&RecordName::Subject(&identity.subject));
        subject.is_some_and(|subject| subject.credential_epoch == identity.credential_epoch)
    }

    /// [`Reader::standing`] of nobody in particular.
    pub(crate) fn foundations(&mut self) -> Result<(), Refusal> {
        self.held(RecordId::plain(PlainKind::Seal, 0));
        self.held(self.view.id_of(&RecordName::AccessHead));
        if self.view.head_matches() && self.view.rules().is_some() {
            Ok(())
        } else {
            Err(Refusal::AccessHead)
        }
    }

    pub(crate) fn get<T: HeldBody>(&mut self, name: &RecordName<'_>) -> Option<&'a T> {
        let held = self.held(self.view.id_of(name))?;
        T::held(&held.body)
    }

    /// A key whose record's id is known from an index.
    pub(crate) fn key_at(&mut self, id: RecordId) -> Option<&'a KeyMeta> {
        KeyMeta::held(&self.held(id)?.body)
    }

    pub(crate) fn token_at(&mut self, id: RecordId) -> Option<&'a TokenRecord> {
        TokenRecord::held(&self.held(id)?.body)
    }

    pub(crate) fn plain<T: Stored>(&mut self, kind: PlainKind, number: u64) -> Option<T> {
        match &self.held(RecordId::plain(kind, number))?.body {
            Opened::Plain(bytes) => decode(bytes).ok(),
            _ => None,
        }
    }

    pub(crate) fn exists(&mut self, name: &RecordName<'_>) -> bool {
        self.held(self.view.id_of(name)).is_some()
    }

    pub(crate) fn held(&mut self, id: RecordId) -> Option<&'a Held> {
        self.reads.note(id, self.view.found(id));
        self.view.held(id)
    }

    pub(crate) fn note_set(&mut self, set: SetRead) {
        self.reads.sets.push(set);
    }
}

/// Whether a token still counts. One that never ends does not ask the clock.
fn unexpired(token: &TokenRecord, now: Now) -> Result<(), Refusal> {
    match (token.expires_at, now.relied()) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Refusal::ClockDoubtful),
        (Some(end), Some(now)) if now < end => Ok(()),
        (Some(_), Some(_)) => Err(Refusal::Unauthenticated),
    }
}
