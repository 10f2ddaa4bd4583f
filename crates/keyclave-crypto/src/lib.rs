//! Every function that touches key bytes: authenticated encryption, key derivation, message authentication,
//! signatures, secret sharing, and the memory that holds secrets.
//!
//! Invariants:
//! - A secret is a [`secret::Secret`] or a [`secret::SecretVec`], or a key made from one; none of them can be
//!   copied, compared or printed, and all of them lie in memory that is locked where the limit allows, left out
//!   of core dumps, and wiped.
//! - Randomness comes in as an [`entropy::Entropy`]; [`entropy::system`] is for the outermost edge only.
//! - Every label and every associated-data layout stands in [`labels`].
//! - Whatever does not open says [`aead::Unopened`] and nothing else.
//! - Unsafe code stands in `memory` only, which gives secrets their place.

#![deny(unsafe_code)]

pub mod aead;
mod base32;
pub mod base62;
pub mod certificate;
mod der;
pub mod entropy;
mod field;
pub mod hash;
pub mod hkdf;
pub mod hpke;
mod json;
pub mod jwk;
pub mod jws;
pub mod jwt;
pub mod labels;
pub mod mac;
mod memory;
pub mod message;
pub mod record;
pub mod secret;
pub mod shamir;
pub mod share;
pub mod sign;
pub mod token;
pub mod wrap;
