//! How far this client has seen the ledger: sent as a floor with every read, so that no answer is older than one
//! before it, whichever node gives it.

use std::sync::{Mutex, PoisonError};

use keyclave_proto::v1;
use keyclave_types::position::{Generation, Position};

/// An answer of another line of the ledger: the cluster was restored from a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster was restored: it is at generation {}, and this client has seen {}",
    found.0, seen.0
)]
pub struct OtherGeneration {
    /// The line that this client has seen.
    pub seen: Generation,
    /// The line of the answer.
    pub found: Generation,
}

/// The highest position of any answer so far.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Option<Position>>);

impl Seen {
    pub(crate) fn position(&self) -> Option<Position> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn floor(&self) -> Option<v1::Position> {
        self.position().map(Into::into)
    }

    /// Takes note of an answer's position.
    pub(crate) fn note(&self, found: Position) -> Result<(), OtherGeneration> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *seen {
            Some(before) if before.generation != found.generation => {
                Err(OtherGeneration { seen: before.generation, found: found.generation })
            }
            Some(before) if before.index >= found.index => Ok(()),
            Some(_) | None => {
                *seen = Some(found);
                Ok(())
            }
        }
    }

    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(generation: u64, index: u64) -> Position {
        Position { generation: Generation(generation), index }
    }

    #[test]
    fn a_position_only_rises() {
        let seen = Seen::default();
        for index in [5, 3, 7, 6] {
            seen.note(at(1, index)).unwrap();
        }
        assert_eq!(seen.position(), Some(at(1, 7)));
    }

    #[test]
    fn another_generation_is_refused_until_it_is_accepted() {
        let seen = Seen::default();
        seen.note(at(1, 5)).unwrap();
        for other in [0, 2] {
            let refused = OtherGeneration { seen: Generation(1), found: Generation(other) };
            assert_eq!(seen.note(at(other, 9)), Err(refused));
        }
        assert_eq!(seen.position(), Some(at(1, 5)));
        seen.forget();
        assert_eq!(seen.note(at(2, 1)), Ok(()));
    }
}
