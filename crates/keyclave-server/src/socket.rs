//! The operator's socket: a file that only this user may open, so that being able to connect is the credential for
//! what concerns this machine alone.
//!
//! Called when the server starts, while the data directory's lock is held: a file of the same name is then left
//! over from a process that is gone.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use crate::connections::{Connections, Limits, Source};
use crate::origin::{Arrived, Origin};

/// Open connections at a time.
const CONNECTIONS_MAX: usize = 64;
pub(crate) const LIMITS: Limits = Limits {
    connections_max: CONNECTIONS_MAX,
    per_source_max: CONNECTIONS_MAX,
    strangers_max: CONNECTIONS_MAX,
    strangers_per_source_max: CONNECTIONS_MAX,
};
/// Rest after the listener failed.
const LISTENER_REST_MS: u64 = 10;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Something that is no socket has its name.
    #[error("{path} is in the way of the operator's socket and is not a socket")]
    InTheWay {
        /// Which path.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("the operator's socket {path} cannot be made")]
    Bind {
        /// Which path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Makes the socket.
pub(crate) fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let wrong = |source| SocketError::Bind { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path).map_err(wrong)?,
        Ok(_) => return Err(SocketError::InTheWay { path: path.to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(wrong(error)),
    }
    let listener = UnixListener::bind(path).map_err(wrong)?;
    // The umask has seen to it already; the socket may lie in a directory of another's making.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(wrong)?;
    Ok(listener)
}

/// Turns what arrives at the socket into connections, until nobody takes them any more.
pub(crate) fn local_connections(
    listener: UnixListener,
    connections: Connections,
) -> impl Stream<Item = std::io::Result<Arrived<UnixStream>>> + Send {
    let (arrived, ready) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = arrived.closed() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted.map(|(stream, _)| (stream, connections.take(Source::LocalSocket))) {
                Ok((stream, Some(place))) => {
                    let stream = Arrived::new(stream, Origin::LocalSocket, place);
                    if arrived.send(Ok(stream)).await.is_err() {
                        break;
                    }
                }
                Ok((_, None)) => {
                    tracing::warn!(limit = CONNECTIONS_MAX, "too many on the operator's socket")
                }
                Err(error) => {
                    tracing::warn!(%error, "the operator's socket failed");
                    tokio::time::sleep(Duration::from_millis(LISTENER_REST_MS)).await;
                }
            }
        }
    });
    ReceiverStream::new(ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_this_user_may_open_it_and_a_left_over_one_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(bind(&path).unwrap());
        let _listener = bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_file_of_that_name_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        std::fs::write(&path, b"precious").unwrap();
        assert!(matches!(bind(&path), Err(SocketError::InTheWay { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
