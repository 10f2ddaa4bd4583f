//! The vocabulary of policies: the one schema that every policy is checked against, and how our nouns are spelled
//! in it.
//!
//! Called by `source` for checking and by `rules` for asking. Deliberately absent: schemas of users' own.

use std::str::FromStr;
use std::sync::LazyLock;

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Schema};
use keyclave_types::access::{GroupName, Role, Subject, SubjectKind};
use keyclave_types::name::{KeyName, KeyPrefix};

use crate::action::Action;

/// The prefix above all keys.
pub(crate) const EVERYTHING: &str = "/";

/// What policies may speak about. `docs/policies.md` explains it.
pub(crate) const SCHEMA_TEXT: &str = include_str!("keyclave.cedarschema");

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| Schema::from_str(SCHEMA_TEXT).expect("a constant, and a test reads it"));
static TYPES: LazyLock<Types> = LazyLock::new(Types::new);

/// The kinds of entities.
struct Types {
    user: EntityTypeName,
    service: EntityTypeName,
    group: EntityTypeName,
    role: EntityTypeName,
    prefix: EntityTypeName,
    key: EntityTypeName,
    cluster: EntityTypeName,
    action: EntityTypeName,
}

impl Types {
    fn new() -> Self {
        let named = |name| EntityTypeName::from_str(name).expect("a constant of letters");
        Self {
            user: named("User"),
            service: named("Service"),
            group: named("Group"),
            role: named("Role"),
            prefix: named("Prefix"),
            key: named("Key"),
            cluster: named("Cluster"),
            action: named("Action"),
        }
    }
}

pub(crate) fn schema() -> &'static Schema {
    &SCHEMA
}

pub(crate) fn subject(subject: &Subject) -> EntityUid {
    let kind = match subject.kind {
        SubjectKind::User => &TYPES.user,
        SubjectKind::Service => &TYPES.service,
    };
    entity(kind, subject.name.as_str())
}

pub(crate) fn group(name: &GroupName) -> EntityUid {
    entity(&TYPES.group, name.as_str())
}

pub(crate) fn role(role: Role) -> EntityUid {
    entity(&TYPES.role, role.as_str())
}

pub(crate) fn key(name: &KeyName) -> EntityUid {
    entity(&TYPES.key, name.as_str())
}

/// A prefix, spelled with its closing slash; the empty one is [`EVERYTHING`].
pub(crate) fn prefix(prefix: &KeyPrefix) -> EntityUid {
    let text = prefix.as_str();
    if text.is_empty() {
        entity(&TYPES.prefix, EVERYTHING)
    } else if text.ends_with('/') {
        entity(&TYPES.prefix, text)
    } else {
        entity(&TYPES.prefix, &format!("{text}/"))
    }
}

/// The prefixes that a name, or a prefix with its closing slash, lies under, nearest first, ending in all.
pub(crate) fn above(text: &str) -> Vec<EntityUid> {
    let inner = text.strip_suffix('/').unwrap_or(text);
    let mut above: Vec<EntityUid> = inner
        .rmatch_indices('/')
        .filter_map(|(at, _)| inner.get(..=at))
        .map(|prefix| entity(&TYPES.prefix, prefix))
        .collect();
    above.push(entity(&TYPES.prefix, EVERYTHING));
    above
}

pub(crate) fn cluster() -> EntityUid {
    entity(&TYPES.cluster, "this")
}

pub(crate) fn action(action: Action) -> Option<EntityUid> {
    Some(entity(&TYPES.action, action.word()?))
}

/// What is wrong with an entity that a policy names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntityProblem {
    /// No such role.
    #[error("no such role; known are administrator, operator, auditor, key-owner, application and reader")]
    Role,
    /// A prefix that would also cover its neighbours.
    #[error("a prefix ends in a slash, as in Prefix::\"payments/\"")]
    Slash,
    /// A name that no subject, group, key or prefix can have, so the policy would never match.
    #[error("no such name can exist: names are segments of a-z 0-9 . _ - joined by slashes")]
    Name,
    /// Not the one cluster.
    #[error("the cluster is Cluster::\"this\"")]
    Cluster,
}

/// Whether an entity that a policy names can exist.
pub(crate) fn problem_of(uid: &EntityUid) -> Option<EntityProblem> {
    let name = uid.id().unescaped();
    let kind = uid.type_name();
    if *kind == TYPES.role {
        Role::ALL.iter().all(|role| role.as_str() != name).then_some(EntityProblem::Role)
    } else if *kind == TYPES.prefix {
        if !name.ends_with('/') {
            return Some(EntityProblem::Slash);
        }
        (name != EVERYTHING && name.parse::<KeyPrefix>().is_err()).then_some(EntityProblem::Name)
    } else if *kind == TYPES.group {
        name.parse::<GroupName>().is_err().then_some(EntityProblem::Name)
    } else if *kind == TYPES.user || *kind == TYPES.service || *kind == TYPES.key {
        name.parse::<KeyName>().is_err().then_some(EntityProblem::Name)
    } else if *kind == TYPES.cluster {
        (name != "this").then_some(EntityProblem::Cluster)
    } else {
        None
    }
}

fn entity(kind: &EntityTypeName, name: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_of_callers_stands_in_the_schema_and_no_other() {
        let known: std::collections::BTreeSet<String> =
            schema().actions().map(|uid| uid.id().unescaped().to_owned()).collect();
        let groups = ["use", "manage", "danger", "operate", "read"];
        let ours: std::collections::BTreeSet<String> =
            Action::ALL.iter().filter_map(|action| action.word()).chain(groups).map(str::to_owned).collect();
        assert_eq!(known, ours);
    }

    #[test]
    fn a_name_lies_under_each_of_its_folders() {
        let texts = |text| above(text).iter().map(|uid| uid.id().unescaped().to_owned()).collect::<Vec<_>>();
        assert_eq!(texts("a"), ["/"]);
        assert_eq!(texts("app/x"), ["app/", "/"]);
        assert_eq!(texts("a/b/c"), ["a/b/", "a/", "/"]);
        assert_eq!(texts("a/b/"), ["a/", "/"]);
        assert_eq!(texts(""), ["/"]);
    }
}
