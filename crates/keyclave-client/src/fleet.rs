//! The endpoints of one cluster: a connection to each, made when first needed, and a memory of which ones failed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint as HttpEndpoint};
use tower::service_fn;

use crate::dial::Dial;
use crate::endpoint::Endpoint;

/// How long an endpoint is asked last after its first failure; doubled with each further one.
const REST_MS_MIN: u64 = 250;
/// The longest such rest.
const REST_MS_MAX: u64 = 15_000;
/// HTTP/2 pings on a connection with calls under way, so that a dead one is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How long such a ping may go unanswered.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Fleet {
    nodes: Vec<Node>,
    /// The one that answered last: asked first as long as it does.
    preferred: AtomicUsize,
    dial: Arc<dyn Dial>,
}

struct Node {
    endpoint: Endpoint,
    channel: OnceLock<Channel>,
    health: Mutex<Health>,
}

#[derive(Clone, Copy, Default)]
struct Health {
    failures: u32,
    rests_until: Option<Instant>,
}

impl Fleet {
    pub(crate) fn new(endpoints: Vec<Endpoint>, dial: Arc<dyn Dial>) -> Self {
        let node = |endpoint| Node { endpoint, channel: OnceLock::new(), health: Mutex::default() };
        Self { nodes: endpoints.into_iter().map(node).collect(), preferred: AtomicUsize::new(0), dial }
    }

    /// All endpoints in the order in which to ask them: the preferred one and those after it, the resting ones last.
    pub(crate) fn order(&self) -> Vec<Member<'_>> {
        let now = Instant::now();
        let preferred = self.preferred.load(Ordering::Relaxed);
        let turned = (0..self.nodes.len()).map(|step| (preferred + step) % self.nodes.len());
        let mut members: Vec<_> =
            turned.filter_map(|at| Some(Member { fleet: self, at, node: self.nodes.get(at)? })).collect();
        // A stable sort: within both groups the order stays.
        members.sort_by_key(|member| member.node.health().rests_until.is_some_and(|until| until > now));
        members
    }
}

/// One endpoint of the fleet.
#[derive(Clone, Copy)]
pub(crate) struct Member<'a> {
    fleet: &'a Fleet,
    at: usize,
    node: &'a Node,
}

impl Member<'_> {
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.node.endpoint
    }

    /// The connection; made anew by itself whenever it breaks. Must be called on a runtime.
    pub(crate) fn channel(&self) -> Channel {
        self.node.channel.get_or_init(|| channel(&self.node.endpoint, &self.fleet.dial)).clone()
    }

    /// It answered, if only with a refusal that any node would have given.
    pub(crate) fn answered(&self) {
        *self.node.lock() = Health::default();
        self.fleet.preferred.store(self.at, Ordering::Relaxed);
    }

    /// It did not, or cannot at present: others are asked first for a while.
    pub(crate) fn failed(&self) {
        let mut health = self.node.lock();
        let rest_ms = REST_MS_MIN.saturating_mul(1 << health.failures.min(6)).min(REST_MS_MAX);
        health.failures = health.failures.saturating_add(1);
        health.rests_until = Some(Instant::now() + Duration::from_millis(rest_ms));
    }
}

impl Node {
    fn lock(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn health(&self) -> Health {
        *self.lock()
    }
}

fn channel(endpoint: &Endpoint, dial: &Arc<dyn Dial>) -> Channel {
    let (dialled, dial) = (endpoint.clone(), Arc::clone(dial));
    HttpEndpoint::from_shared(endpoint.origin())
        .expect("a parsed host and port, or localhost, is a URI")
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .connect_with_connector_lazy(service_fn(move |_| {
            let dialling = dial.dial(&dialled);
            async move { dialling.await.map(TokioIo::new) }
        }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::LocalSocket;

    fn fleet() -> Fleet {
        let endpoints = ["https://a:1", "https://b:1", "https://c:1"].map(|text| text.parse().unwrap());
        Fleet::new(endpoints.to_vec(), Arc::new(LocalSocket))
    }

    fn order(fleet: &Fleet) -> String {
        fleet.order().iter().map(|member| member.endpoint().address().unwrap().host()).collect()
    }

    fn member<'a>(fleet: &'a Fleet, host: &str) -> Member<'a> {
        let found = fleet.order().into_iter().find(|m| m.endpoint().address().unwrap().host() == host);
        found.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_endpoint_that_answered_last_is_asked_first() {
        let fleet = fleet();
        assert_eq!(order(&fleet), "abc");
        member(&fleet, "b").answered();
        assert_eq!(order(&fleet), "bca");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_endpoint_is_asked_last_for_a_while() {
        let fleet = fleet();
        member(&fleet, "a").failed();
        assert_eq!(order(&fleet), "bca");
        tokio::time::advance(Duration::from_millis(REST_MS_MIN + 1)).await;
        assert_eq!(order(&fleet), "abc");
        member(&fleet, "a").failed();
        tokio::time::advance(Duration::from_millis(REST_MS_MIN + 1)).await;
        assert_eq!(order(&fleet), "bca", "the second rest is longer");
        member(&fleet, "a").answered();
        assert_eq!(order(&fleet), "abc");
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_have_failed_all_are_still_asked() {
        let fleet = fleet();
        for host in ["a", "b", "c"] {
            for _ in 0..100 {
                member(&fleet, host).failed();
            }
        }
        assert_eq!(order(&fleet).len(), 3);
        tokio::time::advance(Duration::from_millis(REST_MS_MAX + 1)).await;
        assert_eq!(order(&fleet), "abc");
    }
}
