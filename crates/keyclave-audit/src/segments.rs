//! What the headers of a trail say: which segment began when, after which record, under which key.
//!
//! Called by the node to see which segments are old enough to go.

use std::io;

use keyclave_types::ids::{ClusterId, NodeId};
use keyclave_types::time::UnixMillis;

use crate::check;
use crate::files::{SegmentNumber, TrailFiles};
use crate::header::Header;
use crate::record::Head;
use crate::segment_key::SegmentKeyId;

/// One segment, as its header has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentOutline {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Of which node.
    pub node: NodeId,
    /// Which.
    pub segment: SegmentNumber,
    /// When it began, and the one before it ended.
    pub created: UnixMillis,
    /// The last record before it, with the hash of the last line.
    pub after: Head,
    /// The key of its bodies.
    pub key: Option<SegmentKeyId>,
}

/// All segments, ascending. One whose header cannot be read is left out: it is nobody's to remove.
pub fn outlines<F: TrailFiles>(files: &F) -> io::Result<Vec<SegmentOutline>> {
    let mut outlines = Vec::new();
    for segment in files.segments()? {
        let Some(header) = check::header(files.read(segment)?)? else { continue };
        let after = Head { sequence: header.continues.sequence, hash: header.continues.hash };
        let Header { cluster, node, .. } = header;
        outlines.push(SegmentOutline {
            cluster,
            node,
            segment,
            created: header.created,
            after,
            key: header.key,
        });
    }
    Ok(outlines)
}
