//! Nouns that cross two crates: ids, names, versions, key states, positions, limits, and the versioned
//! envelope of everything that is stored.
//!
//! Invariants:
//! - Every value here was parsed; none can be constructed in a state that its type forbids.
//! - Nothing here does I/O, reads a clock or draws randomness, and nothing here knows a cipher.
//! - `bincode` is named in [`envelope`] only.

#![forbid(unsafe_code)]

pub mod access;
pub mod ciphertext;
pub mod envelope;
pub mod identity;
pub mod ids;
pub mod key;
pub mod limits;
pub mod member;
pub mod name;
pub mod position;
pub mod request;
pub mod seal;
pub mod threads;
pub mod time;
pub mod transaction;
