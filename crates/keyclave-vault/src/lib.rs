//! Shares to root to keyring to a view of opened records, and every decision over that view.
//!
//! One way through: [`ceremony`] makes a root out of shares, [`keyring`] is what the root opens, [`view`] is what
//! the keyring opens, [`decide`], [`upkeep`], [`rotation`], [`join`] and [`login`] turn a view and a request into a
//! transaction, [`compute`](mod@compute) turns a view and a question into an answer. [`founding`] is the very first transaction.
//!
//! Invariants:
//! - No network, no disk, no clock, no randomness source, no threads: time and entropy come in as values.
//! - Every function that opens or uses a caller's key takes a `Permit` and checks that it is for this act.
//! - Every transaction expects every record that was read to decide it, and the seal record, the access head and
//!   the caller's token always.
//! - A view whose access records do not match its access head denies everything.
//! - Refusals carry what was read, because they are confirmed like answers.

#![forbid(unsafe_code)]

pub mod ceremony;
pub mod keyring;
pub mod records;
pub mod view;

pub mod authenticate;
pub mod compute;
pub mod decide;
pub mod founding;
pub mod join;
pub mod login;
pub mod permission;
pub mod presented;
pub mod rotation;
pub mod upkeep;

pub mod horizon;
pub mod time;

pub mod occasion;
pub mod reads;
pub mod refusal;

mod draft;
mod reader;
mod rules;
mod versions;

#[cfg(test)]
mod testing;
