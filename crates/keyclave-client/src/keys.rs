//! Keys and their life.

use keyclave_proto::request::Invalid;
use keyclave_proto::v1;
use keyclave_types::key::{Algorithm, KeyDescription, KeyRules, Version};
use keyclave_types::name::{KeyName, KeyPrefix};

use crate::client::{Answer, Client, answer};
use crate::error::{ReadError, WriteError};
use crate::wire;

/// One page of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyPage {
    /// The keys, by name, without their versions.
    pub keys: Vec<KeyDescription>,
    /// What to ask the next page with; none on the last.
    pub next: Option<PageToken>,
}

/// Where a page ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageToken(pub(crate) String);

impl PageToken {
    pub(crate) fn of(text: String) -> Option<Self> {
        Some(Self(text)).filter(|token| !token.0.is_empty())
    }
}

type KeyAnswer = Result<Answer<KeyDescription>, WriteError>;

impl Client {
    /// Makes a key with its first version.
    pub async fn create_key(&self, name: &KeyName, algorithm: Algorithm, rules: KeyRules) -> KeyAnswer {
        let make = |request_id, floor| v1::CreateKeyRequest {
            name: name.to_string(),
            algorithm: v1::Algorithm::from(algorithm).into(),
            rules: Some(rules.into()),
            request_id,
            floor,
        };
        let send = |channel, request| async move { wire::keys(channel).create_key(request).await };
        Ok(answer(self.write(make, send).await?, |response| key(response.key))?)
    }

    /// Describes one key with all its versions.
    pub async fn get_key(&self, name: &KeyName) -> Result<Answer<KeyDescription>, ReadError> {
        let request = v1::GetKeyRequest { name: name.to_string(), floor: self.floor() };
        let send = |channel, request| async move { wire::keys(channel).get_key(request).await };
        Ok(answer(self.read(request, send).await?, |response| key(response.key))?)
    }

    /// One page of the keys under `prefix`; `page_size` 0 leaves it to the server.
    pub async fn list_keys(
        &self,
        prefix: &KeyPrefix,
        page_size: u32,
        after: Option<PageToken>,
    ) -> Result<Answer<KeyPage>, ReadError> {
        let request = v1::ListKeysRequest {
            prefix: prefix.as_str().to_owned(),
            page_size,
            page_token: after.map(|token| token.0).unwrap_or_default(),
            floor: self.floor(),
        };
        let send = |channel, request| async move { wire::keys(channel).list_keys(request).await };
        let parse = |response: v1::ListKeysResponse| {
            let keys = response.keys.into_iter().map(TryInto::try_into).collect::<Result<_, Invalid>>()?;
            Ok(KeyPage { keys, next: PageToken::of(response.next_page_token) })
        };
        Ok(answer(self.read(request, send).await?, parse)?)
    }

    /// Replaces a key's rules as a whole.
    pub async fn update_key(&self, name: &KeyName, rules: KeyRules) -> KeyAnswer {
        let make = |request_id, floor| v1::UpdateKeyRequest {
            name: name.to_string(),
            rules: Some(rules.into()),
            request_id,
            floor,
        };
        let send = |channel, request| async move { wire::keys(channel).update_key(request).await };
        Ok(answer(self.write(make, send).await?, |response| key(response.key))?)
    }

    /// Adds a version, which encrypts from then on.
    pub async fn rotate_key(&self, name: &KeyName) -> KeyAnswer {
        let make = |request_id, floor| v1::RotateKeyRequest { name: name.to_string(), request_id, floor };
        let send = |channel, request| async move { wire::keys(channel).rotate_key(request).await };
        Ok(answer(self.write(make, send).await?, |response| key(response.key))?)
    }

    /// Ends the effect of [`Client::disable_key`].
    pub async fn enable_key(&self, name: &KeyName, version: Option<Version>) -> KeyAnswer {
        let version = version.map(Version::get);
        let make =
            |request_id, floor| v1::EnableKeyRequest { name: name.to_string(), version, request_id, floor };
        let send = |channel, request| async move { wire::keys(channel).enable_key(request).await };
        Ok(answer(self.write(make, send).await?, |response| key(response.key))?)
    }

    /// Stops a key, or one of its versions, on every node.
    pub async fn disable_key(&self, name: &KeyName, version: Option<Version>) -> KeyAnswer {
        let version = version.map(Version::get);
        let make =
            |request_id, floor| v1::DisableKeyRequest { name: name.to_string(), version, request_id, floor };
        let send = |channel, request| async move { wire::keys(channel).disable_key(request).await };
        Ok(answer(self.write(make, send).await?, |response| key(response.key))?)
    }

    /// Destroys one version's material for good.
    pub async fn destroy_key_version(&self, name: &KeyName, version: Version) -> KeyAnswer {
        let version = version.get();
        let make = |request_id, floor| v1::DestroyKeyVersionRequest {
            name: name.to_string(),
            version,
            request_id,
            floor,
        };
        let send = |channel, request| async move { wire::keys(channel).destroy_key_version(request).await };
        Ok(answer(self.write(make, send).await?, |response| key(response.key))?)
    }
}

fn key(key: Option<v1::Key>) -> Result<KeyDescription, Invalid> {
    wire::required(key, "key")?.try_into()
}
