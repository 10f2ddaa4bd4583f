//! A key's rules as a whole.

use keyclave_types::ids::RecordId;
use keyclave_types::key::KeyRules;
use keyclave_types::name::KeyName;
use keyclave_types::position::Revision;
use keyclave_types::request::WriteAnswer;

use crate::decide::Settling;
use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::key::KeyMeta;
use crate::refusal::Refusal;
use crate::rules;

/// A period that changes counts from the newest version. Lowering the staleness is acknowledged only when nothing
/// can rest on the old bound any more: also when it is repeated, by whomever and before any leader.
pub(super) fn update_key(
    draft: &mut Draft<'_>,
    name: &KeyName,
    rules: KeyRules,
) -> Result<WriteAnswer, Refusal> {
    let rules = rules::within_limits(rules)?;
    let found = draft.reader.get::<KeyMeta>(&RecordName::Key(name)).ok_or(Refusal::NotFound)?;
    let mut meta = found.clone();
    if rules == found.rules {
        settle(draft, name);
    } else {
        meta.rules = rules;
        if rules.rotate_every_ms != found.rules.rotate_every_ms {
            meta.rotates_at = rules::due_after(&rules, found.newest_created_at);
        }
        if rules.staleness_max_ms < found.rules.staleness_max_ms {
            meta.staleness_before_ms = found.staleness_before_ms.max(found.rules.staleness_max_ms);
        }
        let (record, revision) = draft.put(&meta);
        settle_at(draft, &meta, record, revision);
    }
    Ok(WriteAnswer::Key(draft.reader.describe(&meta, Vec::new())))
}

/// What an acknowledgement of the rules as they stand waits for.
pub(super) fn settle(draft: &mut Draft<'_>, name: &KeyName) {
    let record = draft.reader.view().id_of(&RecordName::Key(name));
    let Some(revision) = draft.reader.held(record).map(|held| held.revision) else { return };
    if let Some(meta) = draft.reader.key_at(record) {
        settle_at(draft, meta, record, revision);
    }
}

fn settle_at(draft: &mut Draft<'_>, meta: &KeyMeta, record: RecordId, revision: Revision) {
    let ms = meta.staleness_before_ms;
    if ms > meta.rules.staleness_max_ms {
        draft.settle(Settling { record, revision, ms });
    }
}
