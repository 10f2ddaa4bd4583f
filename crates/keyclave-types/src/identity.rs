//! How callers are known from outside, as nouns: names in certificates, what a JWT may be signed with, what a token is
//! tied to.
//!
//! Parsed at the edge by keyclave-proto, proved by keyclave-crypto, stored and looked up by keyclave-vault. Deliberately
//! absent: a certificate's common name, which names nobody here.

mod addresses;
mod algorithm;
mod certificate;
mod dns;
mod spiffe;

pub use addresses::{AddressRange, AddressRangeError};
pub use algorithm::{JwtAlgorithm, JwtAlgorithmError};
pub use certificate::{CertificateName, CertificateNames, CertificateNamesError};
pub use dns::{DnsName, DnsNameError};
pub use spiffe::{SpiffeId, SpiffeIdError};
