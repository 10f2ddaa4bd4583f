//! The versioned envelope of everything that is stored or signed: one format byte, then a bincode body.
//!
//! A type says which byte is its own ([`Stored::FORMAT`]); an unknown byte is a newer format and stops the
//! reader, it is never guessed at. Decoding is bounded: no length in the input can ask for more memory than
//! [`crate::limits::STORED_BYTES_MAX`].

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::STORED_BYTES_MAX;

/// A type with a stored form.
pub trait Stored: Serialize + DeserializeOwned {
    /// The first byte of the stored form. Changes whenever the body's layout does.
    const FORMAT: u8;
}

/// Why stored bytes are not the value they should be.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// No bytes at all.
    #[error("nothing is stored here")]
    Empty,
    /// Written by a newer version, or something else altogether.
    #[error("format {found:#04x} is not {expected:#04x}, the one that this version reads")]
    Format {
        /// The byte that this version reads.
        expected: u8,
        /// The byte that was there.
        found: u8,
    },
    /// The right format, and yet not readable.
    #[error("the stored body is damaged")]
    Body(#[source] bincode::error::DecodeError),
    /// More bytes than the value needs.
    #[error("{extra} bytes follow the stored body")]
    Trailing {
        /// How many bytes follow.
        extra: usize,
    },
    /// Larger than anything that is stored.
    #[error("{length} bytes are more than the {STORED_BYTES_MAX} that are ever stored")]
    Length {
        /// The length found, in bytes.
        length: usize,
    },
}

fn layout() -> impl bincode::config::Config {
    bincode::config::standard()
        .with_big_endian()
        .with_variable_int_encoding()
        .with_limit::<STORED_BYTES_MAX>()
}

/// The stored form of `value`.
pub fn encode<T: Stored>(value: &T) -> Vec<u8> {
    let mut bytes = vec![T::FORMAT];
    bincode::serde::encode_into_std_write(value, &mut bytes, layout())
        .expect("a Vec never refuses bytes and no stored type has a fallible Serialize");
    bytes
}

/// Reads a stored form back.
pub fn decode<T: Stored>(bytes: &[u8]) -> Result<T, EnvelopeError> {
    let (format, body) = bytes.split_first().ok_or(EnvelopeError::Empty)?;
    if *format != T::FORMAT {
        return Err(EnvelopeError::Format { expected: T::FORMAT, found: *format });
    }
    if body.len() > STORED_BYTES_MAX {
        return Err(EnvelopeError::Length { length: body.len() });
    }
    let (value, read) = bincode::serde::decode_from_slice(body, layout()).map_err(EnvelopeError::Body)?;
    match body.len().checked_sub(read) {
        Some(0) => Ok(value),
        extra => Err(EnvelopeError::Trailing { extra: extra.unwrap_or(0) }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Sample {
        number: u64,
        text: Vec<u8>,
    }

    impl Stored for Sample {
        const FORMAT: u8 = 9;
    }

    #[test]
    fn golden_bytes_stay() {
        let sample = Sample { number: 300, text: b"ab".to_vec() };
        assert_eq!(encode(&sample), [9, 251, 1, 44, 2, b'a', b'b']);
    }

    #[test]
    fn another_format_is_named_not_guessed() {
        let mut bytes = encode(&Sample { number: 1, text: vec![] });
        bytes[0] = 10;
        assert!(matches!(decode::<Sample>(&bytes), Err(EnvelopeError::Format { expected: 9, found: 10 })));
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        // 253 announces an eight-byte length: 2^63.
        let bytes = [9, 1, 253, 128, 0, 0, 0, 0, 0, 0, 0];
        assert!(matches!(decode::<Sample>(&bytes), Err(EnvelopeError::Body(_))));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(number: u64, text: Vec<u8>) {
            let sample = Sample { number, text };
            prop_assert_eq!(decode::<Sample>(&encode(&sample)).unwrap(), sample);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = decode::<Sample>(&bytes);
        }
    }
}
