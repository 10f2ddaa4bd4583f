//! The outside of a ciphertext: `0x01 ‖ key id (16) ‖ version (4, big-endian) ‖ body`, and its text form
//! `kc1.` + base64url without padding.
//!
//! The header is authenticated as associated data by whoever opens the body; parsing it proves nothing.
//! `0x02` is reserved for chunked files.

use data_encoding::BASE64URL_NOPAD;

use crate::ids::KeyId;
use crate::key::Version;

/// First byte of a ciphertext of this format.
pub const FORMAT: u8 = 0x01;
/// Bytes before the body.
pub const HEADER_BYTES: usize = 1 + 16 + 4;
/// What the text form starts with.
pub const TEXT_PREFIX: &str = "kc1.";

/// Which key and version a ciphertext says it was made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The key's id.
    pub key: KeyId,
    /// The key's version.
    pub version: Version,
}

/// Why bytes are not a ciphertext.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum CiphertextError {
    /// Shorter than a header.
    #[error("the ciphertext is cut short: {found} bytes")]
    Short {
        /// Bytes found.
        found: usize,
    },
    /// Another format byte.
    #[error("ciphertext format {found:#04x} is unknown")]
    Format {
        /// The byte found.
        found: u8,
    },
    /// Version 0.
    #[error("the ciphertext names version 0")]
    Version,
    /// Text that is not `kc1.` and canonical base64url.
    #[error("the text is not kc1. followed by base64url without padding")]
    Text,
}

impl Header {
    /// The header's bytes, which are also part of the associated data.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = FORMAT;
        bytes[1..17].copy_from_slice(self.key.as_bytes());
        bytes[17..].copy_from_slice(&self.version.get().to_be_bytes());
        bytes
    }

    /// Splits a ciphertext into header and body.
    pub fn parse(ciphertext: &[u8]) -> Result<(Self, &[u8]), CiphertextError> {
        let short = CiphertextError::Short { found: ciphertext.len() };
        let (format, rest) = ciphertext.split_first().ok_or(short)?;
        if *format != FORMAT {
            return Err(CiphertextError::Format { found: *format });
        }
        let (key, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
        let (version, body) = rest.split_first_chunk::<4>().ok_or(short)?;
        let version = Version::new(u32::from_be_bytes(*version)).ok_or(CiphertextError::Version)?;
        Ok((Self { key: KeyId::from_bytes(*key), version }, body))
    }
}

/// The text form of a ciphertext.
pub fn to_text(ciphertext: &[u8]) -> String {
    let mut text = TEXT_PREFIX.to_owned();
    BASE64URL_NOPAD.encode_append(ciphertext, &mut text);
    text
}

/// The bytes of a text form; surrounding white space is a file's, not the ciphertext's.
pub fn from_text(text: &str) -> Result<Vec<u8>, CiphertextError> {
    let body = text.trim_ascii().strip_prefix(TEXT_PREFIX).ok_or(CiphertextError::Text)?;
    BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| CiphertextError::Text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_bytes_stay() {
        let header = Header { key: KeyId::from_bytes([0xab; 16]), version: Version::new(258).unwrap() };
        let mut golden = vec![1];
        golden.extend_from_slice(&[0xab; 16]);
        golden.extend_from_slice(&[0, 0, 1, 2]);
        assert_eq!(header.to_bytes().as_slice(), golden);
        assert_eq!(to_text(&golden), "kc1.Aaurq6urq6urq6urq6urq6sAAAEC");
        golden.push(7);
        assert_eq!(Header::parse(&golden), Ok((header, [7].as_slice())));
    }

    #[test]
    fn a_header_cut_anywhere_is_refused() {
        let whole = Header { key: KeyId::from_bytes([1; 16]), version: Version::FIRST }.to_bytes();
        for length in 0..HEADER_BYTES {
            assert_eq!(Header::parse(&whole[..length]), Err(CiphertextError::Short { found: length }));
        }
        assert!(Header::parse(&[2; 40]).is_err());
        assert_eq!(Header::parse(&[&[1; 17][..], &[0; 4]].concat()), Err(CiphertextError::Version));
    }

    proptest! {
        #[test]
        fn text_reads_back(bytes: Vec<u8>) {
            prop_assert_eq!(from_text(&format!("{}\n", to_text(&bytes))).unwrap(), bytes);
        }
    }
}
