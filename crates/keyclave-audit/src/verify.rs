//! Checks a whole trail: what was changed, removed, reordered or cut.
//!
//! Called by `audit verify`, on a node or on copied files without a cluster. Without keys it checks the chain;
//! with keys it also opens every sealed body, which nobody without the key can have fitted to another history.
//! The end of the trail, beyond the last anchor and the last torn write, proves nothing: a clean cut there leaves
//! no trace in the files.

use std::collections::BTreeMap;
use std::io;

use keyclave_types::ids::{ClusterId, NodeId};

use crate::chain::Link;
use crate::check::{self, Checked, Expected, Seen, Visit};
use crate::files::{SegmentNumber, TrailFiles};
use crate::finding::{FINDINGS_MAX, Finding, FindingKind, Note, Report};
use crate::line::LineBody;
use crate::record::Head;
use crate::segment_key::{BodyKey, Place, SegmentKeyId, SegmentKeys};

/// What is known about a trail from elsewhere.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Of which cluster; whichever its first header names, if none.
    pub cluster: Option<ClusterId>,
    /// Of which node; whichever its first header names, if none.
    pub node: Option<NodeId>,
    /// Where it begins: the first segment, unless older ones were removed by an act on record.
    pub begins: SegmentNumber,
    /// Records that are known to have been durable.
    pub anchors: Vec<Head>,
}

impl Default for Expectation {
    /// A whole trail about which nothing is known.
    fn default() -> Self {
        Self { cluster: None, node: None, begins: SegmentNumber::FIRST, anchors: Vec::new() }
    }
}

/// Why a trail could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
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
    /// There is nothing to verify.
    #[error("there is no audit trail here")]
    Empty,
}

/// Reads all segments.
pub fn verify<F: TrailFiles>(
    files: &F,
    keys: &dyn SegmentKeys,
    expectation: &Expectation,
) -> Result<Report, VerifyError> {
    let segments = files.segments().map_err(VerifyError::List)?;
    let last = *segments.last().ok_or(VerifyError::Empty)?;
    let mut whole = Whole::new(expectation);
    for segment in segments {
        whole.reach(segment);
        let expected = Expected { segment, last: segment == last, ..whole.expected() };
        let mut bodies = Bodies::new(keys);
        let reader = files.read(segment).map_err(|source| VerifyError::Read { segment, source })?;
        let checked = check::check(reader, &expected, &mut |visit| match whole
            .anchors
            .meet(visit)
            .or_else(|| bodies.open(visit))
        {
            None => Seen::Good,
            Some(kind) => Seen::Wrong(kind),
        })
        .map_err(|source| VerifyError::Read { segment, source })?;
        whole.add(segment, checked, bodies);
    }
    Ok(whole.finish(last))
}

/// The trail so far.
struct Whole {
    report: Report,
    cluster: Option<ClusterId>,
    node: Option<NodeId>,
    next: SegmentNumber,
    link: Option<Link>,
    anchors: Anchors,
}

impl Whole {
    fn new(expectation: &Expectation) -> Self {
        let report = Report {
            segments: 0,
            records: 0,
            bodies_opened: 0,
            head: Head::NOTHING,
            notes: Vec::new(),
            findings: Vec::new(),
            findings_more: 0,
        };
        Self {
            report,
            cluster: expectation.cluster,
            node: expectation.node,
            next: expectation.begins,
            link: (expectation.begins == SegmentNumber::FIRST).then_some(Link::NOTHING),
            anchors: Anchors(expectation.anchors.iter().map(|head| (head.sequence, head.hash)).collect()),
        }
    }

    /// Notes what is missing before `segment`.
    fn reach(&mut self, segment: SegmentNumber) {
        if segment != self.next {
            let (at, kind) = match self.report.segments {
                0 => (segment, FindingKind::Beginning { expected: self.next }),
                _ => (self.next, FindingKind::SegmentMissing),
            };
            self.find(Finding { segment: at, sequence: 0, kind });
            self.link = None;
        }
        self.next = segment.next();
    }

    fn expected(&self) -> Expected {
        Expected {
            segment: self.next,
            cluster: self.cluster,
            node: self.node,
            continues: self.link,
            last: false,
        }
    }

    fn add(&mut self, segment: SegmentNumber, checked: Checked, bodies: Bodies<'_>) {
        self.report.segments += 1;
        self.report.records += checked.records;
        self.report.bodies_opened += bodies.opened;
        self.report.head = checked.head.unwrap_or(self.report.head);
        self.report.findings_more += checked.findings_more;
        for finding in checked.findings {
            self.find(finding);
        }
        if let Some(torn) = checked.torn {
            let bytes = torn.len() as u64;
            self.report.notes.push(Note::TornTail { segment, offset: checked.end, bytes });
        }
        if let Some((key, unknown)) = bodies.closed {
            self.report.notes.push(Note::KeyUnknown { segment, key, bodies: unknown });
        }
        if let Some(header) = checked.header {
            self.cluster.get_or_insert(header.cluster);
            self.node.get_or_insert(header.node);
        }
        self.link = checked.link;
    }

    fn finish(mut self, last: SegmentNumber) -> Report {
        for sequence in std::mem::take(&mut self.anchors.0).into_keys() {
            self.find(Finding { segment: last, sequence, kind: FindingKind::CutBelowAnchor });
        }
        self.report
    }

    fn find(&mut self, finding: Finding) {
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(finding);
        } else {
            self.report.findings_more += 1;
        }
    }
}

/// Anchors that were not met yet.
struct Anchors(BTreeMap<u64, [u8; 32]>);

impl Anchors {
    fn meet(&mut self, visit: &Visit<'_>) -> Option<FindingKind> {
        let expected = self.0.remove(&visit.line.sequence)?;
        (expected != visit.hash).then_some(FindingKind::AnchorDiffers { expected })
    }
}

/// Opens the bodies of one segment.
pub(crate) struct Bodies<'k> {
    keys: &'k dyn SegmentKeys,
    key: Option<Option<BodyKey>>,
    pub(crate) opened: u64,
    /// The key that is not known, and how many bodies stay closed for it.
    pub(crate) closed: Option<(SegmentKeyId, u64)>,
}

/// What became of a sealed body.
pub(crate) enum Opening {
    Opened(zeroize::Zeroizing<Vec<u8>>),
    /// Its key is not known.
    Closed,
    /// It was not sealed here.
    Foreign,
}

impl<'k> Bodies<'k> {
    pub(crate) fn new(keys: &'k dyn SegmentKeys) -> Self {
        Self { keys, key: None, opened: 0, closed: None }
    }

    fn open(&mut self, visit: &Visit<'_>) -> Option<FindingKind> {
        let LineBody::Sealed(text) = visit.line.body else { return None };
        match self.unseal(visit, text) {
            Opening::Opened(_) | Opening::Closed => None,
            Opening::Foreign => Some(FindingKind::BodyForeign),
        }
    }

    pub(crate) fn unseal(&mut self, visit: &Visit<'_>, text: &[u8]) -> Opening {
        // A sealed body in a segment without a key can never have been written.
        let Some(id) = visit.header.key else { return Opening::Foreign };
        let keys = self.keys;
        let key = self.key.get_or_insert_with(|| keys.key(id).map(|secret| BodyKey::new(id, &secret)));
        let Some(key) = key else {
            self.closed.get_or_insert((id, 0)).1 += 1;
            return Opening::Closed;
        };
        let place = Place {
            cluster: visit.header.cluster,
            node: visit.header.node,
            segment: visit.header.segment,
            sequence: visit.line.sequence,
            previous: visit.previous,
            line: visit.line.before_body,
        };
        match key.open(&place, text) {
            Some(body) => {
                self.opened += 1;
                Opening::Opened(body)
            }
            None => Opening::Foreign,
        }
    }
}
