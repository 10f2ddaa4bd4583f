//! The client port's handshakes: beside each other, bounded in number and time, never in the accept loop.
//!
//! When all slots are taken the oldest unfinished handshake goes: an honest one takes a few round trips, a mute one
//! the whole time limit; a source that has its share of them drives out its own. Connections are counted until they
//! end, so that no flood uses up file descriptors.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use crate::connections::{Connections, Limits, Place, Source};
use crate::origin::{Arrived, Origin};
use crate::possession;

/// Unfinished handshakes at a time.
const HANDSHAKES_MAX: usize = 128;
/// Those from one source.
const HANDSHAKES_PER_SOURCE_MAX: usize = 64;
/// Open connections from clients at a time: each costs some 30 KiB and a file descriptor, and 130 KiB more once it has
/// had as many calls at a time as it may, which strangers have for nothing. Of theirs there are more than calls that
/// they may have under way, so that a newcomer always finds a place.
pub(crate) const LIMITS: Limits = Limits {
    connections_max: 4_096,
    per_source_max: 1_024,
    strangers_max: 320,
    strangers_per_source_max: 128,
};
/// How long a connection may be open before anything is asked on it, and how long a stranger may take with an answer.
const SILENT_MS_MAX: u64 = 30_000;
const UNREAD_MS_MAX: u64 = 10_000;
/// How often that is looked at.
const LOOK_MS: u64 = 5_000;
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
    connections: Connections,
) -> impl Stream<Item = std::io::Result<ClientStream>> + Send {
    let (finished, ready) = mpsc::channel(FINISHED_MAX);
    tokio::spawn(accept_all(listener, acceptor, connections, finished));
    ReceiverStream::new(ready)
}

async fn accept_all(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    connections: Connections,
    finished: Finished,
) {
    let mut unfinished = Unfinished::default();
    let mut look = tokio::time::interval(Duration::from_millis(LOOK_MS));
    loop {
        let accepted = tokio::select! {
            () = finished.closed() => break,
            accepted = listener.accept() => accepted,
            _ = look.tick() => {
                connections.end_silent(Duration::from_millis(SILENT_MS_MAX));
                connections.end_unread(Duration::from_millis(UNREAD_MS_MAX));
                continue;
            }
        };
        let (tcp, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the client listener failed");
                tokio::time::sleep(Duration::from_millis(LISTENER_REST_MS)).await;
                continue;
            }
        };
        let source = Source::from(from);
        unfinished.make_room(source);
        let Some(place) = connections.take(source) else {
            tracing::warn!(?LIMITS, "a client was turned away: every connection has a call under way");
            continue;
        };
        let handshake = shake_hands(tcp, Origin::Network(from), acceptor.clone(), place, finished.clone());
        unfinished.handshakes.push_back((source, tokio::spawn(handshake).abort_handle()));
    }
    for (_, handshake) in unfinished.handshakes {
        handshake.abort();
    }
}

/// Handshakes under way, oldest first.
#[derive(Default)]
struct Unfinished {
    handshakes: VecDeque<(Source, AbortHandle)>,
}

impl Unfinished {
    /// Makes room for one more from `source`.
    fn make_room(&mut self, source: Source) {
        self.handshakes.retain(|(_, handshake)| !handshake.is_finished());
        let of_source = self.handshakes.iter().filter(|(other, _)| *other == source).count();
        let oldest = if of_source >= HANDSHAKES_PER_SOURCE_MAX {
            self.handshakes.iter().position(|(other, _)| *other == source)
        } else {
            (self.handshakes.len() >= HANDSHAKES_MAX).then_some(0)
        };
        if let Some((_, handshake)) = oldest.and_then(|oldest| self.handshakes.remove(oldest)) {
            handshake.abort();
        }
    }
}

async fn shake_hands(
    tcp: TcpStream,
    origin: Origin,
    acceptor: TlsAcceptor,
    mut place: Place,
    finished: Finished,
) {
    // Without it small answers wait for the client's acknowledgement of earlier ones.
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    let accepting = tokio::time::timeout(Duration::from_millis(HANDSHAKE_MS_MAX), acceptor.accept(tcp));
    let accepted = tokio::select! {
        accepted = accepting => accepted,
        () = std::future::poll_fn(|task| place.poll_ended(task)) => return,
    };
    match accepted {
        // A client that offers no protocol would be taken for HTTP/2 without having asked for it.
        Ok(Ok(tls)) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => {
            // Nobody to take it means that the server has stopped.
            let presented = possession::presented(tls.get_ref().1.peer_certificates());
            let _ = finished.send(Ok(Arrived::new(tls, origin, place).presenting(presented))).await;
        }
        Ok(Ok(_)) => tracing::debug!("a client did not offer HTTP/2"),
        Ok(Err(error)) => tracing::debug!(%error, "a client's handshake failed"),
        Err(_) => tracing::debug!(limit_ms = HANDSHAKE_MS_MAX, "a client's handshake took too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_source_with_its_share_of_handshakes_drives_out_its_own() {
        let mut unfinished = Unfinished::default();
        let source = |n: u8| Source::V4([10, 0, 0, n]);
        let mut begin = |source| {
            unfinished.make_room(source);
            let handshake = tokio::spawn(std::future::pending::<()>());
            unfinished.handshakes.push_back((source, handshake.abort_handle()));
            handshake
        };
        let honest = begin(source(1));
        let crowd: Vec<_> = (0..HANDSHAKES_PER_SOURCE_MAX + 3).map(|_| begin(source(2))).collect();
        for (at, handshake) in crowd.into_iter().enumerate() {
            if at < 3 {
                assert!(handshake.await.unwrap_err().is_cancelled());
            } else {
                assert!(!handshake.is_finished());
            }
        }
        assert!(!honest.is_finished(), "the oldest of all, but of another source");
        // Many sources with little each: then the oldest of all goes.
        let _many: Vec<_> = (3..=66).map(|n| begin(source(n))).collect();
        assert!(honest.await.unwrap_err().is_cancelled());
    }
}
