//! The peer port's HTTP/2 server: connections come in finished, the gate stands in front, services behind it.
//!
//! Called by the node, which adds its services (forward, rejoin, ceremony) to the Raft half's as tonic routes.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::Stream;
use tonic::service::Routes;
use tonic::transport::Server;

use super::connection::{Connections, PeerStream};
use super::gate::Gate;
use super::peers::{CONNECTION_WINDOW_BYTES, KEEP_ALIVE_ANSWER_MS_MAX, KEEP_ALIVE_MS, STREAM_WINDOW_BYTES};

/// Streams that one connection may have open.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 1_024;

/// Bytes of one call's metadata.
const METADATA_BYTES_MAX: u32 = 16 * 1024;

/// Streams that a peer may open and reset before its connection is ended (rapid reset).
const RESET_STREAMS_MAX: usize = 64;

/// How long calls may still take once the server is told to stop.
const STOP_MS_MAX: u64 = 1_000;

/// Serves `routes` behind `gate` on every connection of `incoming` until `stop` resolves or `incoming` ends; then
/// ends what is left in `connections`.
pub async fn serve_peers<S>(
    incoming: impl Stream<Item = io::Result<PeerStream<S>>>,
    gate: Gate,
    routes: Routes,
    connections: Connections,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let serving = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_millis(KEEP_ALIVE_MS)))
        .http2_keepalive_timeout(Some(Duration::from_millis(KEEP_ALIVE_ANSWER_MS_MAX)))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(METADATA_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX))
        .layer(gate)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async {
            stop.await;
            // The receiver is gone only when serving has ended by itself.
            let _ = stopping.send(());
        });
    let cut = async {
        if stopped.await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(Duration::from_millis(STOP_MS_MAX)).await;
        connections.close_all();
        std::future::pending().await
    };
    tokio::select! {
        served = serving => served,
        () = cut => Ok(()),
    }
}
