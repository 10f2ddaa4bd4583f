//! The listener's side: from raw streams to connections that HTTP/2 may run over.
//!
//! Handshakes run beside each other, never in the accept loop. When all slots are taken the oldest unfinished one
//! goes: an honest handshake takes a few round trips, a mute one the whole time limit, so a flood of mute
//! connections drives out itself. (Dropping the newcomer instead let 64 mute connections lock every peer out.)

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};

use super::connection::PeerStream;
use super::establish::Establish;
use super::refused::Refused;
use super::wire::Wire;

/// Unfinished handshakes at a time.
pub const HANDSHAKES_MAX: usize = 64;

/// Finished connections that HTTP/2 has not taken yet.
const FINISHED_MAX: usize = 16;

/// Rest after the listener failed, as it does while file descriptors are used up.
const LISTENER_REST_MS: u64 = 10;

/// Turns what `listener` yields into connections, until the listener ends or nobody wants them any more.
/// `refused` hears of each handshake that came to nothing. Must be called within a runtime.
pub fn incoming<W: Wire>(
    establish: Establish<W>,
    listener: impl Stream<Item = io::Result<W::Raw>> + Send + 'static,
    refused: impl Fn(&Refused) + Send + Sync + 'static,
) -> impl Stream<Item = io::Result<PeerStream<W::Stream>>> + Send {
    let (finished, ready) = mpsc::channel(FINISHED_MAX);
    let door = Door { establish, finished, refused: Arc::new(refused), unfinished: VecDeque::new() };
    tokio::spawn(door.open(listener));
    ReceiverStream::new(ready)
}

struct Door<W: Wire, R> {
    establish: Establish<W>,
    finished: mpsc::Sender<io::Result<PeerStream<W::Stream>>>,
    refused: Arc<R>,
    unfinished: VecDeque<AbortHandle>,
}

impl<W: Wire, R: Fn(&Refused) + Send + Sync + 'static> Door<W, R> {
    async fn open(mut self, listener: impl Stream<Item = io::Result<W::Raw>> + Send + 'static) {
        let mut listener = std::pin::pin!(listener);
        loop {
            let next = tokio::select! {
                biased;
                () = self.finished.closed() => None,
                next = listener.next() => next,
            };
            match next {
                None => break,
                Some(Ok(raw)) => self.begin(raw),
                Some(Err(error)) => {
                    tracing::warn!(%error, "the peer listener failed");
                    tokio::time::sleep(Duration::from_millis(LISTENER_REST_MS)).await;
                }
            }
        }
        for handshake in self.unfinished {
            handshake.abort();
        }
    }

    fn begin(&mut self, raw: W::Raw) {
        self.unfinished.retain(|handshake| !handshake.is_finished());
        if self.unfinished.len() >= HANDSHAKES_MAX
            && let Some(oldest) = self.unfinished.pop_front()
        {
            oldest.abort();
            (self.refused)(&Refused::Displaced);
        }
        let (establish, finished) = (self.establish.clone(), self.finished.clone());
        let refused = Arc::clone(&self.refused);
        let handshake = tokio::spawn(async move {
            match establish.accept(raw).await {
                // Nobody to take it means that the server has stopped.
                Ok(stream) => drop(finished.send(Ok(stream)).await),
                Err(reason) => refused(&reason),
            }
        });
        self.unfinished.push_back(handshake.abort_handle());
    }
}
