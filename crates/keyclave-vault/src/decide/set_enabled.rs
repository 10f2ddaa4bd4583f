//! Stop a key or one of its versions, or allow it again.

use keyclave_types::key::{KeyState, Version, VersionState};
use keyclave_types::name::KeyName;
use keyclave_types::request::WriteAnswer;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::key::KeyMeta;
use crate::refusal::Refusal;

pub(super) fn set_key_enabled(
    draft: &mut Draft<'_>,
    name: &KeyName,
    enabled: bool,
) -> Result<WriteAnswer, Refusal> {
    let found = draft.reader.get::<KeyMeta>(&RecordName::Key(name)).ok_or(Refusal::NotFound)?;
    let state = if enabled { KeyState::Enabled } else { KeyState::Disabled };
    let meta = KeyMeta { state, ..found.clone() };
    if found.state != state {
        draft.put(&meta);
    }
    Ok(WriteAnswer::Key(draft.reader.describe(&meta, Vec::new())))
}

pub(super) fn set_version_enabled(
    draft: &mut Draft<'_>,
    name: &KeyName,
    version: Version,
    enabled: bool,
) -> Result<WriteAnswer, Refusal> {
    let meta = draft.reader.get::<KeyMeta>(&RecordName::Key(name)).ok_or(Refusal::NotFound)?;
    let found = draft.reader.version(meta, version)?;
    let state = if enabled { VersionState::Enabled } else { VersionState::Disabled };
    let described = match found.state {
        VersionState::Destroyed => return Err(Refusal::Destroyed { version }),
        same if same == state => draft.reader.describe_version(meta, version, &found),
        VersionState::Enabled | VersionState::Disabled => {
            draft.change_version(meta, version, |found| found.state = state)?
        }
    };
    Ok(WriteAnswer::Key(draft.reader.describe(meta, vec![described])))
}
