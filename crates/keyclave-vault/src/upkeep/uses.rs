//! Counts that decide: uses of a version with a limit are reserved in blocks before they are used. A crash forfeits
//! a block, so the count is never too low.

use keyclave_types::key::{KeyState, Version, VersionState};
use keyclave_types::limits::USES_PER_BLOCK;
use keyclave_types::name::KeyName;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::key::{KeyMeta, Usage};
use crate::refusal::Refusal;
use crate::upkeep::UpkeepAnswer;

pub(super) fn reserve(
    draft: &mut Draft<'_>,
    name: &KeyName,
    version: Version,
) -> Result<UpkeepAnswer, Refusal> {
    let meta = draft.reader.get::<KeyMeta>(&RecordName::Key(name)).ok_or(Refusal::NotFound)?;
    let limit = meta.algorithm.messages_max().ok_or(Refusal::NotCounted)?;
    if meta.state == KeyState::Disabled {
        return Err(Refusal::Disabled);
    }
    match draft.reader.version(meta, version)?.state {
        VersionState::Enabled => {}
        VersionState::Disabled => return Err(Refusal::Disabled),
        VersionState::Destroyed => return Err(Refusal::Destroyed { version }),
    }
    let found = draft.reader.get::<Usage>(&RecordName::Usage(meta.id, version));
    let before = found.map_or(0, |usage| usage.reserved);
    let reserved = before.saturating_add(USES_PER_BLOCK).min(limit);
    if reserved <= before {
        return Err(Refusal::UsesExhausted { version });
    }
    draft.put(&Usage { key: meta.id, version, reserved });
    Ok(UpkeepAnswer::Reserved { uses: reserved - before })
}
