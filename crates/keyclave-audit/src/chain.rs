//! How one line is tied to the one before it. Named by everything that writes or checks lines.
//!
//! Every line ends in `,"hash":"` ‖ 64 hex digits ‖ `"}` ‖ newline, where hash = SHA-256(domain ‖ hash of the line
//! before ‖ this line up to that ending). The domain is `0x02` for a record and `0x03` for a segment's header, so
//! that neither is ever taken for the other, nor for a leaf (`0x00`) or a node (`0x01`) of an RFC 6962 tree.

use data_encoding::HEXLOWER;
use keyclave_crypto::hash::sha256;

use crate::text;

/// Bytes of one line, the newline included, at most.
pub(crate) const LINE_BYTES_MAX: usize = 32 * 1024;

const BEFORE_HASH: &[u8] = b",\"hash\":\"";
const AFTER_HASH: &[u8] = b"\"}";
const ENDING_BYTES: usize = BEFORE_HASH.len() + 64 + AFTER_HASH.len();

/// What kind of line a hash is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Domain {
    Record = 0x02,
    Header = 0x03,
}

/// Where the chain stands: what the next line continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Link {
    /// The last record's number.
    pub(crate) sequence: u64,
    /// The last line's hash, a record's or a header's.
    pub(crate) hash: [u8; 32],
}

impl Link {
    /// Before the first line of a trail.
    pub(crate) const NOTHING: Self = Self { sequence: 0, hash: [0; 32] };
}

/// SHA-256(domain ‖ previous ‖ line up to its ending).
pub(crate) fn hash(domain: Domain, previous: &[u8; 32], line: &[u8]) -> [u8; 32] {
    sha256(&[&[domain as u8], previous, line])
}

/// Completes the line whose text begins at `start` in `lines`, and says its hash.
pub(crate) fn complete(domain: Domain, previous: &[u8; 32], lines: &mut Vec<u8>, start: usize) -> [u8; 32] {
    let hash = hash(domain, previous, lines.get(start..).unwrap_or_default());
    lines.extend_from_slice(BEFORE_HASH);
    text::hex(&hash, lines);
    lines.extend_from_slice(AFTER_HASH);
    lines.push(b'\n');
    hash
}

/// A line without its newline, cut into what is hashed and the hash that it states.
pub(crate) fn split(line: &[u8]) -> Option<(&[u8], [u8; 32])> {
    let (hashed, ending) = line.split_at_checked(line.len().checked_sub(ENDING_BYTES)?)?;
    let digits = ending.strip_prefix(BEFORE_HASH)?.strip_suffix(AFTER_HASH)?;
    let mut stated = [0; 32];
    HEXLOWER.decode_mut(digits, &mut stated).ok()?;
    Some((hashed, stated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completed_line_splits_into_what_was_hashed() {
        let mut lines = b"before\n".to_vec();
        let start = lines.len();
        lines.extend_from_slice(b"{\"a\":1");
        let hash = complete(Domain::Record, &[7; 32], &mut lines, start);
        let line = lines[start..].strip_suffix(b"\n").unwrap();
        assert_eq!(split(line), Some((b"{\"a\":1".as_slice(), hash)));
        assert_eq!(hash, sha256(&[&[2], &[7; 32], b"{\"a\":1"]));
        assert_ne!(hash, super::hash(Domain::Header, &[7; 32], b"{\"a\":1"));
    }

    #[test]
    fn an_ending_has_one_spelling() {
        let mut line = b"{".to_vec();
        complete(Domain::Record, &[0; 32], &mut line, 0);
        line.pop();
        assert!(split(&line).is_some());
        let upper = String::from_utf8(line.clone()).unwrap().replace(|c: char| c.is_ascii_lowercase(), "A");
        assert!(split(upper.as_bytes()).is_none());
        for length in 0..line.len() {
            assert!(split(&line[..length]).is_none());
        }
    }
}
