//! Opens a node's trail for recording: continues its last segment, or begins its first.
//!
//! Called once at the start of a process. A torn write at the end is copied aside, cut and recorded. Anything else
//! that is wrong with the last segment raises an alarm: the trail goes on in a segment of its own, which says so, and
//! the node does not serve until someone acknowledges it. What is wrong with older ones is for [`crate::verify`].

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use keyclave_crypto::entropy::Entropy;
use keyclave_types::ids::{ClusterId, NodeId, RequestId};
use keyclave_types::time::UnixMillis;

use crate::append::{Appender, OpenSegment, SEGMENT_BYTES, is_full};
use crate::chain::Link;
use crate::check::{self, Checked, Expected, Seen};
use crate::files::{SegmentNumber, TrailFile, TrailFiles};
use crate::finding::Finding;
use crate::header::Header;
use crate::line::{Line, LineMaker};
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
    /// What is to be done if the last segment was tampered with.
    pub tampering: Tampering,
}

/// What is to be done if the last segment was tampered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tampering {
    /// Leave what is there as it is, go on in a segment of its own, which says so, and raise an alarm.
    Alarm,
    /// The same without an alarm: what is there is none of this trail's.
    Expected,
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
    /// What says whether there is an alarm cannot be read or written.
    #[error("the audit trail's alarm cannot be read or written")]
    Alarm(#[source] io::Error),
}

/// What a start has found and done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Opened {
    /// Bytes of a torn write that were copied aside and cut.
    pub torn_bytes: u64,
    /// Places at which the last segment was found to be tampered with.
    pub places: u64,
    /// Callers' writes that were intended and have no outcome: a process ended between the two. Of the last segments
    /// only, and at most [`INTENTS_MAX`].
    pub intents: Vec<OpenIntent>,
}

/// Intents without an outcome that are remembered.
pub const INTENTS_MAX: usize = 10_000;

/// A write that was intended, and whose outcome is not on record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenIntent {
    /// The call, as the ledger knows it too.
    pub request: RequestId,
    /// Which class of acts.
    pub class: Class,
}

impl<F: TrailFiles> OpenTrail<F> {
    /// Opens the trail. Blocks; whatever was repaired is on record when it returns. The task must be driven for
    /// anything to be recorded.
    pub fn open(self) -> Result<(Trail, TrailTask<F>, Opened), OpenTrailError> {
        let segments = self.files.segments().map_err(OpenTrailError::List)?;
        let threads = Arc::clone(&self.threads);
        let expected = self.tampering == Tampering::Expected;
        let mut intents = Intents::default();
        let (mut appender, mut opened, note) = match segments.last() {
            None => self.begin(SegmentNumber::FIRST, Link::NOTHING, Head::NOTHING)?,
            Some(last) => self.go_on(&segments, *last, &mut intents)?,
        };
        if expected {
            appender.files.clear_alarm().map_err(OpenTrailError::Alarm)?;
        }
        appender.alarm = appender.files.has_alarm().map_err(OpenTrailError::Alarm)?;
        appender.look_first().map_err(OpenTrailError::List)?;
        if let Some(draft) = note {
            let segment = appender.segment.header.segment;
            appender
                .append([draft].iter())
                .map_err(|error| OpenTrailError::Write { segment, source: io::Error::other(error) })?;
        }
        opened.intents = intents.left();
        let (trail, task) = trail::start(appender, threads);
        Ok((trail, task, opened))
    }
}

/// Intents whose outcome was not met yet. Segments are seen last one last.
#[derive(Default)]
struct Intents(BTreeMap<RequestId, Class>);

impl Intents {
    /// A node's own acts are left out: the ledger keeps no outcome of them.
    fn see(&mut self, line: &Line<'_>) {
        match line.phase {
            Phase::Intent if line.class == Class::Cluster || self.0.len() >= INTENTS_MAX => {}
            Phase::Intent => {
                self.0.insert(line.request, line.class);
            }
            Phase::Done | Phase::Withheld => {
                self.0.remove(&line.request);
            }
        }
    }

    fn left(self) -> Vec<OpenIntent> {
        self.0.into_iter().map(|(request, class)| OpenIntent { request, class }).collect()
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

    fn go_on(
        self,
        segments: &[SegmentNumber],
        last: SegmentNumber,
        intents: &mut Intents,
    ) -> Result<Start<F>, OpenTrailError> {
        let before = self.before(segments, intents)?;
        let checked = self.check(last, before.link, before.tree, true, intents)?;
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
        // Without room for all of it the trail goes on as long as there is some; what is served shrinks meanwhile.
        match file.reserve(SEGMENT_BYTES) {
            Ok(()) => {}
            Err(error) if is_full(&error) => {}
            Err(error) => return Err(write(error)),
        }
        let segment = OpenSegment { file, header, end: checked.end, length: checked.end };
        let torn_bytes = checked.torn.as_ref().map_or(0, |torn| torn.len() as u64);
        let note = (torn_bytes > 0).then(|| self.note("TrailTornTail", torn_bytes));
        let maker = LineMaker::new(self.cluster, self.node, self.entropy);
        let opened = Opened { torn_bytes, ..Opened::default() };
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
        // Before anything is written: whatever happens next, the alarm stays.
        if self.tampering == Tampering::Alarm {
            self.files.raise_alarm(&format!("{first}\n")).map_err(OpenTrailError::Alarm)?;
        }
        let mut note = self.note("TrailTampered", 0);
        note.body.items = u32::try_from(places).unwrap_or(u32::MAX);
        let link = checked.link.unwrap_or(Link { sequence: head.sequence, hash: head.hash });
        let (appender, _, _) = self.begin(last.next(), link, head)?;
        Ok((appender, Opened { places, ..Opened::default() }, Some(note)))
    }

    /// What the last segment should continue.
    fn before(&self, segments: &[SegmentNumber], intents: &mut Intents) -> Result<Before, OpenTrailError> {
        let mut before: Option<Before> = None;
        for segment in segments.iter().rev().skip(1) {
            let checked = self.check(*segment, None, None, false, intents)?;
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
        intents: &mut Intents,
    ) -> Result<Checked, OpenTrailError> {
        let expected =
            Expected { segment, cluster: Some(self.cluster), node: Some(self.node), continues, tree, last };
        let read = |source| OpenTrailError::Read { segment, source };
        check::check(self.files.read(segment).map_err(read)?, &expected, &mut |visit| {
            intents.see(&visit.line);
            Seen::Good
        })
        .map_err(read)
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
