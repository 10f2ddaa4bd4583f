//! Finds records in one node's trail, oldest first, a page at a time.
//!
//! Called by the node (`AuditService.Search`), which merges the pages of all nodes. Bodies are matched only where
//! they can be opened. What is damaged is counted and left out: verify says what is wrong with it.

use std::io;
use std::str;

use keyclave_types::ids::{NodeId, RequestId};
use keyclave_types::name::KeyName;
use keyclave_types::time::UnixMillis;

use crate::check::{self, Expected, Seen, Visit};
use crate::files::{SegmentNumber, TrailFiles};
use crate::line::LineBody;
use crate::record::{Class, Phase};
use crate::segment_key::SegmentKeys;
use crate::verify::{Bodies, Opening};

/// Records on one page at most.
pub const PAGE_RECORDS_MAX: usize = 1000;

/// What to look for. What is `None` matches everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Not before this moment.
    pub since: Option<UnixMillis>,
    /// Before this moment.
    pub until: Option<UnixMillis>,
    /// About this key.
    pub key: Option<KeyName>,
    /// By this caller, as the trail prints it: `service:NAME`, `root`.
    pub principal: Option<String>,
    /// Of this operation.
    pub operation: Option<String>,
    /// That ended so.
    pub outcome: Option<String>,
    /// After this record.
    pub after: u64,
}

/// One page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The records, oldest first.
    pub records: Vec<FoundRecord>,
    /// Where the next page begins (as [`Filter::after`]); none if this is the last.
    pub next: Option<u64>,
    /// Damaged places that were passed over.
    pub damaged: u64,
}

/// One record that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundRecord {
    /// Whose chain.
    pub node: NodeId,
    /// Its number there.
    pub sequence: u64,
    /// Its hash, to be compared with an anchor or a receipt.
    pub hash: [u8; 32],
    /// When.
    pub time: UnixMillis,
    /// The call.
    pub request: RequestId,
    /// Which class of acts.
    pub class: Class,
    /// Where in its act.
    pub phase: Phase,
    /// How it ended.
    pub outcome: String,
    /// The body, one JSON object; none if it stays closed.
    pub body_json: Option<String>,
}

/// Why a trail could not be searched.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
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
}

/// The first `records_max` records that match, at most [`PAGE_RECORDS_MAX`].
pub fn search<F: TrailFiles>(
    files: &F,
    keys: &dyn SegmentKeys,
    filter: &Filter,
    records_max: usize,
) -> Result<Page, SearchError> {
    let records_max = records_max.clamp(1, PAGE_RECORDS_MAX);
    let segments = files.segments().map_err(SearchError::List)?;
    let mut page = Page { records: Vec::new(), next: None, damaged: 0 };
    for (at, segment) in segments.iter().copied().enumerate() {
        let later = segments.get(at + 1).copied();
        if page.next.is_some() || later.is_some_and(|later| is_before(files, later, filter.after)) {
            continue;
        }
        let read = |source| SearchError::Read { segment, source };
        let mut bodies = Bodies::new(keys);
        let expected = Expected {
            segment,
            cluster: None,
            node: None,
            continues: None,
            tree: None,
            last: later.is_none(),
        };
        let checked = check::check(files.read(segment).map_err(read)?, &expected, &mut |visit| {
            page.add(filter, records_max, visit, &mut bodies);
            if page.next.is_some() { Seen::Enough } else { Seen::Good }
        });
        let checked = checked.map_err(read)?;
        page.damaged += checked.findings.len() as u64 + checked.findings_more;
    }
    Ok(page)
}

/// Whether all that stands before segment `later` is at or before record `after`.
fn is_before<F: TrailFiles>(files: &F, later: SegmentNumber, after: u64) -> bool {
    after > 0
        && files
            .read(later)
            .ok()
            .and_then(|reader| check::header(reader).ok().flatten())
            .is_some_and(|header| header.continues.sequence <= after)
}

impl Page {
    fn add(&mut self, filter: &Filter, records_max: usize, visit: &Visit<'_>, bodies: &mut Bodies<'_>) {
        if !filter.may_match(visit) {
            return;
        }
        let body = match visit.line.body {
            LineBody::Plain(json) => str::from_utf8(json).ok().map(str::to_owned),
            LineBody::Sealed(text) => match bodies.unseal(visit, text) {
                Opening::Opened(json) => str::from_utf8(&json).ok().map(str::to_owned),
                Opening::Closed => None,
                Opening::Foreign => {
                    self.damaged += 1;
                    None
                }
            },
        };
        if !filter.matches_body(body.as_deref()) {
            return;
        }
        if let (true, Some(last)) = (self.records.len() == records_max, self.records.last()) {
            self.next = Some(last.sequence);
            return;
        }
        self.records.push(FoundRecord {
            node: visit.line.node,
            sequence: visit.line.sequence,
            hash: visit.hash,
            time: visit.line.time,
            request: visit.line.request,
            class: visit.line.class,
            phase: visit.line.phase,
            outcome: visit.line.outcome.to_owned(),
            body_json: body,
        });
    }
}

/// The fields of a body that are searched for.
#[derive(serde::Deserialize)]
struct Searched<'a> {
    #[serde(borrow)]
    operation: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    who: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    key: Option<std::borrow::Cow<'a, str>>,
}

impl Filter {
    fn may_match(&self, visit: &Visit<'_>) -> bool {
        let line = &visit.line;
        line.sequence > self.after
            && self.since.is_none_or(|since| line.time >= since)
            && self.until.is_none_or(|until| line.time < until)
            && self.outcome.as_ref().is_none_or(|outcome| line.outcome == outcome)
    }

    fn matches_body(&self, body: Option<&str>) -> bool {
        if self.key.is_none() && self.principal.is_none() && self.operation.is_none() {
            return true;
        }
        let Some(body) = body.and_then(|json| serde_json::from_str::<Searched<'_>>(json).ok()) else {
            return false;
        };
        self.key.as_ref().is_none_or(|key| body.key.as_deref() == Some(key.as_str()))
            && self.principal.as_ref().is_none_or(|principal| body.who == principal.as_str())
            && self.operation.as_ref().is_none_or(|operation| body.operation == operation.as_str())
    }
}
