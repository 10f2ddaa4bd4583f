//! Walks one segment line by line: header, chain, numbers, and what its end looks like.
//!
//! Called by [`crate::verify`], [`crate::search`] and [`crate::open`]. Reads as a stream, with one line in memory
//! and, once something is wrong, the bytes from there on as far as a torn write can reach.
//!
//! A torn write is what a crash leaves of the last group: it ends in the middle of a line, or sectors of it were
//! never written and are zeros. Taking such an end for a crash gives nobody more than cutting the file there would,
//! and a cut is found by the anchor. Any other damage is a finding.

use std::io::{self, BufRead, BufReader, Read};

use keyclave_types::ids::{ClusterId, NodeId};

use crate::append::GROUP_BYTES_MAX;
use crate::chain::{self, Domain, LINE_BYTES_MAX, Link};
use crate::files::SegmentNumber;
use crate::finding::{FINDINGS_MAX, Finding, FindingKind};
use crate::header::Header;
use crate::line::Line;
use crate::record::Head;
use crate::tree::{TrailTree, leaf};

const SECTOR_BYTES: u64 = 512;
/// A group closes after the line that fills it.
const TORN_BYTES_MAX: usize = GROUP_BYTES_MAX + LINE_BYTES_MAX;

/// What a segment should be.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) segment: SegmentNumber,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) node: Option<NodeId>,
    /// What its header should continue; none if nothing is known.
    pub(crate) continues: Option<Link>,
    /// How the tree stands that it should continue, if it continues one; none if nothing is known.
    pub(crate) tree: Option<TrailTree>,
    /// Whether it is the last one, whose end may be torn.
    pub(crate) last: bool,
}

/// What was found in one segment.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) header: Option<Header>,
    /// What the next header should continue, as far as it can be told.
    pub(crate) link: Option<Link>,
    /// The last good record, if there is one.
    pub(crate) head: Option<Head>,
    /// The tree over the records; none once it cannot be told.
    pub(crate) tree: Option<TrailTree>,
    pub(crate) records: u64,
    /// Where good lines end, in bytes.
    pub(crate) end: u64,
    /// The torn bytes from there on.
    pub(crate) torn: Option<Vec<u8>>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) findings_more: u64,
}

/// One good line, as it is shown to a visitor.
pub(crate) struct Visit<'a> {
    pub(crate) header: &'a Header,
    pub(crate) line: Line<'a>,
    pub(crate) previous: &'a [u8; 32],
    pub(crate) hash: [u8; 32],
    /// The whole line without its newline.
    pub(crate) whole: &'a [u8],
    /// The tree with this record in it.
    pub(crate) tree: Option<&'a TrailTree>,
}

/// What a visitor says about a record.
pub(crate) enum Seen {
    Good,
    Wrong(FindingKind),
    /// The rest of the segment need not be read.
    Enough,
}

/// Walks a segment. `visit` sees each record that continues the chain.
pub(crate) fn check<R: Read>(
    reader: R,
    expected: &Expected,
    visit: &mut dyn FnMut(&Visit<'_>) -> Seen,
) -> io::Result<Checked> {
    let mut lines = Lines::new(reader);
    let mut walk = Walk::new(expected.clone());
    while let Some(ending) = lines.next()? {
        walk.line(&lines.line, ending, visit);
        if walk.enough {
            break;
        }
    }
    Ok(walk.finish())
}

/// Reads a segment's header, without checking anything.
pub(crate) fn header<R: Read>(reader: R) -> io::Result<Option<Header>> {
    let mut lines = Lines::new(reader);
    lines.next()?;
    Ok(lines.line.strip_suffix(b"\n").and_then(Header::parse).map(|(header, _, _)| header))
}

/// How a line ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Newline,
    /// The file ended, or the line was longer than any line is.
    Other,
}

struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

impl<R: Read> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(64 * 1024, reader), line: Vec::new() }
    }

    /// Reads the next line, newline included, or as much as a line may have. None at the end of the file.
    fn next(&mut self) -> io::Result<Option<Ending>> {
        self.line.clear();
        (&mut self.reader).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut self.line)?;
        Ok(match self.line.last() {
            None => None,
            Some(b'\n') => Some(Ending::Newline),
            Some(_) => Some(Ending::Other),
        })
    }
}

struct Walk {
    expected: Expected,
    checked: Checked,
    /// The number of the last record; none until known.
    sequence: Option<u64>,
    /// The hash that the next line should continue; none where a line stands whose hash cannot be read.
    hash: Option<[u8; 32]>,
    first_line: bool,
    enough: bool,
    suspect: Option<Suspect>,
}

/// From the first bad line on: perhaps a torn write.
struct Suspect {
    /// The bytes from there on; none once there are too many for a torn write.
    bytes: Option<Vec<u8>>,
    /// All that follows zeros is not torn but unused room.
    only_zeros: bool,
    /// How many bytes there are in all.
    length: u64,
    findings_before: usize,
    link_before: Option<Link>,
    head_before: Option<Head>,
    tree_before: Option<TrailTree>,
    records_before: u64,
}

impl Walk {
    fn new(expected: Expected) -> Self {
        let checked = Checked {
            header: None,
            link: None,
            head: None,
            tree: None,
            records: 0,
            end: 0,
            torn: None,
            findings: Vec::new(),
            findings_more: 0,
        };
        Self { expected, checked, sequence: None, hash: None, first_line: true, enough: false, suspect: None }
    }

    fn line(&mut self, line: &[u8], ending: Ending, visit: &mut dyn FnMut(&Visit<'_>) -> Seen) {
        if let Some(suspect) = &mut self.suspect {
            suspect.add(line);
        }
        if std::mem::take(&mut self.first_line) {
            self.header(line);
        } else if let Some((kind, sequence)) = self.record(line, ending, visit) {
            self.suspect(line);
            // Zeros are room that was reserved and not used; finish() says what else they may be.
            if !is_zeros(line) {
                self.find(sequence, kind);
            }
        }
        if self.suspect.is_none() {
            self.checked.end += line.len() as u64;
        }
    }

    fn header(&mut self, line: &[u8]) {
        let Some((header, hashed, stated)) = line.strip_suffix(b"\n").and_then(Header::parse) else {
            return self.find(0, FindingKind::HeaderUnreadable);
        };
        if chain::hash(Domain::Header, &header.continues.hash, hashed) != stated {
            self.find(0, FindingKind::HeaderChanged);
        }
        let foreign = header.segment != self.expected.segment
            || self.expected.cluster.is_some_and(|cluster| cluster != header.cluster)
            || self.expected.node.is_some_and(|node| node != header.node);
        if foreign {
            self.find(0, FindingKind::HeaderForeign);
        }
        if self.expected.continues.is_some_and(|link| link != header.continues) {
            self.find(0, FindingKind::HeaderUnlinked);
        } else {
            self.tree_goes_on(&header);
        }
        self.checked.tree.clone_from(&header.tree);
        (self.sequence, self.hash) = (Some(header.continues.sequence), Some(stated));
        self.checked.header = Some(header);
    }

    /// A header that names the tree before it must have it as that segment ended; one that begins a tree has none.
    fn tree_goes_on(&mut self, header: &Header) {
        let Some(stated) = &header.tree else { return };
        let right = match &self.expected.tree {
            _ if stated.begins == header.segment => stated.tree.leaves() == 0,
            Some(known) => stated == known,
            None => stated.begins < header.segment,
        };
        if !right {
            self.find(0, FindingKind::TreeUnlinked);
        }
    }

    /// Checks one record's line. What follows a bad one is checked against what the bad one states, so that one
    /// change is found once.
    fn record(
        &mut self,
        line: &[u8],
        ending: Ending,
        visit: &mut dyn FnMut(&Visit<'_>) -> Seen,
    ) -> Option<(FindingKind, u64)> {
        let due = self.sequence.map(|last| last.saturating_add(1));
        let split = line.strip_suffix(b"\n").filter(|_| ending == Ending::Newline).and_then(chain::split);
        let previous = std::mem::replace(&mut self.hash, split.map(|(_, stated)| stated));
        let whole = line.strip_suffix(b"\n").unwrap_or(line);
        let read = split.and_then(|(hashed, stated)| Some((hashed, stated, Line::parse(hashed)?)));
        let Some((hashed, stated, line)) = read else {
            self.sequence = due;
            return Some((FindingKind::Unreadable, due.unwrap_or(0)));
        };
        self.sequence = Some(line.sequence);
        if let Some(due) = due.filter(|due| *due != line.sequence) {
            return Some((FindingKind::OutOfOrder { found: line.sequence }, due));
        }
        let foreign = self.checked.header.as_ref().is_some_and(|header| header.node != line.node);
        let changed = |previous| chain::hash(Domain::Record, previous, hashed) != stated;
        if foreign || previous.as_ref().is_some_and(changed) {
            return Some((FindingKind::Changed, line.sequence));
        }
        self.checked.records += 1;
        self.checked.head = Some(Head { sequence: line.sequence, hash: stated });
        if let Some(growing) = &mut self.checked.tree {
            growing.tree.push(leaf(whole));
        }
        if let (Some(header), Some(previous)) = (&self.checked.header, &previous) {
            let tree = self.checked.tree.as_ref();
            match visit(&Visit { header, line, previous, hash: stated, whole, tree }) {
                Seen::Good => {}
                Seen::Wrong(kind) => self.find(line.sequence, kind),
                Seen::Enough => self.enough = true,
            }
        }
        None
    }

    fn suspect(&mut self, line: &[u8]) {
        if self.suspect.is_some() {
            return;
        }
        let mut suspect = Suspect {
            bytes: Some(Vec::new()),
            only_zeros: true,
            length: 0,
            findings_before: self.checked.findings.len(),
            link_before: None,
            head_before: self.checked.head,
            tree_before: self.checked.tree.take(),
            records_before: self.checked.records,
        };
        suspect.link_before = self.link_before_this();
        suspect.add(line);
        self.suspect = Some(suspect);
    }

    /// The chain before the first bad line: the last good record, or else the header.
    fn link_before_this(&self) -> Option<Link> {
        match (self.checked.head, &self.checked.header) {
            (Some(head), _) => Some(Link { sequence: head.sequence, hash: head.hash }),
            (None, Some(header)) => Some(Link { sequence: header.continues.sequence, hash: header.line().1 }),
            (None, None) => None,
        }
    }

    fn find(&mut self, sequence: u64, kind: FindingKind) {
        if self.checked.findings.len() < FINDINGS_MAX {
            self.checked.findings.push(Finding { segment: self.expected.segment, sequence, kind });
        } else {
            self.checked.findings_more += 1;
        }
    }

    fn finish(mut self) -> Checked {
        if self.first_line {
            self.find(0, FindingKind::HeaderUnreadable);
        }
        let mut checked = self.checked;
        checked.link = self.sequence.zip(self.hash).map(|(sequence, hash)| Link { sequence, hash });
        let Some(suspect) = self.suspect else { return checked };
        let torn = suspect.torn(checked.end, self.expected.last);
        if suspect.only_zeros || torn.is_some() {
            checked.findings.truncate(suspect.findings_before);
            checked.link = suspect.link_before;
            checked.head = suspect.head_before;
            checked.tree = suspect.tree_before;
            checked.records = suspect.records_before;
            checked.torn = torn;
        }
        checked
    }
}

impl Suspect {
    fn add(&mut self, line: &[u8]) {
        self.length += line.len() as u64;
        let zeros = is_zeros(line);
        self.only_zeros &= zeros;
        // Zeros at the end are not kept: the room behind a torn write is larger than the write.
        if let Some(bytes) = &mut self.bytes {
            let missing = self.length - line.len() as u64 - bytes.len() as u64;
            if zeros {
                return;
            }
            if self.length > TORN_BYTES_MAX as u64 {
                self.bytes = None;
            } else {
                bytes.extend(std::iter::repeat_n(0, usize::try_from(missing).unwrap_or(0)));
                bytes.extend_from_slice(line);
            }
        }
    }

    /// The torn bytes, if this is a torn write at `offset`.
    fn torn(&self, offset: u64, last: bool) -> Option<Vec<u8>> {
        let bytes = self.bytes.as_ref().filter(|_| last)?;
        let length = bytes.iter().rposition(|byte| *byte != 0)? + 1;
        let bytes = bytes.get(..length)?;
        (!bytes.contains(&b'\n') || has_unwritten_sector(bytes, offset)).then(|| bytes.to_vec())
    }
}

/// Whether a line, which is never longer than [`LINE_BYTES_MAX`], is unused room.
fn is_zeros(line: &[u8]) -> bool {
    static ZEROS: [u8; LINE_BYTES_MAX] = [0; LINE_BYTES_MAX];
    ZEROS.starts_with(line)
}

/// Whether `bytes`, which stand at `offset`, hold zeros from their beginning or a sector's to a sector's end.
fn has_unwritten_sector(bytes: &[u8], offset: u64) -> bool {
    let to_sector_end = usize::try_from(SECTOR_BYTES - offset % SECTOR_BYTES).unwrap_or(0);
    let (first, rest) = bytes.split_at_checked(to_sector_end).unwrap_or((bytes, &[]));
    let unwritten = |sector: &[u8]| sector.iter().all(|byte| *byte == 0);
    (first.len() == to_sector_end && unwritten(first))
        || rest.chunks_exact(SECTOR_BYTES as usize).any(unwritten)
}
