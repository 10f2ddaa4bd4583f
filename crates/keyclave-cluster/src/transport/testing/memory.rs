//! A wire in memory: streams are pipes, names lead to queues, and time may stand still.
//!
//! It authenticates by saying who it is; what is tested over it is everything above the wire.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use keyclave_types::member::{HostPort, NodePublicKey};
use ring::digest;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::transport::refused::Refused;
use crate::transport::wire::{Bound, Exporter, Wire, exporter_context};

use super::local;

const PIPE_BYTES: usize = 256 * 1024;

/// Who listens where.
#[derive(Clone, Default)]
pub(crate) struct Network {
    state: Arc<Mutex<State>>,
    frozen: Arc<AtomicBool>,
}

/// A pipe's end; once the network is frozen, nothing moves in it any more, as towards a stopped process.
pub(crate) struct Pipe {
    stream: DuplexStream,
    frozen: Arc<AtomicBool>,
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.frozen.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.frozen.load(Ordering::Relaxed) {
            // As the kernel does, which takes what nobody reads any more.
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[derive(Default)]
struct State {
    listeners: BTreeMap<String, (NodePublicKey, mpsc::Sender<io::Result<Raw>>)>,
    dialled: u64,
}

/// What a listener yields.
pub(crate) enum Raw {
    /// Someone who speaks.
    Spoken(Bound<Pipe>),
    /// Someone who connected and says nothing at all.
    Mute,
}

impl Network {
    pub(crate) fn listen(&self, address: &str, key: NodePublicKey) -> ReceiverStream<io::Result<Raw>> {
        let (sender, receiver) = mpsc::channel(1024);
        self.state.lock().unwrap().listeners.insert(address.to_owned(), (key, sender));
        ReceiverStream::new(receiver)
    }

    pub(crate) fn unplug(&self, address: &str) {
        self.state.lock().unwrap().listeners.remove(address);
    }

    /// From now on nothing arrives anywhere, and no connection ends.
    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
    }

    /// Connects to `address` and stays mute.
    pub(crate) async fn connect_mute(&self, address: &str) {
        let (_, listener) = self.state.lock().unwrap().listeners.get(address).cloned().unwrap();
        listener.send(Ok(Raw::Mute)).await.unwrap();
    }

    /// How many connections were tried.
    pub(crate) fn dialled(&self) -> u64 {
        self.state.lock().unwrap().dialled
    }
}

/// One node's end of the network.
#[derive(Clone)]
pub(crate) struct MemoryWire {
    pub(crate) network: Network,
    pub(crate) key: NodePublicKey,
}

impl Wire for MemoryWire {
    type Raw = Raw;
    type Stream = Pipe;

    async fn dial(&self, address: &HostPort, expected: &NodePublicKey) -> Result<Bound<Pipe>, Refused> {
        let (count, listener) = {
            let mut state = self.network.state.lock().unwrap();
            state.dialled += 1;
            (state.dialled, state.listeners.get(address.as_str()).cloned())
        };
        let nobody = || Refused::unreachable(io::ErrorKind::ConnectionRefused.into());
        let (key, listener) = listener.ok_or_else(nobody)?;
        if key != *expected {
            return Err(Refused::broken(io::ErrorKind::InvalidData.into()));
        }
        let context = exporter_context(local(1).cluster, &self.key, &key);
        let bound_to = [count.to_be_bytes().as_slice(), &context].concat();
        let exporter = Exporter(digest::digest(&digest::SHA256, &bound_to).as_ref().try_into().unwrap());
        let (near, far) = duplex(PIPE_BYTES);
        let pipe = |stream| Pipe { stream, frozen: Arc::clone(&self.network.frozen) };
        let (near, far) = (pipe(near), pipe(far));
        let theirs = Raw::Spoken(Bound { stream: far, peer: self.key, exporter });
        listener.send(Ok(theirs)).await.map_err(|_| nobody())?;
        Ok(Bound { stream: near, peer: key, exporter })
    }

    async fn accept(&self, raw: Raw) -> Result<Bound<Pipe>, Refused> {
        match raw {
            Raw::Spoken(bound) => Ok(bound),
            Raw::Mute => std::future::pending().await,
        }
    }
}
