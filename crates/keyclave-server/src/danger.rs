//! The API without TLS, for a network that is simulated and so has nobody on it to be kept out.
//!
//! Called by cluster-tests alone; a wall holds that nothing in the product names it. What a listener of the product
//! does after its handshake is done here too: every connection is counted, and has its origin.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::StreamExt;
use keyclave_node::host::Host;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::Stream;

use crate::admission::Budgets;
use crate::connections::{Connections, Source};
use crate::door;
use crate::health::Healths;
use crate::metrics::Metrics;
use crate::monitoring::{self, Monitored};
use crate::origin::{Arrived, Origin};
use crate::pipeline::Pipeline;
use crate::routes::serve;
use crate::socket;

/// Serves the whole API on every connection of `incoming`, each with where it comes from, for as long as it is polled.
pub async fn danger_serve_plain<H, S>(
    pipeline: Pipeline<H>,
    incoming: impl Stream<Item = io::Result<(S, SocketAddr)>> + Send + 'static,
) where
    H: Host,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connections = [door::LIMITS, socket::LIMITS, monitoring::LIMITS].map(Connections::new);
    let [clients, _, _] = connections.clone();
    let arrived = incoming.filter_map(move |arrived| {
        let counted = arrived.map(|(stream, from)| {
            Some(Arrived::new(stream, Origin::Network(from), clients.take(Source::from(from))?))
        });
        std::future::ready(counted.transpose())
    });
    let monitored = Monitored {
        metrics: Arc::new(Metrics::new(pipeline.records_missing())),
        budgets: Budgets::new(),
        healths: Healths::of(pipeline.node()),
        connections,
        pipeline,
    };
    serve(&monitored, arrived, std::future::pending()).await;
}
