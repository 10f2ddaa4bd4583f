//! How callers are known from outside, as nouns: names in certificates, what a JWT may be signed with, what a token is
//! tied to.
//!
//! Parsed at the edge by keyclave-proto, proved by keyclave-crypto, stored and looked up by keyclave-vault. Deliberately
//! absent: a certificate's common name, which names nobody here.

mod addresses;
mod algorithm;
mod certificate;
mod dns;
#[allow(clippy::module_inception, reason = "the file holds the type that the room is about")]
mod identity;
mod settings;
mod spiffe;
mod token;

pub use addresses::{AddressRange, AddressRangeError};
pub use algorithm::{JwtAlgorithm, JwtAlgorithmError};
pub use certificate::{CertificateName, CertificateNames, CertificateNamesError};
pub use dns::{DnsName, DnsNameError};
pub use identity::{ClaimedSubject, Identity, IdentityError};
pub use settings::{
    ClientRootDescription, ClientRootSettings, IdentityDescription, IssuerDescription, IssuerSettings,
};
pub use spiffe::{SpiffeId, SpiffeIdError};
pub use token::{TokenBinding, TokenTerms};

use crate::name::Segment;

/// What a client root is called.
pub type RootName = Segment;
/// What an issuer of JWTs is called.
pub type IssuerName = Segment;
