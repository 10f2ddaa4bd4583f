//! A key's rules as a whole.

use keyclave_types::key::KeyRules;
use keyclave_types::name::KeyName;
use keyclave_types::request::WriteAnswer;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::key::KeyMeta;
use crate::refusal::Refusal;
use crate::rules;

/// A period that changes counts from the newest version. Lowering the staleness is acknowledged only when nothing
/// can rest on the old bound any more.
pub(super) fn update_key(
    draft: &mut Draft<'_>,
    name: &KeyName,
    rules: KeyRules,
) -> Result<WriteAnswer, Refusal> {
    let rules = rules::within_limits(rules)?;
    let found = draft.reader.get::<KeyMeta>(&RecordName::Key(name)).ok_or(Refusal::NotFound)?;
    let mut meta = found.clone();
    if rules != found.rules {
        meta.rules = rules;
        if rules.rotate_every_ms != found.rules.rotate_every_ms {
            meta.rotates_at = rules::due_after(&rules, found.newest_created_at);
        }
        if rules.staleness_max_ms < found.rules.staleness_max_ms {
            draft.acknowledge_after(found.rules.staleness_max_ms);
        }
        draft.put(&meta);
    }
    Ok(WriteAnswer::Key(draft.reader.describe(&meta, Vec::new())))
}
