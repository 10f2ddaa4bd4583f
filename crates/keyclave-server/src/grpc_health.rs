//! grpc.health.v1 for foreign probes: NOT_SERVING while the node is sealed, vacant or failing, for the server as a
//! whole (`""`) and for each of its services; but what unseals a node is served while it is sealed.
//!
//! By the protocol's own rules: `Check` of an unknown service is NOT_FOUND, `Watch` of one says SERVICE_UNKNOWN and
//! goes on. A watch ends after a while, and whoever still wants to know asks again; [`crate::admission`] bounds how
//! many there are.

use std::pin::Pin;
use std::time::Duration;

use futures::StreamExt;
use keyclave_proto::client_rpcs;
use tokio_stream::Stream;
use tokio_stream::wrappers::IntervalStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::health::{Health as State, Healths};

/// The service that is there to unseal.
const SEAL_SERVICE: &str = "keyclave.v1.SealService";

/// How often a watch looks.
const LOOK_MS: u64 = 250;
/// How long a watch goes on.
const WATCH_MS_MAX: u64 = 10 * 60_000;

/// The service.
pub(crate) struct GrpcHealth {
    healths: Healths,
}

impl GrpcHealth {
    /// Says what `healths` say.
    pub(crate) fn new(healths: Healths) -> Self {
        Self { healths }
    }
}

#[tonic::async_trait]
impl Health for GrpcHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match status(&request.get_ref().service, self.healths.now()) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("there is no such service")),
            known => Ok(Response::new(HealthCheckResponse { status: known.into() })),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let mut said = None;
        let healths = self.healths.clone();
        let looks = IntervalStream::new(tokio::time::interval(Duration::from_millis(LOOK_MS)));
        let changes = looks.filter_map(move |_| {
            let now = status(&service, healths.now());
            let changed = said.replace(now) != Some(now);
            std::future::ready(changed.then(|| Ok(HealthCheckResponse { status: now.into() })))
        });
        let over = tokio::time::sleep(Duration::from_millis(WATCH_MS_MAX));
        Ok(Response::new(Box::pin(changes.take_until(over))))
    }
}

fn status(service: &str, state: State) -> ServingStatus {
    let known = service.is_empty()
        || client_rpcs().any(|rpc| {
            service.strip_prefix(rpc.package).and_then(|rest| rest.strip_prefix('.')) == Some(rpc.service)
        });
    match state {
        _ if !known => ServingStatus::ServiceUnknown,
        _ if service == SEAL_SERVICE => ServingStatus::Serving,
        State::Unsealed => ServingStatus::Serving,
        State::Sealed | State::Vacant | State::Failing => ServingStatus::NotServing,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A state to be set, and the service that says it.
    fn health(first: State) -> (Arc<Mutex<State>>, GrpcHealth) {
        let state = Arc::new(Mutex::new(first));
        let asked = state.clone();
        (state, GrpcHealth::new(Healths::new(move || *asked.lock().unwrap())))
    }

    fn ask(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: service.to_owned() })
    }

    async fn check(health: &GrpcHealth, service: &str) -> i32 {
        health.check(ask(service)).await.unwrap().into_inner().status
    }

    #[tokio::test]
    async fn sealed_is_not_serving_but_for_what_unseals() {
        let (state, health) = health(State::Sealed);
        let (serving, not) = (ServingStatus::Serving as i32, ServingStatus::NotServing as i32);
        for service in ["", "keyclave.v1.KeyService", "keyclave.v1.CryptoService"] {
            assert_eq!(check(&health, service).await, not, "{service:?}");
        }
        assert_eq!(check(&health, SEAL_SERVICE).await, serving);
        *state.lock().unwrap() = State::Unsealed;
        for service in ["", "keyclave.v1.KeyService", SEAL_SERVICE] {
            assert_eq!(check(&health, service).await, serving, "{service:?}");
        }
        for unknown in ["keyclave.v1.KeyServic", "keyclave.v1.", "keyclave.peer.v1.RaftService", "x"] {
            assert_eq!(health.check(ask(unknown)).await.unwrap_err().code(), tonic::Code::NotFound);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_says_how_it_stands_and_then_every_change_once() {
        let (state, health) = health(State::Sealed);
        let mut overall = health.watch(ask("")).await.unwrap().into_inner();
        let mut next = async || overall.next().await.unwrap().unwrap().status;
        assert_eq!(next().await, ServingStatus::NotServing as i32);
        *state.lock().unwrap() = State::Failing;
        tokio::time::advance(Duration::from_secs(5)).await;
        *state.lock().unwrap() = State::Unsealed;
        assert_eq!(next().await, ServingStatus::Serving as i32);
        *state.lock().unwrap() = State::Sealed;
        assert_eq!(next().await, ServingStatus::NotServing as i32);
        let mut unknown = health.watch(ask("x")).await.unwrap().into_inner();
        let first = unknown.next().await.unwrap().unwrap().status;
        assert_eq!(first, ServingStatus::ServiceUnknown as i32);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_ends() {
        let (_, health) = health(State::Unsealed);
        let watch = health.watch(ask("")).await.unwrap().into_inner();
        let begun = tokio::time::Instant::now();
        assert_eq!(watch.count().await, 1);
        assert_eq!(begun.elapsed(), Duration::from_millis(WATCH_MS_MAX));
    }
}
