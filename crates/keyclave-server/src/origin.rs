//! Where a call came from: a TLS connection from an address, or the operator's socket on this machine.
//!
//! Set by the listeners on each connection; read by the pipeline. What a client claims about itself is elsewhere.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tonic::transport::server::Connected;

/// Where a call came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// Over TLS, from this address.
    Network(SocketAddr),
    /// Over the socket in the data directory: whoever may open it is this user or root.
    LocalSocket,
}

/// A connection that knows its origin and gives its counted place back when it ends.
pub(crate) struct Arrived<S> {
    stream: S,
    origin: Origin,
    _place: OwnedSemaphorePermit,
}

impl<S> Arrived<S> {
    /// `stream`, come from `origin`, holding `place`.
    pub(crate) fn new(stream: S, origin: Origin, place: OwnedSemaphorePermit) -> Self {
        Self { stream, origin, _place: place }
    }
}

impl<S> Connected for Arrived<S> {
    type ConnectInfo = Origin;

    fn connect_info(&self) -> Origin {
        self.origin
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Arrived<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(task, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Arrived<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
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
        Pin::new(&mut self.stream).poll_write_vectored(task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
