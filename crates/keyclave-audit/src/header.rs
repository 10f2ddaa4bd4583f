//! The first line of a segment: whose trail it is of, what it continues, and the key of its bodies.
//!
//! `{"format":1,"cluster":"…","node":1,"segment":1,"first":1,"previous":"…","created":0,"key":"…","hash":"…"}`;
//! `key` is null where the segment has none. The header is a link of the chain like any record.

use keyclave_types::ids::{ClusterId, NodeId};
use keyclave_types::time::UnixMillis;

use crate::chain::{self, Domain, Link};
use crate::files::SegmentNumber;
use crate::scan::Scan;
use crate::segment_key::SegmentKeyId;
use crate::text;

/// What a header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) segment: SegmentNumber,
    /// The number of the first record, and the hash of the line before this one.
    pub(crate) continues: Link,
    pub(crate) created: UnixMillis,
    /// The key of its sealed bodies; a segment with a key may hold plain ones too.
    pub(crate) key: Option<SegmentKeyId>,
}

impl Header {
    /// The header's line, and its hash.
    pub(crate) fn line(&self) -> (Vec<u8>, [u8; 32]) {
        let mut line = b"{\"format\":1,\"cluster\":\"".to_vec();
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
        let hash = chain::complete(Domain::Header, &self.continues.hash, &mut line, 0);
        (line, hash)
    }

    /// Reads a header's line without its newline; the hash that it states is returned as it is.
    pub(crate) fn parse(line: &[u8]) -> Option<(Self, &[u8], [u8; 32])> {
        let (hashed, stated) = chain::split(line)?;
        let mut scan = Scan(hashed);
        scan.literal(b"{\"format\":1,\"cluster\":\"")?;
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
        scan.end()?;
        Some((Self { cluster, node, segment, continues, created, key }, hashed, stated))
    }
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
        }
    }

    #[test]
    fn golden_bytes_stay() {
        let golden = include_str!("../testdata/header.jsonl");
        assert_eq!(String::from_utf8(header(Some(SegmentKeyId([0xee; 16]))).line().0).unwrap(), golden);
    }

    #[test]
    fn a_header_reads_back_what_it_wrote() {
        for key in [None, Some(SegmentKeyId([9; 16]))] {
            let (line, hash) = header(key).line();
            let (parsed, hashed, stated) = Header::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
            assert_eq!(parsed, header(key));
            assert_eq!(stated, hash);
            assert_eq!(chain::hash(Domain::Header, &[0xaa; 32], hashed), hash);
        }
    }
}
