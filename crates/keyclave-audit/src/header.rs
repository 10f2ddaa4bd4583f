//! The first line of a segment: whose trail it is of, what it continues, and the key of its bodies.
//!
//! `{"format":2,"cluster":"…","node":1,"segment":1,"first":1,"previous":"…","created":0,"key":"…","tree":1,"leaves":0,
//! "subtrees":"…","hash":"…"}`; `key` is null where the segment has none. `tree` is the segment with which the Merkle tree
//! over the records began, `leaves` how many it held before this segment, `subtrees` the roots of its complete subtrees
//! then, the largest first. Format 1 ends with `key`. The header is a link of the chain like any record.

use keyclave_types::ids::{ClusterId, NodeId};
use keyclave_types::time::UnixMillis;

use crate::chain::{self, Domain, Link};
use crate::files::SegmentNumber;
use crate::scan::Scan;
use crate::segment_key::SegmentKeyId;
use crate::text;
use crate::tree::{Hash, TrailTree, Tree};

/// What a header says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) segment: SegmentNumber,
    /// The number of the first record, and the hash of the line before this one.
    pub(crate) continues: Link,
    pub(crate) created: UnixMillis,
    /// The key of its sealed bodies; a segment with a key may hold plain ones too.
    pub(crate) key: Option<SegmentKeyId>,
    /// The tree before its first record; none in format 1.
    pub(crate) tree: Option<TrailTree>,
}

impl Header {
    /// The header's line, and its hash.
    pub(crate) fn line(&self) -> (Vec<u8>, [u8; 32]) {
        let mut line = match self.tree {
            None => b"{\"format\":1,\"cluster\":\"".to_vec(),
            Some(_) => b"{\"format\":2,\"cluster\":\"".to_vec(),
        };
        text::hex(self.cluster.as_bytes(), &mut line);
        line.extend_from_slice(b"\",\"node\":");
        text::decimal(self.node.get(), &mut line);
        line.extend_from_slice(b",\"segment\":");
        text::decimal(self.segment.0, &mut line);
        line.extend_from_slice(b",\"first\":");
        text::decimal(self.continues.sequence.saturating_add(1), &mut line);
        line.extend_from_slice(b",\"previous\":\"");
        text::hex(&self.continues.hash, &mut line);
        line.extend_from_slice(b"\",\"created\":");
        text::decimal(self.created.0, &mut line);
        line.extend_from_slice(b",\"key\":");
        match self.key {
            None => line.extend_from_slice(b"null"),
            Some(SegmentKeyId(id)) => {
                line.push(b'"');
                text::hex(&id, &mut line);
                line.push(b'"');
            }
        }
        if let Some(TrailTree { begins, tree }) = &self.tree {
            line.extend_from_slice(b",\"tree\":");
            text::decimal(begins.0, &mut line);
            line.extend_from_slice(b",\"leaves\":");
            text::decimal(tree.leaves(), &mut line);
            line.extend_from_slice(b",\"subtrees\":\"");
            tree.subtrees().iter().for_each(|subtree| text::hex(subtree, &mut line));
            line.push(b'"');
        }
        let hash = chain::complete(Domain::Header, &self.continues.hash, &mut line, 0);
        (line, hash)
    }

    /// Reads a header's line without its newline; the hash that it states is returned as it is.
    pub(crate) fn parse(line: &[u8]) -> Option<(Self, &[u8], [u8; 32])> {
        let (hashed, stated) = chain::split(line)?;
        let mut scan = Scan(hashed);
        scan.literal(b"{\"format\":")?;
        let format = scan.number()?;
        scan.literal(b",\"cluster\":\"")?;
        let cluster = ClusterId::from_bytes(scan.hex()?);
        scan.literal(b"\",\"node\":")?;
        let node = NodeId::new(scan.number()?)?;
        scan.literal(b",\"segment\":")?;
        let segment = SegmentNumber(scan.number()?);
        scan.literal(b",\"first\":")?;
        let sequence = scan.number()?.checked_sub(1)?;
        scan.literal(b",\"previous\":\"")?;
        let continues = Link { sequence, hash: scan.hex()? };
        scan.literal(b"\",\"created\":")?;
        let created = UnixMillis(scan.number()?);
        scan.literal(b",\"key\":")?;
        let key = match scan.literal(b"null") {
            Some(()) => None,
            None => {
                scan.literal(b"\"")?;
                let id = SegmentKeyId(scan.hex()?);
                scan.literal(b"\"")?;
                Some(id)
            }
        };
        let tree = match format {
            1 => None,
            2 => Some(tree(&mut scan)?),
            _ => return None,
        };
        scan.end()?;
        Some((Self { cluster, node, segment, continues, created, key, tree }, hashed, stated))
    }
}

fn tree(scan: &mut Scan<'_>) -> Option<TrailTree> {
    scan.literal(b",\"tree\":")?;
    let begins = SegmentNumber(scan.number()?);
    scan.literal(b",\"leaves\":")?;
    let leaves = scan.number()?;
    scan.literal(b",\"subtrees\":\"")?;
    let subtrees = (0..leaves.count_ones()).map(|_| scan.hex::<32>()).collect::<Option<Vec<Hash>>>()?;
    scan.literal(b"\"")?;
    Some(TrailTree { begins, tree: Tree::from_parts(leaves, subtrees)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(key: Option<SegmentKeyId>) -> Header {
        Header {
            cluster: ClusterId::from_bytes([0xc1; 16]),
            node: NodeId::new(2).unwrap(),
            segment: SegmentNumber(3),
            continues: Link { sequence: 41, hash: [0xaa; 32] },
            created: UnixMillis(1_795_516_756_007),
            key,
            tree: None,
        }
    }

    /// The same in format 2: its tree began with segment 2 and holds three records.
    fn with_tree(key: Option<SegmentKeyId>) -> Header {
        let mut tree = Tree::default();
        (0..3_u8).for_each(|byte| tree.push([byte; 32]));
        Header { tree: Some(TrailTree { begins: SegmentNumber(2), tree }), ..header(key) }
    }

    #[test]
    fn golden_bytes_stay() {
        let key = Some(SegmentKeyId([0xee; 16]));
        for (header, golden) in [
            (header(key), include_str!("../testdata/header-1.jsonl")),
            (with_tree(key), include_str!("../testdata/header-2.jsonl")),
        ] {
            assert_eq!(String::from_utf8(header.line().0).unwrap(), golden);
        }
    }

    #[test]
    fn a_header_reads_back_what_it_wrote() {
        for header in [header(None), header(Some(SegmentKeyId([9; 16]))), with_tree(None)] {
            let (line, hash) = header.line();
            let (parsed, hashed, stated) = Header::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
            assert_eq!(parsed, header);
            assert_eq!(stated, hash);
            assert_eq!(chain::hash(Domain::Header, &[0xaa; 32], hashed), hash);
        }
    }
}
