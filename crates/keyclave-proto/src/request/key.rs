//! Requests of `KeyService`.

use std::num::NonZeroU32;

use keyclave_types::key::{Algorithm, KeyRules};
use keyclave_types::limits::{KEY_VERSIONS_MAX, ROTATE_EVERY_MS_MAX, ROTATE_EVERY_MS_MIN, STALENESS_MS_MAX};
use keyclave_types::position::Position;
use keyclave_types::request::{Read, Write, WriteKind};
use keyclave_types::time::UnixMillis;

use super::field::{self, At};
use super::{Asked, Cause, Invalid};
use crate::{page, v1};

impl TryFrom<v1::CreateKeyRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::CreateKeyRequest) -> Result<Self, Invalid> {
        let name = field::key_name(&request.name, "name")?;
        let algorithm = algorithm(request.algorithm)?.unwrap_or(Algorithm::Xaes256Gcm);
        let rules = request.rules.map(rules).transpose()?.unwrap_or_default();
        let change = WriteKind::CreateKey { name, algorithm, rules };
        field::write(change, &request.request_id, request.floor)
    }
}

impl TryFrom<v1::UpdateKeyRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::UpdateKeyRequest) -> Result<Self, Invalid> {
        let name = field::key_name(&request.name, "name")?;
        let rules = rules(request.rules.ok_or(Cause::Missing).at("rules")?)?;
        field::write(WriteKind::UpdateKey { name, rules }, &request.request_id, request.floor)
    }
}

impl TryFrom<v1::RotateKeyRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::RotateKeyRequest) -> Result<Self, Invalid> {
        let name = field::key_name(&request.name, "name")?;
        field::write(WriteKind::RotateKey { name }, &request.request_id, request.floor)
    }
}

impl TryFrom<v1::EnableKeyRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::EnableKeyRequest) -> Result<Self, Invalid> {
        let name = field::key_name(&request.name, "name")?;
        let version = field::optional_version(request.version)?;
        let change = WriteKind::SetEnabled { name, version, enabled: true };
        field::write(change, &request.request_id, request.floor)
    }
}

impl TryFrom<v1::DisableKeyRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::DisableKeyRequest) -> Result<Self, Invalid> {
        let name = field::key_name(&request.name, "name")?;
        let version = field::optional_version(request.version)?;
        let change = WriteKind::SetEnabled { name, version, enabled: false };
        field::write(change, &request.request_id, request.floor)
    }
}

impl TryFrom<v1::DestroyKeyVersionRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::DestroyKeyVersionRequest) -> Result<Self, Invalid> {
        let name = field::key_name(&request.name, "name")?;
        let version = field::version(request.version).at("version")?;
        field::write(WriteKind::DestroyVersion { name, version }, &request.request_id, request.floor)
    }
}

impl TryFrom<v1::GetKeyRequest> for Asked<Read> {
    type Error = Invalid;

    fn try_from(request: v1::GetKeyRequest) -> Result<Self, Invalid> {
        let name = field::key_name(&request.name, "name")?;
        Ok(Self { request: Read::GetKey { name }, floor: request.floor.map(Position::from) })
    }
}

impl TryFrom<v1::ListKeysRequest> for Asked<Read> {
    type Error = Invalid;

    fn try_from(request: v1::ListKeysRequest) -> Result<Self, Invalid> {
        let prefix = request.prefix.parse().at("prefix")?;
        let after = page::parse_key_token(&request.page_token).at("page_token")?;
        let page_items = field::page_items(request.page_size)?;
        let read = Read::ListKeys { prefix, after, page_items };
        Ok(Self { request: read, floor: request.floor.map(Position::from) })
    }
}

/// The algorithm of the wire's number; none if not said.
pub(crate) fn algorithm(number: i32) -> Result<Option<Algorithm>, Invalid> {
    match v1::Algorithm::try_from(number) {
        Ok(v1::Algorithm::Unspecified) => Ok(None),
        Ok(v1::Algorithm::Xaes256Gcm) => Ok(Some(Algorithm::Xaes256Gcm)),
        Ok(v1::Algorithm::Aes256Gcm) => Ok(Some(Algorithm::Aes256Gcm)),
        Err(_) => Err(Cause::Value { found: number }).at("algorithm"),
    }
}

/// Rules, each within its limits.
pub(crate) fn rules(rules: v1::KeyRules) -> Result<KeyRules, Invalid> {
    let rotate_every_ms = rules
        .rotate_every_ms
        .map(|ms| field::range(ms, ROTATE_EVERY_MS_MIN, ROTATE_EVERY_MS_MAX))
        .transpose()
        .at("rules.rotate_every_ms")?;
    let keep_versions = rules.keep_versions.map(keep_versions).transpose().at("rules.keep_versions")?;
    let staleness_max_ms =
        field::range(rules.staleness_max_ms, 0, STALENESS_MS_MAX).at("rules.staleness_max_ms")?;
    let encrypt_until = rules.encrypt_until_unix_ms.map(UnixMillis);
    Ok(KeyRules { rotate_every_ms, keep_versions, encrypt_until, staleness_max_ms })
}

fn keep_versions(count: u32) -> Result<NonZeroU32, Cause> {
    let most = u64::from(KEY_VERSIONS_MAX);
    field::range(count.into(), 1, most)?;
    NonZeroU32::new(count).ok_or(Cause::Range { least: 1, most, found: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create() -> v1::CreateKeyRequest {
        v1::CreateKeyRequest {
            name: "app/key".to_owned(),
            algorithm: v1::Algorithm::Aes256Gcm.into(),
            rules: Some(v1::KeyRules {
                rotate_every_ms: Some(60_000),
                keep_versions: Some(3),
                encrypt_until_unix_ms: Some(9),
                staleness_max_ms: 60_000,
            }),
            request_id: vec![7; 16],
            floor: Some(v1::Position { generation: 1, index: 2 }),
        }
    }

    fn wrong(change: impl FnOnce(&mut v1::CreateKeyRequest)) -> Invalid {
        let mut request = create();
        change(&mut request);
        Asked::<Write>::try_from(request).unwrap_err()
    }

    #[test]
    fn a_whole_request_is_understood() {
        let asked = Asked::<Write>::try_from(create()).unwrap();
        assert_eq!(asked.request.request_id.as_bytes(), &[7; 16]);
        assert_eq!(asked.floor.unwrap().to_string(), "1.2");
        let WriteKind::CreateKey { name, algorithm, rules } = asked.request.change else { panic!() };
        assert_eq!((name.as_str(), algorithm), ("app/key", Algorithm::Aes256Gcm));
        assert_eq!(rules.rotate_every_ms, Some(60_000));
        assert_eq!(rules.keep_versions, NonZeroU32::new(3));
        assert_eq!(rules.encrypt_until, Some(UnixMillis(9)));
        assert_eq!(rules.staleness_max_ms, 60_000);
    }

    #[test]
    fn a_key_without_an_algorithm_gets_the_default() {
        let request = v1::CreateKeyRequest { algorithm: 0, rules: None, ..create() };
        let WriteKind::CreateKey { algorithm, rules, .. } =
            Asked::<Write>::try_from(request).unwrap().request.change
        else {
            panic!()
        };
        assert_eq!((algorithm, rules), (Algorithm::Xaes256Gcm, KeyRules::default()));
    }

    #[test]
    fn every_limit_names_its_field() {
        for (invalid, field) in [
            (wrong(|r| r.name = "../x".to_owned()), "name"),
            (wrong(|r| r.name = String::new()), "name"),
            (wrong(|r| r.name = "a".repeat(64 * 1024)), "name"),
            (wrong(|r| r.algorithm = 99), "algorithm"),
            (wrong(|r| r.algorithm = -1), "algorithm"),
            (wrong(|r| r.request_id.clear()), "request_id"),
            (wrong(|r| r.request_id.push(0)), "request_id"),
            (wrong(|r| r.rules.as_mut().unwrap().rotate_every_ms = Some(59_999)), "rules.rotate_every_ms"),
            (wrong(|r| r.rules.as_mut().unwrap().rotate_every_ms = Some(u64::MAX)), "rules.rotate_every_ms"),
            (wrong(|r| r.rules.as_mut().unwrap().keep_versions = Some(0)), "rules.keep_versions"),
            (wrong(|r| r.rules.as_mut().unwrap().keep_versions = Some(u32::MAX)), "rules.keep_versions"),
            (wrong(|r| r.rules.as_mut().unwrap().staleness_max_ms = 60_001), "rules.staleness_max_ms"),
        ] {
            assert_eq!(invalid.field, field);
        }
    }

    #[test]
    fn version_zero_is_no_version() {
        let id = vec![1; 16];
        let disable = v1::DisableKeyRequest {
            name: "a".to_owned(),
            version: Some(0),
            request_id: id.clone(),
            floor: None,
        };
        assert_eq!(Asked::<Write>::try_from(disable).unwrap_err().field, "version");
        let destroy =
            v1::DestroyKeyVersionRequest { name: "a".to_owned(), version: 0, request_id: id, floor: None };
        assert_eq!(Asked::<Write>::try_from(destroy).unwrap_err().field, "version");
    }

    #[test]
    fn a_page_is_neither_endless_nor_of_another_list() {
        let list = |page_size, page_token: &str| {
            let page_token = page_token.to_owned();
            Asked::<Read>::try_from(v1::ListKeysRequest { page_size, page_token, ..Default::default() })
        };
        let Ok(Asked { request: Read::ListKeys { page_items, after, .. }, .. }) = list(0, "") else {
            panic!()
        };
        assert_eq!((page_items.get(), after), (100, None));
        assert!(list(1000, "").is_ok());
        assert_eq!(list(1001, "").unwrap_err().field, "page_size");
        assert_eq!(list(1, "x!").unwrap_err().field, "page_token");
        let token = page::key_token(&"app/key".parse().unwrap());
        let Ok(Asked { request: Read::ListKeys { after, .. }, .. }) = list(1, &token) else { panic!() };
        assert_eq!(after.unwrap().as_str(), "app/key");
    }
}
