//! How a connection comes to be: the network as a value. [`Tls`] is the one of the product, [`LocalSocket`] the
//! operator's on the same machine; simulations bring their own.

mod anchor;
mod socket;
mod tls;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub use anchor::{Anchor, AnchorError};
pub use socket::LocalSocket;
pub use tls::{ClientCertificateError, Tls};

use crate::endpoint::Endpoint;

/// One connection's bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection on its way.
pub type Dialling = Pin<Box<dyn Future<Output = Result<Box<dyn Stream>, DialError>> + Send>>;

/// Makes connections. Each is proven to lead to the cluster before it is given out.
pub trait Dial: Send + Sync + 'static {
    /// Connects to `endpoint`.
    fn dial(&self, endpoint: &Endpoint) -> Dialling;
}

/// Why there is no connection. Nothing of a request was sent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    /// Not reached: refused, unknown name, no route.
    #[error("cannot connect: {0}")]
    Connect(#[source] Arc<io::Error>),
    /// Reached, but the handshake broke off.
    #[error("the TLS handshake failed: {0}")]
    Handshake(#[source] Arc<io::Error>),
    /// It showed a certificate that the given CA did not issue, or not for this name.
    #[error("its certificate is not to be trusted: {0}")]
    Certificate(#[source] rustls::Error),
    /// It does not speak HTTP/2 over TLS.
    #[error("it does not speak gRPC")]
    Protocol,
    /// Neither yes nor no in time.
    #[error("no connection within {limit_ms} ms")]
    Slow {
        /// How long it was tried, in milliseconds.
        limit_ms: u64,
    },
    /// This dialler knows no way to such an endpoint.
    #[error("there is no way to this endpoint")]
    Way,
}

impl DialError {
    /// Whether trying again soon cannot help.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Self::Certificate(_) | Self::Protocol | Self::Way => true,
            Self::Connect(error) => {
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
            }
            Self::Handshake(_) | Self::Slow { .. } => false,
        }
    }
}
