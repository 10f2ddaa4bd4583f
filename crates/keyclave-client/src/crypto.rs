//! Encrypting and decrypting.

use keyclave_proto::answer::AnsweredItem;
use keyclave_proto::request::Invalid;
use keyclave_proto::v1;
use keyclave_types::key::Version;
use keyclave_types::name::KeyName;
use zeroize::Zeroizing;

use crate::client::{Answer, Client, answer};
use crate::error::ReadError;
use crate::wire;

/// One ciphertext, and the version that made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encrypted {
    /// The ciphertext, header included.
    pub ciphertext: Vec<u8>,
    /// The version.
    pub version: Version,
}

/// One message, wiped when dropped, and the version that its ciphertext names.
pub struct Decrypted {
    /// The message.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// The version.
    pub version: Version,
}

/// Why one item of a batch has no result.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ItemError {
    /// The stable reason, as `WRONG_KEY`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Which key decrypts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecryptWith<'a> {
    /// This one; a ciphertext of another is refused.
    Key(&'a KeyName),
    /// The one that each ciphertext names. For people at a prompt: whoever can hand a service a ciphertext of
    /// another key would otherwise choose for it.
    AnyKey,
}

impl Client {
    /// Encrypts one message under a key's primary version, or a named one.
    pub async fn encrypt(
        &self,
        key: &KeyName,
        version: Option<Version>,
        plaintext: &[u8],
        associated_data: &[u8],
    ) -> Result<Answer<Encrypted>, ReadError> {
        let request = v1::EncryptRequest {
            key_name: key.to_string(),
            version: version.map(Version::get),
            plaintext: plaintext.to_vec(),
            associated_data: associated_data.to_vec(),
            floor: self.floor(),
        };
        let send = |channel, request| async move { wire::crypto(channel).encrypt(request).await };
        let parse = |response: v1::EncryptResponse| {
            let version = wire::version(response.version, "version")?;
            Ok(Encrypted { ciphertext: response.ciphertext, version })
        };
        Ok(answer(self.read(request, send).await?, parse)?)
    }

    /// Decrypts one ciphertext.
    pub async fn decrypt(
        &self,
        with: DecryptWith<'_>,
        ciphertext: &[u8],
        associated_data: &[u8],
    ) -> Result<Answer<Decrypted>, ReadError> {
        let (key_name, any_key) = with.wire();
        let request = v1::DecryptRequest {
            key_name,
            any_key,
            ciphertext: ciphertext.to_vec(),
            associated_data: associated_data.to_vec(),
            floor: self.floor(),
        };
        let send = |channel, request| async move { wire::crypto(channel).decrypt(request).await };
        let parse = |response: v1::DecryptResponse| {
            let plaintext = Zeroizing::new(response.plaintext);
            Ok(Decrypted { plaintext, version: wire::version(response.version, "version")? })
        };
        Ok(answer(self.read(request, send).await?, parse)?)
    }

    /// Encrypts many messages, each with associated data of its own, under one key. Results come in their order.
    pub async fn batch_encrypt(
        &self,
        key: &KeyName,
        version: Option<Version>,
        items: &[(&[u8], &[u8])],
    ) -> Result<Answer<Vec<Result<Encrypted, ItemError>>>, ReadError> {
        let item = |(plaintext, associated_data): &(&[u8], &[u8])| v1::EncryptItem {
            plaintext: plaintext.to_vec(),
            associated_data: associated_data.to_vec(),
        };
        let request = v1::BatchEncryptRequest {
            key_name: key.to_string(),
            version: version.map(Version::get),
            items: items.iter().map(item).collect(),
            floor: self.floor(),
        };
        let send = |channel, request| async move { wire::crypto(channel).batch_encrypt(request).await };
        let parse = |response: v1::BatchEncryptResponse| {
            complete(items.len(), response.outcomes.len())?;
            response.outcomes.into_iter().map(encrypted).collect()
        };
        Ok(answer(self.read(request, send).await?, parse)?)
    }

    /// Decrypts many ciphertexts, each with its associated data. Results come in their order.
    pub async fn batch_decrypt(
        &self,
        with: DecryptWith<'_>,
        items: &[(&[u8], &[u8])],
    ) -> Result<Answer<Vec<Result<Decrypted, ItemError>>>, ReadError> {
        let (key_name, any_key) = with.wire();
        let item = |(ciphertext, associated_data): &(&[u8], &[u8])| v1::DecryptItem {
            ciphertext: ciphertext.to_vec(),
            associated_data: associated_data.to_vec(),
        };
        let items: Vec<_> = items.iter().map(item).collect();
        let count = items.len();
        let request = v1::BatchDecryptRequest { key_name, any_key, items, floor: self.floor() };
        let send = |channel, request| async move { wire::crypto(channel).batch_decrypt(request).await };
        let parse = |response: v1::BatchDecryptResponse| {
            complete(count, response.outcomes.len())?;
            response.outcomes.into_iter().map(decrypted).collect()
        };
        Ok(answer(self.read(request, send).await?, parse)?)
    }
}

impl DecryptWith<'_> {
    fn wire(self) -> (String, bool) {
        match self {
            Self::Key(name) => (name.to_string(), false),
            Self::AnyKey => (String::new(), true),
        }
    }
}

/// A batch with another number of outcomes would give items each other's results.
fn complete(expected: usize, found: usize) -> Result<(), Invalid> {
    if expected == found {
        return Ok(());
    }
    let cause = keyclave_proto::request::Cause::Items { most: expected, found };
    Err(Invalid { field: "outcomes".to_owned(), cause })
}

fn encrypted(outcome: v1::EncryptOutcome) -> Result<Result<Encrypted, ItemError>, Invalid> {
    let item = AnsweredItem::<Vec<u8>>::try_from(outcome)?;
    Ok(item.map(|(ciphertext, version)| Encrypted { ciphertext, version }).map_err(ItemError::from))
}

fn decrypted(outcome: v1::DecryptOutcome) -> Result<Result<Decrypted, ItemError>, Invalid> {
    let item = AnsweredItem::<Zeroizing<Vec<u8>>>::try_from(outcome)?;
    Ok(item.map(|(plaintext, version)| Decrypted { plaintext, version }).map_err(ItemError::from))
}

impl From<keyclave_proto::answer::ItemRefusal> for ItemError {
    fn from(refusal: keyclave_proto::answer::ItemRefusal) -> Self {
        Self { reason: refusal.reason, message: refusal.message }
    }
}
