//! Answers, from the domain onto the wire and, for the client, back.
//!
//! Called by keyclave-server, keyclave-node and keyclave-client. Answers that only copy a few fields (an encryption,
//! a status) are filled in where they are made.

mod access;
mod identity;
mod item;
mod key;
mod member;
mod token;
mod write;

pub use access::explained;
pub use identity::certificate_names;
pub use item::{AnsweredItem, ItemRefusal};
pub use key::summary;
pub use member::{MemberDescription, MemberRole};
pub use token::bound_to;
pub use write::{AnswerMismatch, WriteResponse};
