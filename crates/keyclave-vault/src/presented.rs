//! A certificate that a connection has proved to hold the key of, and whom one view takes it for.
//!
//! Made once per connection, verified again whenever what it rests on has changed: the records that grant access, or the
//! time beyond what its certificates allow. So what is withdrawn is withdrawn on open connections too.

use std::sync::{Arc, Mutex, PoisonError};

use keyclave_crypto::certificate::{self, Chain, VerifiedChain};
use keyclave_types::identity::{Identity, RootName, TokenBinding};
use keyclave_types::time::UnixMillis;

use crate::records::access::AccessHead;
use crate::view::View;

/// A chain, and what was last found about it.
#[derive(Debug)]
pub struct Presented {
    chain: Chain,
    last: Mutex<Option<Verified>>,
}

/// Under which roots the chain is good, over one state of the records that grant access.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    head: AccessHead,
    from: UnixMillis,
    until: UnixMillis,
    found: Arc<Vec<Found>>,
}

/// One root that vouches for the chain.
#[derive(Debug)]
pub(crate) struct Found {
    /// Whom it names, as a record's name.
    pub(crate) identity: Identity,
    /// SHA-256 of the root.
    pub(crate) fingerprint: [u8; 32],
    key: [u8; 32],
}

impl Presented {
    /// Certificates in DER, the client's own first; none if there are more than a chain needs.
    pub fn new(certificates: Vec<Vec<u8>>) -> Option<Self> {
        Chain::new(certificates).map(|chain| Self { chain, last: Mutex::default() })
    }

    /// The certificates, the client's own first.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.chain.certificates()
    }

    /// Who vouches for it at `now`, as `view` has it.
    pub(crate) fn verified(&self, view: &View, now: UnixMillis) -> Arc<Vec<Found>> {
        let Some(head) = view.indexes().access_head() else { return Arc::default() };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref() {
            Some(last) if last.head == head && (last.from..=last.until).contains(&now) => last.found.clone(),
            Some(_) | None => last.insert(self.verify(view, head, now)).found.clone(),
        }
    }

    fn verify(&self, view: &View, head: AccessHead, now: UnixMillis) -> Verified {
        let mut found = Vec::new();
        // Whom nobody vouches for may be vouched for in the next second: certificates count in seconds.
        let (mut from, mut until) = (now, UnixMillis(now.0 - now.0 % 1000 + 999));
        for (name, opened) in view.indexes().foreign_records().roots() {
            for root in &opened.roots {
                let Ok(verified) = certificate::verify(&self.chain, root, opened.names, now) else {
                    continue;
                };
                (from, until) = match found.is_empty() {
                    true => (verified.not_before, verified.not_after),
                    false => (from.max(verified.not_before), until.min(verified.not_after)),
                };
                found.push(Found::new(name, verified, root.fingerprint()));
            }
        }
        Verified { head, from, until, found: Arc::new(found) }
    }
}

impl Found {
    fn new(root: &RootName, verified: VerifiedChain, fingerprint: [u8; 32]) -> Self {
        let identity = Identity::Certificate { root: root.clone(), name: verified.name };
        Self { identity, fingerprint, key: verified.key }
    }

    /// Whether a token that is tied so may be used with this certificate.
    pub(crate) fn satisfies(&self, binding: &TokenBinding) -> bool {
        match binding {
            TokenBinding::Free => true,
            TokenBinding::Key(key) => self.key == *key,
            TokenBinding::Identity(identity) => self.identity == *identity,
        }
    }
}
