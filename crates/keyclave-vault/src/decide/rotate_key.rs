//! A version that somebody asked for.

use keyclave_types::key::VersionOrigin;
use keyclave_types::name::KeyName;
use keyclave_types::request::WriteAnswer;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::key::KeyMeta;
use crate::refusal::Refusal;
use crate::{rules, versions};

/// The period begins anew.
pub(super) fn rotate_key(draft: &mut Draft<'_>, name: &KeyName) -> Result<WriteAnswer, Refusal> {
    let found = draft.reader.get::<KeyMeta>(&RecordName::Key(name)).ok_or(Refusal::NotFound)?;
    let mut meta = found.clone();
    let version = versions::room_for_another(found)?;
    let made = draft.put_version(found, version, VersionOrigin::Requested)?;
    meta.newest = version;
    meta.newest_created_at = made.created_at;
    meta.rotates_at = rules::due_after(&meta.rules, made.created_at);
    draft.put(&meta);
    Ok(WriteAnswer::Key(draft.reader.describe(&meta, vec![made])))
}
