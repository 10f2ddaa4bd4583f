//! Where a ledger stands: which line of it, how far along, and which state a record is in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The ledger's line. A restore raises it; positions of another generation mean nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Generation(pub u64);

/// How far a node's ledger has applied: every answer carries one, and a caller may pass it back as a floor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Position {
    /// The line.
    pub generation: Generation,
    /// The Raft index of the last applied entry.
    pub index: u64,
}

/// Why a text is not a position.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected GENERATION.INDEX, two decimal numbers")]
pub struct PositionError;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation.0, self.index)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (generation, index) = text.split_once('.').ok_or(PositionError)?;
        let parse = |digits: &str| {
            let canonical =
                digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
            if canonical { digits.parse::<u64>().map_err(|_| PositionError) } else { Err(PositionError) }
        };
        Ok(Self { generation: Generation(parse(generation)?), index: parse(index)? })
    }
}

/// The state of one record: grows with every put, also across delete and recreate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of the next put: above the record's own and above everything that was applied when the
    /// leader decided, so that a deleted and recreated record never repeats one.
    pub fn next(own: Option<Self>, applied_index: u64) -> Self {
        Self(own.map_or(0, |r| r.0).max(applied_index).saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back_what_it_prints() {
        let position = Position { generation: Generation(2), index: 45 };
        assert_eq!(position.to_string(), "2.45");
        assert_eq!("2.45".parse(), Ok(position));
        for wrong in ["", "2", "2.", ".4", "2.-4", "2.4.5", "+2.4", "02.4", "2.18446744073709551616"] {
            assert_eq!(wrong.parse::<Position>(), Err(PositionError), "{wrong:?}");
        }
    }

    #[test]
    fn a_revision_grows_across_delete_and_recreate() {
        let first = Revision::next(None, 10);
        let second = Revision::next(Some(first), 10);
        let recreated = Revision::next(None, 12);
        assert!(first < second && second <= recreated);
    }
}
