//! The only code that says yes or no.
//!
//! Called by the server's pipeline (once per request, and once per item on open streams) and by the node for what
//! it does on its own account. Rules are Cedar policies and roles over them ([`Rules`], built by the vault from one
//! view); [`decide()`] puts a floor under them. Deliberately absent: where a principal comes from (the vault
//! authenticates), and what a sealed node may do (the pipeline asks that first).
//!
//! Invariants:
//! - Default deny, and forbid over permit; a policy that cannot be evaluated denies, whatever the others say.
//! - A [`Permit`] is made in `decide` and nowhere else: its fields are private, and it has no `Clone`.
//! - A permit is for one action on one key: [`Permit::covers`] says whether it is for this act.
//! - No text reaches Cedar's parser before its size, nesting and operators were counted.

#![forbid(unsafe_code)]

mod action;
mod principal;
mod question;

mod decide;
mod explain;
mod rules;
mod verdict;

mod kept;
mod roles;
mod source;

mod actions;
mod schema;

pub use action::{Action, Class, Target};
pub use decide::{Denied, Floor, Missing, No, Permit, built_in, decide, roles_that_would_do};
pub use principal::{Came, Credential, Principal};
pub use question::{Circumstances, KeyFacts, Question, Resource};
pub use roles::text_of as role_text;
pub use rules::{Membership, Rules};
pub use schema::EntityProblem;
pub use source::{
    POLICY_BYTES_MAX, POLICY_NESTING_MAX, POLICY_OPERATORS_MAX, Policy, PolicyError, SchemaProblem,
};
pub use verdict::Deciding;
