//! Subjects, groups, policies and explanations on the wire.

use keyclave_types::request::{Able, Explanation, GroupDescription, SubjectDescription};

use crate::request::Invalid;
use crate::request::field::{self, At};
use crate::v1;

impl From<&SubjectDescription> for v1::Subject {
    fn from(subject: &SubjectDescription) -> Self {
        Self {
            subject: subject.subject.to_string(),
            roles: subject.roles.iter().map(ToString::to_string).collect(),
            groups: subject.groups.iter().map(ToString::to_string).collect(),
        }
    }
}

impl TryFrom<v1::Subject> for SubjectDescription {
    type Error = Invalid;

    fn try_from(subject: v1::Subject) -> Result<Self, Invalid> {
        Ok(Self {
            subject: field::subject(&subject.subject).at("subject")?,
            roles: field::roles(&subject.roles)?,
            groups: field::groups(&subject.groups)?,
        })
    }
}

impl From<&GroupDescription> for v1::Group {
    fn from(group: &GroupDescription) -> Self {
        Self { name: group.name.to_string(), roles: group.roles.iter().map(ToString::to_string).collect() }
    }
}

impl TryFrom<v1::Group> for GroupDescription {
    type Error = Invalid;

    fn try_from(group: v1::Group) -> Result<Self, Invalid> {
        Ok(Self { name: field::segment(&group.name).at("name")?, roles: field::roles(&group.roles)? })
    }
}

/// What was decided, for the wire, without its position.
pub fn explained(explanation: &Explanation) -> v1::ExplainResponse {
    v1::ExplainResponse {
        position: None,
        allowed: explanation.allowed,
        by: explanation.by.clone(),
        missing: explanation.missing.clone().unwrap_or_default(),
        would_do: explanation.would_do.iter().map(ToString::to_string).collect(),
    }
}

impl From<&Able> for v1::Able {
    fn from(able: &Able) -> Self {
        Self { subject: able.subject.to_string(), by: able.by.clone() }
    }
}
