//! DNS names as certificates carry them, exact and in lower case. Deliberately absent: wildcards, which name nobody.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes of a name (RFC 1035 section 2.3.4, without the root's dot).
const BYTES_MAX: usize = 253;
/// Bytes between two dots.
const LABEL_BYTES_MAX: usize = 63;

/// The name of a host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(String);

/// The text is no name of one host.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[error(
    "a DNS name consists of labels of a-z, 0-9, dashes and underscores with dots between, and no wildcard"
)]
pub struct DnsNameError;

impl DnsName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = DnsNameError;

    fn from_str(text: &str) -> Result<Self, DnsNameError> {
        let inner =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        let label = |part: &str| {
            (1..=LABEL_BYTES_MAX).contains(&part.len())
                && part.bytes().all(inner)
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        let right = text.len() <= BYTES_MAX && text.split('.').all(label);
        right.then(|| Self(text.to_owned())).ok_or(DnsNameError)
    }
}

impl TryFrom<String> for DnsName {
    type Error = DnsNameError;

    fn try_from(text: String) -> Result<Self, DnsNameError> {
        text.parse()
    }
}

impl From<DnsName> for String {
    fn from(name: DnsName) -> Self {
        name.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DnsName({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_name_is_read_as_it_is_printed_and_nothing_else_is_one() {
        for text in ["localhost", "kc-1.example.org", "_svc.a", "xn--bcher-kva.example"] {
            assert_eq!(text.parse::<DnsName>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "*.example.org",
            "Example.org",
            "a b",
            "-a",
            "a-",
            "ä.org",
            "a/b",
            "a\0",
            "a%2e",
        ] {
            assert_eq!(wrong.parse::<DnsName>(), Err(DnsNameError), "{wrong:?}");
        }
        assert_eq!("a".repeat(64).parse::<DnsName>(), Err(DnsNameError));
        assert_eq!(["a"; 128].join(".").parse::<DnsName>(), Err(DnsNameError));
    }
}
