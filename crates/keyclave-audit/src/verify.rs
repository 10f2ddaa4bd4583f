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
use crate::header::Header;
use crate::line::LineBody;
use crate::record::Head;
use crate::segment_key::{BodyKey, Place, SegmentKeyId, SegmentKeys};
use crate::tree::{Hash, TrailTree, TreeHead};

/// What is known about a trail from elsewhere.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Of which cluster; whichever its first header names, if none.
    pub cluster: Option<ClusterId>,
    /// Of which node; whichever its first header names, if none.
    pub node: Option<NodeId>,
    /// Where it begins: the first segment, unless older ones were removed by an act on record.
    pub begins: SegmentNumber,
    /// The last line before that, if it is known.
    pub continues: Option<Head>,
    /// Records that are known to have been durable.
    pub anchors: Vec<Head>,
    /// How its trees are known to have stood.
    pub tree_heads: Vec<TreeHead>,
}

impl Default for Expectation {
    /// A whole trail about which nothing is known.
    fn default() -> Self {
        Self {
            cluster: None,
            node: None,
            begins: SegmentNumber::FIRST,
            continues: None,
            anchors: Vec::new(),
            tree_heads: Vec::new(),
        }
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
        let read = |source| VerifyError::Read { segment, source };
        if whole.report.segments == 0
            && segment != SegmentNumber::FIRST
            && let Some(header) = check::header(files.read(segment).map_err(read)?).map_err(read)?
        {
            whole.begins_later(segment, &header);
        }
        let expected = Expected { segment, last: segment == last, ..whole.expected() };
        let mut bodies = Bodies::new(keys);
        let reader = files.read(segment).map_err(read)?;
        let checked = check::check(reader, &expected, &mut |visit| match whole
            .anchors
            .meet(visit)
            .or_else(|| bodies.open(visit))
        {
            None => Seen::Good,
            Some(kind) => Seen::Wrong(kind),
        })
        .map_err(read)?;
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
    tree: Option<TrailTree>,
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
            link: match expectation.begins {
                SegmentNumber::FIRST => Some(Link::NOTHING),
                _ => expectation.continues.map(|Head { sequence, hash }| Link { sequence, hash }),
            },
            tree: None,
            anchors: Anchors::new(expectation),
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
            (self.link, self.tree) = (None, None);
        }
        self.next = segment.next();
    }

    fn expected(&self) -> Expected {
        Expected {
            segment: self.next,
            cluster: self.cluster,
            node: self.node,
            continues: self.link,
            tree: self.tree.clone(),
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
        (self.link, self.tree) = (checked.link, checked.tree);
    }

    /// What is known of the records before the first segment cannot be met any more.
    fn begins_later(&mut self, segment: SegmentNumber, header: &Header) {
        let (anchors, finding) = self.anchors.begin(header);
        if anchors > 0 {
            self.report.notes.push(Note::AnchorsBefore { segment, anchors });
        }
        if let Some(kind) = finding {
            self.find(Finding { segment, sequence: 0, kind });
        }
    }

    fn finish(mut self, last: SegmentNumber) -> Report {
        for sequence in std::mem::take(&mut self.anchors.heads).into_keys() {
            self.find(Finding { segment: last, sequence, kind: FindingKind::CutBelowAnchor });
        }
        for (begins, leaves) in std::mem::take(&mut self.anchors.roots).into_keys() {
            self.find(Finding { segment: begins, sequence: 0, kind: FindingKind::TreeCut { leaves } });
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
struct Anchors {
    /// By sequence.
    heads: BTreeMap<u64, Hash>,
    /// By the segment with which a tree began, and its number of leaves.
    roots: BTreeMap<(SegmentNumber, u64), Hash>,
}

impl Anchors {
    fn new(expectation: &Expectation) -> Self {
        let roots = expectation.tree_heads.iter().map(|head| ((head.begins, head.leaves), head.root));
        let heads = expectation.anchors.iter().map(|head| (head.sequence, head.hash));
        // A head or a tree of nothing says nothing.
        Self {
            heads: heads.filter(|(sequence, _)| *sequence > 0).collect(),
            roots: roots.filter(|((_, leaves), _)| *leaves > 0).collect(),
        }
    }

    fn meet(&mut self, visit: &Visit<'_>) -> Option<FindingKind> {
        let hash = self.heads.remove(&visit.line.sequence).filter(|expected| *expected != visit.hash);
        let tree = visit.tree.filter(|_| !self.roots.is_empty());
        let root = tree.and_then(|growing| {
            let expected = self.roots.remove(&(growing.begins, growing.tree.leaves()))?;
            (expected != growing.tree.root()).then_some(FindingKind::RootDiffers { expected })
        });
        hash.map(|expected| FindingKind::AnchorDiffers { expected }).or(root)
    }

    /// Drops what is of before this header, the first that is there: how many, and what is wrong with its tree.
    fn begin(&mut self, header: &Header) -> (u64, Option<FindingKind>) {
        let all = self.heads.len() + self.roots.len();
        self.heads.retain(|sequence, _| *sequence > header.continues.sequence);
        let Some(before) = &header.tree else {
            return ((all - self.heads.len() - self.roots.len()) as u64, None);
        };
        let known = self.roots.remove(&(before.begins, before.tree.leaves()));
        let wrong = known.filter(|root| *root != before.tree.root());
        self.roots.retain(|(begins, leaves), _| {
            *begins > before.begins || (*begins == before.begins && *leaves > before.tree.leaves())
        });
        let met = usize::from(known.is_some());
        let dropped = all - self.heads.len() - self.roots.len() - met;
        (dropped as u64, wrong.map(|expected| FindingKind::RootDiffers { expected }))
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
