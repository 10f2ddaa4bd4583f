//! What time it is, judged from what clocks show: a node's own, the leader's, and the last time in the ledger.
//!
//! The yardstick is the ledger's last time plus what has passed since this node first saw it, which no clock on a wall
//! can move. A clock within [`LEAP_MS_MAX`] of it is believed; beyond, only a time on record ends the doubt, and the
//! leader records one when a quorum of clocks agrees, or when an operator says so. Called by the node, which asks the
//! others and measures what has passed. Deliberately absent: clocks.

use keyclave_types::time::UnixMillis;

use crate::occasion::Now;

/// How far the time may be from where it should be without anybody's word, in milliseconds.
pub const LEAP_MS_MAX: u64 = 600_000;
/// How close to each other clocks are that agree, in milliseconds.
pub const AGREEMENT_MS_MAX: u64 = 60_000;
/// How far the ledger's time must have gone on to be worth another record, in milliseconds.
pub const RECORD_EVERY_MS: u64 = 60_000;

/// Where the time should be, as far as one node can tell without a clock on a wall.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reckoning {
    /// The last time in the ledger.
    pub recorded: UnixMillis,
    /// What has passed since this node first saw it, by a clock that nobody sets.
    pub passed_ms: u64,
}

/// The time may not decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Doubt {
    /// Where the time should be: good enough for notes.
    pub expected: UnixMillis,
    /// How far the node's clock is from there.
    pub off: Off,
}

/// How far a clock is from where it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Off {
    /// So many milliseconds ahead.
    Ahead(u64),
    /// So many milliseconds behind.
    Behind(u64),
}

impl From<Result<UnixMillis, Doubt>> for Now {
    fn from(judged: Result<UnixMillis, Doubt>) -> Self {
        match judged {
            Ok(at) => Self::Trusted(at),
            Err(doubt) => Self::Doubtful(doubt.expected),
        }
    }
}

impl Reckoning {
    /// Where the time should be.
    pub fn expected(self) -> UnixMillis {
        self.recorded.after(self.passed_ms)
    }

    /// The greatest of a node's own clock, the leader's and the ledger's time, if it is where it should be. A leader's
    /// clock that is not counts for nothing: the leader has the same doubt to settle.
    pub fn judge(self, own: UnixMillis, leader: Option<UnixMillis>) -> Result<UnixMillis, Doubt> {
        let expected = self.expected();
        let latest = expected.after(LEAP_MS_MAX);
        if own > latest {
            return Err(Doubt { expected, off: Off::Ahead(own.since(expected)) });
        }
        let leader = leader.filter(|leader| *leader <= latest);
        let at = own.max(self.recorded).max(leader.unwrap_or_default());
        if at.after(LEAP_MS_MAX) < expected {
            return Err(Doubt { expected, off: Off::Behind(expected.since(own)) });
        }
        Ok(at)
    }

    /// As leader: the time to put on record, if it is worth a record. `own` is the leader's clock, `others` are those
    /// of other voters, `voters` is how many there are. Where too few can be asked, the time goes on no faster than
    /// it passes, so one clock alone never carries it away, at once or by and by.
    pub fn to_record(self, own: UnixMillis, others: &[UnixMillis], voters: usize) -> Option<UnixMillis> {
        let mut clocks = others.to_vec();
        clocks.push(own);
        let at = match agreed(clocks, voters / 2 + 1) {
            Some(at) => at,
            None => self.judge(own, None).ok()?.min(self.expected()),
        };
        (at >= self.recorded.after(RECORD_EVERY_MS)).then_some(at)
    }

    /// Whether putting `at` on record is a leap that this node would not believe by itself.
    pub fn is_leap(self, at: UnixMillis) -> bool {
        at > self.expected().after(LEAP_MS_MAX)
    }
}

/// The latest time on which so many clocks agree: the earliest of theirs, so that nothing is early by any of them.
fn agreed(mut clocks: Vec<UnixMillis>, quorum: usize) -> Option<UnixMillis> {
    clocks.sort_unstable();
    let together = |some: &&[UnixMillis]| match some {
        [first, .., last] => last.since(*first) <= AGREEMENT_MS_MAX,
        [_] => true,
        [] => false,
    };
    clocks.windows(quorum.max(1)).rfind(together).and_then(|some| some.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: UnixMillis = UnixMillis(1_700_000_000_000);
    const SECOND: i64 = 1_000;
    const MINUTE: i64 = 60 * SECOND;
    const HOUR: i64 = 60 * MINUTE;
    const WEEK: i64 = 7 * 24 * HOUR;
    const YEARS: i64 = 3_652 * 24 * HOUR;

    fn at(ms: i64) -> UnixMillis {
        UnixMillis(T.0.checked_add_signed(ms).unwrap())
    }

    fn passed(ms: i64) -> Reckoning {
        Reckoning { recorded: T, passed_ms: ms.unsigned_abs() }
    }

    fn ahead(expected: i64, by: i64) -> Result<UnixMillis, Doubt> {
        Err(Doubt { expected: at(expected), off: Off::Ahead(by.unsigned_abs()) })
    }

    fn behind(expected: i64, by: i64) -> Result<UnixMillis, Doubt> {
        Err(Doubt { expected: at(expected), off: Off::Behind(by.unsigned_abs()) })
    }

    #[test]
    fn a_clock_is_believed_within_ten_minutes_of_where_it_should_be() {
        let leap = 10 * MINUTE;
        for (what, passed_ms, own, judged) in [
            ("right", 0, 0, Ok(at(0))),
            ("right, a day on", 24 * HOUR, 24 * HOUR, Ok(at(24 * HOUR))),
            ("ten minutes ahead", MINUTE, MINUTE + leap, Ok(at(MINUTE + leap))),
            ("more", MINUTE, MINUTE + leap + 1, ahead(MINUTE, leap + 1)),
            ("an hour ahead", MINUTE, MINUTE + HOUR, ahead(MINUTE, HOUR)),
            ("ten years ahead", MINUTE, MINUTE + YEARS, ahead(MINUTE, YEARS)),
            ("a little behind", MINUTE, 0, Ok(at(0))),
            ("an hour behind: the ledger's time holds", MINUTE, -HOUR, Ok(at(0))),
            ("ten years behind: the ledger's time holds", MINUTE, -YEARS, Ok(at(0))),
            ("an hour behind for longer", leap + 1, leap + 1 - HOUR, behind(leap + 1, HOUR)),
            ("ten years behind for longer", leap + 1, leap + 1 - YEARS, behind(leap + 1, YEARS)),
            ("frozen", leap, 0, Ok(at(0))),
            ("frozen for longer", leap + 1, 0, behind(leap + 1, leap + 1)),
            ("drifting fast, soon", HOUR, HOUR + leap, Ok(at(HOUR + leap))),
            ("drifting fast, later", 2 * HOUR, 2 * HOUR + 2 * leap, ahead(2 * HOUR, 2 * leap)),
            ("down for a week", 0, WEEK, ahead(0, WEEK)),
        ] {
            assert_eq!(passed(passed_ms).judge(at(own), None), judged, "{what}");
        }
    }

    #[test]
    fn the_leaders_clock_counts_where_it_is_believable() {
        let minute = passed(MINUTE);
        assert_eq!(minute.judge(at(0), Some(at(MINUTE))), Ok(at(MINUTE)), "a follower that is behind");
        assert_eq!(minute.judge(at(MINUTE), Some(at(0))), Ok(at(MINUTE)), "a leader that is behind");
        assert_eq!(minute.judge(at(MINUTE), Some(at(HOUR))), Ok(at(MINUTE)), "a leader that has leapt");
        assert_eq!(minute.judge(at(HOUR + MINUTE), Some(at(MINUTE))), ahead(MINUTE, HOUR), "itself");
        let hour = passed(HOUR);
        assert_eq!(hour.judge(at(-YEARS), Some(at(HOUR))), Ok(at(HOUR)), "a follower years behind");
    }

    #[test]
    fn a_leap_is_recorded_when_a_quorum_of_clocks_agrees_within_a_minute() {
        const RIGHT: i64 = 59 * SECOND;
        const LEAPT: i64 = RIGHT + HOUR;
        type Row = (&'static str, i64, &'static [i64], usize, Option<i64>);
        let rows: [Row; 19] = [
            ("three that agree, before a record is worth it", RIGHT, &[RIGHT + 100, RIGHT - 100], 3, None),
            ("three that agree, a minute on", 2 * MINUTE, &[2 * MINUTE, 2 * MINUTE], 3, Some(2 * MINUTE)),
            ("the leader an hour ahead", 2 * LEAPT, &[2 * MINUTE, 2 * MINUTE], 3, Some(2 * MINUTE)),
            ("the leader ten years ahead, one other to ask", YEARS, &[RIGHT], 3, None),
            ("the leader ten years behind", -YEARS, &[2 * MINUTE, 2 * MINUTE], 3, Some(2 * MINUTE)),
            ("all behind", -HOUR, &[-HOUR, -HOUR], 3, None),
            ("a week down, two of three agree", WEEK, &[WEEK + 59 * SECOND], 3, Some(WEEK)),
            ("a week down, not within a minute", WEEK, &[WEEK + 61 * SECOND], 3, None),
            ("a week down, alone of three", WEEK, &[], 3, None),
            ("a week down, alone of one", WEEK, &[], 1, Some(WEEK)),
            ("a week down, one of two", WEEK, &[], 2, None),
            ("a week down, both of two", WEEK, &[WEEK], 2, Some(WEEK)),
            ("two of three wrong alike", LEAPT, &[LEAPT, RIGHT], 3, Some(LEAPT)),
            ("two of three wrong, not alike", LEAPT, &[2 * LEAPT, RIGHT], 3, None),
            ("the followers wrong, not alike", 2 * MINUTE, &[LEAPT, -YEARS], 3, None),
            ("three of five agree", WEEK, &[WEEK, WEEK + SECOND, 0, YEARS], 5, Some(WEEK)),
            ("two of five agree", WEEK, &[WEEK, 0, YEARS], 5, None),
            ("five, two far ahead alike", WEEK, &[WEEK, WEEK, YEARS, YEARS], 5, Some(WEEK)),
            (
                "five in a row, each within a minute of the next",
                0,
                &[MINUTE, 2 * MINUTE, 3 * MINUTE],
                5,
                None,
            ),
        ];
        for (what, own, others, voters, recorded) in rows {
            let others: Vec<_> = others.iter().map(|ms| at(*ms)).collect();
            let found = passed(MINUTE - SECOND).to_record(at(own), &others, voters);
            assert_eq!(found, recorded.map(at), "{what}");
        }
    }

    #[test]
    fn where_nobody_can_be_asked_the_time_goes_on_as_fast_as_it_passes() {
        let mut reckoning = passed(0);
        // A clock that runs at ten times its speed.
        for round in 1..=200_i64 {
            reckoning.passed_ms += 30_000;
            let own = at(round * 300 * SECOND);
            if let Some(recorded) = reckoning.to_record(own, &[], 3) {
                reckoning = Reckoning { recorded, passed_ms: 0 };
            }
            assert!(reckoning.expected() <= at(round * 30 * SECOND), "round {round}");
        }
        assert!(reckoning.judge(at(200 * 300 * SECOND), None).is_err(), "and the clock is found out");
    }

    #[test]
    fn what_is_recorded_never_goes_back_and_ends_the_doubt_of_whoever_agrees() {
        for own in [-YEARS, -HOUR, 0, 30 * SECOND, MINUTE, HOUR, WEEK, YEARS] {
            for other in [-YEARS, -HOUR, 0, 30 * SECOND, MINUTE, HOUR, WEEK, YEARS] {
                for passed_ms in [0, MINUTE, HOUR, WEEK] {
                    let Some(recorded) = passed(passed_ms).to_record(at(own), &[at(other)], 3) else {
                        continue;
                    };
                    assert!(recorded > T);
                    let after = Reckoning { recorded, passed_ms: 0 };
                    if own == other {
                        assert_eq!(after.judge(at(own), None), Ok(at(own)));
                    }
                }
            }
        }
    }
}
