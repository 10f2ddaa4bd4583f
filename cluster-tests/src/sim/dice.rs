//! Random numbers from a seed, for everything that a run decides beforehand: SplitMix64, which is small enough to be
//! read and never changes under us. Nothing secret is drawn from it.

/// One sequence. Different streams of one seed have nothing in common, so that one more draw in one place does not
/// change what another place draws.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// The sequence `stream` of `seed`.
    pub fn new(seed: u64, stream: &str) -> Self {
        let digest = blake3::hash(stream.as_bytes());
        let (first, _) = digest.as_bytes().split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        let mut dice = Self { state: seed ^ u64::from_le_bytes(*first) };
        dice.bits();
        dice
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from `from` up to, and without, `to`; `from` if that is empty.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        match to.saturating_sub(from) {
            0 => from,
            // The tiny bias does not matter here.
            width => from + self.bits() % width,
        }
    }

    /// True once in `times` on average.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.between(0, times) == 0
    }

    /// One of the things.
    pub fn pick<'a, T>(&mut self, things: &'a [T]) -> Option<&'a T> {
        let place = self.between(0, u64::try_from(things.len()).unwrap_or(u64::MAX));
        things.get(usize::try_from(place).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_numbers_stay_so_that_old_seeds_can_be_replayed() {
        let mut dice = Dice::new(1, "faults");
        assert_eq!([dice.bits(), dice.bits()], [6_405_741_586_765_583_547, 7_407_993_706_674_337_606]);
    }

    #[test]
    fn streams_and_seeds_differ_and_ranges_hold() {
        assert_ne!(Dice::new(1, "a").bits(), Dice::new(1, "b").bits());
        assert_ne!(Dice::new(1, "a").bits(), Dice::new(2, "a").bits());
        let mut dice = Dice::new(3, "a");
        assert!((0..1000).all(|_| (5..9).contains(&dice.between(5, 9))));
        assert_eq!(dice.between(7, 7), 7);
        assert_eq!(dice.pick::<u8>(&[]), None);
    }
}
