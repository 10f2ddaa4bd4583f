//! The forms that a lying member sends, as the golden bytes of keyclave-cluster show them, and the log of its stolen
//! disk, whose entries it moves to other places or changes.

use std::collections::{BTreeMap, BTreeSet};

use keyclave_ledger::disk::Disk;
use keyclave_types::envelope::{Stored, decode, encode};
use keyclave_types::member::Member;
use serde::{Deserialize, Serialize};

use super::dice::Dice;
use super::forger::entries;

/// A place in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogId {
    /// Term of the leader that appended it.
    pub term: u64,
    /// That leader.
    pub node: u64,
    /// Its index.
    pub index: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Vote {
    term: u64,
    node: u64,
    committed: bool,
}

#[derive(Serialize, Deserialize)]
struct AppendHead {
    vote: Vote,
    prev: Option<LogId>,
    commit: Option<LogId>,
    commit_signature: Vec<u8>,
    sealed: bool,
}

#[derive(Serialize, Deserialize)]
struct VoteAsk {
    vote: Vote,
    last: Option<LogId>,
}

#[derive(Serialize, Deserialize)]
struct VoteAnswer {
    vote: Vote,
    granted: bool,
    last: Option<LogId>,
}

#[derive(Serialize, Deserialize)]
enum AppendAnswer {
    Success,
    Partial(Option<LogId>),
    Conflict,
    HigherVote(Vote),
}

#[derive(Serialize, Deserialize)]
struct SnapshotHead {
    vote: Vote,
    checkpoint: Vec<u8>,
    made_at: Option<LogId>,
    voters: Vec<BTreeSet<u64>>,
    members: BTreeMap<u64, Member>,
}

macro_rules! stored {
    ($($form:ident),+) => { $(impl Stored for $form { const FORMAT: u8 = 1; })+ };
}

stored!(AppendHead, VoteAsk, VoteAnswer, AppendAnswer, SnapshotHead);

/// Makes forms in the name of one member.
#[derive(Clone, Copy)]
pub struct Forms {
    /// Which.
    pub me: u64,
}

impl Forms {
    /// A place of its own.
    pub fn id(&self, term: u64, index: u64) -> LogId {
        LogId { term, node: self.me, index }
    }

    /// A request for a vote for `node`, with a log that ends at `last`.
    pub fn vote(&self, term: u64, node: u64, last: u64) -> Vec<u8> {
        let vote = Vote { term, node, committed: false };
        encode(&VoteAsk { vote, last: Some(self.id(term.saturating_sub(1), last)) })
    }

    /// Whether an answer grants a vote.
    pub fn grants(answer: &[u8]) -> bool {
        decode::<VoteAnswer>(answer).is_ok_and(|answer| answer.granted)
    }

    /// The vote that is asked for, granted.
    pub fn granted(&self, ask: &[u8]) -> Option<Vec<u8>> {
        let VoteAsk { vote, .. } = decode(ask).ok()?;
        Some(encode(&VoteAnswer { vote, granted: true, last: None }))
    }

    /// An append of whoever leads by `(term, node)`, after `prev`, that calls everything up to `commit` committed.
    pub fn append(
        &self,
        (term, node): (u64, u64),
        prev: LogId,
        commit: u64,
        entry: Option<&[u8]>,
    ) -> Vec<u8> {
        let head = encode(&AppendHead {
            vote: Vote { term, node, committed: true },
            prev: Some(prev),
            commit: Some(self.id(term, commit)),
            commit_signature: vec![0x5a; 64],
            sealed: false,
        });
        let mut bytes = vec![0x01];
        for part in [Some(head.as_slice()), entry].into_iter().flatten() {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// Term and leader of an append.
    pub fn vote_of(append: &[u8]) -> Option<(u64, u64)> {
        let (length, rest) = append.split_first()?.1.split_first_chunk::<4>()?;
        let head = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let AppendHead { vote, .. } = decode(head).ok()?;
        Some((vote.term, vote.node))
    }

    /// Whether an answer takes an append.
    pub fn agrees(answer: &[u8]) -> bool {
        matches!(decode(answer), Ok(AppendAnswer::Success | AppendAnswer::Partial(_)))
    }

    /// An answer that says that `node` leads.
    pub fn higher_vote(&self, term: u64, node: u64) -> Vec<u8> {
        encode(&AppendAnswer::HigherVote(Vote { term, node, committed: true }))
    }

    /// The beginning of a snapshot of `checkpoint` with itself alone in the membership's place.
    pub fn snapshot(&self, term: u64, checkpoint: Vec<u8>) -> Vec<u8> {
        let vote = Vote { term, node: self.me, committed: true };
        encode(&SnapshotHead { vote, checkpoint, made_at: None, voters: vec![], members: BTreeMap::new() })
    }
}

/// The log of a stolen disk.
pub struct Log {
    entries: Vec<(LogId, Vec<u8>)>,
}

/// Where an entry's place begins in its stored form, and how long it is: after the format, three numbers of 8 bytes.
const PLACE: std::ops::Range<usize> = 1..25;

impl Log {
    /// What is there.
    pub fn read(disk: &impl Disk) -> Self {
        let place = |entry: Vec<u8>| {
            let (term, rest) = entry.get(1..)?.split_first_chunk::<8>()?;
            let (node, rest) = rest.split_first_chunk::<8>()?;
            let (index, _) = rest.split_first_chunk::<8>()?;
            let [term, node, index] = [term, node, index].map(|number| u64::from_be_bytes(*number));
            Some((LogId { term, node, index }, entry))
        };
        Self { entries: entries(disk).into_iter().filter_map(place).collect() }
    }

    /// The highest index.
    pub fn last(&self) -> u64 {
        self.entries.last().map_or(0, |(id, _)| id.index)
    }

    /// The highest term.
    pub fn term(&self) -> u64 {
        self.entries.last().map_or(0, |(id, _)| id.term)
    }

    /// Where its last entries are.
    pub fn ids(&self) -> Vec<LogId> {
        self.entries.iter().rev().take(8).map(|(id, _)| *id).collect()
    }

    /// Some entry, as if it stood at another place.
    pub fn moved(&self, dice: &mut Dice, to: LogId) -> Option<Vec<u8>> {
        let (from, mut entry) = dice.pick(&self.entries).cloned()?;
        let place: Vec<u8> =
            [to.term, to.node, to.index].iter().flat_map(|number| number.to_be_bytes()).collect();
        entry.get_mut(PLACE)?.copy_from_slice(&place);
        (from != to).then_some(entry)
    }

    /// The entry of an index, or another one, with one bit changed after its place.
    pub fn changed(&self, dice: &mut Dice, index: u64) -> Option<Vec<u8>> {
        let here = self.entries.iter().find(|(id, _)| id.index == index);
        let (_, mut entry) = here.or_else(|| dice.pick(&self.entries)).cloned()?;
        let length = u64::try_from(entry.len()).unwrap_or(0);
        let at = dice.between(u64::try_from(PLACE.end).unwrap_or(0), length);
        *entry.get_mut(usize::try_from(at).ok()?)? ^= 1 << dice.between(0, 8);
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_are_those_of_the_cluster_half_s_golden_bytes() {
        let forms = Forms { me: 2 };
        let vote = Vote { term: 9, node: 2, committed: false };
        assert_eq!(encode(&VoteAsk { vote, last: None }), [1, 9, 2, 0, 0]);
        assert_eq!(encode(&VoteAnswer { vote, granted: true, last: None }), [1, 9, 2, 0, 1, 0]);
        assert_eq!(encode(&AppendAnswer::HigherVote(vote)), [1, 3, 9, 2, 0]);
        assert!(Forms::agrees(&encode(&AppendAnswer::Success)) && !Forms::agrees(&[1, 2]));
        let head = forms.snapshot(9, vec![5, 6]);
        assert_eq!(head, [1, 9, 2, 1, 2, 5, 6, 0, 0, 0]);
        let append = forms.append((2, 1), LogId { term: 1, node: 3, index: 5 }, 4, None);
        assert_eq!(append[..18], [1, 0, 0, 0, 78, 1, 2, 1, 1, 1, 1, 3, 5, 1, 2, 2, 4, 64]);
        assert_eq!(Forms::vote_of(&append), Some((2, 1)));
        assert!(Forms::grants(&forms.granted(&encode(&VoteAsk { vote, last: None })).unwrap()));
    }
}
