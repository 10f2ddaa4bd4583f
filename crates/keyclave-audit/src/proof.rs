//! Proofs that an auditor can check without the trail: that a record is in a tree whose head is signed (C2SP
//! tlog-proof v1), and that a tree continues an older one (the body of C2SP tlog-witness's add-checkpoint):
//!
//! ```text
//! c2sp.org/tlog-proof@v1          old <leaves of the older tree>
//! index <leaf>                    <hash, base64>
//! <hash, base64>                  …
//! …
//!                                 <signed checkpoint>
//! <signed checkpoint>
//! ```
//!
//! Made from a directory's segments; the hashes stand in the order of RFC 6962.

use std::fmt;
use std::io;

use data_encoding::BASE64;

use crate::check::{self, Expected, Seen};
use crate::checkpoint::Checkpoint;
use crate::files::{SegmentNumber, TrailFiles};
use crate::note::{self, NoteError, NoteKey};
use crate::tree::{Hash, Prover, Tree, TreeHead, is_consistent, is_included, leaf};

const INCLUSION_BEGINS: &str = "c2sp.org/tlog-proof@v1";
/// Hashes of one proof: a tree of 2^64 leaves has no longer ones.
const HASHES_MAX: usize = 128;

/// What is to be proven of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// That it has this leaf, counted from 0.
    Leaf(u64),
    /// That it continues the tree of its first so many leaves.
    Continues(u64),
}

/// A proof with the signed head of the tree that it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    claim: Claim,
    hashes: Vec<Hash>,
    note: String,
}

/// Why nothing is proven.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The directory cannot be listed.
    #[error("the audit directory cannot be listed")]
    List(#[source] io::Error),
    /// A segment cannot be read.
    #[error("segment {segment} of the audit trail cannot be read")]
    Read {
        /// Which one.
        segment: SegmentNumber,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The tree has no such leaf, or it takes records that are not there any more.
    #[error("the records that are here do not hold what it takes to prove that")]
    Missing,
    /// What is here does not have the root that is signed.
    #[error("the records that are here are not those of the signed tree")]
    Differs,
    /// The text has another form.
    #[error("this is no proof")]
    Shape,
    /// The note in it does not say anything.
    #[error("the signed checkpoint in it does not hold")]
    Note(#[from] NoteError),
    /// The hashes do not lead to the signed root.
    #[error("the proof does not lead to the root that is signed")]
    Wrong,
}

impl Proof {
    /// Proves `claim` of the tree whose signed head is `note`, from the segments in `files`.
    pub fn make<F: TrailFiles>(
        files: &F,
        claim: Claim,
        note: &str,
        key: &NoteKey,
    ) -> Result<Self, ProofError> {
        let head = checkpoint(note, key)?.tree;
        let hashes = match claim {
            // Whatever there is continues nothing, and itself, without a hash.
            Claim::Continues(old) if old == head.leaves => Vec::new(),
            Claim::Leaf(_) | Claim::Continues(_) => hashes(files, claim, &head)?,
        };
        Ok(Self { claim, hashes, note: note.to_owned() })
    }

    /// Whether `line`, a record's line without its newline, is in the signed tree; how that stood, if so.
    pub fn includes(&self, line: &[u8], key: &NoteKey) -> Result<Checkpoint, ProofError> {
        let checkpoint = checkpoint(&self.note, key)?;
        let Claim::Leaf(index) = self.claim else { return Err(ProofError::Shape) };
        let TreeHead { leaves, root, .. } = checkpoint.tree;
        let right = is_included(leaf(line), index, leaves, &self.hashes, &root);
        right.then_some(checkpoint).ok_or(ProofError::Wrong)
    }

    /// Whether the signed tree continues `older`, which the same key has signed; how it stood, if so.
    pub fn continues(&self, older: &str, key: &NoteKey) -> Result<Checkpoint, ProofError> {
        let (old, new) = (checkpoint(older, key)?, checkpoint(&self.note, key)?);
        let same = (old.cluster, old.node, old.tree.begins) == (new.cluster, new.node, new.tree.begins);
        let right = same
            && self.claim == Claim::Continues(old.tree.leaves)
            && is_consistent(old.tree.leaves, &old.tree.root, new.tree.leaves, &new.tree.root, &self.hashes);
        right.then_some(new).ok_or(ProofError::Wrong)
    }

    /// Reads either form.
    pub fn parse(text: &str) -> Option<Self> {
        let (proof, note) = text.split_once("\n\n")?;
        let mut lines = proof.split('\n');
        let first = lines.next()?;
        let claim = match first.strip_prefix("old ") {
            Some(old) => Claim::Continues(old.parse().ok()?),
            None if first == INCLUSION_BEGINS => Claim::Leaf(
                lines.find(|line| !line.starts_with("extra "))?.strip_prefix("index ")?.parse().ok()?,
            ),
            None => return None,
        };
        let hash = |line: &str| BASE64.decode(line.as_bytes()).ok()?.try_into().ok();
        let hashes = lines.take(HASHES_MAX + 1).map(hash).collect::<Option<Vec<Hash>>>()?;
        (hashes.len() <= HASHES_MAX).then(|| Self { claim, hashes, note: note.to_owned() })
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.claim {
            Claim::Leaf(index) => writeln!(f, "{INCLUSION_BEGINS}\nindex {index}")?,
            Claim::Continues(old) => writeln!(f, "old {old}")?,
        }
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", BASE64.encode(hash)))?;
        write!(f, "\n{}", self.note)
    }
}

/// What a signed note says of a trail.
pub fn checkpoint(note: &str, key: &NoteKey) -> Result<Checkpoint, ProofError> {
    Checkpoint::parse(note::open(note, key)?).ok_or(ProofError::Shape)
}

/// Goes through the records of the tree once; its root is compared on the way.
fn hashes<F: TrailFiles>(files: &F, claim: Claim, head: &TreeHead) -> Result<Vec<Hash>, ProofError> {
    let segments = files.segments().map_err(ProofError::List)?;
    let (mut prover, mut root) = (None, None);
    for segment in segments.into_iter().filter(|segment| *segment >= head.begins) {
        let read = |source| ProofError::Read { segment, source };
        let header = check::header(files.read(segment).map_err(read)?).map_err(read)?;
        let tree = header.and_then(|header| header.tree).filter(|tree| tree.begins == head.begins);
        let Some(before) = tree else { break };
        let prover = match &mut prover {
            Some(prover) => prover,
            none => none.insert(begin(claim, head, &before.tree).ok_or(ProofError::Missing)?),
        };
        let expected =
            Expected { segment, cluster: None, node: None, continues: None, tree: None, last: true };
        let mut see = |visit: &check::Visit<'_>| {
            prover.push(leaf(visit.whole));
            let grown = visit.tree.filter(|growing| growing.tree.leaves() == head.leaves);
            root = root.or(grown.map(|growing| growing.tree.root()));
            if root.is_some() { Seen::Enough } else { Seen::Good }
        };
        check::check(files.read(segment).map_err(read)?, &expected, &mut see).map_err(read)?;
        if root.is_some() {
            break;
        }
    }
    match root {
        Some(root) if root == head.root => prover.and_then(Prover::finish).ok_or(ProofError::Missing),
        Some(_) => Err(ProofError::Differs),
        None => Err(ProofError::Missing),
    }
}

fn begin(claim: Claim, head: &TreeHead, before: &Tree) -> Option<Prover> {
    match claim {
        Claim::Leaf(index) => Prover::inclusion(index, head.leaves, before),
        Claim::Continues(old) => Prover::consistency(old, head.leaves, before),
    }
}
