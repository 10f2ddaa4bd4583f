//! What the rules say to a question, and which of them said it.

use std::fmt;

use keyclave_types::access::{GroupName, PolicyName, RoleGrant};

/// What the rules say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    pub(crate) why: Why,
    /// What decided, in order; empty where nothing permits.
    pub(crate) by: Vec<Deciding>,
}

/// Why the rules say so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    Permitted,
    Forbidden,
    NothingPermits,
    /// A policy could not be evaluated, which denies whatever the others say.
    Failed,
}

/// What decided.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Deciding {
    /// A policy of this name.
    Policy(PolicyName),
    /// A role.
    Role {
        /// Which, and where it holds.
        grant: RoleGrant,
        /// Through which group; none if the subject itself has it.
        via: Option<GroupName>,
    },
}

impl fmt::Display for Deciding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(name) => write!(f, "policy {name}"),
            Self::Role { grant, via: None } => write!(f, "role {grant}"),
            Self::Role { grant, via: Some(group) } => write!(f, "role {grant} through group {group}"),
        }
    }
}

impl Verdict {
    pub(crate) fn nothing_permits() -> Self {
        Self { allowed: false, why: Why::NothingPermits, by: Vec::new() }
    }

    pub(crate) fn failed(by: Vec<Deciding>) -> Self {
        Self { allowed: false, why: Why::Failed, by }
    }
}
