//! Who may do what, as the records of one view say it, and the rules that follow. Rules are made anew only when one of
//! these records changes.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use keyclave_policy::{Floor, Membership, Policy, Rules};
use keyclave_types::access::{GroupName, PolicyName, RoleGrant, Subject, SubjectKind};
use keyclave_types::request::{GroupDescription, SubjectDescription};

use crate::records::access::{AccessFloor, GroupRecord, SubjectRecord};

/// Subjects, groups, policies, the floor.
#[derive(Clone, Default)]
pub(crate) struct AccessRecords {
    subjects: OrdMap<Subject, Standing>,
    groups: OrdMap<GroupName, Arc<BTreeSet<RoleGrant>>>,
    members: OrdSet<(GroupName, Subject)>,
    /// None for one that does not read, which makes everything denied.
    policies: OrdMap<PolicyName, Option<Policy>>,
    floor: Option<AccessFloor>,
}

/// A subject without its name.
#[derive(Clone)]
struct Standing {
    membership: Arc<Membership>,
    credential_epoch: u64,
}

impl AccessRecords {
    pub(crate) fn put_subject(&mut self, record: &SubjectRecord) {
        self.remove_subject(&record.subject);
        for group in &record.groups {
            self.members.insert((group.clone(), record.subject.clone()));
        }
        let membership = Membership { groups: record.groups.clone(), roles: record.roles.clone() };
        let standing =
            Standing { membership: Arc::new(membership), credential_epoch: record.credential_epoch };
        self.subjects.insert(record.subject.clone(), standing);
    }

    pub(crate) fn remove_subject(&mut self, subject: &Subject) {
        let Some(standing) = self.subjects.remove(subject) else { return };
        for group in &standing.membership.groups {
            self.members.remove(&(group.clone(), subject.clone()));
        }
    }

    pub(crate) fn put_group(&mut self, record: &GroupRecord) {
        self.groups.insert(record.name.clone(), Arc::new(record.roles.clone()));
    }

    pub(crate) fn remove_group(&mut self, name: &GroupName) {
        self.groups.remove(name);
    }

    pub(crate) fn put_policy(&mut self, name: PolicyName, policy: Option<Policy>) {
        self.policies.insert(name, policy);
    }

    pub(crate) fn remove_policy(&mut self, name: &PolicyName) {
        self.policies.remove(name);
    }

    pub(crate) fn put_floor(&mut self, floor: Option<AccessFloor>) {
        self.floor = floor;
    }

    pub(crate) fn subjects(&self) -> impl ExactSizeIterator<Item = &Subject> {
        self.subjects.keys()
    }

    pub(crate) fn groups(&self) -> impl ExactSizeIterator<Item = &GroupName> {
        self.groups.keys()
    }

    pub(crate) fn policies(&self) -> impl ExactSizeIterator<Item = &PolicyName> {
        self.policies.keys()
    }

    pub(crate) fn subjects_after(&self, after: Option<&Subject>) -> impl Iterator<Item = SubjectDescription> {
        self.subjects.range((beyond(after), Bound::Unbounded)).map(|(subject, standing)| SubjectDescription {
            subject: subject.clone(),
            roles: standing.membership.roles.clone(),
            groups: standing.membership.groups.clone(),
        })
    }

    pub(crate) fn groups_after(&self, after: Option<&GroupName>) -> impl Iterator<Item = GroupDescription> {
        let groups = self.groups.range((beyond(after), Bound::Unbounded));
        groups.map(|(name, roles)| GroupDescription { name: name.clone(), roles: (**roles).clone() })
    }

    pub(crate) fn policies_after(&self, after: Option<&PolicyName>) -> impl Iterator<Item = &PolicyName> {
        self.policies.range((beyond(after), Bound::Unbounded)).map(|(name, _)| name)
    }

    pub(crate) fn has_members(&self, group: &GroupName) -> bool {
        let least = self.members.range((group.clone(), least_subject())..).next();
        least.is_some_and(|(of, _)| of == group)
    }

    pub(crate) fn epoch(&self, subject: &Subject) -> Option<u64> {
        self.subjects.get(subject).map(|standing| standing.credential_epoch)
    }

    /// What no policy can loosen. Without its record nothing passes it.
    pub(crate) fn floor(&self) -> Floor {
        Floor { approvals_min: self.floor.map_or(u32::MAX, |floor| floor.approvals_min) }
    }

    /// The rules; none if a policy does not read.
    pub(crate) fn rules(&self) -> Option<Rules> {
        self.rules_of(Policy::clone)
    }

    /// The rules as they are to those against whom every condition turns.
    pub(crate) fn rules_at_their_strictest(&self) -> Option<Rules> {
        self.rules_of(Policy::at_its_strictest)
    }

    fn rules_of(&self, taken: impl Fn(&Policy) -> Policy) -> Option<Rules> {
        let policies: Option<Vec<Policy>> =
            self.policies.values().map(|policy| policy.as_ref().map(&taken)).collect();
        let subjects =
            self.subjects.iter().map(|(who, standing)| (who.clone(), (*standing.membership).clone()));
        let groups = self.groups.iter().map(|(name, roles)| (name.clone(), (**roles).clone()));
        Some(Rules::new(subjects.collect(), groups.collect(), policies?))
    }
}

fn beyond<T: Clone>(after: Option<&T>) -> Bound<T> {
    after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()))
}

/// No subject comes before it.
fn least_subject() -> Subject {
    let name = "0".parse().expect("a constant within the grammar");
    Subject { kind: SubjectKind::User, name }
}
