//! Wall-clock time as a value: milliseconds since 1970-01-01T00:00:00Z.
//!
//! Deliberately absent: reading a clock, local time, floating point.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A moment, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The moment `ms` later, or the last one there is.
    pub fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`; 0 if that lies ahead.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-24T10:00:00.000Z`.
impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = civil(days);
        let (hour, minute, second, milli) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// Year, month and day of a day counted from 1970-01-01, by walking 400-year cycles of the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // days since 0000-03-01, so that a leap day ends its year
    let (cycle, day_of_cycle) = (shifted / 146_097, shifted % 146_097);
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (cycle * 400 + year_of_cycle + u64::from(month <= 2), month, day)
}

/// Why a text is not a moment.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "expected a moment as RFC 3339 writes it, from 1970 on, as in 2026-11-24T10:00:00Z or 2026-11-24T11:00:00+01:00"
)]
pub struct MomentError;

/// RFC 3339 with seconds, any number of decimals (those below a millisecond are cut), and `Z` or an offset.
impl FromStr for UnixMillis {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        let (day, rest) = text.split_once(['T', 't', ' ']).ok_or(MomentError)?;
        let (time, offset_minutes) = split_offset(rest).ok_or(MomentError)?;
        let [year, month, day] = numbers(day, '-', [4, 2, 2]).ok_or(MomentError)?;
        let (time, decimals) = time.split_once('.').unwrap_or((time, "0"));
        let [hour, minute, second] = numbers(time, ':', [2, 2, 2]).ok_or(MomentError)?;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days_of_month = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let right = (1..=12).contains(&month)
            && (1..=days_of_month).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60
            && !decimals.is_empty()
            && decimals.bytes().all(|byte| byte.is_ascii_digit());
        let days = days_since_epoch(year, month, day).filter(|_| right).ok_or(MomentError)?;
        let milliseconds = decimals.bytes().chain([b'0'; 3]).take(3);
        let milli = milliseconds.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        let local = days * 86_400_000 + hour * 3_600_000 + minute * 60_000 + second * 1_000 + milli;
        local.checked_add_signed(-offset_minutes * 60_000).map(Self).ok_or(MomentError)
    }
}

/// What stands before the offset, and the offset in minutes.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let at = text.rfind(['+', '-'])?;
    let (time, offset) = text.split_at_checked(at)?;
    let [hours, minutes] = numbers(offset.get(1..)?, ':', [2, 2])?;
    let minutes = i64::try_from(hours * 60 + minutes).ok().filter(|_| hours < 24 && minutes < 60)?;
    Some((time, if offset.starts_with('-') { -minutes } else { minutes }))
}

/// Decimal numbers of exactly so many digits.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(separator);
    let mut found = [0; N];
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        let right = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = part.parse().ok().filter(|_| right)?;
    }
    parts.next().is_none().then_some(found)
}

/// The inverse of [`civil`], for a day that exists; none before 1970.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    let shifted_year = if month <= 2 { year.checked_sub(1)? } else { year };
    let (cycle, year_of_cycle) = (shifted_year / 400, shifted_year % 400);
    let from_march = if month <= 2 { month + 9 } else { month.checked_sub(3)? };
    let day_of_year = (153 * from_march + 2) / 5 + day.checked_sub(1)?;
    let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    (cycle * 146_097 + day_of_cycle).checked_sub(719_468)
}

/// A length of time as people write it: a number and one of `ms s m h d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Span {
    /// Milliseconds.
    pub ms: u64,
}

/// Why a text is not a length of time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected a number with a unit, as in 90s, 15m, 12h or 30d")]
pub struct SpanError;

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or(SpanError)?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(SpanError),
        };
        let number: u64 = number.parse().map_err(|_| SpanError)?;
        Ok(Self { ms: number.checked_mul(unit_ms).ok_or(SpanError)? })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if self.ms > 0 && self.ms.is_multiple_of(unit_ms) {
                return write!(f, "{}{unit}", self.ms / unit_ms);
            }
        }
        write!(f, "{}ms", self.ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_print_as_rfc_3339() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_795_516_756_007, "2026-11-24T10:39:16.007Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(UnixMillis(ms).to_string(), text);
        }
    }

    #[test]
    fn a_moment_reads_back_what_it_prints() {
        for ms in [0, 1, 951_782_400_000, 1_709_251_199_999, 1_795_516_756_007, 4_107_542_400_000] {
            assert_eq!(UnixMillis(ms).to_string().parse(), Ok(UnixMillis(ms)));
        }
        for day in 0..40_000 {
            let moment = UnixMillis(day * 86_400_000);
            assert_eq!(moment.to_string().parse(), Ok(moment));
        }
    }

    #[test]
    fn offsets_and_decimals_are_read_and_nonsense_is_not() {
        for text in [
            "1970-01-01T01:30:00.5+01:30",
            "1969-12-31T23:00:00.5-01:00",
            "1970-01-01t00:00:00.50099z",
            "1970-01-01 00:00:00.500Z",
        ] {
            let read = text.parse::<UnixMillis>();
            assert_eq!(read.is_ok(), !text.starts_with("1969"), "{text}");
            assert!(read.is_err() || read == Ok(UnixMillis(500)), "{text}");
        }
        for wrong in [
            "",
            "2026-11-24",
            "2026-11-24T10:00:00",
            "2026-11-24T10:00Z",
            "2026-02-29T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "2026-00-01T10:00:00Z",
            "2026-01-00T10:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T10:60:00Z",
            "2026-01-01T10:00:60Z",
            "2026-01-01T10:00:00.Z",
            "2026-01-01T10:00:00+1:00",
            "2026-01-01T10:00:00+24:00",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "+026-01-01T10:00:00Z",
            "2026-1-01T10:00:00Z",
        ] {
            assert_eq!(wrong.parse::<UnixMillis>(), Err(MomentError), "{wrong}");
        }
    }

    #[test]
    fn a_span_reads_back_what_it_prints() {
        for (text, ms) in
            [("90s", 90_000), ("15m", 900_000), ("1h", 3_600_000), ("30d", 2_592_000_000), ("5ms", 5)]
        {
            assert_eq!(text.parse(), Ok(Span { ms }));
            assert_eq!(Span { ms }.to_string(), text);
        }
        for wrong in ["", "s", "5", "-5s", "5 s", "5S", "1.5h", "99999999999999999999d", "213503982335d"] {
            assert_eq!(wrong.parse::<Span>(), Err(SpanError), "{wrong:?}");
        }
    }
}
