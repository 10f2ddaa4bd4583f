//! A key with its first version.

use keyclave_types::ids::KeyId;
use keyclave_types::key::{Algorithm, KeyRules, KeyState, Version, VersionOrigin};
use keyclave_types::name::KeyName;
use keyclave_types::request::WriteAnswer;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::key::KeyMeta;
use crate::refusal::Refusal;
use crate::rules;

pub(super) fn create_key(
    draft: &mut Draft<'_>,
    name: &KeyName,
    algorithm: Algorithm,
    rules: KeyRules,
) -> Result<WriteAnswer, Refusal> {
    let rules = rules::within_limits(rules)?;
    if draft.reader.exists(&RecordName::Key(name)) {
        return Err(Refusal::Exists);
    }
    let now = draft.now();
    let meta = KeyMeta {
        name: name.clone(),
        id: KeyId::from_bytes(draft.entropy.array()),
        algorithm,
        state: KeyState::Enabled,
        created_at: now,
        rules,
        rotates_at: rules::due_after(&rules, now),
        oldest: Version::FIRST,
        newest: Version::FIRST,
        newest_created_at: now,
        staleness_before_ms: 0,
    };
    let version = draft.put_version(&meta, Version::FIRST, VersionOrigin::Created)?;
    draft.put(&meta);
    Ok(WriteAnswer::Key(draft.reader.describe(&meta, vec![version])))
}
