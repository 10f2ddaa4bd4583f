//! How one node's trail stood, as the text of a signed note (C2SP tlog-checkpoint):
//!
//! ```text
//! keyclave/<cluster>/<node>/<segment with which the tree began>
//! <leaves>
//! <root, base64>
//! head <sequence> <hash>
//! begins <segment> <sequence> <hash>
//! time <milliseconds since the Unix epoch>
//! ```
//!
//! `head` is the last record, whose hash ties it to the chain; `begins` stands only where older segments were removed by
//! an act on record: the first one that is kept, and the last line before it. Ids and hashes in lower-case hex.

use std::fmt::{self, Write};

use data_encoding::{BASE64, HEXLOWER};
use keyclave_types::ids::{ClusterId, NodeId};
use keyclave_types::time::UnixMillis;

use crate::files::SegmentNumber;
use crate::record::Head;
use crate::tree::TreeHead;

/// How one node's trail stood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Of which node.
    pub node: NodeId,
    /// The tree over its records.
    pub tree: TreeHead,
    /// Its last record.
    pub head: Head,
    /// Where it begins; none if nothing was removed.
    pub begins: Option<Beginning>,
    /// When the leader put it on record.
    pub at: UnixMillis,
}

/// Where a trail begins whose older segments were removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beginning {
    /// The first segment that is kept.
    pub segment: SegmentNumber,
    /// The last line before it.
    pub after: Head,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, node, tree, head, begins, at } = self;
        let cluster = HEXLOWER.encode(cluster.as_bytes());
        writeln!(f, "keyclave/{cluster}/{node}/{}", tree.begins)?;
        writeln!(f, "{}", tree.leaves)?;
        writeln!(f, "{}", BASE64.encode(&tree.root))?;
        writeln!(f, "head {} {}", head.sequence, HEXLOWER.encode(&head.hash))?;
        if let Some(Beginning { segment, after }) = begins {
            writeln!(f, "begins {segment} {} {}", after.sequence, HEXLOWER.encode(&after.hash))?;
        }
        write!(f, "time {}", at.0)?;
        f.write_char('\n')
    }
}

impl Checkpoint {
    /// Reads the text of a note; none if it is in any other form, or of anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let mut origin = lines.next()?.strip_prefix("keyclave/")?.split('/');
        let cluster = ClusterId::from_bytes(hex(origin.next()?)?);
        let node = NodeId::new(number(origin.next()?)?)?;
        let begins = SegmentNumber(number(origin.next()?)?);
        let leaves = number(lines.next()?)?;
        let root = BASE64.decode(lines.next()?.as_bytes()).ok()?.try_into().ok()?;
        let head = head(lines.next()?.strip_prefix("head ")?)?;
        let mut last = lines.next()?;
        let mut kept = None;
        if let Some(line) = last.strip_prefix("begins ") {
            let (segment, after) = line.split_once(' ')?;
            kept = Some(Beginning { segment: SegmentNumber(number(segment)?), after: self::head(after)? });
            last = lines.next()?;
        }
        let at = UnixMillis(number(last.strip_prefix("time ")?)?);
        let tree = TreeHead { begins, leaves, root };
        let read = Self { cluster, node, tree, head, begins: kept, at };
        // One spelling: nothing more, and nothing in another form.
        (read.to_string() == text).then_some(read)
    }
}

fn head(text: &str) -> Option<Head> {
    let (sequence, hash) = text.split_once(' ')?;
    Some(Head { sequence: number(sequence)?, hash: hex(hash)? })
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(begins: Option<Beginning>) -> Checkpoint {
        Checkpoint {
            cluster: ClusterId::from_bytes([0xc1; 16]),
            node: NodeId::new(2).unwrap(),
            tree: TreeHead { begins: SegmentNumber(1), leaves: 41, root: [0xaa; 32] },
            head: Head { sequence: 42, hash: [0xbb; 32] },
            begins,
            at: UnixMillis(1_795_516_756_007),
        }
    }

    fn later() -> Option<Beginning> {
        Some(Beginning { segment: SegmentNumber(3), after: Head { sequence: 17, hash: [0xcc; 32] } })
    }

    #[test]
    fn golden_bytes_stay() {
        assert_eq!(checkpoint(None).to_string(), include_str!("../testdata/checkpoint.txt"));
        assert_eq!(checkpoint(later()).to_string(), include_str!("../testdata/checkpoint-later.txt"));
    }

    #[test]
    fn a_checkpoint_reads_back_and_nothing_else_does() {
        for whole in [checkpoint(None), checkpoint(later())] {
            let text = whole.to_string();
            assert_eq!(Checkpoint::parse(&text), Some(whole));
            for length in 0..text.len() {
                assert_eq!(Checkpoint::parse(&text[..length]), None, "{length}");
            }
            for (from, to) in [("\n41\n", "\n041\n"), ("head", "Head"), ("time 1", "time +1"), ("/2/", "/0/")]
            {
                assert_eq!(Checkpoint::parse(&text.replacen(from, to, 1)), None, "{from}");
            }
            assert_eq!(Checkpoint::parse(&format!("{text}more\n")), None);
        }
    }
}
