//! Who may make the server read anything: each call is looked at by its headers before a byte of its body is read.
//!
//! A layer over every service of the network's listeners and of the operator's socket. A caller with a valid
//! credential has the large budget; what answers anyone has small bodies and a small budget of its own; everybody
//! else is refused here, by the pipeline, over a confirmed view and on record. What does not reach its operation, and
//! what comes from another's crate and needs a credential, reflection, is put on record here too. Every call is measured. Deliberately absent: who may do
//! what; the pipeline authenticates again, over the view in which it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use keyclave_node::failure::Failure;
use keyclave_node::host::Host;
use keyclave_policy::Action;
use keyclave_proto::reason::Reason;
use keyclave_proto::status::status;
use keyclave_proto::{Rpc, answers_anyone, client_rpc};
use keyclave_types::limits::MESSAGE_BYTES_MAX;
use keyclave_vault::refusal::Refusal;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::budget::{Budget, Held, Limits, Party};
use crate::caller::Caller;
use crate::metrics::{Measured, Metrics};
use crate::origin::{Arrival, Origin};
use crate::pipeline::{Pipeline, internal};
use crate::receipt::ReceiptPlace;

/// Bytes of a body that answers anyone, or whose sender is not known yet.
pub(crate) const OPEN_BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a body to operators and about keys.
pub(crate) const SMALL_BODY_BYTES_MAX: usize = 256 * 1024;
/// Where the services of other crates lie.
const HEALTH_SERVICE: &str = "/grpc.health.v1.Health/";
const REFLECTION: &str = "/grpc.reflection.";
/// What is in the trail for a method that there is not.
const UNKNOWN: &str = "Unknown";
/// What stands before a message in a body.
const FRAME_BYTES: usize = 5;

/// Calls that answer anyone, and calls whose caller is not known yet.
const OPEN: Limits = Limits {
    calls_max: 256,
    calls_per_source_max: 64,
    bytes_max: 4 * 1024 * 1024,
    bytes_per_party_max: 4 * 1024 * 1024,
    body_ms_max: 5_000,
};
/// Probes of grpc.health.v1.
const HEALTH: Limits = Limits {
    calls_max: 256,
    calls_per_source_max: 64,
    bytes_max: 64 * 1024,
    bytes_per_party_max: 64 * 1024,
    body_ms_max: 5_000,
};
/// Its watches, which stay: however many there are, a probe is answered.
const WATCH: Limits = Limits { calls_per_source_max: 16, ..HEALTH };
/// Calls of callers with a valid credential.
const KNOWN: Limits = Limits {
    calls_max: 4_096,
    calls_per_source_max: 4_096,
    bytes_max: 64 * 1024 * 1024,
    bytes_per_party_max: 16 * 1024 * 1024,
    body_ms_max: 30_000,
};
/// Calls over the operator's socket.
const LOCAL: Limits = Limits {
    calls_max: 256,
    calls_per_source_max: 256,
    bytes_max: 16 * 1024 * 1024,
    bytes_per_party_max: 16 * 1024 * 1024,
    body_ms_max: 30_000,
};

/// The budgets of one process. Clones share them.
#[derive(Clone)]
pub(crate) struct Budgets {
    open: Arc<Budget>,
    health: Arc<Budget>,
    watch: Arc<Budget>,
    known: Arc<Budget>,
    local: Arc<Budget>,
}

impl Budgets {
    /// All free.
    pub(crate) fn new() -> Self {
        Self {
            open: Budget::new(OPEN),
            health: Budget::new(HEALTH),
            watch: Budget::new(WATCH),
            known: Budget::new(KNOWN),
            local: Budget::new(LOCAL),
        }
    }

    /// Kinds of callers, their calls under way, and the bytes of these.
    pub(crate) fn standing(&self) -> [(&'static str, usize, usize); 5] {
        let Self { open, health, watch, known, local } = self;
        [("open", open), ("health", health), ("watch", watch), ("known", known), ("local", local)].map(
            |(caller, budget)| {
                let (calls, bytes) = budget.standing();
                (caller, calls, bytes)
            },
        )
    }
}

/// The layer.
pub(crate) struct Admission<H: Host> {
    pipeline: Pipeline<H>,
    budgets: Budgets,
    metrics: Arc<Metrics>,
}

impl<H: Host> Clone for Admission<H> {
    fn clone(&self) -> Self {
        Self { pipeline: self.pipeline.clone(), budgets: self.budgets.clone(), metrics: self.metrics.clone() }
    }
}

impl<H: Host> Admission<H> {
    /// Lets in whom `pipeline` knows, as far as `budgets` go, and counts in `metrics`.
    pub(crate) fn new(pipeline: Pipeline<H>, budgets: Budgets, metrics: Arc<Metrics>) -> Self {
        Self { pipeline, budgets, metrics }
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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let admission = self.admission.clone();
        // The one that was made ready goes; its copy is made ready before the next call.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        Box::pin(async move {
            let rpc = client_rpc(request.uri().path());
            let mut measured = Measured::begin(&admission.metrics, rpc);
            let receipt = ReceiptPlace::default();
            request.extensions_mut().insert(receipt.clone());
            match admission.admit(request, rpc).await {
                Ok(Admitted { request, held, caller, taken }) => {
                    let answer = inner.call(request).await?;
                    let mut answer = match Status::from_header_map(answer.headers()) {
                        Some(said) if !taken.load(Ordering::Acquire) => {
                            admission.not_taken(&caller, rpc, said).await.into_http()
                        }
                        _ => answer,
                    };
                    receipt.show(answer.headers_mut());
                    measured.saw(answer.headers());
                    Ok(answer.map(|body| held.answer(body, measured)))
                }
                Err(status) => {
                    measured.refused(&status);
                    let mut answer = status.into_http();
                    receipt.show(answer.headers_mut());
                    Ok(answer)
                }
            }
        })
    }
}

/// A call that may go on.
struct Admitted {
    /// The request as far as it may be read.
    request: Request<Body>,
    /// What is held for it.
    held: Arc<Held>,
    caller: Caller,
    /// Whether its operation has the whole message, and with it the answer and its record.
    taken: Arc<AtomicBool>,
}

/// In a request's extensions: what is set once its operation has it.
#[derive(Clone)]
pub(crate) struct Taking(Arc<AtomicBool>);

impl Taking {
    /// From here on, what is answered is on record.
    pub(crate) fn taken(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl<H: Host> Admission<H> {
    async fn admit(&self, mut request: Request<Body>, rpc: Option<&'static Rpc>) -> Result<Admitted, Status> {
        let Some(arrival) = request.extensions().get::<Arrival>().cloned() else {
            return Err(internal("a request came through no listener"));
        };
        let source = arrival.connection.source();
        let begin =
            |budget: &Arc<Budget>, party| budget.begin(source, party, Some(arrival.connection.begin()));
        let uri = request.uri().clone();
        let path = uri.path();
        // Taken out, because a body may not be shared between threads while somebody waits.
        let mut caller = Caller::arrived(&arrival, request.headers());
        caller.receipt = request.extensions().get().cloned().unwrap_or_default();
        let (held, bytes_max) = if path.starts_with(REFLECTION) {
            let held = begin(&self.budgets.open, None)?;
            self.pipeline.ask(&caller, Action::Reflect, "Reflect", |_, _| ()).await?;
            arrival.connection.know();
            (held, OPEN_BODY_BYTES_MAX)
        } else if arrival.origin == Origin::LocalSocket {
            (begin(&self.budgets.local, None)?, bytes_max(rpc))
        } else if path.starts_with(HEALTH_SERVICE) {
            // A watch keeps no connection from making room for another. But it is a call.
            drop(arrival.connection.begin());
            let budget = if path.ends_with("/Watch") { &self.budgets.watch } else { &self.budgets.health };
            (budget.begin(source, None, None)?, OPEN_BODY_BYTES_MAX)
        } else if answers_anyone(path) {
            (begin(&self.budgets.open, None)?, OPEN_BODY_BYTES_MAX)
        } else {
            let party = self.known_party(&caller, rpc, || begin(&self.budgets.open, None)).await?;
            arrival.connection.know();
            if claims_an_identity(request.headers()) {
                return Err(self.refuse_claim(&caller, rpc).await);
            }
            (begin(&self.budgets.known, Some(party))?, bytes_max(rpc))
        };
        // Other crates' services take what is theirs to take: a probe is not on record, reflection is already.
        let others = path.starts_with(REFLECTION) || path.starts_with(HEALTH_SERVICE);
        let taken = Arc::new(AtomicBool::new(others));
        request.extensions_mut().insert(Taking(taken.clone()));
        let request = request.map(|body| held.request(body, bytes_max));
        Ok(Admitted { request, held, caller, taken })
    }

    /// The answer to a call that did not reach its operation: refused by the framework, or cut off by its budget.
    async fn not_taken(&self, caller: &Caller, rpc: Option<&'static Rpc>, said: Status) -> Status {
        let operation = rpc.map_or(UNKNOWN, trail_name);
        self.pipeline
            .not_taken(caller, operation, rpc.map_or(Action::Reflect, action), in_our_words(said))
            .await
    }

    /// Says, over a confirmed view and on record, that nobody is named by headers.
    async fn refuse_claim(&self, caller: &Caller, rpc: Option<&'static Rpc>) -> Status {
        let text = "a header claims an identity; callers are known by their token and their connection alone";
        let claimed = status(Reason::IdentityInMetadata, text, Default::default());
        let said =
            self.pipeline.said::<()>(caller, rpc.map_or(UNKNOWN, trail_name), Action::Reflect, &claimed);
        said.await.map_or_else(|status| status, |_| claimed)
    }

    /// Whom the caller's credential speaks for; nothing of the body is read meanwhile.
    async fn known_party(
        &self,
        caller: &Caller,
        rpc: Option<&'static Rpc>,
        wait: impl FnOnce() -> Result<Arc<Held>, Status>,
    ) -> Result<Party, Status> {
        if let Some(party) = self.pipeline.party(caller) {
            return Ok(party);
        }
        let _held = wait()?;
        if caller.has_credential() {
            self.pipeline.room_for_failure(caller)?;
        }
        let action = rpc.map_or(Action::Reflect, action);
        let known = self.pipeline.confirm_known(caller, action, rpc.map_or(UNKNOWN, trail_name)).await;
        if known.as_ref().is_err_and(|status| status.code() == Code::Unauthenticated)
            && caller.has_credential()
        {
            self.pipeline.note_failure(caller);
        }
        known?;
        // A view that is confirmed to know it may be a later one than the first; a token may end meanwhile.
        self.pipeline.party(caller).ok_or_else(|| Failure::Refused(Refusal::Unauthenticated).into_status())
    }
}

/// Headers by which proxies name the caller that they have authenticated, and all that look like ours. None of them is
/// read; who sends one believes that it counts, and is told.
const CLAIMING: [&str; 8] = [
    "x-forwarded-client-cert",
    "x-forwarded-user",
    "x-remote-user",
    "x-authenticated-user",
    "x-client-cert",
    "x-client-identity",
    "x-spiffe-id",
    "ssl-client-cert",
];

fn claims_an_identity(headers: &http::HeaderMap) -> bool {
    let ours = |name: &str| name.starts_with("keyclave-") || name.starts_with("x-keyclave-");
    headers.keys().any(|name| CLAIMING.contains(&name.as_str()) || ours(name.as_str()))
}

/// What the framework says of a message that it did not take, with the codes and reasons that we promise. Its own
/// refusals are told by having no details, which each of ours has.
fn in_our_words(said: Status) -> Status {
    let (reason, text) = match said.code() {
        _ if !said.details().is_empty() => return said,
        Code::OutOfRange => (Reason::MessageMax, "the message is too large"),
        // A frame or a message that does not decode, or none: nothing of ours has run that could have failed.
        Code::Internal => (Reason::InvalidField, "the bytes are no message of this method"),
        _ => return said,
    };
    status(reason, text, Default::default())
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

/// What an RPC asks for. Reflection, which any credential allows, for one that is not known here.
fn action(rpc: &'static Rpc) -> Action {
    match rpc.method {
        "CreateToken" => Action::CreateToken,
        "RevokeToken" => Action::RevokeToken,
        "ListTokens" => Action::ListTokens,
        "Search" | "GetTrails" => Action::ReadAudit,
        "HoldTrail" | "ReleaseTrail" | "RetainTrail" => Action::KeepTrail,
        "AcknowledgeTrail" => Action::AcknowledgeTrail,
        "Init" => Action::Init,
        "GetClusterStatus" => Action::ClusterStatus,
        "Join" => Action::Join,
        "CreateJoinToken" => Action::CreateJoinToken,
        "ListMembers" => Action::ListMembers,
        "RemoveMember" => Action::RemoveMember,
        "SetMemberAddress" => Action::ChangeAddress,
        "StepDown" => Action::StepDown,
        "AcceptTime" => Action::AcceptTime,
        "Encrypt" | "BatchEncrypt" => Action::Encrypt,
        "Decrypt" | "BatchDecrypt" => Action::Decrypt,
        "CreateKey" => Action::CreateKey,
        "GetKey" => Action::GetKey,
        "ListKeys" => Action::ListKeys,
        "UpdateKey" => Action::UpdateKey,
        "RotateKey" => Action::RotateKey,
        "EnableKey" => Action::EnableKey,
        "DisableKey" => Action::DisableKey,
        "PutSubject" | "RemoveSubject" | "PutGroup" | "RemoveGroup" | "PutClientRoot"
        | "RemoveClientRoot" | "PutIssuer" | "RemoveIssuer" | "PutIdentity" | "RemoveIdentity" => {
            Action::ChangeIdentities
        }
        "RenewToken" => Action::RenewToken,
        "Login" => Action::Login,
        "ListClientRoots" | "ListIssuers" | "ListIdentities" => Action::ReadAccess,
        "RevokeCredentials" => Action::RevokeToken,
        "PutPolicy" | "RemovePolicy" => Action::ChangePolicies,
        "ListSubjects" | "ListGroups" | "ListPolicies" | "GetPolicy" | "Explain" | "WhoCan" => {
            Action::ReadAccess
        }
        "DestroyKeyVersion" => Action::DestroyKeyVersion,
        "GetSealStatus" => Action::SealStatus,
        "SubmitShare" | "ResetCeremony" => Action::SubmitShare,
        "SealNode" => Action::SealNode,
        "Admit" => Action::Admit,
        "GetCode" => Action::ShowCode,
        "SealThisNode" => Action::SealThisNode,
        _ => Action::Reflect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_that_clients_see_has_a_class_in_the_trail() {
        for rpc in keyclave_proto::client_rpcs() {
            assert_ne!(action(rpc), Action::Reflect, "{}", rpc.path);
        }
    }
}
