//! One record as one JSON line, in one fixed order:
//!
//! `{"version":1,"node":1,"sequence":1,"time":0,"request":"…","class":"use","phase":"done","outcome":"OK","body":…,"hash":"…"}`
//!
//! `time` is milliseconds since the Unix epoch. `body` is a string where it is sealed (base64url of nonce ‖
//! ciphertext ‖ tag) and an object where it is plain. The format is final: what is added later goes into the body.

use data_encoding::BASE64URL_NOPAD;
use keyclave_crypto::entropy::Entropy;
use keyclave_types::ids::{ClusterId, NodeId, RequestId};
use keyclave_types::time::UnixMillis;
use zeroize::Zeroizing;

use crate::body::{self, Fields};
use crate::chain::{self, Domain, Link};
use crate::files::SegmentNumber;
use crate::record::{Class, Phase, RecordDraft};
use crate::scan::Scan;
use crate::segment_key::{BodyKey, Place};
use crate::text;

/// Makes lines in reused buffers.
pub(crate) struct LineMaker {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) entropy: Entropy,
    body: Zeroizing<Vec<u8>>,
}

impl LineMaker {
    pub(crate) fn new(cluster: ClusterId, node: NodeId, entropy: Entropy) -> Self {
        Self { cluster, node, entropy, body: Zeroizing::new(Vec::new()) }
    }

    /// Appends the line that continues `link`, and says where the chain stands after it.
    pub(crate) fn append(
        &mut self,
        draft: &RecordDraft,
        segment: SegmentNumber,
        link: &Link,
        key: Option<&BodyKey>,
        lines: &mut Vec<u8>,
    ) -> Link {
        let (start, sequence) = (lines.len(), link.sequence.saturating_add(1));
        self.begin(draft, sequence, lines);
        match key {
            None => body::write(&draft.body, Fields::Plain, lines),
            Some(key) => {
                self.body.clear();
                body::write(&draft.body, Fields::Whole, &mut self.body);
                let place = Place {
                    cluster: self.cluster,
                    node: self.node,
                    segment,
                    sequence,
                    previous: &link.hash,
                    line: lines.get(start..).unwrap_or_default(),
                };
                let sealed = key.seal(&mut self.entropy, &place, &self.body);
                base64(&sealed, lines);
            }
        }
        Link { sequence, hash: chain::complete(Domain::Record, &link.hash, lines, start) }
    }

    fn begin(&self, draft: &RecordDraft, sequence: u64, lines: &mut Vec<u8>) {
        lines.extend_from_slice(b"{\"version\":1,\"node\":");
        text::decimal(self.node.get(), lines);
        lines.extend_from_slice(b",\"sequence\":");
        text::decimal(sequence, lines);
        lines.extend_from_slice(b",\"time\":");
        text::decimal(draft.time.0, lines);
        lines.extend_from_slice(b",\"request\":\"");
        text::hex(draft.request.as_bytes(), lines);
        lines.extend_from_slice(b"\",\"class\":\"");
        lines.extend_from_slice(draft.class.word().as_bytes());
        lines.extend_from_slice(b"\",\"phase\":\"");
        lines.extend_from_slice(draft.phase.word().as_bytes());
        lines.extend_from_slice(b"\",\"outcome\":\"");
        word(draft.outcome, lines);
        lines.extend_from_slice(b"\",\"body\":");
    }
}

/// Appends a JSON string of base64url.
fn base64(sealed: &[u8], lines: &mut Vec<u8>) {
    lines.push(b'"');
    let start = lines.len();
    lines.resize(start + BASE64URL_NOPAD.encode_len(sealed.len()), 0);
    let (_, room) = lines.split_at_mut(start);
    BASE64URL_NOPAD.encode_mut(sealed, room);
    lines.push(b'"');
}

/// Outcomes are words of the program; whatever else one holds becomes an underscore, so that no line breaks.
fn word(word: &str, lines: &mut Vec<u8>) {
    lines.extend(word.bytes().map(|byte| if byte.is_ascii_alphanumeric() { byte } else { b'_' }));
    if word.is_empty() {
        lines.push(b'_');
    }
}

/// A line as it was read. Nothing of it is believed before its hash was compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) node: NodeId,
    pub(crate) sequence: u64,
    pub(crate) time: UnixMillis,
    pub(crate) request: RequestId,
    pub(crate) class: Class,
    pub(crate) phase: Phase,
    pub(crate) outcome: &'a str,
    pub(crate) body: LineBody<'a>,
    /// From the beginning up to the body.
    pub(crate) before_body: &'a [u8],
}

/// The body of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LineBody<'a> {
    /// base64url.
    Sealed(&'a [u8]),
    /// A JSON object.
    Plain(&'a [u8]),
}

impl<'a> Line<'a> {
    /// Reads what [`chain::split`] gave as hashed.
    pub(crate) fn parse(hashed: &'a [u8]) -> Option<Self> {
        let mut scan = Scan(hashed);
        scan.literal(b"{\"version\":1,\"node\":")?;
        let node = NodeId::new(scan.number()?)?;
        scan.literal(b",\"sequence\":")?;
        let sequence = scan.number()?;
        scan.literal(b",\"time\":")?;
        let time = UnixMillis(scan.number()?);
        scan.literal(b",\"request\":\"")?;
        let request = RequestId::from_bytes(scan.hex()?);
        scan.literal(b"\",\"class\":\"")?;
        let class = Class::from_word(scan.word()?)?;
        scan.literal(b"\",\"phase\":\"")?;
        let phase = Phase::from_word(scan.word()?)?;
        scan.literal(b"\",\"outcome\":\"")?;
        let outcome = scan.word()?;
        scan.literal(b"\",\"body\":")?;
        let before_body = hashed.get(..hashed.len().checked_sub(scan.0.len())?)?;
        let body = match scan.0 {
            [b'"', sealed @ .., b'"'] => LineBody::Sealed(sealed),
            plain @ [b'{', .., b'}'] => LineBody::Plain(plain),
            _ => return None,
        };
        Some(Self { node, sequence, time, request, class, phase, outcome, body, before_body })
    }
}
