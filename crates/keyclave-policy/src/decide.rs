//! The decision: a principal and a question in; a [`Permit`] or what is missing out.
//!
//! Under the rules lies a floor that no policy can loosen: what belongs to the machine or to the cluster itself,
//! what anyone may, what cannot be taken back, and keys for bound callers only.

use std::sync::Arc;

use keyclave_types::access::RoleGrant;
use keyclave_types::name::KeyName;

use crate::action::{Action, Class};
use crate::principal::Principal;
use crate::question::{KeyFacts, Question, Resource};
use crate::rules::Rules;
use crate::verdict::{Deciding, Verdict, Why};

/// A decided yes, for one act: this principal, this action, this key.
#[derive(Debug)]
pub struct Permit {
    principal: Principal,
    action: Action,
    key: Option<KeyName>,
    verdict: Option<Arc<Verdict>>,
}

/// A decided no, and what decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct No {
    /// What was asked, and what would have been needed.
    pub denied: Denied,
    /// What forbids it, or could not be evaluated. For the trail and for explanations, never for the caller.
    pub by: Vec<Deciding>,
}

/// A decided no, as its caller may hear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{action:?} is not permitted: {missing}")]
pub struct Denied {
    /// What was asked.
    pub action: Action,
    /// What would have been needed.
    pub missing: Missing,
}

/// What was missing for a yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Any valid credential.
    #[error("it needs a credential")]
    Credential,
    /// The local socket of the machine.
    #[error("it is done on the machine itself, through its socket")]
    LocalSocket,
    /// A proven member: callers never do this.
    #[error("only the cluster itself does it")]
    Member,
    /// Anything that permits it.
    #[error("nothing permits it")]
    Permission,
    /// That a policy would not forbid it.
    #[error("it is forbidden")]
    Forbidden,
    /// A policy that could be evaluated. Worth an alarm.
    #[error("a policy could not be evaluated")]
    Evaluation,
    /// Others who agree.
    #[error("it needs {needed} approvals by others, and has {found}")]
    Approvals {
        /// So many.
        needed: u32,
        /// There are.
        found: u32,
    },
    /// A credential that is bound to a certificate.
    #[error("the key is for callers whose credential is bound to their certificate")]
    Bound,
}

/// What no policy can loosen, as the cluster was told at init.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Floor {
    /// Approvals by others that an act which cannot be taken back needs.
    pub approvals_min: u32,
}

/// Says yes or no to a caller.
pub fn decide(
    rules: &Rules,
    floor: Floor,
    principal: &Principal,
    question: &Question<'_>,
) -> Result<Permit, No> {
    let action = question.action;
    let denied = |missing| No { denied: Denied { action, missing }, by: Vec::new() };
    let Principal::Subject { subject, .. } = principal else {
        return built_in(principal, action, key_of(question)).map_err(|no| denied(no.missing));
    };
    match action.class() {
        Class::Open | Class::Known => return Ok(permit(principal, question, None)),
        Class::Machine => return Err(denied(Missing::LocalSocket)),
        Class::Cluster => return Err(denied(Missing::Member)),
        Class::Use | Class::Manage | Class::Danger | Class::Read | Class::Operate => {}
    }
    if matches!(question.resource, Resource::Chosen) {
        return Ok(permit(principal, question, None));
    }
    let verdict = rules.verdict(subject, question);
    if !verdict.allowed {
        let missing = match verdict.why {
            Why::Forbidden => Missing::Forbidden,
            Why::Failed => Missing::Evaluation,
            Why::NothingPermits | Why::Permitted => Missing::Permission,
        };
        return Err(No { by: verdict.by.clone(), ..denied(missing) });
    }
    if let Some(missing) = below_floor(floor, question) {
        return Err(denied(missing));
    }
    Ok(permit(principal, question, Some(verdict)))
}

/// Says yes or no to who has no subject: the cluster on its own account, the machine's socket, nobody.
pub fn built_in(principal: &Principal, action: Action, key: Option<&KeyName>) -> Result<Permit, Denied> {
    let class = action.class();
    let allowed = match principal {
        Principal::LocalSocket => on_the_machine(action),
        Principal::Member(_) => class == Class::Cluster,
        Principal::Unauthenticated => class == Class::Open,
        Principal::Subject { .. } => false,
    };
    if allowed {
        return Ok(Permit { principal: principal.clone(), action, key: key.cloned(), verdict: None });
    }
    let missing = match class {
        Class::Machine => Missing::LocalSocket,
        Class::Cluster => Missing::Member,
        Class::Open
        | Class::Known
        | Class::Use
        | Class::Manage
        | Class::Danger
        | Class::Read
        | Class::Operate => Missing::Credential,
    };
    Err(Denied { action, missing })
}

fn permit(principal: &Principal, question: &Question<'_>, verdict: Option<Arc<Verdict>>) -> Permit {
    let key = key_of(question).cloned();
    Permit { principal: principal.clone(), action: question.action, key, verdict }
}

fn key_of<'a>(question: &Question<'a>) -> Option<&'a KeyName> {
    match question.resource {
        Resource::Key { name, .. } => Some(name),
        Resource::Prefix(_) | Resource::Chosen | Resource::Cluster => None,
    }
}

fn below_floor(floor: Floor, question: &Question<'_>) -> Option<Missing> {
    let circumstances = question.circumstances;
    if question.action.class() == Class::Danger && circumstances.approvals < floor.approvals_min {
        return Some(Missing::Approvals { needed: floor.approvals_min, found: circumstances.approvals });
    }
    let for_bound =
        matches!(question.resource, Resource::Key { facts: KeyFacts { bound_callers_only: true, .. }, .. });
    let used = question.action.class() == Class::Use;
    (for_bound && used && !(circumstances.mtls && circumstances.bound)).then_some(Missing::Bound)
}

/// What the socket in the data directory allows without a token: exactly init, status, code, shares, sealing this
/// node; and health, which says less than status.
fn on_the_machine(action: Action) -> bool {
    matches!(
        action,
        Action::Init
            | Action::Health
            | Action::SealStatus
            | Action::ClusterStatus
            | Action::ShowCode
            | Action::SubmitShare
            | Action::SealThisNode
    )
}

impl Permit {
    /// Whether this permit is for `action` on exactly `key`.
    #[must_use]
    pub fn covers(&self, action: Action, key: Option<&KeyName>) -> bool {
        self.action == action && self.key.as_ref() == key
    }

    /// Whose permit it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// What it permits.
    pub fn action(&self) -> Action {
        self.action
    }

    /// On which key.
    pub fn key(&self) -> Option<&KeyName> {
        self.key.as_ref()
    }

    /// What decided it; empty for what no rule decides.
    pub fn by(&self) -> &[Deciding] {
        self.verdict.as_ref().map_or(&[], |verdict| verdict.by.as_slice())
    }
}

/// The roles that would permit what nothing permits, each as narrow as it can be.
pub fn roles_that_would_do(question: &Question<'_>) -> Vec<RoleGrant> {
    crate::explain::roles_that_would_do(question)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
