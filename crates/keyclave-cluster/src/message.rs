//! The stored forms of what members say to each other about the log: appends, votes, snapshots, and the answers.
//!
//! Made and read by [`crate::network`] and [`crate::receive`]; opaque to the transport. Every form begins with its
//! format byte. An append is `0x01 ‖ head length (4) ‖ head ‖ { length (4) ‖ entry }*`, lengths big-endian, so that
//! entries travel exactly as they are stored.

use keyclave_types::envelope::{self, EnvelopeError, Stored};
use serde::{Deserialize, Serialize};

use crate::entry::{Entry, EntryError};
use crate::keys::Signature;
use crate::raft::{
    AppendRequest, AppendResponse, LogIdForm, Membership, MembershipForm, StoredMembership, UnknownVoter,
    VoteForm, VoteRequest, VoteResponse,
};

/// First byte of an append.
const APPEND_FORMAT: u8 = 0x01;

/// Why bytes are not a message between members.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// A form that is not readable.
    #[error("the message is not readable")]
    Form(#[from] EnvelopeError),
    /// An entry that is not readable.
    #[error("an entry in the message is not readable")]
    Entry(#[from] EntryError),
    /// A membership that nobody could check.
    #[error("the message's membership is incomplete")]
    Membership(#[from] UnknownVoter),
    /// Lengths that do not add up.
    #[error("the message is cut short")]
    Short,
    /// Another format byte.
    #[error("append format {found:#04x} is not {APPEND_FORMAT:#04x}, the one that this version reads")]
    Format {
        /// The byte found.
        found: u8,
    },
    /// A signature that is not 64 bytes long.
    #[error("a signature has 64 bytes, not {found}")]
    Signature {
        /// Bytes found.
        found: usize,
    },
}

#[derive(Serialize, Deserialize)]
struct AppendHead {
    vote: VoteForm,
    prev: Option<LogIdForm>,
    commit: Option<LogIdForm>,
    commit_signature: Vec<u8>,
    sealed: bool,
}

impl Stored for AppendHead {
    const FORMAT: u8 = 1;
}

/// An append on its way, with what vouches for its commit index.
#[derive(Clone, Debug)]
pub(crate) struct Append {
    pub(crate) request: AppendRequest,
    /// A writer's signature over the commit index, for a receiver that the sender cannot prove itself to.
    pub(crate) commit_signature: Option<Signature>,
    /// The sender says of itself that it is sealed: it only ferries, and an unsealed node should lead.
    pub(crate) sealed: bool,
}

impl Append {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let head = envelope::encode(&AppendHead {
            vote: self.request.vote.into(),
            prev: self.request.prev_log_id.map(Into::into),
            commit: self.request.leader_commit.map(Into::into),
            commit_signature: self.commit_signature.map(|signature| signature.to_vec()).unwrap_or_default(),
            sealed: self.sealed,
        });
        let mut bytes = vec![APPEND_FORMAT];
        push_part(&mut bytes, &head);
        for entry in &self.request.entries {
            push_part(&mut bytes, &entry.to_bytes());
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        let (format, rest) = bytes.split_first().ok_or(MessageError::Short)?;
        if *format != APPEND_FORMAT {
            return Err(MessageError::Format { found: *format });
        }
        let (head, mut rest) = split_part(rest)?;
        let head: AppendHead = envelope::decode(head)?;
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let (entry, after) = split_part(rest)?;
            entries.push(Entry::from_bytes(entry)?);
            rest = after;
        }
        let request = AppendRequest {
            vote: head.vote.into(),
            prev_log_id: head.prev.map(Into::into),
            leader_commit: head.commit.map(Into::into),
            entries,
        };
        let commit_signature = signature(&head.commit_signature)?;
        Ok(Self { request, commit_signature, sealed: head.sealed })
    }
}

fn push_part(bytes: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).expect("a head or an entry is far smaller than 4 GiB");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(part);
}

fn split_part(bytes: &[u8]) -> Result<(&[u8], &[u8]), MessageError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(MessageError::Short)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| MessageError::Short)?;
    rest.split_at_checked(length).ok_or(MessageError::Short)
}

/// A stored signature; empty means none.
pub(crate) fn signature(bytes: &[u8]) -> Result<Option<Signature>, MessageError> {
    match (bytes.is_empty(), Signature::try_from(bytes)) {
        (true, _) => Ok(None),
        (false, Ok(signature)) => Ok(Some(signature)),
        (false, Err(_)) => Err(MessageError::Signature { found: bytes.len() }),
    }
}

/// The answer to an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum AppendAnswer {
    Success,
    Partial(Option<LogIdForm>),
    Conflict,
    HigherVote(VoteForm),
}

impl Stored for AppendAnswer {
    const FORMAT: u8 = 1;
}

impl From<AppendResponse> for AppendAnswer {
    fn from(response: AppendResponse) -> Self {
        match response {
            AppendResponse::Success => Self::Success,
            AppendResponse::PartialSuccess(matched) => Self::Partial(matched.map(Into::into)),
            AppendResponse::Conflict => Self::Conflict,
            AppendResponse::HigherVote(vote) => Self::HigherVote(vote.into()),
        }
    }
}

impl From<AppendAnswer> for AppendResponse {
    fn from(answer: AppendAnswer) -> Self {
        match answer {
            AppendAnswer::Success => Self::Success,
            AppendAnswer::Partial(matched) => Self::PartialSuccess(matched.map(Into::into)),
            AppendAnswer::Conflict => Self::Conflict,
            AppendAnswer::HigherVote(vote) => Self::HigherVote(vote.into()),
        }
    }
}

/// A request for a vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct VoteAsk {
    pub(crate) vote: VoteForm,
    pub(crate) last: Option<LogIdForm>,
}

impl Stored for VoteAsk {
    const FORMAT: u8 = 1;
}

impl From<VoteRequest> for VoteAsk {
    fn from(request: VoteRequest) -> Self {
        Self { vote: request.vote.into(), last: request.last_log_id.map(Into::into) }
    }
}

impl From<VoteAsk> for VoteRequest {
    fn from(ask: VoteAsk) -> Self {
        Self { vote: ask.vote.into(), last_log_id: ask.last.map(Into::into) }
    }
}

/// The answer to a request for a vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct VoteAnswer {
    pub(crate) vote: VoteForm,
    pub(crate) granted: bool,
    pub(crate) last: Option<LogIdForm>,
}

impl Stored for VoteAnswer {
    const FORMAT: u8 = 1;
}

impl From<VoteResponse> for VoteAnswer {
    fn from(response: VoteResponse) -> Self {
        let last = response.last_log_id.map(Into::into);
        Self { vote: response.vote.into(), granted: response.vote_granted, last }
    }
}

impl From<VoteAnswer> for VoteResponse {
    fn from(answer: VoteAnswer) -> Self {
        Self {
            vote: answer.vote.into(),
            vote_granted: answer.granted,
            last_log_id: answer.last.map(Into::into),
        }
    }
}

/// A membership and the entry that made it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct StoredMembershipForm {
    pub(crate) made_at: Option<LogIdForm>,
    pub(crate) membership: MembershipForm,
}

impl Stored for StoredMembershipForm {
    const FORMAT: u8 = 1;
}

impl From<&StoredMembership> for StoredMembershipForm {
    fn from(stored: &StoredMembership) -> Self {
        Self { made_at: stored.log_id().map(Into::into), membership: stored.membership().into() }
    }
}

impl TryFrom<StoredMembershipForm> for StoredMembership {
    type Error = UnknownVoter;

    fn try_from(form: StoredMembershipForm) -> Result<Self, UnknownVoter> {
        let membership: Membership = form.membership.try_into()?;
        Ok(Self::new(form.made_at.map(Into::into), membership))
    }
}

/// The beginning of a snapshot: who sends it, the signed checkpoint that it is of, and the membership in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotHead {
    pub(crate) vote: VoteForm,
    pub(crate) checkpoint: Vec<u8>,
    pub(crate) membership: StoredMembershipForm,
}

impl Stored for SnapshotHead {
    const FORMAT: u8 = 1;
}

/// The answer to a whole snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotAnswer {
    pub(crate) vote: VoteForm,
}

impl Stored for SnapshotAnswer {
    const FORMAT: u8 = 1;
}

#[cfg(test)]
mod tests {
    use openraft::CommittedLeaderId;
    use openraft::entry::RaftEntry;

    use super::*;
    use crate::raft::{LogId, Vote};

    fn id(term: u64, node: u64, index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(term, node), index)
    }

    fn append() -> Append {
        let mut entry = Entry::new_blank(id(2, 1, 6));
        entry.signature = Some([7; 64]);
        let request = AppendRequest {
            vote: Vote::new_committed(2, 1),
            prev_log_id: Some(id(1, 3, 5)),
            entries: vec![entry],
            leader_commit: Some(id(1, 3, 4)),
        };
        Append { request, commit_signature: Some([8; 64]), sealed: true }
    }

    #[test]
    fn golden_bytes_stay() {
        let mut golden = vec![1, 0, 0, 0, 78, 1];
        golden.extend_from_slice(&[2, 1, 1, 1, 1, 3, 5, 1, 1, 3, 4, 64]);
        golden.extend_from_slice(&[8; 64]);
        golden.push(1);
        golden.extend_from_slice(&[0, 0, 0, 92]);
        golden.extend_from_slice(&append().request.entries[0].to_bytes());
        assert_eq!(append().to_bytes(), golden);

        let vote = Vote::new(9, 2).into();
        assert_eq!(envelope::encode(&VoteAsk { vote, last: None }), [1, 9, 2, 0, 0]);
        assert_eq!(envelope::encode(&VoteAnswer { vote, granted: true, last: None }), [1, 9, 2, 0, 1, 0]);
        assert_eq!(envelope::encode(&AppendAnswer::HigherVote(vote)), [1, 3, 9, 2, 0]);
        assert_eq!(envelope::encode(&AppendAnswer::Conflict), [1, 2]);
        assert_eq!(envelope::encode(&SnapshotAnswer { vote }), [1, 9, 2, 0]);
        let membership = StoredMembershipForm::from(&StoredMembership::default());
        let head = SnapshotHead { vote, checkpoint: vec![5, 6], membership };
        assert_eq!(envelope::encode(&head), [1, 9, 2, 0, 2, 5, 6, 0, 0, 0]);
    }

    #[test]
    fn an_append_reads_back_and_no_cut_of_it_does() {
        let bytes = append().to_bytes();
        let read = Append::from_bytes(&bytes).unwrap();
        assert_eq!(read.request.entries, append().request.entries);
        assert_eq!(read.request.vote, append().request.vote);
        assert_eq!(read.request.prev_log_id, append().request.prev_log_id);
        assert_eq!(read.request.leader_commit, append().request.leader_commit);
        assert_eq!((read.commit_signature, read.sealed), (Some([8; 64]), true));
        let without_entries = 1 + 4 + 78;
        for length in (0..bytes.len()).filter(|length| *length != without_entries) {
            assert!(Append::from_bytes(&bytes[..length]).is_err(), "cut at {length}");
        }
    }
}
