//! One share of a root: its bytes and its text form.
//!
//! `0x01 ‖ share set id (8) ‖ x (1) ‖ y (32) ‖ check (4)`; in text `kcsh1-` and its base32 (74 letters). Called by
//! the command line (print, read), by ceremonies, and by the seal record's commitments.
//!
//! Deliberately absent: `Debug` of anything but set and x. Errors say what is wrong and where, never what was there.

use std::fmt;
use std::num::NonZeroU8;

use zeroize::Zeroizing;

use crate::hash::sha256;
use crate::secret::Secret;
use crate::{base32, labels};

/// First byte of a share.
pub const FORMAT: u8 = 0x01;
/// Bytes of a share.
pub const SHARE_BYTES: usize = BODY_BYTES + CHECK_BYTES;
/// What the text form starts with.
pub const TEXT_PREFIX: &str = "kcsh1-";

const BODY_BYTES: usize = 1 + 8 + 1 + 32;
const CHECK_BYTES: usize = 4;
/// Letters after the prefix.
const TEXT_LETTERS: usize = (SHARE_BYTES * 8).div_ceil(5);

/// A point of the polynomials whose value at 0 is the root.
pub struct Share {
    set: [u8; 8],
    x: NonZeroU8,
    y: Secret<32>,
}

/// Why something is not a share.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum ShareError {
    /// Something else altogether.
    #[error("a share begins with {TEXT_PREFIX}")]
    Prefix,
    /// A letter that no share has.
    #[error("character {position} is not one of a-z and 2-7")]
    Character {
        /// Which, counted from 1 at the text's start.
        position: usize,
    },
    /// Letters missing or too many.
    #[error("a share has {TEXT_LETTERS} letters after {TEXT_PREFIX}, and this one has {found}")]
    Letters {
        /// Letters found after the prefix.
        found: usize,
    },
    /// Bytes missing or too many.
    #[error("a share has {SHARE_BYTES} bytes, and this one has {found}")]
    Bytes {
        /// Bytes found.
        found: usize,
    },
    /// Made by a newer version.
    #[error("share format {found:#04x} is not {FORMAT:#04x}, the one that this version reads")]
    Format {
        /// The byte found.
        found: u8,
    },
    /// A letter was mistyped.
    #[error("the share's check sum does not fit: a letter is wrong or two are swapped")]
    Check,
    /// The place where the root itself would lie.
    #[error("the share's number is 0, which no share has")]
    Zero,
}

impl Share {
    pub(crate) fn new(set: [u8; 8], x: NonZeroU8, y: Secret<32>) -> Self {
        Self { set, x, y }
    }

    /// Which share set it belongs to.
    pub fn set(&self) -> [u8; 8] {
        self.set
    }

    /// Its number, from 1.
    pub fn x(&self) -> NonZeroU8 {
        self.x
    }

    pub(crate) fn y(&self) -> &Secret<32> {
        &self.y
    }

    /// SHA-256(label ‖ share): what the seal record keeps, so that a bad share is named. A share has 256 random
    /// bits, so its commitment tells nothing about it.
    pub fn commitment(&self) -> [u8; 32] {
        sha256(&[labels::SHARE_COMMITMENT.bytes(), self.to_bytes().as_slice()])
    }

    /// The share's bytes, as they travel inside an encryption to a node.
    pub fn to_bytes(&self) -> Zeroizing<[u8; SHARE_BYTES]> {
        let mut bytes = Zeroizing::new([0; SHARE_BYTES]);
        let (body, check) = bytes.split_at_mut(BODY_BYTES);
        let fields = [FORMAT].into_iter().chain(self.set).chain([self.x.get()]);
        for (to, from) in body.iter_mut().zip(fields.chain(self.y.expose().iter().copied())) {
            *to = from;
        }
        check.copy_from_slice(&check_of(body));
        bytes
    }

    /// Reads [`Share::to_bytes`] back.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ShareError> {
        let wrong_length = ShareError::Bytes { found: bytes.len() };
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(wrong_length)?;
        let body: &[u8; BODY_BYTES] = body.try_into().map_err(|_| wrong_length)?;
        let [format, rest @ ..] = body;
        if *format != FORMAT {
            return Err(ShareError::Format { found: *format });
        }
        if check_of(body) != *check {
            return Err(ShareError::Check);
        }
        let (set, rest) = rest.split_first_chunk::<8>().ok_or(wrong_length)?;
        let ([x], y) = rest.split_first_chunk::<1>().ok_or(wrong_length)?;
        let x = NonZeroU8::new(*x).ok_or(ShareError::Zero)?;
        let y = Secret::from_slice("share", y).ok_or(wrong_length)?;
        Ok(Self { set: *set, x, y })
    }

    /// The text that its holder keeps.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(TEXT_PREFIX.len() + TEXT_LETTERS));
        text.push_str(TEXT_PREFIX);
        base32::encode_into(self.to_bytes().as_slice(), &mut text);
        text
    }

    /// Reads a share that somebody typed: capitals, dashes and white space make no difference.
    pub fn from_text(text: &str) -> Result<Self, ShareError> {
        let start = text.len() - text.trim_ascii_start().len();
        let (prefix, letters) =
            text.trim_ascii().split_at_checked(TEXT_PREFIX.len()).ok_or(ShareError::Prefix)?;
        if !prefix.eq_ignore_ascii_case(TEXT_PREFIX) {
            return Err(ShareError::Prefix);
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(SHARE_BYTES));
        let (mut bits, mut held, mut found) = (0_u32, 0_u32, 0_usize);
        for (at, character) in letters.bytes().enumerate() {
            if character == b'-' || character.is_ascii_whitespace() {
                continue;
            }
            let position = start + TEXT_PREFIX.len() + at + 1;
            let value = base32::value(character).ok_or(ShareError::Character { position })?;
            found += 1;
            if found <= TEXT_LETTERS {
                (bits, held) = (bits << 5 | u32::from(value), held + 5);
                if held >= 8 {
                    held -= 8;
                    bytes.push((bits >> held) as u8);
                    bits &= (1 << held) - 1;
                }
            }
        }
        if found != TEXT_LETTERS {
            return Err(ShareError::Letters { found });
        }
        if bits != 0 {
            // The last letter carries two bits beyond the bytes, and they are zero in every share.
            return Err(ShareError::Check);
        }
        Self::from_bytes(&bytes)
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({})", self.x)
    }
}

fn check_of(body: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = sha256(&[labels::SHARE_CHECK.bytes(), body]);
    *hash.first_chunk().expect("a hash is longer than a check sum")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share() -> Share {
        let y = Secret::from_fn("share", |bytes| {
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = at as u8;
            }
        });
        Share::new(*b"setsetse", NonZeroU8::new(7).unwrap(), y)
    }

    #[test]
    fn golden_text_stays() {
        let (text, commitment) = include_str!("../testdata/share.txt").trim_end().split_once('\n').unwrap();
        assert_eq!(share().to_text().as_str(), text);
        assert_eq!(data_encoding::HEXLOWER.encode(&share().commitment()), commitment);
        let read = Share::from_text(text).unwrap();
        assert_eq!((read.set(), read.x().get()), (*b"setsetse", 7));
        assert_eq!(read.y().expose(), share().y().expose());
        assert_eq!(format!("{read:?}"), "Share(7)");
    }

    #[test]
    fn capitals_dashes_and_white_space_make_no_difference() {
        let text = share().to_text();
        let typed = format!(" \t{}\n{}-{}\n", text[..20].to_uppercase(), &text[20..40], &text[40..]);
        assert_eq!(Share::from_text(&typed).unwrap().commitment(), share().commitment());
    }

    #[test]
    fn what_is_wrong_is_named_and_nothing_is_quoted() {
        let text = share().to_text().to_string();
        for (wrong, error) in [
            (String::new(), ShareError::Prefix),
            ("kcsh2-".to_owned() + &text[6..], ShareError::Prefix),
            (text.replace("kcsh1", "kcsħ"), ShareError::Prefix),
            (text[..79].to_owned(), ShareError::Letters { found: 73 }),
            (text.clone() + "a", ShareError::Letters { found: 75 }),
            (text.clone() + &"a".repeat(100_000), ShareError::Letters { found: 100_074 }),
            (format!("  {}1{}", &text[..10], &text[11..]), ShareError::Character { position: 13 }),
            (format!("{}é{}", &text[..10], &text[12..]), ShareError::Character { position: 11 }),
        ] {
            assert_eq!(Share::from_text(&wrong).err(), Some(error), "{wrong}");
        }
        let mut bytes = *share().to_bytes();
        bytes[0] = 2;
        assert_eq!(Share::from_bytes(&bytes).err(), Some(ShareError::Format { found: 2 }));
        assert_eq!(Share::from_bytes(&bytes[..45]).err(), Some(ShareError::Bytes { found: 45 }));
        assert_eq!(Share::from_bytes(&[]).err(), Some(ShareError::Bytes { found: 0 }));
    }

    #[test]
    fn number_zero_is_refused_even_with_a_right_check_sum() {
        let mut bytes = *share().to_bytes();
        bytes[9] = 0;
        let check = check_of(&bytes[..BODY_BYTES]);
        bytes[BODY_BYTES..].copy_from_slice(&check);
        assert_eq!(Share::from_bytes(&bytes).err(), Some(ShareError::Zero));
    }

    #[test]
    fn every_wrong_letter_and_every_swap_is_found() {
        let text = share().to_text().to_string().into_bytes();
        for at in TEXT_PREFIX.len()..text.len() {
            for letter in "abcdefghijklmnopqrstuvwxyz234567".bytes().filter(|letter| *letter != text[at]) {
                let mut wrong = text.clone();
                wrong[at] = letter;
                let error = Share::from_text(std::str::from_utf8(&wrong).unwrap()).err();
                assert!(matches!(error, Some(ShareError::Check | ShareError::Format { .. })));
            }
            if at + 1 < text.len() && text[at] != text[at + 1] {
                let mut wrong = text.clone();
                wrong.swap(at, at + 1);
                assert!(Share::from_text(std::str::from_utf8(&wrong).unwrap()).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            prop_assert!(Share::from_text(&text).is_err());
            prop_assert!(Share::from_text(&(TEXT_PREFIX.to_owned() + &text)).is_err());
        }
    }
}
