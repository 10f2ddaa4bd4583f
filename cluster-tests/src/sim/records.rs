//! How the small numbers of a history are records of the ledger, and back.

use keyclave_types::ids::RecordId;
use keyclave_types::position::Revision;
use keyclave_types::transaction::Record;

use crate::history::{Held, Key};

/// The record that a number stands for: its last four bytes.
pub fn id_of(key: Key) -> RecordId {
    RecordId::sealed((u128::from(key)).to_be_bytes())
}

/// The number of a record of this kind.
pub fn key_of(id: &RecordId) -> Option<Key> {
    if id.is_plain() {
        return None;
    }
    id.as_bytes().split_last_chunk::<4>().map(|(_, tail)| Key::from_be_bytes(*tail))
}

/// What a record holds.
pub fn held(record: &Record) -> Held {
    let value = record.blob.split_first_chunk::<8>().map_or(0, |(value, _)| u64::from_be_bytes(*value));
    Held { revision: record.revision.0, value }
}

/// The bytes of a value, filled up so that records are not all of one size.
pub fn blob(value: u64) -> Vec<u8> {
    let mut blob = value.to_be_bytes().to_vec();
    blob.resize(8 + usize::try_from(value % 300).unwrap_or(0), 0x5a);
    blob
}

/// A revision as the ledger has it.
pub fn revision(number: u64) -> Revision {
    Revision(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_records_are_one_to_one() {
        for key in [0, 1, 255, 256, 1_000_000] {
            assert_eq!(key_of(&id_of(key)), Some(key));
        }
        let record = Record { revision: Revision(9), blob: blob(1_234) };
        assert_eq!(held(&record), Held { revision: 9, value: 1_234 });
    }
}
