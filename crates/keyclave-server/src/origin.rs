//! Where a call came from: a TLS connection from an address, or the operator's socket on this machine.
//!
//! Set by the listeners on each connection; read by the pipeline. What a client claims about itself is elsewhere.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use keyclave_vault::presented::Presented;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use crate::connections::{Connection, Place};

/// Where a call came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// Over TLS, from this address.
    Network(SocketAddr),
    /// Over the socket in the data directory: whoever may open it is this user or root.
    LocalSocket,
}

/// What every call knows of the connection that it came over.
#[derive(Clone)]
pub(crate) struct Arrival {
    /// Where from.
    pub(crate) origin: Origin,
    /// The connection.
    pub(crate) connection: Connection,
    /// The certificate whose key it has proved.
    pub(crate) presented: Option<Arc<Presented>>,
}

/// A connection that knows its origin, gives its place back when it ends, and ends when another needs the place.
pub(crate) struct Arrived<S> {
    stream: S,
    origin: Origin,
    place: Place,
    presented: Option<Arc<Presented>>,
}

impl<S> Arrived<S> {
    /// `stream`, come from `origin`, holding `place`.
    pub(crate) fn new(stream: S, origin: Origin, place: Place) -> Self {
        Self { stream, origin, place, presented: None }
    }

    /// The same, having proved to hold the key of this certificate.
    pub(crate) fn presenting(self, presented: Option<Arc<Presented>>) -> Self {
        Self { presented, ..self }
    }

    /// Whether another needs the place; if not, the task hears of it once that is so.
    fn is_displaced(&mut self, task: &mut Context<'_>) -> bool {
        self.place.poll_ended(task).is_ready()
    }
}

impl<S> Connected for Arrived<S> {
    type ConnectInfo = Arrival;

    fn connect_info(&self) -> Arrival {
        let (connection, presented) = (self.place.connection().clone(), self.presented.clone());
        Arrival { origin: self.origin, connection, presented }
    }
}

fn displaced() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "another connection needed the place")
}

impl<S: AsyncRead + Unpin> AsyncRead for Arrived<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.is_displaced(task) {
            return Poll::Ready(Err(displaced()));
        }
        Pin::new(&mut self.stream).poll_read(task, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Arrived<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.is_displaced(task) {
            return Poll::Ready(Err(displaced()));
        }
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        if self.is_displaced(task) {
            return Poll::Ready(Err(displaced()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
