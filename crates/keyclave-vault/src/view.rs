//! The view: every record of the ledger as of one index, opened, frozen, cheap to clone and to fold forward.
//!
//! Kept by the node, which folds in what the ledger changed; read by every decision and computation. Secrets stay
//! sealed in it until they are used. Deliberately absent: reading the ledger, and any change in place.

mod access;
mod facts;
mod foreign;
mod held;
mod indexes;
mod opened_keys;

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use keyclave_crypto::labels::Place;
use keyclave_crypto::record::{BlobError, epoch_of, open_record};
use keyclave_crypto::secret::SecretVec;
use keyclave_policy::Rules;
use keyclave_types::envelope::EnvelopeError;
use keyclave_types::ids::{ClusterId, RecordId};
use keyclave_types::position::{Generation, Position, Revision};
use keyclave_types::transaction::{Expect, Record};

pub(crate) use access::AccessRecords;
pub(crate) use foreign::ForeignRecords;
pub(crate) use held::{Held, HeldBody, Opened};
pub(crate) use indexes::{Indexes, head_of};
pub(crate) use opened_keys::OpenedKeys;

use crate::keyring::Keyring;
use crate::reads::{ReadSet, SetRead};
use crate::records::{RecordKind, RecordName};

/// All records as of one index.
#[derive(Clone)]
pub struct View {
    shared: Arc<Shared>,
    index: u64,
    records: OrdMap<RecordId, Held>,
    indexes: Indexes,
}

/// What all views of one unsealed node have in common.
struct Shared {
    keyring: Arc<Keyring>,
    cluster: ClusterId,
    generation: Generation,
    access_head: RecordId,
    opened: OpenedKeys,
}

/// Why a record cannot be part of a view.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The blob's head is not one that this version reads.
    #[error("record {id} is not a sealed record")]
    Blob {
        /// Which record.
        id: RecordId,
        /// What is wrong with its head.
        #[source]
        source: BlobError,
    },
    /// The keyring lacks the epoch.
    #[error("record {id} is sealed under epoch {epoch}, which the keyring does not hold")]
    Epoch {
        /// Which record.
        id: RecordId,
        /// Its epoch.
        epoch: u32,
    },
    /// It opens as no kind: another cluster's, or damaged, or of a kind that is newer than this version.
    #[error("record {id} does not open")]
    Unopened {
        /// Which record.
        id: RecordId,
    },
    /// It opens, and its body does not read.
    #[error("record {id} opens and does not read")]
    Body {
        /// Which record.
        id: RecordId,
        /// What is wrong with its body.
        #[source]
        source: EnvelopeError,
    },
}

impl View {
    /// Opens all records of a ledger as of `index`. Opens each sealed one at once, and lays secrets aside sealed.
    pub fn open(
        keyring: Arc<Keyring>,
        cluster: ClusterId,
        generation: Generation,
        index: u64,
        records: impl IntoIterator<Item = (RecordId, Record)>,
    ) -> Result<Self, OpenError> {
        let records = records.into_iter().map(|(id, record)| (id, Some(record)));
        Self::empty(keyring, cluster, generation, index).fold(index, records)
    }

    /// The view of a ledger without records.
    pub(crate) fn empty(
        keyring: Arc<Keyring>,
        cluster: ClusterId,
        generation: Generation,
        index: u64,
    ) -> Self {
        let access_head = keyring.record_id(&RecordName::AccessHead);
        let shared = Shared { keyring, cluster, generation, access_head, opened: OpenedKeys::default() };
        Self { shared: Arc::new(shared), index, records: OrdMap::new(), indexes: Indexes::default() }
    }

    /// The view as of `index`, given every record that changed since, as it then stands. `self` stays as it is.
    pub fn fold(
        &self,
        index: u64,
        changes: impl IntoIterator<Item = (RecordId, Option<Record>)>,
    ) -> Result<Self, OpenError> {
        let mut view = self.clone();
        view.index = index;
        for (id, record) in changes {
            let old = view.records.get(&id).cloned();
            let held = match record {
                Some(record) => {
                    Some(view.shared.open_record(id, record, old.as_ref().and_then(|old| old.body.kind()))?)
                }
                None => None,
            };
            if let Some(old) = &old {
                view.shared.opened.forget(id);
                view.indexes.remove(id, old);
            }
            match held {
                Some(held) => {
                    view.indexes.insert(id, &held);
                    view.records.insert(id, held);
                }
                None => {
                    view.records.remove(&id);
                }
            }
        }
        view.indexes.settle();
        Ok(view)
    }

    /// Up to where this view goes.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The position that an answer from this view carries.
    pub fn position(&self) -> Position {
        Position { generation: self.shared.generation, index: self.index }
    }

    /// Whose ledger this is.
    pub fn cluster(&self) -> ClusterId {
        self.shared.cluster
    }

    /// The keyring that opened it.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.shared.keyring
    }

    /// Whether everything that was read elsewhere (in an older view) stands in this one as it was found.
    pub fn holds(&self, reads: &ReadSet) -> bool {
        reads.records.iter().all(|(id, expect)| self.found(*id) == *expect)
            && reads.sets.iter().all(|set| self.set_holds(set))
    }

    /// Whether nothing that was read is among `changed`: what a node asks that has no newer view yet. For sets it
    /// errs on the safe side: any record that this view does not know may have joined them.
    pub fn unchanged(&self, reads: &ReadSet, changed: &BTreeSet<RecordId>) -> bool {
        let joined = || changed.iter().any(|id| !id.is_plain() && !self.records.contains_key(id));
        !changed.iter().any(|id| reads.records.contains_key(id)) && (reads.sets.is_empty() || !joined())
    }

    /// Whether the records that grant access are exactly those that the access head counts.
    pub(crate) fn head_matches(&self) -> bool {
        match self.records.get(&self.shared.access_head).map(|held| &held.body) {
            Some(Opened::AccessHead(head)) => Some(**head) == self.indexes.access_head(),
            _ => false,
        }
    }

    /// The rules that the records of this view make; none if they cannot be made.
    pub(crate) fn rules(&self) -> Option<&Arc<Rules>> {
        self.indexes.rules()
    }

    pub(crate) fn held(&self, id: RecordId) -> Option<&Held> {
        self.records.get(&id)
    }

    pub(crate) fn found(&self, id: RecordId) -> Expect {
        Expect::of(self.revision(id))
    }

    pub(crate) fn revision(&self, id: RecordId) -> Option<Revision> {
        self.records.get(&id).map(|held| held.revision)
    }

    pub(crate) fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    pub(crate) fn opened_keys(&self) -> &OpenedKeys {
        &self.shared.opened
    }

    pub(crate) fn id_of(&self, name: &RecordName<'_>) -> RecordId {
        match name {
            RecordName::AccessHead => self.shared.access_head,
            other => self.shared.keyring.record_id(other),
        }
    }

    pub(crate) fn place(&self, kind: RecordKind, id: RecordId, revision: Revision) -> Place {
        Place { cluster: self.shared.cluster, kind: kind.number(), id, revision }
    }

    /// The bytes of a secret record, without its format byte.
    pub(crate) fn open_secret(&self, id: RecordId, format: u8) -> Option<SecretVec> {
        let held = self.records.get(&id)?;
        let Opened::Secret { kind, blob } = &held.body else { return None };
        let key = self.shared.keyring.epoch(epoch_of(blob).ok()?)?;
        let plaintext = open_record(key, &self.place(*kind, id, held.revision), blob).ok()?;
        let (found, secret) = plaintext.split_first()?;
        (*found == format).then(|| SecretVec::from_slice("secret record", secret))
    }

    fn set_holds(&self, set: &SetRead) -> bool {
        match set {
            SetRead::Keys { prefix, after, through, found } => {
                let names = self.indexes.names(prefix, after.as_ref());
                let within = names.take_while(|(name, _)| through.as_ref().is_none_or(|last| *name <= last));
                within.map(|(_, id)| id).eq(found)
            }
            SetRead::NoKey { id } => self.indexes.key_by_id(*id).is_none(),
            SetRead::Tokens { found } => self.indexes.tokens().map(|(_, id)| id).eq(found),
        }
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "View({}, {} records)", self.position(), self.records.len())
    }
}

impl Shared {
    /// Opens one record, trying first the kind that it had, then the kinds by how frequent they are.
    fn open_record(
        &self,
        id: RecordId,
        record: Record,
        known: Option<RecordKind>,
    ) -> Result<Held, OpenError> {
        let Record { revision, blob } = record;
        if id.is_plain() {
            return Ok(Held { revision, body: Opened::Plain(blob.into()) });
        }
        let epoch = epoch_of(&blob).map_err(|source| OpenError::Blob { id, source })?;
        let key = self.keyring.epoch(epoch).ok_or(OpenError::Epoch { id, epoch: epoch.0 })?;
        for kind in known.into_iter().chain(RecordKind::likely_first(blob.len())) {
            let place = Place { cluster: self.cluster, kind: kind.number(), id, revision };
            if let Ok(plaintext) = open_record(key, &place, &blob) {
                let body =
                    Opened::read(kind, &plaintext, blob).map_err(|source| OpenError::Body { id, source })?;
                return Ok(Held { revision, body });
            }
        }
        Err(OpenError::Unopened { id })
    }
}
