//! SPIFFE ids (SPIFFE-ID 2.1 to 2.3): `spiffe://trust-domain/path`, one spelling only.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes of one, as the standard has it.
const BYTES_MAX: usize = 2048;
/// Bytes of a trust domain, as the standard has it.
const TRUST_DOMAIN_BYTES_MAX: usize = 255;
const SCHEME: &str = "spiffe://";

/// Who a workload is. One of a workload always has a path; a trust domain alone names nobody.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId(String);

/// Why a text is no SPIFFE id of a workload.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum SpiffeIdError {
    /// Another scheme, or another spelling of it.
    #[error("a SPIFFE id begins with {SCHEME}")]
    Scheme,
    /// Too long.
    #[error(
        "a SPIFFE id has at most {BYTES_MAX} bytes, and its trust domain at most {TRUST_DOMAIN_BYTES_MAX}"
    )]
    Length,
    /// A port, a user, capital letters, or nothing.
    #[error("the trust domain must consist of a-z, 0-9, dots, dashes and underscores")]
    TrustDomain,
    /// No path, an empty or relative segment, a query, an escape.
    #[error(
        "the path must be segments of A-Z, a-z, 0-9, dots, dashes and underscores, and none of them . or .."
    )]
    Path,
}

impl SpiffeId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        let (domain, path) = rest.split_once('/').ok_or(SpiffeIdError::Path)?;
        if text.len() > BYTES_MAX || domain.len() > TRUST_DOMAIN_BYTES_MAX {
            return Err(SpiffeIdError::Length);
        }
        let mark = |byte: u8| matches!(byte, b'.' | b'-' | b'_');
        let of_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || mark(byte);
        if domain.is_empty() || !domain.bytes().all(of_domain) {
            return Err(SpiffeIdError::TrustDomain);
        }
        let of_path = |byte: u8| byte.is_ascii_alphanumeric() || mark(byte);
        let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(of_path);
        if !path.split('/').all(segment) {
            return Err(SpiffeIdError::Path);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = SpiffeIdError;

    fn try_from(text: String) -> Result<Self, SpiffeIdError> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.0
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpiffeId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workloads_id_is_read_as_it_is_printed() {
        for text in [
            "spiffe://example.org/ns/prod/sa/billing",
            "spiffe://a/B_-.9",
            "spiffe://cluster.local/ns/default/sa/default",
            "spiffe://example.org/...",
        ] {
            assert_eq!(text.parse::<SpiffeId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for (wrong, error) in [
            ("", SpiffeIdError::Scheme),
            ("https://example.org/a", SpiffeIdError::Scheme),
            ("SPIFFE://example.org/a", SpiffeIdError::Scheme),
            ("spiffe:/example.org/a", SpiffeIdError::Scheme),
            ("spiffe://example.org", SpiffeIdError::Path),
            ("spiffe://example.org/", SpiffeIdError::Path),
            ("spiffe://example.org/a/", SpiffeIdError::Path),
            ("spiffe://example.org/a//b", SpiffeIdError::Path),
            ("spiffe://example.org/a/../b", SpiffeIdError::Path),
            ("spiffe://example.org/./b", SpiffeIdError::Path),
            ("spiffe://example.org/a%2fb", SpiffeIdError::Path),
            ("spiffe://example.org/a?b", SpiffeIdError::Path),
            ("spiffe://example.org/a#b", SpiffeIdError::Path),
            ("spiffe://example.org/a\u{200b}", SpiffeIdError::Path),
            ("spiffe://example.org/а", SpiffeIdError::Path),
            ("spiffe:///a", SpiffeIdError::TrustDomain),
            ("spiffe://Example.org/a", SpiffeIdError::TrustDomain),
            ("spiffe://example.org:80/a", SpiffeIdError::TrustDomain),
            ("spiffe://me@example.org/a", SpiffeIdError::TrustDomain),
            ("spiffe://exämple.org/a", SpiffeIdError::TrustDomain),
        ] {
            assert_eq!(wrong.parse::<SpiffeId>(), Err(error), "{wrong:?}");
        }
        let long = format!("spiffe://{}/a", "a".repeat(256));
        assert_eq!(long.parse::<SpiffeId>(), Err(SpiffeIdError::Length));
        let long = format!("spiffe://a/{}", "a".repeat(2048));
        assert_eq!(long.parse::<SpiffeId>(), Err(SpiffeIdError::Length));
    }
}
