//! The product's client over the simulated network: plain TCP in the place of TLS.

use std::sync::Arc;
use std::time::Duration;

use keyclave_client::dial::{Dial, DialError, Dialling};
use keyclave_client::endpoint::Endpoint;
use keyclave_client::{BuildError, Client};
use keyclave_crypto::entropy::Entropy;
use turmoil::net::TcpStream;

use super::machine::seed_of;
use crate::sim::identity::address;

/// Where every node listens for callers.
pub const CLIENT_PORT: u16 = 7420;

/// A client of these nodes, which asks them in this order; its calls end after `limit_ms`.
pub fn client_of(
    nodes: impl IntoIterator<Item = u64>,
    token: Option<&str>,
    limit_ms: u64,
    seed: u64,
) -> Result<Client, BuildError> {
    let endpoints = nodes.into_iter().filter_map(|node| address(node, CLIENT_PORT)).map(Endpoint::from);
    let builder = Client::builder()
        .endpoints(endpoints)
        .dial(Arc::new(Plain))
        .entropy(Entropy::from_seed(seed_of(seed, 0)))
        .deadline(Duration::from_millis(limit_ms));
    token.into_iter().fold(builder, |builder, token| builder.token(token)).build()
}

/// Believes whoever answers: there is nobody else on this network.
struct Plain;

impl Dial for Plain {
    fn dial(&self, endpoint: &Endpoint) -> Dialling {
        let address = endpoint.address().cloned();
        Box::pin(async move {
            let address = address.ok_or(DialError::Way)?;
            let stream = TcpStream::connect((address.host(), address.port())).await;
            let stream = stream.map_err(|error| DialError::Connect(Arc::new(error)))?;
            Ok(Box::new(stream) as Box<dyn keyclave_client::dial::Stream>)
        })
    }
}
