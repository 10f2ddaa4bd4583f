//! The client port's handshakes: beside each other, bounded in number and time, never in the accept loop.
//!
//! When all slots are taken the oldest unfinished handshake goes: an honest one takes a few round trips, a mute one
//! the whole time limit. Connections are counted until they end, so that no flood uses up file descriptors.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use crate::origin::{Arrived, Origin};

/// Unfinished handshakes at a time.
const HANDSHAKES_MAX: usize = 128;
/// Open connections from clients at a time.
pub(crate) const CONNECTIONS_MAX: usize = 4_096;
/// How long a handshake may take.
const HANDSHAKE_MS_MAX: u64 = 5_000;
/// Finished connections that HTTP/2 has not taken yet.
const FINISHED_MAX: usize = 16;
/// Rest after the listener failed, as it does while file descriptors are used up.
const LISTENER_REST_MS: u64 = 10;

/// A client's TLS connection.
pub(crate) type ClientStream = Arrived<TlsStream<TcpStream>>;

type Finished = mpsc::Sender<std::io::Result<ClientStream>>;

/// Turns what arrives at `listener` into connections, until nobody takes them any more.
pub(crate) fn client_connections(
    listener: TcpListener,
    acceptor: TlsAcceptor,
) -> impl Stream<Item = std::io::Result<ClientStream>> + Send {
    let (finished, ready) = mpsc::channel(FINISHED_MAX);
    tokio::spawn(accept_all(listener, acceptor, finished));
    ReceiverStream::new(ready)
}

async fn accept_all(listener: TcpListener, acceptor: TlsAcceptor, finished: Finished) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut unfinished: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = finished.closed() => break,
            accepted = listener.accept() => accepted,
        };
        let (tcp, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the client listener failed");
                tokio::time::sleep(Duration::from_millis(LISTENER_REST_MS)).await;
                continue;
            }
        };
        unfinished.retain(|handshake| !handshake.is_finished());
        if unfinished.len() >= HANDSHAKES_MAX
            && let Some(oldest) = unfinished.pop_front()
        {
            oldest.abort();
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(limit = CONNECTIONS_MAX, "a client was turned away: all connections are in use");
            continue;
        };
        let handshake = shake_hands(tcp, Origin::Network(from), acceptor.clone(), place, finished.clone());
        unfinished.push_back(tokio::spawn(handshake).abort_handle());
    }
    for handshake in unfinished {
        handshake.abort();
    }
}

async fn shake_hands(
    tcp: TcpStream,
    origin: Origin,
    acceptor: TlsAcceptor,
    place: OwnedSemaphorePermit,
    finished: Finished,
) {
    // Without it small answers wait for the client's acknowledgement of earlier ones.
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    match tokio::time::timeout(Duration::from_millis(HANDSHAKE_MS_MAX), acceptor.accept(tcp)).await {
        // A client that offers no protocol would be taken for HTTP/2 without having asked for it.
        Ok(Ok(tls)) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => {
            // Nobody to take it means that the server has stopped.
            let _ = finished.send(Ok(Arrived::new(tls, origin, place))).await;
        }
        Ok(Ok(_)) => tracing::debug!("a client did not offer HTTP/2"),
        Ok(Err(error)) => tracing::debug!(%error, "a client's handshake failed"),
        Err(_) => tracing::debug!(limit_ms = HANDSHAKE_MS_MAX, "a client's handshake took too long"),
    }
}
