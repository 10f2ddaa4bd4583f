//! Opens a node's trail for recording: continues its last segment, or begins its first.
//!
//! Called once at the start of a process. A torn write at the end is copied aside, cut and recorded. Anything else
//! that is wrong with the last segment keeps the trail closed, until someone acknowledges it; what is wrong with
//! older ones is for [`crate::verify`].

use std::io;
use std::sync::Arc;

use keyclave_crypto::entropy::Entropy;
use keyclave_types::ids::{ClusterId, NodeId, RequestId};
use keyclave_types::time::UnixMillis;

use crate::append::{Appender, OpenSegment};
use crate::chain::Link;
use crate::check::{self, Checked, Expected, Seen};
use crate::files::{SegmentNumber, TrailFile, TrailFiles};
use crate::finding::Finding;
use crate::header::Header;
use crate::line::LineMaker;
use crate::record::{Body, Class, Head, OK, Phase, RecordDraft, Source, Who};
use crate::trail::{self, Trail, TrailTask};
use crate::tree::TrailTree;
use keyclave_types::threads::Threads;

/// What a trail needs to begin.
pub struct OpenTrail<F> {
    /// Its files.
    pub files: F,
    /// Where its blocking work runs.
    pub threads: Arc<dyn Threads>,
    /// Nonces.
    pub entropy: Entropy,
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Of which node.
    pub node: NodeId,
    /// What the node's clock shows.
    pub now: UnixMillis,
    /// Whether someone has acknowledged that the last segment was tampered with.
    pub tampering: Tampering,
}

/// What is to be done if the last segment was tampered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tampering {
    /// Stay closed.
    Refuse,
    /// Leave what is there as it is and go on in a segment of its own, which says so.
    Acknowledged,
}

/// Why a trail could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenTrailError {
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
    /// A segment cannot be written.
    #[error("segment {segment} of the audit trail cannot be written")]
    Write {
        /// Which one.
        segment: SegmentNumber,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The last segment was tampered with.
    #[error("segment {segment} of the audit trail was tampered with in {places} places, first: {first}")]
    Tampered {
        /// Which one.
        segment: SegmentNumber,
        /// How many findings there are.
        places: u64,
        /// The first of them.
        first: Finding,
    },
}

/// What a start has found and done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Opened {
    /// Bytes of a torn write that were copied aside and cut.
    pub torn_bytes: u64,
    /// Whether it goes on after acknowledged tampering.
    pub acknowledged: bool,
}

impl<F: TrailFiles> OpenTrail<F> {
    /// Opens the trail. Blocks; whatever was repaired is on record when it returns. The task must be driven for
    /// anything to be recorded.
    pub fn open(self) -> Result<(Trail, TrailTask<F>, Opened), OpenTrailError> {
        let segments = self.files.segments().map_err(OpenTrailError::List)?;
        let threads = Arc::clone(&self.threads);
        let (mut appender, opened, note) = match segments.last() {
            None => self.begin(SegmentNumber::FIRST, Link::NOTHING, Head::NOTHING)?,
            Some(last) => self.go_on(&segments, *last)?,
        };
        if let Some(draft) = note {
            let segment = appender.segment.header.segment;
            appender
                .append([draft].iter())
                .map_err(|error| OpenTrailError::Write { segment, source: io::Error::other(error) })?;
        }
        let (trail, task) = trail::start(appender, threads);
        Ok((trail, task, opened))
    }
}

/// What stands before the last segment.
struct Before {
    /// Its last line; none if that cannot be told.
    link: Option<Link>,
    /// The tree up to it.
    tree: Option<TrailTree>,
    /// Its last record.
    head: Head,
}

type Start<F> = (Appender<F>, Opened, Option<RecordDraft>);

impl<F: TrailFiles> OpenTrail<F> {
    fn begin(self, segment: SegmentNumber, link: Link, head: Head) -> Result<Start<F>, OpenTrailError> {
        let header = Header {
            cluster: self.cluster,
            node: self.node,
            segment,
            continues: link,
            created: self.now,
            key: None,
            tree: Some(TrailTree::beginning(segment)),
        };
        let tree = header.tree.clone();
        let (open, hash) = OpenSegment::create(&self.files, header)
            .map_err(|source| OpenTrailError::Write { segment, source })?;
        let maker = LineMaker::new(self.cluster, self.node, self.entropy);
        let link = Link { hash, ..link };
        Ok((Appender::new(self.files, maker, open, link, head, tree), Opened::default(), None))
    }

    fn go_on(self, segments: &[SegmentNumber], last: SegmentNumber) -> Result<Start<F>, OpenTrailError> {
        let before = self.before(segments)?;
        let checked = self.check(last, before.link, before.tree, true)?;
        let head = checked.head.unwrap_or(before.head);
        if let Some(first) = checked.findings.first() {
            return self.go_on_after_tampering(last, &checked, first, head);
        }
        // Without a finding there are a header and a link.
        let (Some(header), Some(link)) = (checked.header.clone(), checked.link) else {
            return Err(OpenTrailError::Read { segment: last, source: io::ErrorKind::InvalidData.into() });
        };
        let write = |source| OpenTrailError::Write { segment: last, source };
        let mut file = self.files.open(last).map_err(write)?;
        if let Some(torn) = &checked.torn {
            self.files.keep_torn(last, checked.end, torn).map_err(write)?;
        }
        // The room behind the lines goes too: what a refused write has left there must not outlive this.
        file.cut(checked.end).map_err(write)?;
        file.sync().map_err(write)?;
        let segment = OpenSegment { file, header, end: checked.end, length: checked.end };
        let torn_bytes = checked.torn.as_ref().map_or(0, |torn| torn.len() as u64);
        let note = (torn_bytes > 0).then(|| self.note("TrailTornTail", torn_bytes));
        let maker = LineMaker::new(self.cluster, self.node, self.entropy);
        let opened = Opened { torn_bytes, acknowledged: false };
        Ok((Appender::new(self.files, maker, segment, link, head, checked.tree), opened, note))
    }

    fn go_on_after_tampering(
        self,
        last: SegmentNumber,
        checked: &Checked,
        first: &Finding,
        head: Head,
    ) -> Result<Start<F>, OpenTrailError> {
        let places = checked.findings.len() as u64 + checked.findings_more;
        if self.tampering == Tampering::Refuse {
            return Err(OpenTrailError::Tampered { segment: last, places, first: first.clone() });
        }
        let note = self.note("TrailTamperingAcknowledged", 0);
        let link = checked.link.unwrap_or(Link { sequence: head.sequence, hash: head.hash });
        let (appender, _, _) = self.begin(last.next(), link, head)?;
        Ok((appender, Opened { torn_bytes: 0, acknowledged: true }, Some(note)))
    }

    /// What the last segment should continue.
    fn before(&self, segments: &[SegmentNumber]) -> Result<Before, OpenTrailError> {
        let mut before: Option<Before> = None;
        for segment in segments.iter().rev().skip(1) {
            let checked = self.check(*segment, None, None, false)?;
            let found =
                before.get_or_insert(Before { link: checked.link, tree: checked.tree, head: Head::NOTHING });
            if let Some(head) = checked.head {
                found.head = head;
                break;
            }
        }
        let first = segments.first().filter(|first| **first == SegmentNumber::FIRST);
        let nothing = Before { link: first.map(|_| Link::NOTHING), tree: None, head: Head::NOTHING };
        Ok(before.unwrap_or(nothing))
    }

    fn check(
        &self,
        segment: SegmentNumber,
        continues: Option<Link>,
        tree: Option<TrailTree>,
        last: bool,
    ) -> Result<Checked, OpenTrailError> {
        let expected =
            Expected { segment, cluster: Some(self.cluster), node: Some(self.node), continues, tree, last };
        let read = |source| OpenTrailError::Read { segment, source };
        check::check(self.files.read(segment).map_err(read)?, &expected, &mut |_| Seen::Good).map_err(read)
    }

    /// What the trail says about itself.
    fn note(&self, operation: &'static str, bytes: u64) -> RecordDraft {
        let mut body = Body::new(operation, Who::Node(self.node), Source::Inside);
        body.bytes_in = bytes;
        RecordDraft {
            time: self.now,
            request: RequestId::from_bytes([0; 16]),
            class: Class::Trail,
            phase: Phase::Done,
            outcome: OK,
            body,
        }
    }
}
