//! The API on one listener: every service behind [`crate::admission`], bounded in message size, streams, metadata and
//! resets. No compression is accepted: a small message stays small when it is opened.

use std::time::Duration;

use keyclave_node::host::Host;
use keyclave_proto::v1::access_service_server::AccessServiceServer;
use keyclave_proto::v1::audit_service_server::AuditServiceServer;
use keyclave_proto::v1::cluster_service_server::ClusterServiceServer;
use keyclave_proto::v1::crypto_service_server::CryptoServiceServer;
use keyclave_proto::v1::key_service_server::KeyServiceServer;
use keyclave_proto::v1::seal_service_server::SealServiceServer;
use keyclave_types::limits::MESSAGE_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::Stream;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use crate::admission::{Admission, OPEN_BODY_BYTES_MAX, SMALL_BODY_BYTES_MAX};
use crate::caller::CALL_MS_MAX;
use crate::grpc_health::GrpcHealth;
use crate::monitoring::Monitored;
use crate::operations::Api;
use crate::origin::Arrival;

/// Streams that one connection may have open. Room for as many, some KiB each, stays with the connection to its end.
const STREAMS_PER_CONNECTION_MAX: u32 = 128;
/// Bytes of one call's metadata.
const METADATA_BYTES_MAX: u32 = 16 * 1024;
/// Streams that a client may open and reset before its connection is ended (rapid reset).
const RESET_STREAMS_MAX: usize = 64;
/// Streams that this side may have to reset because of what a client sent, before its connection is ended.
const ERROR_STREAMS_MAX: usize = 256;
/// HTTP/2 pings an idle connection this often, and gives it up after as long again.
const KEEP_ALIVE_MS: u64 = 20_000;
/// Bytes in flight on one stream, and on one connection: what a client can make the process keep before anybody reads.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Serves the API on every connection of `incoming`, until told to stop.
pub(crate) fn serve<H, S>(
    monitored: &Monitored<H>,
    incoming: impl Stream<Item = std::io::Result<S>> + Send + 'static,
    stop: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static
where
    H: Host,
    S: AsyncRead + AsyncWrite + Connected<ConnectInfo = Arrival> + Unpin + Send + 'static,
{
    let Monitored { pipeline, budgets, metrics, healths, .. } = monitored;
    let api = Api::new(pipeline.clone());
    let health =
        HealthServer::new(GrpcHealth::new(healths.clone())).max_decoding_message_size(OPEN_BODY_BYTES_MAX);
    let admission = Admission::new(pipeline.clone(), budgets.clone(), metrics.clone());
    let served = Server::builder()
        .timeout(Duration::from_millis(CALL_MS_MAX))
        .http2_keepalive_interval(Some(Duration::from_millis(KEEP_ALIVE_MS)))
        .http2_keepalive_timeout(Some(Duration::from_millis(KEEP_ALIVE_MS)))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(METADATA_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX))
        .http2_max_local_error_reset_streams(Some(ERROR_STREAMS_MAX))
        .layer(admission)
        .add_service(health)
        .add_service(reflection())
        .add_service(
            CryptoServiceServer::new(api.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(KeyServiceServer::new(api.clone()).max_decoding_message_size(SMALL_BODY_BYTES_MAX))
        .add_service(SealServiceServer::new(api.clone()).max_decoding_message_size(SMALL_BODY_BYTES_MAX))
        .add_service(AccessServiceServer::new(api.clone()).max_decoding_message_size(SMALL_BODY_BYTES_MAX))
        .add_service(ClusterServiceServer::new(api.clone()).max_decoding_message_size(SMALL_BODY_BYTES_MAX))
        .add_service(AuditServiceServer::new(api).max_decoding_message_size(SMALL_BODY_BYTES_MAX))
        .serve_with_incoming_shutdown(incoming, stop);
    async move {
        if let Err(error) = served.await {
            tracing::error!(%error, "a listener is not served any more");
        }
    }
}

/// grpc.reflection.v1 over what clients see; [`crate::admission`] asks for a credential.
fn reflection() -> ServerReflectionServer<impl ServerReflection> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(keyclave_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were made by the same build")
        .max_decoding_message_size(OPEN_BODY_BYTES_MAX)
}
