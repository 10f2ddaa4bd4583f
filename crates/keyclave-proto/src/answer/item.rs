//! Items of a batch: each has a result or a refusal of its own.

use keyclave_types::ciphertext::Header;
use keyclave_types::key::Version;
use keyclave_types::request::Plaintext;

use crate::reason::Reason;
use crate::request::field::{self, At};
use crate::request::{Cause, Invalid};
use crate::v1;

/// Why one item has no result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ItemRefusal {
    /// The reason's text; a newer server may know more of them than [`Reason`].
    pub reason: String,
    /// For people.
    pub message: String,
}

impl ItemRefusal {
    /// The reason, if this version knows it.
    pub fn known_reason(&self) -> Option<Reason> {
        self.reason.parse().ok()
    }
}

/// One item's bytes with the version that they name.
pub type AnsweredItem<T> = Result<(T, Version), ItemRefusal>;

impl v1::ItemError {
    /// A refusal as the item alone would have got it.
    pub fn new(reason: Reason, message: &str) -> Self {
        Self { code: reason.code().into(), reason: reason.as_str().to_owned(), message: message.to_owned() }
    }
}

impl v1::EncryptOutcome {
    /// A ciphertext, whose header names its version, or a refusal.
    pub fn new(outcome: Result<Vec<u8>, v1::ItemError>) -> Self {
        use v1::encrypt_outcome::Outcome;
        let outcome = match outcome {
            Ok(ciphertext) => {
                let version = named_version(&ciphertext);
                Outcome::Encrypted(v1::EncryptedItem { ciphertext, version })
            }
            Err(error) => Outcome::Error(error),
        };
        Self { outcome: Some(outcome) }
    }
}

impl v1::DecryptOutcome {
    /// A message and the version that its ciphertext named, or a refusal.
    pub fn new(outcome: Result<(&Plaintext, Version), v1::ItemError>) -> Self {
        use v1::decrypt_outcome::Outcome;
        let outcome = match outcome {
            Ok((plaintext, version)) => Outcome::Decrypted(v1::DecryptedItem {
                plaintext: plaintext.to_vec(),
                version: version.get(),
            }),
            Err(error) => Outcome::Error(error),
        };
        Self { outcome: Some(outcome) }
    }
}

/// The version that a ciphertext of ours names; 0 for bytes that are none.
fn named_version(ciphertext: &[u8]) -> u32 {
    Header::parse(ciphertext).map_or(0, |(header, _)| header.version.get())
}

impl TryFrom<v1::EncryptOutcome> for AnsweredItem<Vec<u8>> {
    type Error = Invalid;

    fn try_from(outcome: v1::EncryptOutcome) -> Result<Self, Invalid> {
        use v1::encrypt_outcome::Outcome;
        match outcome.outcome {
            Some(Outcome::Encrypted(item)) => {
                Ok(Ok((item.ciphertext, field::version(item.version).at("version")?)))
            }
            Some(Outcome::Error(error)) => Ok(Err(error.into())),
            None => Err(Cause::Missing).at("outcome"),
        }
    }
}

impl TryFrom<v1::DecryptOutcome> for AnsweredItem<Plaintext> {
    type Error = Invalid;

    fn try_from(outcome: v1::DecryptOutcome) -> Result<Self, Invalid> {
        use v1::decrypt_outcome::Outcome;
        match outcome.outcome {
            Some(Outcome::Decrypted(item)) => {
                let plaintext = Plaintext::new(item.plaintext);
                Ok(Ok((plaintext, field::version(item.version).at("version")?)))
            }
            Some(Outcome::Error(error)) => Ok(Err(error.into())),
            None => Err(Cause::Missing).at("outcome"),
        }
    }
}

impl From<v1::ItemError> for ItemRefusal {
    fn from(error: v1::ItemError) -> Self {
        Self { reason: error.reason, message: error.message }
    }
}

#[cfg(test)]
mod tests {
    use keyclave_types::ids::KeyId;

    use super::*;

    #[test]
    fn an_encrypted_item_names_the_version_of_its_header() {
        let version = Version::new(7).unwrap();
        let ciphertext = Header { key: KeyId::from_bytes([1; 16]), version }.to_bytes().to_vec();
        let outcome = v1::EncryptOutcome::new(Ok(ciphertext.clone()));
        assert_eq!(AnsweredItem::<Vec<u8>>::try_from(outcome), Ok(Ok((ciphertext, version))));
    }

    #[test]
    fn an_item_refused_keeps_reason_and_code() {
        let error = v1::ItemError::new(Reason::WrongKey, "names another key");
        assert_eq!(error.code, i32::from(Reason::WrongKey.code()));
        let read = AnsweredItem::<Plaintext>::try_from(v1::DecryptOutcome::new(Err(error))).unwrap();
        assert_eq!(read.unwrap_err().known_reason(), Some(Reason::WrongKey));
    }

    #[test]
    fn an_item_without_outcome_is_no_answer() {
        assert!(AnsweredItem::<Vec<u8>>::try_from(v1::EncryptOutcome { outcome: None }).is_err());
        assert!(AnsweredItem::<Plaintext>::try_from(v1::DecryptOutcome { outcome: None }).is_err());
    }
}
