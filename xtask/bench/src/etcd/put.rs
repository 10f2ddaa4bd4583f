//! The two calls of etcd's API that are needed, over the same gRPC and TLS as Keyclave's clients.
//!
//! Messages are written and read by hand: `etcdserverpb.PutRequest` is `key = 1`, `value = 2`; `StatusResponse` has
//! `header = 1` (whose `member_id` is 2) and `leader = 4`.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{IpAddr, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tower::service_fn;

/// Bytes of each value, about as much as the record of a key.
pub(crate) const VALUE_BYTES: usize = 256;

/// A connection of its own, made by the first call.
pub(super) fn connect(port: u16, config: Arc<ClientConfig>) -> Channel {
    let connector = TlsConnector::from(config);
    Endpoint::from_static("https://127.0.0.1").connect_with_connector_lazy(service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::IpAddress(IpAddr::from(std::net::IpAddr::from([127, 0, 0, 1])));
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    }))
}

/// Puts one value under `key`.
pub(super) async fn put(channel: Channel, key: &[u8]) -> Result<(), Status> {
    let mut message = Vec::with_capacity(key.len() + VALUE_BYTES + 8);
    field(&mut message, 1, key);
    field(&mut message, 2, &[7; VALUE_BYTES]);
    call(channel, "/etcdserverpb.KV/Put", message.into()).await.map(|_| ())
}

/// Whether the node asked is the leader.
pub(super) async fn leads(channel: Channel) -> Result<bool, Status> {
    let status = call(channel, "/etcdserverpb.Maintenance/Status", Bytes::new()).await?;
    let header = find(&status, 1);
    let me = match header {
        Some(Found::Bytes(header)) => find(&header, 2),
        Some(Found::Number(_)) | None => None,
    };
    Ok(me.is_some() && me == find(&status, 4))
}

async fn call(channel: Channel, path: &'static str, message: Bytes) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let response = client.unary(Request::new(message), PathAndQuery::from_static(path), AsTheyAre).await?;
    Ok(response.into_inner())
}

/// Messages as bytes.
#[derive(Clone, Copy, Default)]
struct AsTheyAre;

impl Codec for AsTheyAre {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for AsTheyAre {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for AsTheyAre {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Appends a length-delimited field.
fn field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        message.push(length as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(bytes);
}

/// One field's value.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Number(u64),
    Bytes(Bytes),
}

/// The first field of that number; none if there is none or the message is cut.
fn find(message: &Bytes, wanted: u64) -> Option<Found> {
    let mut rest = message.clone();
    while rest.has_remaining() {
        let tag = number(&mut rest)?;
        let found = match tag & 7 {
            0 => Found::Number(number(&mut rest)?),
            2 => {
                let length = usize::try_from(number(&mut rest)?).ok()?;
                (length <= rest.remaining()).then(|| Found::Bytes(rest.copy_to_bytes(length)))?
            }
            _ => return None,
        };
        if tag >> 3 == wanted {
            return Some(found);
        }
    }
    None
}

fn number(rest: &mut Bytes) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = rest.has_remaining().then(|| rest.get_u8())?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_is_written_as_protocol_buffers_have_it() {
        let mut message = Vec::new();
        field(&mut message, 1, b"k");
        field(&mut message, 2, &[7; 300]);
        assert_eq!(message.get(..6), Some(&[0x0a, 1, b'k', 0x12, 0xac, 0x02][..]));
        assert_eq!(message.len(), 306);
        assert_eq!(find(&message.into(), 2), Some(Found::Bytes(Bytes::from_static(&[7; 300]))));
    }

    #[test]
    fn a_cut_message_has_no_field() {
        let whole = Bytes::from_static(&[0x08, 0x96, 0x01, 0x12, 2, 1, 2]);
        assert_eq!(find(&whole, 1), Some(Found::Number(150)));
        assert_eq!(find(&whole.slice(..6), 2), None);
        assert_eq!(find(&whole.slice(..2), 1), None);
        assert_eq!(find(&whole, 3), None);
    }
}
