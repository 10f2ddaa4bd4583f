//! Who may make the server read anything: each call is looked at by its headers before a byte of its body is read.
//!
//! A layer over every service of the network's listeners and of the operator's socket. A caller with a valid
//! credential has the large budget; what answers anyone has small bodies and a small budget of its own; everybody
//! else is refused here, by the pipeline, over a confirmed view and on record. Deliberately absent: who may do what;
//! the pipeline authenticates again, over the view in which it answers.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use keyclave_node::host::Host;
use keyclave_proto::{Rpc, answers_anyone, client_rpc};
use keyclave_types::limits::MESSAGE_BYTES_MAX;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::budget::{Budget, Limits};
use crate::caller::Caller;
use crate::origin::{Arrival, Origin};
use crate::pipeline::{Pipeline, internal};

/// Bytes of a body that answers anyone, or whose sender is not known yet.
const OPEN_BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a body to operators and about keys.
pub(crate) const SMALL_BODY_BYTES_MAX: usize = 256 * 1024;
/// What stands before a message in a body.
const FRAME_BYTES: usize = 5;

/// Calls that answer anyone, and calls whose caller is not known yet.
const OPEN: Limits =
    Limits { calls_max: 256, calls_per_source_max: 64, bytes_max: 4 * 1024 * 1024, body_ms_max: 5_000 };
/// Probes and watches of grpc.health.v1.
const HEALTH: Limits =
    Limits { calls_max: 512, calls_per_source_max: 64, bytes_max: 64 * 1024, body_ms_max: 5_000 };
/// Calls of callers with a valid credential.
const KNOWN: Limits = Limits {
    calls_max: 4_096,
    calls_per_source_max: 4_096,
    bytes_max: 64 * 1024 * 1024,
    body_ms_max: 30_000,
};
/// Calls over the operator's socket.
const LOCAL: Limits =
    Limits { calls_max: 256, calls_per_source_max: 256, bytes_max: 16 * 1024 * 1024, body_ms_max: 30_000 };

/// The budgets of one process. Clones share them.
#[derive(Clone)]
pub(crate) struct Budgets {
    open: Arc<Budget>,
    health: Arc<Budget>,
    known: Arc<Budget>,
    local: Arc<Budget>,
}

impl Budgets {
    /// All free.
    pub(crate) fn new() -> Self {
        Self {
            open: Budget::new(OPEN),
            health: Budget::new(HEALTH),
            known: Budget::new(KNOWN),
            local: Budget::new(LOCAL),
        }
    }
}

/// The layer.
pub(crate) struct Admission<H: Host> {
    pipeline: Pipeline<H>,
    budgets: Budgets,
}

impl<H: Host> Clone for Admission<H> {
    fn clone(&self) -> Self {
        Self { pipeline: self.pipeline.clone(), budgets: self.budgets.clone() }
    }
}

impl<H: Host> Admission<H> {
    /// Lets in whom `pipeline` knows, as far as `budgets` go.
    pub(crate) fn new(pipeline: Pipeline<H>, budgets: Budgets) -> Self {
        Self { pipeline, budgets }
    }
}

impl<H: Host, S> Layer<S> for Admission<H> {
    type Service = Admitting<H, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admitting { admission: self.clone(), inner }
    }
}

/// A service behind the layer.
pub(crate) struct Admitting<H: Host, S> {
    admission: Admission<H>,
    inner: S,
}

impl<H: Host, S: Clone> Clone for Admitting<H, S> {
    fn clone(&self) -> Self {
        Self { admission: self.admission.clone(), inner: self.inner.clone() }
    }
}

impl<H: Host, S> Service<Request<Body>> for Admitting<H, S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let admission = self.admission.clone();
        // The one that was made ready goes; its copy is made ready before the next call.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        Box::pin(async move {
            match admission.admit(request).await {
                Ok((request, held)) => {
                    let answer = inner.call(request).await?;
                    Ok(answer.map(|body| held.answer(body)))
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

impl<H: Host> Admission<H> {
    /// The request as far as it may be read, and what is held for it.
    async fn admit(
        &self,
        request: Request<Body>,
    ) -> Result<(Request<Body>, Arc<crate::budget::Held>), Status> {
        let Some(arrival) = request.extensions().get::<Arrival>().cloned() else {
            return Err(internal("a request came through no listener"));
        };
        let source = arrival.connection.source();
        let begin = |budget: &Arc<Budget>| budget.begin(source, Some(arrival.connection.begin()));
        let path = request.uri().path();
        let rpc = client_rpc(path);
        let (held, bytes_max) = if arrival.origin == Origin::LocalSocket {
            (begin(&self.budgets.local)?, bytes_max(rpc))
        } else if path.starts_with("/grpc.health.v1.Health/") {
            // A watch may last for ever: it keeps no connection from making room for another. But it is a call.
            drop(arrival.connection.begin());
            (self.budgets.health.begin(source, None)?, OPEN_BODY_BYTES_MAX)
        } else if answers_anyone(path) {
            (begin(&self.budgets.open)?, OPEN_BODY_BYTES_MAX)
        } else {
            let caller = Caller::from(arrival.origin, request.headers());
            if !self.pipeline.knows(&caller) {
                // Nothing of the body is read meanwhile.
                let _held = begin(&self.budgets.open)?;
                self.pipeline.confirm_known(&caller, rpc.map_or("Unknown", trail_name)).await?;
            }
            (begin(&self.budgets.known)?, bytes_max(rpc))
        };
        Ok((request.map(|body| held.request(body, bytes_max)), held))
    }
}

fn bytes_max(rpc: Option<&Rpc>) -> usize {
    match rpc.map(|rpc| rpc.service) {
        Some("CryptoService") => MESSAGE_BYTES_MAX + FRAME_BYTES,
        _ => SMALL_BODY_BYTES_MAX + FRAME_BYTES,
    }
}

/// An operation's name in the trail: its method's, but where that says too little alone.
fn trail_name(rpc: &'static Rpc) -> &'static str {
    match rpc.path {
        "/keyclave.v1.AuditService/Search" => "AuditSearch",
        _ => rpc.method,
    }
}
