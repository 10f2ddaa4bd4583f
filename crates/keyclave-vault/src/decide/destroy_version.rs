//! Destroy one version: its secret's record goes, its description says so.

use keyclave_types::key::{Version, VersionState};
use keyclave_types::name::KeyName;
use keyclave_types::request::WriteAnswer;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::key::KeyMeta;
use crate::refusal::Refusal;

pub(super) fn destroy_version(
    draft: &mut Draft<'_>,
    name: &KeyName,
    version: Version,
) -> Result<WriteAnswer, Refusal> {
    let meta = draft.reader.get::<KeyMeta>(&RecordName::Key(name)).ok_or(Refusal::NotFound)?;
    let found = draft.reader.version(meta, version)?;
    if found.state == VersionState::Destroyed {
        let described = draft.reader.describe_version(meta, version, &found);
        return Ok(WriteAnswer::Key(draft.reader.describe(meta, vec![described])));
    }
    let (oldest, described) = draft.destroy_version(meta, version)?;
    let meta = KeyMeta { oldest, ..meta.clone() };
    draft.put(&meta);
    Ok(WriteAnswer::Key(draft.reader.describe(&meta, vec![described])))
}
