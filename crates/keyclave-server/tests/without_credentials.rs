//! Every RPC of the descriptor without a credential, with a wrong one, and with a revoked one: nothing is answered
//! that the design does not list. A new RPC without a place here fails the test.

mod support;

use std::sync::Arc;

use keyclave_client::dial::Dial;
use keyclave_proto::status::Details;
use support::cluster;
use tonic::Code;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// What may be answered without a credential: their bodies say nothing, or are the credential.
const OPEN: [&str; 4] = [
    "/keyclave.v1.SealService/GetSealStatus",
    "/keyclave.v1.SealService/SubmitShare",
    "/keyclave.v1.SealService/ResetCeremony",
    "/keyclave.v1.ClusterService/Join",
];

/// An empty message, whatever the method takes.
#[derive(Clone, Default)]
struct Empty;

impl Codec for Empty {
    type Encode = ();
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Empty {
    type Item = ();
    type Error = tonic::Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        Ok(())
    }
}

impl Decoder for Empty {
    type Item = ();
    type Error = tonic::Status;

    fn decode(&mut self, _: &mut DecodeBuf<'_>) -> Result<Option<()>, tonic::Status> {
        Ok(Some(()))
    }
}

async fn call(
    channel: tonic::transport::Channel,
    path: &'static str,
    credential: Option<&str>,
) -> Result<(), tonic::Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| tonic::Status::unknown(error.to_string()))?;
    let mut request = tonic::Request::new(());
    if let Some(credential) = credential {
        let value = format!("Bearer {credential}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let path = http::uri::PathAndQuery::from_static(path);
    grpc.unary(request, path, Empty).await.map(|_| ())
}
