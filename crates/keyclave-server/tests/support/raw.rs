//! Calls as no client of ours makes them: any path, any credential, any bytes as a message.

use std::sync::Arc;

use keyclave_client::dial::Dial;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Bytes as they are, whatever the method takes.
#[derive(Clone, Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = tonic::Status;

    fn encode(&mut self, message: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        bytes::BufMut::put_slice(to, &message);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = tonic::Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, tonic::Status> {
        let mut message = vec![0; bytes::Buf::remaining(from)];
        bytes::Buf::copy_to_slice(from, &mut message);
        Ok(Some(message))
    }
}

/// One call of the method at `path` with `message` as it is.
pub(crate) async fn call(
    channel: tonic::transport::Channel,
    path: &'static str,
    credential: Option<&str>,
    message: Vec<u8>,
) -> Result<Vec<u8>, tonic::Status> {
    call_with(channel, path, credential, &[], message).await
}

/// The same with more headers.
pub(crate) async fn call_with(
    channel: tonic::transport::Channel,
    path: &'static str,
    credential: Option<&str>,
    headers: &[(&'static str, &str)],
    message: Vec<u8>,
) -> Result<Vec<u8>, tonic::Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| tonic::Status::unknown(error.to_string()))?;
    let mut request = tonic::Request::new(message);
    if let Some(credential) = credential {
        let value = format!("Bearer {credential}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    let path = http::uri::PathAndQuery::from_static(path);
    grpc.unary(request, path, Bytes).await.map(tonic::Response::into_inner)
}

/// A connection to `endpoint`, which shows a certificate of `ca_pem`.
pub(crate) async fn channel(endpoint: &str, ca_pem: &str) -> tonic::transport::Channel {
    let dial = Arc::new(keyclave_client::dial::Tls::new(
        &keyclave_client::dial::Anchor::from_pem(ca_pem.as_bytes()).unwrap(),
    ));
    let endpoint: keyclave_client::endpoint::Endpoint = endpoint.parse().unwrap();
    let connect = tower::service_fn(move |_: http::Uri| {
        let dialling = dial.dial(&endpoint);
        async move { dialling.await.map(hyper_util::rt::TokioIo::new) }
    });
    tonic::transport::Endpoint::from_static("http://keyclave").connect_with_connector(connect).await.unwrap()
}
