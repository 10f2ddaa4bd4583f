//! The digest of all records: an additive lattice hash (LtHash, 1024 lanes of 16 bits), so that changing one record
//! costs two evaluations and not a walk over all of them.
//!
//! Never XOR, never a sum modulo 2^64: those can be solved for a second set of records with the same digest.

use keyclave_types::ids::RecordId;
use keyclave_types::transaction::Record;

const LANES: usize = 1024;

/// The digest at one moment: BLAKE3 over the lanes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Digest(pub [u8; 32]);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The running sum over all records.
#[derive(Clone, PartialEq, Eq)]
pub struct LatticeHash {
    lanes: Box<[u16; LANES]>,
}

impl Default for LatticeHash {
    fn default() -> Self {
        Self { lanes: Box::new([0; LANES]) }
    }
}

impl LatticeHash {
    /// Adds a record.
    pub fn add(&mut self, id: &RecordId, record: &Record) {
        self.combine(id, record, u16::wrapping_add);
    }

    /// Takes a record away that was added.
    pub fn remove(&mut self, id: &RecordId, record: &Record) {
        self.combine(id, record, u16::wrapping_sub);
    }

    /// The digest of what was added and not taken away, in whatever order.
    pub fn digest(&self) -> Digest {
        let mut bytes = [0_u8; LANES * 2];
        for (pair, lane) in bytes.as_chunks_mut().0.iter_mut().zip(self.lanes.iter()) {
            *pair = lane.to_le_bytes();
        }
        Digest(blake3::derive_key("keyclave ledger digest v1", &bytes))
    }

    fn combine(&mut self, id: &RecordId, record: &Record, step: impl Fn(u16, u16) -> u16) {
        // Id and revision have fixed lengths and the blob comes last, so no two records share these bytes.
        let mut hasher = blake3::Hasher::new_derive_key("keyclave ledger record v1");
        hasher.update(id.as_bytes()).update(&record.revision.0.to_be_bytes()).update(&record.blob);
        let mut bytes = [0_u8; LANES * 2];
        hasher.finalize_xof().fill(&mut bytes);
        for (lane, pair) in self.lanes.iter_mut().zip(bytes.as_chunks().0) {
            *lane = step(*lane, u16::from_le_bytes(*pair));
        }
    }
}

impl Digest {
    /// The digest of these records and of `membership`, which is no record: what a checkpoint signs.
    pub fn with_membership(&self, membership: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("keyclave ledger checkpoint v1");
        hasher.update(&self.0).update(membership);
        Self(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use keyclave_types::position::Revision;
    use proptest::prelude::*;

    use super::*;

    fn record(revision: u64, blob: &[u8]) -> Record {
        Record { revision: Revision(revision), blob: blob.to_vec() }
    }

    #[test]
    fn golden_digests_stay() {
        let mut hash = LatticeHash::default();
        assert_eq!(
            hash.digest().to_string(),
            "273a66a13dc45d68b1d0a1d235996bb0ca0ec0745129f912e6804971dd18a37c"
        );
        hash.add(&RecordId::from_bytes([1; 16]), &record(7, b"blob"));
        hash.add(&RecordId::from_bytes([2; 16]), &record(8, b""));
        assert_eq!(
            hash.digest().to_string(),
            "3ea36cf63b340017aae935adc15d81687dadca60f741da44e5d99391020fa15b"
        );
        let checkpoint = hash.digest().with_membership(b"members").to_string();
        assert_eq!(checkpoint, "089f531161b9c8860a16d78d2727bcfbfedd73b8aef4a6c8142770eb7eb14e45");
    }

    #[test]
    fn a_record_taken_away_leaves_no_trace() {
        let mut hash = LatticeHash::default();
        let empty = hash.digest();
        hash.add(&RecordId::from_bytes([1; 16]), &record(7, b"blob"));
        assert_ne!(hash.digest(), empty);
        hash.remove(&RecordId::from_bytes([1; 16]), &record(7, b"blob"));
        assert_eq!(hash.digest(), empty);
    }

    #[test]
    fn a_record_twice_is_not_none_and_not_one() {
        let digest_of = |times| {
            let mut hash = LatticeHash::default();
            (0..times).for_each(|_| hash.add(&RecordId::from_bytes([1; 16]), &record(7, b"blob")));
            hash.digest()
        };
        assert_ne!(digest_of(2), digest_of(0));
        assert_ne!(digest_of(2), digest_of(1));
    }

    #[test]
    fn every_part_of_a_record_counts() {
        let of = |id: u8, revision, blob: &[u8]| {
            let mut hash = LatticeHash::default();
            hash.add(&RecordId::from_bytes([id; 16]), &record(revision, blob));
            hash.digest()
        };
        let base = of(1, 1, b"a");
        for other in [of(2, 1, b"a"), of(1, 2, b"a"), of(1, 1, b"b"), of(1, 1, b"a\0")] {
            assert_ne!(base, other);
        }
        assert_ne!(base.with_membership(b"x"), base.with_membership(b"y"));
    }

    proptest! {
        #[test]
        fn the_order_of_records_does_not_count(blobs in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let pairs: Vec<_> = (0_u8..).zip(&blobs).map(|(n, blob)| (RecordId::from_bytes([n; 16]), record(1, blob))).collect();
            let (mut forwards, mut backwards) = (LatticeHash::default(), LatticeHash::default());
            pairs.iter().for_each(|(id, record)| forwards.add(id, record));
            pairs.iter().rev().for_each(|(id, record)| backwards.add(id, record));
            prop_assert_eq!(forwards.digest(), backwards.digest());
        }
    }
}
