//! Signed notes (C2SP signed-note v1.0.0): a text, a blank line, and Ed25519 signatures under named keys.
//!
//! Made by the node when somebody asks for its tree heads, opened by `audit verify`. Deliberately absent: what the text
//! says ([`crate::checkpoint`]), and the private key, which the ledger keeps.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use keyclave_crypto::hash::sha256;
use keyclave_crypto::sign::{self, SigningKey};
use keyclave_types::ids::ClusterId;

/// Bytes of one note that are read.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;
/// Signatures of one note that are looked at.
const SIGNATURES_MAX: usize = 64;
/// Ed25519 among the kinds of signatures.
const KIND_ED25519: u8 = 1;
const SIGNATURE_BEGINS: &str = "\u{2014} ";

/// A key that notes are checked with. Printed and read as C2SP's verifier key: `name+id+base64(0x01 ‖ public)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoteKey {
    name: String,
    public: [u8; 32],
}

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a note's key has the form name+id+base64, with the id of its name and Ed25519 key")]
pub struct NoteKeyError;

/// Why a note says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is not in the form.
    #[error("this is no signed note")]
    Shape,
    /// Nobody with this key has signed it.
    #[error("it is not signed by the key that was given")]
    Unsigned,
    /// A signature of this key is not over this text.
    #[error("its signature does not belong to its text: it was changed")]
    Changed,
}

impl NoteKey {
    /// The key under which a cluster signs how its trails stand.
    pub fn of_cluster(cluster: ClusterId, public: [u8; 32]) -> Self {
        Self { name: format!("keyclave/{}", HEXLOWER.encode(cluster.as_bytes())), public }
    }

    /// SHA-256(name ‖ newline ‖ 0x01 ‖ public), the first 4 bytes.
    fn id(&self) -> [u8; 4] {
        let hash = sha256(&[self.name.as_bytes(), b"\n", &[KIND_ED25519], &self.public]);
        let [a, b, c, d, ..] = hash;
        [a, b, c, d]
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64.encode(&[&[KIND_ED25519], self.public.as_slice()].concat());
        write!(f, "{}+{}+{key}", self.name, HEXLOWER.encode(&self.id()))
    }
}

impl FromStr for NoteKey {
    type Err = NoteKeyError;

    fn from_str(text: &str) -> Result<Self, NoteKeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteKeyError);
        };
        let bytes = BASE64.decode(key.as_bytes()).map_err(|_| NoteKeyError)?;
        let public = match bytes.split_first() {
            Some((&KIND_ED25519, public)) => public.try_into().map_err(|_| NoteKeyError)?,
            Some(_) | None => return Err(NoteKeyError),
        };
        let read = Self { name: name.to_owned(), public };
        // One spelling, and an id that is its own.
        if is_name(name) && read.to_string() == text { Ok(read) } else { Err(NoteKeyError) }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+')
}

/// The note of `text`, which ends in a newline, signed under `key`'s name: Ed25519(private, text).
pub fn sign(text: &str, key: &NoteKey, private: &SigningKey) -> String {
    let signature = [key.id().as_slice(), &private.sign(text.as_bytes())].concat();
    format!("{text}\n{SIGNATURE_BEGINS}{} {}\n", key.name, BASE64.encode(&signature))
}

/// The text of a note that `key` has signed. Signatures under other keys are nobody's business here.
pub fn open<'a>(note: &'a str, key: &NoteKey) -> Result<&'a str, NoteError> {
    if note.len() > NOTE_BYTES_MAX || note.contains(|c: char| c.is_ascii_control() && c != '\n') {
        return Err(NoteError::Shape);
    }
    let at = note.rfind("\n\n").ok_or(NoteError::Shape)?;
    let (text, rest) = note.split_at_checked(at + 1).ok_or(NoteError::Shape)?;
    let signatures =
        rest.strip_prefix('\n').and_then(|rest| rest.strip_suffix('\n')).ok_or(NoteError::Shape)?;
    let mut signed = false;
    for (number, line) in signatures.split('\n').enumerate() {
        let (name, signature) =
            signature(line).filter(|_| number < SIGNATURES_MAX).ok_or(NoteError::Shape)?;
        if name == key.name && signature.starts_with(&key.id()) {
            let signature =
                signature.get(4..).and_then(|rest| rest.try_into().ok()).ok_or(NoteError::Shape)?;
            if !sign::verify(&key.public, text.as_bytes(), &signature) {
                return Err(NoteError::Changed);
            }
            signed = true;
        }
    }
    if signed { Ok(text) } else { Err(NoteError::Unsigned) }
}

/// `— name base64(id ‖ signature)`.
fn signature(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, signature) = line.strip_prefix(SIGNATURE_BEGINS)?.split_once(' ')?;
    let bytes = BASE64.decode(signature.as_bytes()).ok()?;
    (is_name(name) && bytes.len() > 4).then_some((name, bytes))
}

/// The notes of a file that holds one after the other, with or without a blank line between them.
pub fn split(file: &str) -> Vec<&str> {
    let (mut notes, mut start, mut at, mut signed) = (Vec::new(), 0, 0, false);
    for line in file.split_inclusive('\n') {
        if signed && !line.starts_with(SIGNATURE_BEGINS) {
            notes.extend(file.get(start..at));
            start = if line == "\n" { at + 1 } else { at };
            signed = false;
        }
        at += line.len();
        signed |= line.starts_with(SIGNATURE_BEGINS);
    }
    notes.extend(file.get(start..).filter(|rest| !rest.trim().is_empty()));
    notes
}

#[cfg(test)]
mod tests {
    use keyclave_crypto::secret::Secret;

    use super::*;

    /// The example of the Go module `golang.org/x/mod/sumdb/note`, from which the format comes.
    const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_NOTE: &str = concat!(
        "If you think cryptography is the answer to your problem,\n",
        "then you don't know what your problem is.\n",
        "\n",
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n",
    );

    fn private() -> SigningKey {
        SigningKey::from_seed(Secret::from_fn("seed", |bytes| bytes.fill(7)))
    }

    fn key() -> NoteKey {
        NoteKey::of_cluster(ClusterId::from_bytes([0xc1; 16]), private().public())
    }

    #[test]
    fn somebody_elses_note_opens_under_somebody_elses_key() {
        let key: NoteKey = GO_KEY.parse().unwrap();
        assert_eq!(key.to_string(), GO_KEY);
        let text = open(GO_NOTE, &key).unwrap();
        assert!(text.starts_with("If you think") && text.ends_with("problem is.\n"));
        assert_eq!(open(&GO_NOTE.replacen("know", "knew", 1), &key), Err(NoteError::Changed));
    }

    #[test]
    fn golden_bytes_stay() {
        assert_eq!(sign("a\nb\n", &key(), &private()), include_str!("../testdata/signed.note"));
        assert_eq!(key().to_string() + "\n", include_str!("../testdata/note.key"));
    }

    #[test]
    fn a_note_opens_under_its_key_and_no_other() {
        let note = sign("a\n\nb\n", &key(), &private());
        assert_eq!(open(&note, &key()), Ok("a\n\nb\n"));
        let other = SigningKey::from_seed(Secret::from_fn("seed", |bytes| bytes.fill(8)));
        let other_key = NoteKey { public: other.public(), ..key() };
        assert_eq!(open(&note, &other_key), Err(NoteError::Unsigned));
        assert_eq!(open(&note, &NoteKey { name: "else".to_owned(), ..key() }), Err(NoteError::Unsigned));
        // Beside somebody else's signature it is as good.
        let theirs = sign("a\n\nb\n", &other_key, &other);
        let both = format!("{note}{}", theirs.rsplit_once("\n\n").unwrap().1);
        assert_eq!(open(&both, &key()), Ok("a\n\nb\n"));
        assert_eq!(open(&both, &other_key), Ok("a\n\nb\n"));
    }

    #[test]
    fn what_is_no_note_is_refused_wherever_it_is_cut_or_changed() {
        let note = sign("a\nb\n", &key(), &private());
        for length in (0..note.len()).filter(|length| note.is_char_boundary(*length)) {
            assert!(open(&note[..length], &key()).is_err(), "{length}");
        }
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(open(&changed, &key()).is_err(), "{at}");
            }
        }
    }

    #[test]
    fn a_key_has_one_spelling() {
        let text = key().to_string();
        for wrong in ["", "a+b", "a b+00000000+AQ==", &text.replacen('+', "+0", 1), &format!("{text} ")] {
            assert_eq!(wrong.parse::<NoteKey>(), Err(NoteKeyError), "{wrong}");
        }
    }

    #[test]
    fn notes_in_one_file_are_told_apart() {
        let (one, two) = (sign("a\nb\n", &key(), &private()), sign("c\n", &key(), &private()));
        for between in ["", "\n"] {
            let file = format!("{one}{between}{two}{between}{one}");
            assert_eq!(split(&file), [one.as_str(), &two, &one]);
        }
        assert_eq!(split(""), Vec::<&str>::new());
    }
}
