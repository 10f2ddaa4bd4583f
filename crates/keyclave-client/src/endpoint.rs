//! Where a node is reached: `https://host:port`, or the operator's socket on the same machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use keyclave_types::member::{HostPort, HostPortError};

/// One node's door.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Endpoint(Kind);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Network(HostPort),
    Socket(PathBuf),
}

/// Why a text is not an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Plain, or something else.
    #[error("an endpoint begins with https://; nothing else is spoken")]
    Scheme,
    /// Not `host:port` after that.
    #[error("after https:// {0}")]
    Address(#[from] HostPortError),
}

impl Endpoint {
    /// The operator's socket of a node on this machine.
    pub(crate) fn socket(path: &Path) -> Self {
        Self(Kind::Socket(path.to_owned()))
    }

    /// Host and port, unless it is a socket.
    pub fn address(&self) -> Option<&HostPort> {
        match &self.0 {
            Kind::Network(address) => Some(address),
            Kind::Socket(_) => None,
        }
    }

    /// The socket's path, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Kind::Network(_) => None,
            Kind::Socket(path) => Some(path),
        }
    }

    /// What HTTP/2 names the peer by. Encryption is the dialler's, so the scheme says nothing.
    pub(crate) fn origin(&self) -> String {
        match &self.0 {
            Kind::Network(address) => format!("http://{address}"),
            Kind::Socket(_) => "http://localhost".to_owned(),
        }
    }
}

impl From<HostPort> for Endpoint {
    fn from(address: HostPort) -> Self {
        Self(Kind::Network(address))
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let address = text.trim_ascii().strip_prefix("https://").ok_or(EndpointError::Scheme)?;
        let address = address.strip_suffix('/').unwrap_or(address);
        Ok(Self(Kind::Network(address.parse()?)))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Network(address) => write!(f, "https://{address}"),
            Kind::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_back_what_it_prints() {
        for text in ["https://localhost:7420", "https://10.0.0.1:1", "https://[::1]:7420"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!(" https://a:1/\n".parse::<Endpoint>().unwrap().to_string(), "https://a:1");
    }

    #[test]
    fn nothing_plain_is_an_endpoint() {
        for wrong in ["http://a:1", "a:1", "unix:/x", "", "HTTPS://a:1"] {
            assert_eq!(wrong.parse::<Endpoint>(), Err(EndpointError::Scheme), "{wrong}");
        }
        for wrong in ["https://a", "https://a:0", "https://a:1/x", "https://u@a:1", "https://"] {
            assert!(matches!(wrong.parse::<Endpoint>(), Err(EndpointError::Address(_))), "{wrong}");
        }
    }
}
