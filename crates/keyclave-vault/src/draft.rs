//! A transaction in the making: what was read, what is to change, sealed as it goes in.
//!
//! Used by everything that decides. Every record that is written counts as read, so a put is a comparison and a
//! swap.

use std::collections::{BTreeMap, BTreeSet};

use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::record::seal_record;
use keyclave_types::envelope::{Stored, encode};
use keyclave_types::ids::{PlainKind, RecordId};
use keyclave_types::limits::{BLOB_BYTES_MAX, TRANSACTION_BYTES_MAX};
use keyclave_types::position::Revision;
use keyclave_types::time::UnixMillis;
use keyclave_types::transaction::{Change, Transaction};
use zeroize::Zeroizing;

use crate::decide::{Decision, Proposal, Settling};
use crate::occasion::Occasion;
use crate::reader::Reader;
use crate::records::{Body, RecordKind, RecordName};
use crate::refusal::{Refusal, Refused};
use crate::view::View;

pub(crate) struct Draft<'a> {
    pub(crate) reader: Reader<'a>,
    pub(crate) occasion: &'a Occasion,
    pub(crate) entropy: &'a mut Entropy,
    changes: BTreeMap<RecordId, Change>,
    /// Which of the changes are to records that grant access.
    access: BTreeSet<RecordId>,
    settles: Option<Settling>,
}

impl<'a> Draft<'a> {
    /// Decides by `by`, and turns what it did into a transaction, or what it said into a refusal.
    pub(crate) fn decide<A>(
        view: &'a View,
        occasion: &'a Occasion,
        entropy: &'a mut Entropy,
        by: impl FnOnce(&mut Self) -> Result<A, Refusal>,
    ) -> Result<Decision<A>, Refused> {
        let reader = Reader::new(view);
        let (changes, access) = (BTreeMap::new(), BTreeSet::new());
        let mut draft = Self { reader, occasion, entropy, changes, access, settles: None };
        let outcome = by(&mut draft);
        draft.conclude(outcome)
    }

    fn conclude<A>(self, outcome: Result<A, Refusal>) -> Result<Decision<A>, Refused> {
        let (changes, settles) = (self.changes, self.settles);
        let reads = self.reader.into_reads();
        let answer = match outcome {
            Ok(answer) => answer,
            Err(refusal) => return Err(Refused { refusal, reads }),
        };
        if changes.is_empty() {
            return Ok(Decision::Standing { answer, reads, settles });
        }
        let expects = reads.records.clone();
        let transaction = Transaction { decided_under: self.occasion.leader, expects, changes };
        match too_large(&transaction) {
            None => Ok(Decision::Propose(Proposal { transaction, answer, settles })),
            Some(refusal) => Err(Refused { refusal, reads }),
        }
    }

    pub(crate) fn now(&self) -> UnixMillis {
        self.occasion.now.noted()
    }

    /// The time, if it may be relied on.
    pub(crate) fn relied_now(&self) -> Option<UnixMillis> {
        self.occasion.now.relied()
    }

    /// Whether anything is to change so far.
    pub(crate) fn changes_anything(&self) -> bool {
        !self.changes.is_empty()
    }

    /// What is decided may be acknowledged only once this has been known for a while.
    pub(crate) fn settle(&mut self, settling: Settling) {
        self.settles = Some(settling);
    }

    pub(crate) fn put<T: Body>(&mut self, body: &T) -> (RecordId, Revision) {
        let bytes = encode(body);
        self.seal(&body.name(), &bytes)
    }

    /// The records that grant access, as they will stand after this draft.
    pub(crate) fn access_after(&self) -> imbl::OrdMap<RecordId, Revision> {
        let mut access = self.reader.view().indexes().access().clone();
        for id in &self.access {
            match self.changes.get(id) {
                Some(Change::Put { revision, .. }) => drop(access.insert(*id, *revision)),
                Some(Change::Delete) => drop(access.remove(id)),
                None => {}
            }
        }
        access
    }

    /// A secret is its format byte and its bytes.
    pub(crate) fn put_secret(&mut self, name: &RecordName<'_>, format: u8, secret: &[u8]) {
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + secret.len()));
        bytes.push(format);
        bytes.extend_from_slice(secret);
        self.seal(name, &bytes);
    }

    pub(crate) fn put_plain<T: Stored>(&mut self, kind: PlainKind, number: u64, body: &T) {
        let id = RecordId::plain(kind, number);
        let revision = self.next_revision(id);
        self.changes.insert(id, Change::Put { revision, blob: encode(body) });
    }

    pub(crate) fn delete(&mut self, name: &RecordName<'_>) {
        let id = self.reader.view().id_of(name);
        self.note_access(name, id);
        self.delete_at(id);
    }

    pub(crate) fn delete_plain(&mut self, kind: PlainKind, number: u64) {
        self.delete_at(RecordId::plain(kind, number));
    }

    /// Deletes a record that is there; notes that one is not.
    pub(crate) fn delete_at(&mut self, id: RecordId) {
        if self.reader.held(id).is_some() {
            self.changes.insert(id, Change::Delete);
        }
    }

    fn seal(&mut self, name: &RecordName<'_>, bytes: &[u8]) -> (RecordId, Revision) {
        let view = self.reader.view();
        let id = view.id_of(name);
        let revision = self.next_revision(id);
        self.note_access(name, id);
        let blob = seal(view, name.kind(), id, revision, bytes, self.entropy);
        self.changes.insert(id, Change::Put { revision, blob });
        (id, revision)
    }

    fn note_access(&mut self, name: &RecordName<'_>, id: RecordId) {
        if name.kind().grants_access() {
            self.access.insert(id);
        }
    }

    fn next_revision(&mut self, id: RecordId) -> Revision {
        let own = self.reader.held(id).map(|held| held.revision);
        Revision::next(own, self.reader.view().index())
    }
}

/// A blob for this place under the keyring's active epoch.
fn seal(
    view: &View,
    kind: RecordKind,
    id: RecordId,
    revision: Revision,
    bytes: &[u8],
    entropy: &mut Entropy,
) -> Vec<u8> {
    seal_record(view.keyring().sealing(), &view.place(kind, id, revision), bytes, entropy)
}

fn too_large(transaction: &Transaction) -> Option<Refusal> {
    let blobs = transaction.changes.values().filter_map(|change| match change {
        Change::Put { blob, .. } => Some(blob.len()),
        Change::Delete => None,
    });
    let (largest, whole) = (blobs.max().unwrap_or(0), encode(transaction).len());
    if largest > BLOB_BYTES_MAX {
        Some(Refusal::TransactionMax { limit: BLOB_BYTES_MAX, found: largest })
    } else if whole > TRANSACTION_BYTES_MAX {
        Some(Refusal::TransactionMax { limit: TRANSACTION_BYTES_MAX, found: whole })
    } else {
        None
    }
}
