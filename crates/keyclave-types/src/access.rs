//! Who may do what, as nouns: subjects, groups, roles and where they hold, policies.
//!
//! Parsed at the edge by keyclave-proto, stored by keyclave-vault, judged by keyclave-policy. Deliberately absent:
//! what a role allows, which only keyclave-policy knows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::{KeyPrefix, NameError, Segment};
use crate::request::SubjectName;

/// A group's name.
pub type GroupName = Segment;
/// A policy's name.
pub type PolicyName = Segment;

/// What sort of caller a subject is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum SubjectKind {
    /// A person.
    User,
    /// A program.
    Service,
}

impl SubjectKind {
    /// Its name at the prompt and in the trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
        }
    }
}

/// Whom a credential names: `user:NAME` or `service:NAME`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// A person or a program.
    pub kind: SubjectKind,
    /// Its name; a user and a service of one name are two subjects.
    pub name: SubjectName,
}

/// Why a text names no subject.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum SubjectError {
    /// Neither of the two kinds.
    #[error("expected user:NAME or service:NAME")]
    Kind,
    /// The name is outside the grammar.
    #[error("the subject's name is wrong")]
    Name(#[source] NameError),
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let (kind, name) = text.split_once(':').ok_or(SubjectError::Kind)?;
        let kind = match kind {
            "user" => SubjectKind::User,
            "service" => SubjectKind::Service,
            _ => return Err(SubjectError::Kind),
        };
        Ok(Self { kind, name: name.parse().map_err(SubjectError::Name)? })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.name)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({self})")
    }
}

/// The roles that every cluster has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Everything that a caller can do.
    Administrator,
    /// Runs the cluster, and touches no key.
    Operator,
    /// Reads everything about keys, callers and the trail, and changes nothing.
    Auditor,
    /// Makes, changes and destroys keys, and does not use them.
    KeyOwner,
    /// Uses keys, and nothing else.
    Application,
    /// Describes and lists keys.
    Reader,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Administrator, Self::Operator, Self::Auditor, Self::KeyOwner, Self::Application, Self::Reader];

    /// Its name in policies, on the wire and at the prompt.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::KeyOwner => "key-owner",
            Self::Application => "application",
            Self::Reader => "reader",
        }
    }

    /// Whether it can be limited to the keys under a prefix.
    pub fn takes_prefix(self) -> bool {
        match self {
            Self::KeyOwner | Self::Application | Self::Reader => true,
            Self::Administrator | Self::Operator | Self::Auditor => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A role, and where it holds: `application@payments/`, or `operator` for everywhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoleGrant {
    role: Role,
    prefix: Option<KeyPrefix>,
}

/// Why a text grants no role.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum RoleGrantError {
    /// No such role.
    #[error("no such role; known are administrator, operator, auditor, key-owner, application and reader")]
    Role,
    /// The role holds everywhere or nowhere.
    #[error("the role {0} cannot be limited to a prefix")]
    Everywhere(Role),
    /// The prefix does not end at a segment.
    #[error("the prefix must end in a slash, as in application@payments/")]
    Slash,
    /// The prefix is outside the grammar.
    #[error("the prefix is wrong")]
    Prefix(#[source] NameError),
}

impl RoleGrant {
    /// The role for everything.
    pub fn everywhere(role: Role) -> Self {
        Self { role, prefix: None }
    }

    /// Which role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Under which prefix; none if everywhere.
    pub fn prefix(&self) -> Option<&KeyPrefix> {
        self.prefix.as_ref()
    }
}

impl FromStr for RoleGrant {
    type Err = RoleGrantError;

    fn from_str(text: &str) -> Result<Self, RoleGrantError> {
        let (role, prefix) = match text.split_once('@') {
            Some((role, prefix)) => (role, Some(prefix)),
            None => (text, None),
        };
        let role = Role::ALL.into_iter().find(|known| known.as_str() == role).ok_or(RoleGrantError::Role)?;
        let Some(prefix) = prefix else { return Ok(Self::everywhere(role)) };
        if !role.takes_prefix() {
            return Err(RoleGrantError::Everywhere(role));
        }
        if !prefix.ends_with('/') {
            return Err(RoleGrantError::Slash);
        }
        let prefix = prefix.parse().map_err(RoleGrantError::Prefix)?;
        Ok(Self { role, prefix: Some(prefix) })
    }
}

impl fmt::Display for RoleGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.role.as_str())?;
        self.prefix.as_ref().map_or(Ok(()), |prefix| write!(f, "@{}", prefix.as_str()))
    }
}

impl TryFrom<String> for RoleGrant {
    type Error = RoleGrantError;

    fn try_from(text: String) -> Result<Self, RoleGrantError> {
        text.parse()
    }
}

impl From<RoleGrant> for String {
    fn from(grant: RoleGrant) -> Self {
        grant.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_as_it_is_printed() {
        for text in ["user:alice", "service:billing/eu", "service:root"] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        for wrong in ["alice", "User:alice", "user:", "user:Alice", "group:a", "user:a:b", ":a", "user: a"] {
            assert!(wrong.parse::<Subject>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_grant_is_read_as_it_is_printed() {
        for text in ["administrator", "application@payments/", "reader@a/b/", "key-owner"] {
            assert_eq!(text.parse::<RoleGrant>().unwrap().to_string(), text);
        }
        assert_eq!("operator@a/".parse::<RoleGrant>(), Err(RoleGrantError::Everywhere(Role::Operator)));
        assert_eq!("reader@a".parse::<RoleGrant>(), Err(RoleGrantError::Slash));
        for wrong in ["", "root", "Administrator", "аdministrator", "reader@", "reader@//", "reader@a/../b/"]
        {
            assert!(wrong.parse::<RoleGrant>().is_err(), "{wrong:?}");
        }
    }
}
