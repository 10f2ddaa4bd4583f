//! A log entry of our own: openraft's log id, a payload, and the leader's signature over both.
//!
//! Stored form, also on the wire:
//! `0x01 ‖ term ‖ node ‖ index (8 bytes each, big-endian) ‖ 0x00, or 0x01 ‖ signature (64) ‖ payload`,
//! where the payload is a stored form too. The payload's bytes are kept beside its meaning, so that what was signed
//! is what is stored and sent, byte for byte.
//!
//! Made by openraft ([`RaftEntry`], [`FromAppData`]), completed by [`crate::log_store`], checked by
//! [`crate::guard`], applied by [`crate::machine`]. Deliberately absent: keys.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyclave_types::envelope::{self, EnvelopeError, Stored};
use keyclave_types::ids::ClusterId;
use keyclave_types::position::Generation;
use keyclave_types::transaction::Transaction;
use openraft::entry::{FromAppData, RaftEntry, RaftPayload};
use openraft::{CommittedLeaderId, RaftLogId};
use serde::{Deserialize, Serialize};

use crate::keys::Signature;
use crate::raft::{LogId, MemberNode, Membership, MembershipForm, UnknownVoter};

/// First byte of an entry's stored form.
const FORMAT: u8 = 0x01;
/// Bytes before the signature flag: format and log id.
const LOG_ID_END: usize = 25;

/// What an entry asks of every node.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Payload {
    /// A leader's first entry; it commits what came before.
    Blank,
    /// Transactions, in the order decided.
    Batch(Arc<Vec<Transaction>>),
    /// The digest over records and membership of everything before it; none if the leader could not know it.
    Checkpoint(Option<[u8; 32]>),
    /// Voters and members from here on.
    Membership(Membership),
}

#[derive(Serialize, Deserialize)]
enum PayloadForm {
    Blank,
    Batch(Arc<Vec<Transaction>>),
    Checkpoint(Option<[u8; 32]>),
    Membership(MembershipForm),
}

impl Stored for PayloadForm {
    const FORMAT: u8 = 1;
}

impl Payload {
    fn to_bytes(&self) -> Arc<[u8]> {
        let form = match self {
            Self::Blank => PayloadForm::Blank,
            Self::Batch(transactions) => PayloadForm::Batch(Arc::clone(transactions)),
            Self::Checkpoint(digest) => PayloadForm::Checkpoint(*digest),
            Self::Membership(membership) => PayloadForm::Membership(membership.into()),
        };
        envelope::encode(&form).into()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        Ok(match envelope::decode(bytes)? {
            PayloadForm::Blank => Self::Blank,
            PayloadForm::Batch(transactions) => Self::Batch(transactions),
            PayloadForm::Checkpoint(digest) => Self::Checkpoint(digest),
            PayloadForm::Membership(form) => Self::Membership(form.try_into()?),
        })
    }
}

/// Why bytes are not an entry. An unknown format is a newer version's: it stops the node.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Cut short.
    #[error("the entry is cut short: {found} bytes")]
    Short {
        /// Bytes found.
        found: usize,
    },
    /// Another format byte.
    #[error("entry format {found:#04x} is not {FORMAT:#04x}, the one that this version reads")]
    Format {
        /// The byte found.
        found: u8,
    },
    /// Neither signed nor unsigned.
    #[error("the signature flag is {found:#04x}")]
    Flag {
        /// The byte found.
        found: u8,
    },
    /// The payload is not one.
    #[error("the entry's payload is not readable")]
    Payload(#[from] EnvelopeError),
    /// A membership that nobody could check.
    #[error("the entry's membership is incomplete")]
    Membership(#[from] UnknownVoter),
}

/// One entry of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub(crate) struct Entry {
    pub(crate) log_id: LogId,
    payload: Payload,
    bytes: Arc<[u8]>,
    pub(crate) signature: Option<Signature>,
    fate: Fate,
}

impl Entry {
    fn new(log_id: LogId, payload: Payload) -> Self {
        let bytes = payload.to_bytes();
        Self { log_id, payload, bytes, signature: None, fate: Fate::default() }
    }

    pub(crate) fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Puts the digest into a checkpoint that is about to be signed.
    pub(crate) fn complete_checkpoint(&mut self, digest: [u8; 32]) {
        self.payload = Payload::Checkpoint(Some(digest));
        self.bytes = self.payload.to_bytes();
    }

    /// The batch's or membership's stored bytes; what admission counts.
    pub(crate) fn payload_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn fate(&self) -> &Fate {
        &self.fate
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LOG_ID_END + 65 + self.bytes.len());
        bytes.push(FORMAT);
        for number in [self.log_id.leader_id.term, self.log_id.leader_id.node_id, self.log_id.index] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.push(u8::from(self.signature.is_some()));
        bytes.extend_from_slice(self.signature.as_ref().map_or(&[], |signature| signature.as_slice()));
        bytes.extend_from_slice(&self.bytes);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        let log_id = log_id_of(bytes)?;
        let short = EntryError::Short { found: bytes.len() };
        let Some((flag, rest)) = bytes.get(LOG_ID_END..).and_then(<[u8]>::split_first) else {
            return Err(short);
        };
        let (signature, payload) = match flag {
            0 => (None, rest),
            1 => {
                let (signature, payload) = rest.split_first_chunk::<64>().ok_or(short)?;
                (Some(*signature), payload)
            }
            found => return Err(EntryError::Flag { found: *found }),
        };
        let read = Payload::from_bytes(payload)?;
        Ok(Self { log_id, payload: read, bytes: payload.into(), signature, fate: Fate::default() })
    }
}

/// The log id of a stored entry, without reading the rest.
pub(crate) fn log_id_of(bytes: &[u8]) -> Result<LogId, EntryError> {
    let short = EntryError::Short { found: bytes.len() };
    let (format, rest) = bytes.split_first().ok_or(EntryError::Short { found: 0 })?;
    if *format != FORMAT {
        return Err(EntryError::Format { found: *format });
    }
    let (Some((term, rest)), true) = (rest.split_first_chunk::<8>(), bytes.len() >= LOG_ID_END) else {
        return Err(short);
    };
    let Some((node, rest)) = rest.split_first_chunk::<8>() else { return Err(short) };
    let Some((index, _)) = rest.split_first_chunk::<8>() else { return Err(short) };
    let [term, node, index] = [term, node, index].map(|number| u64::from_be_bytes(*number));
    Ok(LogId::new(CommittedLeaderId::new(term, node), index))
}

impl From<Entry> for Vec<u8> {
    fn from(entry: Entry) -> Self {
        entry.to_bytes()
    }
}

impl TryFrom<Vec<u8>> for Entry {
    type Error = EntryError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, EntryError> {
        Self::from_bytes(&bytes)
    }
}

/// Equal in everything that is stored.
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.log_id == other.log_id && self.bytes == other.bytes && self.signature == other.signature
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.payload {
            Payload::Blank => "blank",
            Payload::Batch(_) => "batch",
            Payload::Checkpoint(_) => "checkpoint",
            Payload::Membership(_) => "membership",
        };
        write!(f, "{} {kind}", self.log_id)
    }
}

impl RaftPayload<u64, MemberNode> for Entry {
    fn is_blank(&self) -> bool {
        matches!(self.payload, Payload::Blank)
    }

    fn get_membership(&self) -> Option<&Membership> {
        match &self.payload {
            Payload::Membership(membership) => Some(membership),
            Payload::Blank | Payload::Batch(_) | Payload::Checkpoint(_) => None,
        }
    }
}

impl RaftLogId<u64> for Entry {
    fn get_log_id(&self) -> &LogId {
        &self.log_id
    }

    fn set_log_id(&mut self, log_id: &LogId) {
        self.log_id = *log_id;
    }
}

impl RaftEntry<u64, MemberNode> for Entry {
    fn new_blank(log_id: LogId) -> Self {
        Self::new(log_id, Payload::Blank)
    }

    fn new_membership(log_id: LogId, membership: Membership) -> Self {
        Self::new(log_id, Payload::Membership(membership))
    }
}

impl FromAppData<Proposal> for Entry {
    fn from_app_data(proposal: Proposal) -> Self {
        let Proposal { payload, bytes, fate } = proposal;
        Self { log_id: LogId::default(), payload, bytes, signature: None, fate }
    }
}

/// What is given to openraft to append.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub(crate) struct Proposal {
    payload: Payload,
    bytes: Arc<[u8]>,
    fate: Fate,
}

impl Proposal {
    pub(crate) fn batch(transactions: Vec<Transaction>) -> Self {
        Self::new(Payload::Batch(Arc::new(transactions)))
    }

    pub(crate) fn checkpoint() -> Self {
        Self::new(Payload::Checkpoint(None))
    }

    fn new(payload: Payload) -> Self {
        let bytes = payload.to_bytes();
        Self { payload, bytes, fate: Fate::default() }
    }

    pub(crate) fn fate(&self) -> &Fate {
        &self.fate
    }
}

impl From<Proposal> for Vec<u8> {
    fn from(proposal: Proposal) -> Self {
        proposal.bytes.to_vec()
    }
}

impl TryFrom<Vec<u8>> for Proposal {
    type Error = EntryError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, EntryError> {
        Payload::from_bytes(&bytes).map(Self::new)
    }
}

/// Whether the log store was given a proposal. openraft answers a proposal that it never appended and one that it
/// appended and lost alike; only the first may be told "nothing happened".
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<AtomicBool>);

impl Fate {
    pub(crate) fn appended(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn was_appended(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Which line of which ledger signatures are made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    pub(crate) cluster: ClusterId,
    pub(crate) generation: Generation,
}

const ENTRY_LABEL: &[u8] = b"keyclave log entry v1";
const COMMIT_LABEL: &[u8] = b"keyclave log commit v1";

impl Line {
    /// What the leader signs:
    /// `"keyclave log entry v1" ‖ cluster id (16) ‖ generation ‖ term ‖ node ‖ index ‖ BLAKE3(payload) (32)`,
    /// numbers in 8 bytes, big-endian. So an entry can be neither replayed, moved, reordered, nor used in another
    /// cluster or after a restore.
    pub(crate) fn entry_message(&self, entry: &Entry) -> Vec<u8> {
        let mut message = self.message(ENTRY_LABEL, &entry.log_id);
        message.extend_from_slice(blake3::hash(&entry.bytes).as_bytes());
        message
    }

    /// What a writer signs to vouch that a log id is committed:
    /// `"keyclave log commit v1" ‖ cluster id (16) ‖ generation ‖ term ‖ node ‖ index`.
    pub(crate) fn commit_message(&self, committed: &LogId) -> Vec<u8> {
        self.message(COMMIT_LABEL, committed)
    }

    fn message(&self, label: &[u8], id: &LogId) -> Vec<u8> {
        let mut message = label.to_vec();
        message.extend_from_slice(self.cluster.as_bytes());
        for number in [self.generation.0, id.leader_id.term, id.leader_id.node_id, id.index] {
            message.extend_from_slice(&number.to_be_bytes());
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use keyclave_types::ids::Incarnation;
    use keyclave_types::member::{Member, NodePublicKey};
    use keyclave_types::transaction::LeaderId;

    use super::*;

    fn id(term: u64, node: u64, index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(term, node), index)
    }

    fn membership() -> Membership {
        let member = Member { incarnation: Incarnation::from_bytes([5; 16]), key: NodePublicKey([6; 32]) };
        Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, MemberNode(member))]))
    }

    fn every_kind() -> Vec<Entry> {
        let transaction = Transaction {
            decided_under: LeaderId { term: 3, node: 1 },
            expects: BTreeMap::new(),
            changes: BTreeMap::new(),
        };
        [
            Payload::Blank,
            Payload::Batch(Arc::new(vec![transaction])),
            Payload::Checkpoint(None),
            Payload::Checkpoint(Some([9; 32])),
            Payload::Membership(membership()),
        ]
        .into_iter()
        .map(|payload| Entry { signature: Some([7; 64]), ..Entry::new(id(3, 1, 8), payload) })
        .collect()
    }

    #[test]
    fn golden_bytes_stay() {
        let mut blank = Entry::new_blank(id(2, 1, 258));
        let mut golden = vec![1];
        golden.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2]);
        golden.extend_from_slice(&[0, 1, 0]);
        assert_eq!(blank.to_bytes(), golden);
        blank.signature = Some([0xaa; 64]);
        golden.truncate(25);
        golden.push(1);
        golden.extend_from_slice(&[0xaa; 64]);
        golden.extend_from_slice(&[1, 0]);
        assert_eq!(blank.to_bytes(), golden);

        let payloads: Vec<Vec<u8>> = every_kind().iter().map(|entry| entry.bytes.to_vec()).collect();
        assert_eq!(payloads[1], [1, 1, 1, 3, 1, 0, 0]);
        assert_eq!(payloads[2], [1, 2, 0]);
        assert_eq!(payloads[3], [&[1, 2, 1][..], &[9; 32]].concat());
        assert_eq!(payloads[4], [&[1, 3, 1, 1, 1, 1, 1][..], &[5; 16], &[6; 32]].concat());
    }

    #[test]
    fn every_kind_reads_back_and_no_cut_of_it_does() {
        for entry in every_kind() {
            let bytes = entry.to_bytes();
            let read = Entry::from_bytes(&bytes).unwrap();
            assert_eq!(read, entry);
            assert_eq!(read.payload, entry.payload);
            assert_eq!(log_id_of(&bytes).unwrap(), entry.log_id);
            for length in 0..bytes.len() {
                assert!(Entry::from_bytes(&bytes[..length]).is_err(), "{entry} cut at {length}");
            }
        }
    }

    #[test]
    fn a_newer_format_is_named_not_guessed() {
        let mut bytes = Entry::new_blank(id(1, 1, 1)).to_bytes();
        bytes[0] = 2;
        assert!(matches!(Entry::from_bytes(&bytes), Err(EntryError::Format { found: 2 })));
    }

    #[test]
    fn what_is_signed_names_cluster_line_place_and_payload() {
        let line = Line { cluster: ClusterId::from_bytes([1; 16]), generation: Generation(2) };
        let entry = Entry::new_blank(id(3, 4, 5));
        let message = line.entry_message(&entry);
        let mut golden = b"keyclave log entry v1".to_vec();
        golden.extend_from_slice(&[1; 16]);
        for number in [2u64, 3, 4, 5] {
            golden.extend_from_slice(&number.to_be_bytes());
        }
        golden.extend_from_slice(blake3::hash(&[1, 0]).as_bytes());
        assert_eq!(message, golden);

        let others = [
            line.entry_message(&Entry::new_blank(id(3, 4, 6))),
            line.entry_message(&Entry::new_blank(id(3, 5, 5))),
            line.entry_message(&Entry::new(id(3, 4, 5), Payload::Checkpoint(None))),
            Line { generation: Generation(3), ..line }.entry_message(&entry),
            Line { cluster: ClusterId::from_bytes([2; 16]), ..line }.entry_message(&entry),
            line.commit_message(&entry.log_id),
        ];
        for other in others {
            assert_ne!(message, other);
        }
    }
}
