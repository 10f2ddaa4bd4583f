//! Key descriptions.

use keyclave_types::ids::KeyId;
use keyclave_types::key::{
    Algorithm, KeyDescription, KeyRules, KeyState, Purge, VersionDescription, VersionOrigin, VersionState,
};
use keyclave_types::time::UnixMillis;

use crate::request::field::{self, At};
use crate::request::key as wire;
use crate::request::{Cause, Invalid};
use crate::v1;

/// The key as lists show it: without its versions.
pub fn summary(key: &KeyDescription) -> v1::Key {
    v1::Key {
        name: key.name.as_str().to_owned(),
        key_id: key.id.as_bytes().to_vec(),
        algorithm: v1::Algorithm::from(key.algorithm).into(),
        state: v1::KeyState::from(key.state).into(),
        created_at_unix_ms: key.created_at.0,
        rules: Some(key.rules.into()),
        rotates_at_unix_ms: key.rotates_at.map(|at| at.0),
        primary_version: key.primary.get(),
        versions: Vec::new(),
    }
}

impl From<&KeyDescription> for v1::Key {
    fn from(key: &KeyDescription) -> Self {
        Self { versions: key.versions.iter().map(v1::KeyVersion::from).collect(), ..summary(key) }
    }
}

impl TryFrom<v1::Key> for KeyDescription {
    type Error = Invalid;

    fn try_from(key: v1::Key) -> Result<Self, Invalid> {
        let versions = key.versions.into_iter().enumerate().map(|(at, version)| {
            VersionDescription::try_from(version)
                .map_err(|i| Invalid { field: format!("versions[{at}].{}", i.field), cause: i.cause })
        });
        Ok(Self {
            name: field::key_name(&key.name, "name")?,
            id: KeyId::from_bytes(field::fixed(&key.key_id).at("key_id")?),
            algorithm: wire::algorithm(key.algorithm)?.ok_or(Cause::Missing).at("algorithm")?,
            state: key_state(key.state).at("state")?,
            created_at: UnixMillis(key.created_at_unix_ms),
            rules: wire::rules(key.rules.unwrap_or_default())?,
            rotates_at: key.rotates_at_unix_ms.map(UnixMillis),
            primary: field::version(key.primary_version).at("primary_version")?,
            versions: versions.collect::<Result<_, _>>()?,
        })
    }
}

impl From<&VersionDescription> for v1::KeyVersion {
    fn from(version: &VersionDescription) -> Self {
        let (origin, due) = match version.origin {
            VersionOrigin::Created => (v1::VersionOrigin::Created, None),
            VersionOrigin::Requested => (v1::VersionOrigin::Requested, None),
            VersionOrigin::Scheduled { due } => (v1::VersionOrigin::Scheduled, Some(due.0)),
        };
        Self {
            version: version.version.get(),
            state: v1::VersionState::from(version.state).into(),
            created_at_unix_ms: version.created_at.0,
            origin: origin.into(),
            due_at_unix_ms: due,
            destroyed_at_unix_ms: version.destroyed_at.map(|at| at.0),
            uses_reserved: version.uses_reserved,
            purges: version.purges.iter().map(v1::VersionPurge::from).collect(),
        }
    }
}

impl TryFrom<v1::KeyVersion> for VersionDescription {
    type Error = Invalid;

    fn try_from(version: v1::KeyVersion) -> Result<Self, Invalid> {
        let origin = match v1::VersionOrigin::try_from(version.origin) {
            Ok(v1::VersionOrigin::Created) => VersionOrigin::Created,
            Ok(v1::VersionOrigin::Requested) => VersionOrigin::Requested,
            Ok(v1::VersionOrigin::Scheduled) => {
                let due = version.due_at_unix_ms.ok_or(Cause::Missing).at("due_at_unix_ms")?;
                VersionOrigin::Scheduled { due: UnixMillis(due) }
            }
            Ok(v1::VersionOrigin::Unspecified) | Err(_) => {
                return Err(Cause::Value { found: version.origin }).at("origin");
            }
        };
        Ok(Self {
            version: field::version(version.version).at("version")?,
            state: version_state(version.state).at("state")?,
            created_at: UnixMillis(version.created_at_unix_ms),
            origin,
            destroyed_at: version.destroyed_at_unix_ms.map(UnixMillis),
            uses_reserved: version.uses_reserved,
            purges: version.purges.into_iter().map(Purge::try_from).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Purge> for v1::VersionPurge {
    fn from(purge: &Purge) -> Self {
        Self { node: purge.node.get(), purged: purge.purged }
    }
}

impl TryFrom<v1::VersionPurge> for Purge {
    type Error = Invalid;

    fn try_from(purge: v1::VersionPurge) -> Result<Self, Invalid> {
        Ok(Self { node: field::node(purge.node).at("purges.node")?, purged: purge.purged })
    }
}

impl From<KeyRules> for v1::KeyRules {
    fn from(rules: KeyRules) -> Self {
        Self {
            rotate_every_ms: rules.rotate_every_ms,
            keep_versions: rules.keep_versions.map(Into::into),
            encrypt_until_unix_ms: rules.encrypt_until.map(|until| until.0),
            staleness_max_ms: rules.staleness_max_ms,
        }
    }
}

impl From<Algorithm> for v1::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Xaes256Gcm => Self::Xaes256Gcm,
            Algorithm::Aes256Gcm => Self::Aes256Gcm,
        }
    }
}

impl From<KeyState> for v1::KeyState {
    fn from(state: KeyState) -> Self {
        match state {
            KeyState::Enabled => Self::Enabled,
            KeyState::Disabled => Self::Disabled,
        }
    }
}

impl From<VersionState> for v1::VersionState {
    fn from(state: VersionState) -> Self {
        match state {
            VersionState::Enabled => Self::Enabled,
            VersionState::Disabled => Self::Disabled,
            VersionState::Destroyed => Self::Destroyed,
        }
    }
}

fn key_state(number: i32) -> Result<KeyState, Cause> {
    match v1::KeyState::try_from(number) {
        Ok(v1::KeyState::Enabled) => Ok(KeyState::Enabled),
        Ok(v1::KeyState::Disabled) => Ok(KeyState::Disabled),
        Ok(v1::KeyState::Unspecified) | Err(_) => Err(Cause::Value { found: number }),
    }
}

fn version_state(number: i32) -> Result<VersionState, Cause> {
    match v1::VersionState::try_from(number) {
        Ok(v1::VersionState::Enabled) => Ok(VersionState::Enabled),
        Ok(v1::VersionState::Disabled) => Ok(VersionState::Disabled),
        Ok(v1::VersionState::Destroyed) => Ok(VersionState::Destroyed),
        Ok(v1::VersionState::Unspecified) | Err(_) => Err(Cause::Value { found: number }),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use keyclave_types::ids::NodeId;
    use keyclave_types::key::Version;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn version(number: u32, state: VersionState, origin: VersionOrigin) -> VersionDescription {
        VersionDescription {
            version: Version::new(number).unwrap(),
            state,
            created_at: UnixMillis(5),
            origin,
            destroyed_at: (state == VersionState::Destroyed).then_some(UnixMillis(6)),
            uses_reserved: 7,
            purges: if state == VersionState::Destroyed { purges() } else { Vec::new() },
        }
    }

    fn purges() -> Vec<Purge> {
        let node = |number| NodeId::new(number).unwrap();
        vec![Purge { node: node(1), purged: true }, Purge { node: node(2), purged: false }]
    }

    fn described() -> KeyDescription {
        KeyDescription {
            name: "app/key".parse().unwrap(),
            id: KeyId::from_bytes([9; 16]),
            algorithm: Algorithm::Aes256Gcm,
            state: KeyState::Disabled,
            created_at: UnixMillis(1),
            rules: KeyRules {
                rotate_every_ms: Some(60_000),
                keep_versions: NonZeroU32::new(2),
                encrypt_until: Some(UnixMillis(3)),
                staleness_max_ms: 4,
            },
            rotates_at: Some(UnixMillis(60_001)),
            primary: Version::new(3).unwrap(),
            versions: vec![
                version(1, VersionState::Destroyed, VersionOrigin::Created),
                version(2, VersionState::Disabled, VersionOrigin::Requested),
                version(3, VersionState::Enabled, VersionOrigin::Scheduled { due: UnixMillis(8) }),
            ],
        }
    }

    #[test]
    fn a_key_reads_back_from_the_wire() {
        let bytes = v1::Key::from(&described()).encode_to_vec();
        let read = v1::Key::decode(bytes.as_slice()).unwrap();
        assert_eq!(KeyDescription::try_from(read), Ok(described()));
    }

    #[test]
    fn golden_bytes_stay() {
        let bytes = v1::Key::from(&described()).encode_to_vec();
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes), include_str!("../../testdata/key.hex").trim_end());
    }

    #[test]
    fn a_list_shows_no_versions() {
        let key = KeyDescription::try_from(summary(&described())).unwrap();
        assert_eq!(key, KeyDescription { versions: vec![], ..described() });
    }

    #[test]
    fn a_wrong_version_is_named_by_its_place() {
        let mut key = v1::Key::from(&described());
        key.versions[2].due_at_unix_ms = None;
        let invalid = KeyDescription::try_from(key).unwrap_err();
        assert_eq!(invalid.field, "versions[2].due_at_unix_ms");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            if let Ok(key) = v1::Key::decode(bytes.as_slice()) {
                let _ = KeyDescription::try_from(key);
            }
        }
    }
}
