//! The only code that says yes or no.
//!
//! Called by the server's pipeline (once per request, and once per item on open streams) and by the node for what
//! it does on its own account. Deliberately absent: where a principal comes from (the vault authenticates), and
//! what a sealed node may do (the pipeline asks that first).
//!
//! Invariants:
//! - Default deny: [`decide()`] names what it allows and refuses everything else.
//! - A [`Permit`] is made in [`decide()`] and nowhere else: its fields are private, and it has no `Clone`.
//! - A permit is for one action on one key: [`Permit::covers`] says whether it is for this act.

#![forbid(unsafe_code)]

mod action;
mod decide;
mod principal;

pub use action::{Action, Class};
pub use decide::{Denied, Missing, Permit, decide};
pub use principal::Principal;
