//! The operator's socket of a node on this machine. The file's permissions decide who may open it.

use std::sync::Arc;

use tokio::net::UnixStream;

use super::{Dial, DialError, Dialling, Stream};
use crate::endpoint::Endpoint;

/// Connects to sockets in the file system.
pub struct LocalSocket;

impl Dial for LocalSocket {
    fn dial(&self, endpoint: &Endpoint) -> Dialling {
        let path = endpoint.path().map(ToOwned::to_owned);
        Box::pin(async move {
            let path = path.ok_or(DialError::Way)?;
            let stream = UnixStream::connect(path).await.map_err(|e| DialError::Connect(Arc::new(e)))?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}
