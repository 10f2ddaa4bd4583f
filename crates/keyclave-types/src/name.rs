//! The one grammar of key names, parsed once, before authorisation; whoever authorises and whoever executes
//! see the same value.
//!
//! `segment ("/" segment)*`, at most [`SEGMENTS_MAX`] segments of `[a-z0-9][a-z0-9._-]{0,63}`, none ending in
//! a dot. ASCII only, so there are no case, normalisation or direction twins.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Segments in one name.
pub const SEGMENTS_MAX: usize = 8;
/// Bytes in one segment.
pub const SEGMENT_BYTES_MAX: usize = 64;

/// A key's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(String);

/// Why a text is not a key name. Never quotes the text.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// Nothing, or nothing between two slashes.
    #[error("segment {segment} of the name is empty")]
    EmptySegment {
        /// Which segment, from 1.
        segment: usize,
    },
    /// Too deep.
    #[error("the name has more than {SEGMENTS_MAX} segments")]
    Depth,
    /// Too long.
    #[error("segment {segment} of the name is longer than {SEGMENT_BYTES_MAX} characters")]
    Length {
        /// Which segment, from 1.
        segment: usize,
    },
    /// Something outside `a-z 0-9 . _ -`, or a segment that starts with `.`, `_` or `-`.
    #[error("segment {segment} of the name must match [a-z0-9][a-z0-9._-]*")]
    Character {
        /// Which segment, from 1.
        segment: usize,
    },
    /// A segment that ends in a dot.
    #[error("segment {segment} of the name ends in a dot")]
    TrailingDot {
        /// Which segment, from 1.
        segment: usize,
    },
}

impl KeyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > SEGMENTS_MAX * (SEGMENT_BYTES_MAX + 1) {
            return Err(NameError::Depth);
        }
        for (at, segment) in text.split('/').enumerate() {
            if at >= SEGMENTS_MAX {
                return Err(NameError::Depth);
            }
            parse_segment(segment, at + 1)?;
        }
        Ok(Self(text.to_owned()))
    }
}

fn parse_segment(text: &str, segment: usize) -> Result<(), NameError> {
    let first = text.bytes().next().ok_or(NameError::EmptySegment { segment })?;
    let starts = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let follows = |b: u8| starts(b) || matches!(b, b'.' | b'_' | b'-');
    if text.len() > SEGMENT_BYTES_MAX {
        return Err(NameError::Length { segment });
    }
    if !starts(first) || !text.bytes().all(follows) {
        return Err(NameError::Character { segment });
    }
    if text.ends_with('.') {
        return Err(NameError::TrailingDot { segment });
    }
    Ok(())
}

impl TryFrom<String> for KeyName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        name.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyName({})", self.0)
    }
}

/// A name of one segment: what groups and policies are called.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Segment(String);

impl Segment {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Segment {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        parse_segment(text, 1)?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Segment {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Segment> for String {
    fn from(name: Segment) -> Self {
        name.0
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The beginning of key names in a list: nothing, or whole segments, optionally with a closing slash that
/// leaves out the key of that very name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// Whether `name` lies under this prefix. `app` covers `app` and `app/x`, never `app2`.
    pub fn covers(&self, name: &KeyName) -> bool {
        let Some(rest) = name.as_str().strip_prefix(&self.0) else { return false };
        self.0.is_empty() || self.0.ends_with('/') || rest.is_empty() || rest.starts_with('/')
    }

    /// The prefix as text: every covered name starts with it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyPrefix {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if !text.is_empty() {
            text.strip_suffix('/').unwrap_or(text).parse::<KeyName>()?;
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grammar_is_exact() {
        let deep = ["a"; 8].join("/");
        let long = "a".repeat(64);
        for right in ["a", "0", "app/prod.eu-1/x_y", &deep, &long] {
            assert_eq!(right.parse::<KeyName>().map(String::from), Ok(right.to_owned()));
        }
        let too_deep = ["a"; 9].join("/");
        let too_long = "a".repeat(65);
        let huge = "a".repeat(64 * 1024);
        for wrong in [
            "",
            "/",
            "//",
            "a/",
            "/a",
            "a//b",
            "..",
            ".",
            "a/../x",
            "a/.x",
            "a.",
            "a./b",
            "A",
            "Ab",
            "a b",
            "a%2fb",
            "a\0",
            "a\n",
            "é",
            "e\u{301}",
            "а",
            "a\u{202e}b",
            "a\u{200b}b",
            "-a",
            "_a",
            "a\\b",
            "*",
            &too_deep,
            &too_long,
            &huge,
        ] {
            assert!(wrong.parse::<KeyName>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let name = |text: &str| text.parse::<KeyName>().unwrap();
        let prefix = |text: &str| text.parse::<KeyPrefix>().unwrap();
        assert!(prefix("app").covers(&name("app")));
        assert!(prefix("app").covers(&name("app/x")));
        assert!(!prefix("app").covers(&name("app2/x")));
        assert!(!prefix("app/").covers(&name("app")));
        assert!(prefix("app/").covers(&name("app/x")));
        assert!(prefix("").covers(&name("x")));
        assert!("app//".parse::<KeyPrefix>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<KeyName>();
            let _ = text.parse::<KeyPrefix>();
        }
    }
}
