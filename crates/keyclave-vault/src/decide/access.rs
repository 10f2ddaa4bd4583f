//! Changes of who may do what: subjects, groups, policies, and the end of credentials.
//!
//! Each changes the access head, so two at once conflict and the second is decided anew over what the first left. The
//! last rule of each: somebody with a lasting credential can still change who may do what.

use std::collections::BTreeSet;

use keyclave_policy::{Policy, Rules};
use keyclave_types::access::{GroupName, PolicyName, RoleGrant, Subject};
use keyclave_types::request::{TokenId, WriteAnswer};

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::access::{GroupRecord, PolicyRecord, SubjectRecord};
use crate::refusal::Refusal;
use crate::view::{AccessRecords, head_of};

/// Subjects of one cluster. Every node makes the rules of all of them anew whenever one changes, and `who-can` asks for
/// each.
const SUBJECTS_MAX: usize = 10_000;
/// Groups of one cluster.
const GROUPS_MAX: usize = 10_000;
/// Policies of one cluster.
const POLICIES_MAX: usize = 10_000;

pub(super) fn put_subject(
    draft: &mut Draft<'_>,
    subject: &Subject,
    groups: &BTreeSet<GroupName>,
    roles: &BTreeSet<RoleGrant>,
) -> Result<WriteAnswer, Refusal> {
    for group in groups {
        draft.reader.get::<GroupRecord>(&RecordName::Group(group)).ok_or(Refusal::GroupUnknown)?;
    }
    let found = draft.reader.get::<SubjectRecord>(&RecordName::Subject(subject)).cloned();
    let there = draft.reader.view().indexes().access_records().subjects().len();
    room(found.is_some(), there, SUBJECTS_MAX)?;
    let record = SubjectRecord {
        subject: subject.clone(),
        groups: groups.clone(),
        roles: roles.clone(),
        // A subject that comes back must not revive tokens of the one before it: the ledger's index only grows.
        credential_epoch: found
            .as_ref()
            .map_or_else(|| draft.reader.view().index(), |found| found.credential_epoch),
        created_at: found.as_ref().map_or_else(|| draft.now(), |found| found.created_at),
    };
    if found.as_ref() == Some(&record) {
        return Ok(WriteAnswer::Done);
    }
    draft.put(&record);
    administrators_stay(draft, Change::PutSubject(record))
}

pub(super) fn remove_subject(draft: &mut Draft<'_>, subject: &Subject) -> Result<WriteAnswer, Refusal> {
    let name = RecordName::Subject(subject);
    draft.reader.get::<SubjectRecord>(&name).ok_or(Refusal::SubjectUnknown)?;
    draft.delete(&name);
    administrators_stay(draft, Change::RemoveSubject(subject.clone()))
}

pub(super) fn revoke_credentials(draft: &mut Draft<'_>, subject: &Subject) -> Result<WriteAnswer, Refusal> {
    let found = draft.reader.get::<SubjectRecord>(&RecordName::Subject(subject));
    let mut record = found.ok_or(Refusal::SubjectUnknown)?.clone();
    // Higher than any before it, also than one of a subject of this name that was removed.
    record.credential_epoch = draft.reader.view().index().max(record.credential_epoch.saturating_add(1));
    draft.put(&record);
    administrators_stay(draft, Change::PutSubject(record))
}

pub(super) fn put_group(
    draft: &mut Draft<'_>,
    name: &GroupName,
    roles: &BTreeSet<RoleGrant>,
) -> Result<WriteAnswer, Refusal> {
    let found = draft.reader.get::<GroupRecord>(&RecordName::Group(name)).cloned();
    let there = draft.reader.view().indexes().access_records().groups().len();
    room(found.is_some(), there, GROUPS_MAX)?;
    let record = GroupRecord { name: name.clone(), roles: roles.clone() };
    if found.as_ref() == Some(&record) {
        return Ok(WriteAnswer::Done);
    }
    draft.put(&record);
    administrators_stay(draft, Change::PutGroup(record))
}

pub(super) fn remove_group(draft: &mut Draft<'_>, name: &GroupName) -> Result<WriteAnswer, Refusal> {
    let record = RecordName::Group(name);
    draft.reader.get::<GroupRecord>(&record).ok_or(Refusal::GroupUnknown)?;
    if draft.reader.view().indexes().access_records().has_members(name) {
        return Err(Refusal::GroupInUse);
    }
    draft.delete(&record);
    administrators_stay(draft, Change::RemoveGroup(name.clone()))
}

pub(super) fn put_policy(
    draft: &mut Draft<'_>,
    name: &PolicyName,
    text: &str,
) -> Result<WriteAnswer, Refusal> {
    let policy = Policy::check(name, text).map_err(|_| Refusal::PolicyText)?;
    let found = draft.reader.get::<PolicyRecord>(&RecordName::Policy(name));
    if found.is_some_and(|found| found.text == text) {
        return Ok(WriteAnswer::Done);
    }
    let there = draft.reader.view().indexes().access_records().policies().len();
    room(found.is_some(), there, POLICIES_MAX)?;
    let put_at = draft.now();
    draft.put(&PolicyRecord { name: name.clone(), text: text.to_owned(), put_at });
    administrators_stay(draft, Change::PutPolicy(policy))
}

pub(super) fn remove_policy(draft: &mut Draft<'_>, name: &PolicyName) -> Result<WriteAnswer, Refusal> {
    let record = RecordName::Policy(name);
    draft.reader.get::<PolicyRecord>(&record).ok_or(Refusal::PolicyUnknown)?;
    draft.delete(&record);
    administrators_stay(draft, Change::RemovePolicy(name.clone()))
}

/// One change, as the rules see it.
pub(super) enum Change {
    PutSubject(SubjectRecord),
    RemoveSubject(Subject),
    PutGroup(GroupRecord),
    RemoveGroup(GroupName),
    PutPolicy(Policy),
    RemovePolicy(PolicyName),
    EndToken(TokenId),
    /// Of who is believed about callers. No administrator's lasting credential rests on that.
    Foreign,
}

/// Puts the access head as it will be, and refuses what would leave nobody to administer. Every change of the set goes
/// through here, so every one writes the head.
pub(super) fn administrators_stay(draft: &mut Draft<'_>, change: Change) -> Result<WriteAnswer, Refusal> {
    let ended = match &change {
        Change::EndToken(id) => Some(*id),
        Change::PutSubject(_)
        | Change::RemoveSubject(_)
        | Change::PutGroup(_)
        | Change::RemoveGroup(_)
        | Change::PutPolicy(_)
        | Change::RemovePolicy(_)
        | Change::Foreign => None,
    };
    let view = draft.reader.view();
    let mut after = view.indexes().access_records().clone();
    match change {
        Change::PutSubject(record) => after.put_subject(&record),
        Change::RemoveSubject(subject) => after.remove_subject(&subject),
        Change::PutGroup(record) => after.put_group(&record),
        Change::RemoveGroup(name) => after.remove_group(&name),
        Change::PutPolicy(policy) => after.put_policy(policy.name().clone(), Some(policy)),
        Change::RemovePolicy(name) => after.remove_policy(&name),
        Change::EndToken(_) | Change::Foreign => {}
    }
    // Conditions count against whoever is to stay: a time may come, or an address be lost, that makes them true.
    let rules = after.rules_at_their_strictest().ok_or(Refusal::AccessHead)?;
    if !view.indexes().lasting(ended).any(|subject| administers(&rules, &after, subject)) {
        return Err(Refusal::LastAdministrator);
    }
    let head = head_of(draft.access_after().into_iter());
    draft.put(&head);
    Ok(WriteAnswer::Done)
}

/// Whether a subject could undo a change of who may do what.
fn administers(rules: &Rules, after: &AccessRecords, subject: (&Subject, u64)) -> bool {
    use keyclave_policy::{Action, Circumstances, Question, Resource};
    let (subject, epoch) = subject;
    let circumstances = Circumstances::default();
    let may = |action| {
        let question = Question { action, resource: Resource::Cluster, circumstances: &circumstances };
        rules.explain(after.floor(), subject, &question).is_ok()
    };
    after.epoch(subject) == Some(epoch)
        && [Action::ChangeIdentities, Action::ChangePolicies, Action::CreateToken].into_iter().all(may)
}

pub(super) fn room(there: bool, count: usize, limit: usize) -> Result<(), Refusal> {
    if there || count < limit { Ok(()) } else { Err(Refusal::AccessMax { limit }) }
}
