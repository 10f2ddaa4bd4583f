//! What reading a trail can find: notes, which are no one's fault, and findings, which are someone's.

use std::fmt;

use data_encoding::HEXLOWER;

use crate::files::SegmentNumber;
use crate::record::Head;
use crate::segment_key::SegmentKeyId;

/// Findings that a report lists; more are counted.
pub const FINDINGS_MAX: usize = 1000;

/// What was found in a whole trail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Segments read.
    pub segments: u64,
    /// Good records.
    pub records: u64,
    /// Sealed bodies that were opened.
    pub bodies_opened: u64,
    /// The last good record.
    pub head: Head,
    /// What is worth knowing.
    pub notes: Vec<Note>,
    /// What is wrong, in the order of the trail, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub findings_more: u64,
}

impl Report {
    /// Whether nothing was changed, removed, reordered or cut, as far as can be seen. Notes do not count.
    pub fn is_untouched(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Something worth knowing that is no sign of tampering.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// The last write was cut short by a crash.
    TornTail {
        /// In which segment.
        segment: SegmentNumber,
        /// From which byte on.
        offset: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// Bodies could not be opened because their key is not known, or was dropped to shred them.
    KeyUnknown {
        /// In which segment.
        segment: SegmentNumber,
        /// Which key.
        key: SegmentKeyId,
        /// How many bodies.
        bodies: u64,
    },
    /// What is known of records that were removed by an act on record cannot be compared.
    AnchorsBefore {
        /// The first segment that is there.
        segment: SegmentNumber,
        /// How many anchors are of what stood before it.
        anchors: u64,
    },
}

/// A sign of tampering or decay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// In which segment.
    pub segment: SegmentNumber,
    /// Which record should stand there, or 0 for the segment itself.
    pub sequence: u64,
    /// What is wrong with it.
    pub kind: FindingKind,
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FindingKind {
    /// No segment of this number, though a later one is there.
    SegmentMissing,
    /// The trail should begin with segment `expected`.
    Beginning {
        /// Where it should begin.
        expected: SegmentNumber,
    },
    /// The first line is no header that this version reads.
    HeaderUnreadable,
    /// The header's bytes do not have the hash that it states.
    HeaderChanged,
    /// The header is of another cluster, node or segment number than the file should have.
    HeaderForeign,
    /// The header does not continue the segment before.
    HeaderUnlinked,
    /// The header's tree is not the one that the segment before ended with.
    TreeUnlinked,
    /// The line is no record that this version reads.
    Unreadable,
    /// The line's bytes do not continue the chain with the hash that they state: this record or the one before
    /// was changed.
    Changed,
    /// Another record stands here: records were removed, doubled or reordered.
    OutOfOrder {
        /// The number found.
        found: u64,
    },
    /// The body does not open under the segment's key: it was sealed for another place, or the chain was rewritten.
    BodyForeign,
    /// The trail ends before a record that is known to have been durable.
    CutBelowAnchor,
    /// A tree that begins with this segment is known to have held so many records, and does not.
    TreeCut {
        /// How many.
        leaves: u64,
    },
    /// The tree up to this record is known to have had another root: a record before it was changed.
    RootDiffers {
        /// The root that it is known to have had.
        expected: [u8; 32],
    },
    /// This record is known to have had another hash.
    AnchorDiffers {
        /// The hash that it is known to have had.
        expected: [u8; 32],
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TornTail { segment, offset, bytes } => {
                write!(f, "segment {segment}: the last {bytes} bytes, from byte {offset}, are a torn write")
            }
            Self::KeyUnknown { segment, key, bodies } => {
                write!(f, "segment {segment}: {bodies} bodies stay closed, key {key} is not known")
            }
            Self::AnchorsBefore { segment, anchors } => {
                write!(f, "segment {segment}: {anchors} anchors are of records before it, which were removed")
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sequence {
            0 => write!(f, "segment {}: {}", self.segment, self.kind),
            sequence => write!(f, "segment {}, record {sequence}: {}", self.segment, self.kind),
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SegmentMissing => f.write_str("the segment is missing"),
            Self::Beginning { expected } => {
                write!(f, "the segments from {expected} on are missing before it")
            }
            Self::HeaderUnreadable => f.write_str("its first line is no header that this version reads"),
            Self::HeaderChanged => f.write_str("its header was changed"),
            Self::HeaderForeign => f.write_str("its header is of another cluster, node or segment"),
            Self::HeaderUnlinked => f.write_str("it does not continue the segment before"),
            Self::TreeUnlinked => f.write_str("its tree is not the one of the segment before"),
            Self::Unreadable => f.write_str("no record stands there"),
            Self::Changed => f.write_str("it, or what stood before it, was changed"),
            Self::OutOfOrder { found } => {
                write!(f, "record {found} stands there: some were removed, doubled or moved")
            }
            Self::BodyForeign => f.write_str("its body was sealed for another place or history"),
            Self::CutBelowAnchor => {
                f.write_str("the trail ends before it, though it is known to have been durable")
            }
            Self::TreeCut { leaves } => {
                write!(f, "the tree that begins there is known to have held {leaves} records, and does not")
            }
            Self::RootDiffers { expected } => {
                write!(f, "the tree up to it is known to have had the root {}", HEXLOWER.encode(expected))
            }
            Self::AnchorDiffers { expected } => {
                write!(f, "it is known to have had the hash {}", HEXLOWER.encode(expected))
            }
        }
    }
}
