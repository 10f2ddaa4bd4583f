//! The client: a cheap handle on one cluster, and the three ways in which it asks.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyclave_crypto::entropy::Entropy;
use keyclave_proto::reason::Reason;
use keyclave_proto::request::Invalid;
use keyclave_proto::v1;
use keyclave_types::ids::RequestId;
use keyclave_types::position::Position;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use crate::builder::Builder;
use crate::call::{Failure, Repeat};
use crate::error::{OnceError, ReadError, WriteError};
use crate::fleet::Fleet;
use crate::receipts::Receipts;
use crate::seen::Seen;
use crate::wire::{self, Positioned};

/// One cluster, seen from outside. Cheap to clone; clones share connections and the position seen.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: Settings,
}

pub(crate) struct Shared {
    pub(crate) fleet: Fleet,
    pub(crate) seen: Seen,
    pub(crate) entropy: Mutex<Entropy>,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) token: Option<Arc<Zeroizing<String>>>,
    pub(crate) deadline: Duration,
    pub(crate) request_id: Option<RequestId>,
    pub(crate) receipts: Option<Receipts>,
}

/// A value, and the position that it reflects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer<T> {
    /// The value.
    pub value: T,
    /// Where the ledger stood.
    pub position: Position,
}

impl Client {
    /// A client of the given endpoints; see [`Builder`].
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// A handle whose calls end after `deadline`.
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        let settings = Settings { deadline, ..self.settings.clone() };
        Self { shared: Arc::clone(&self.shared), settings }
    }

    /// A handle whose writes all carry `request_id`: for repeating one write whose outcome was unknown.
    pub fn with_request_id(&self, request_id: RequestId) -> Self {
        let settings = Settings { request_id: Some(request_id), ..self.settings.clone() };
        Self { shared: Arc::clone(&self.shared), settings }
    }

    /// The highest position that this client has seen.
    pub fn position(&self) -> Option<Position> {
        self.shared.seen.position()
    }

    /// Takes a position from elsewhere as seen: answers from then on are not older. Another generation than the
    /// one seen is refused.
    pub fn see(&self, position: Position) -> Result<(), crate::error::OtherGeneration> {
        self.shared.seen.note(position)
    }

    /// Accepts that the cluster was restored: forgets the position, and so takes the next answer's as the first.
    pub fn forget_position(&self) {
        self.shared.seen.forget();
    }

    pub(crate) fn floor(&self) -> Option<v1::Position> {
        self.shared.seen.floor()
    }

    pub(crate) fn until(&self) -> Instant {
        Instant::now() + self.settings.deadline
    }

    pub(crate) fn jitter(&self) -> u8 {
        let [byte] = self.random();
        byte
    }

    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        self.shared.entropy.lock().unwrap_or_else(PoisonError::into_inner).array()
    }

    /// Asks what changes nothing.
    pub(crate) async fn read<Req, Res, F, Fut>(&self, request: Req, send: F) -> Result<Res, ReadError>
    where
        Req: Clone,
        Res: Positioned,
        F: Fn(Channel, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        Ok(self.call(self.until(), Repeat::Always, request, send).await?)
    }

    /// Asks what must not be sent again once it may have been done.
    pub(crate) async fn once<Req, Res, F, Fut>(&self, request: Req, send: F) -> Result<Res, OnceError>
    where
        Req: Clone,
        Res: Positioned,
        F: Fn(Channel, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        Ok(self.call(self.until(), Repeat::UnlessMaybeDone, request, send).await?)
    }

    /// Writes under one request id. Only if the very first attempts were refused because the id is too old for the
    /// ledger, so that nothing was done under it, is the write sent once more under a younger one.
    pub(crate) async fn write<Req, Res, M, F, Fut>(&self, make: M, send: F) -> Result<Res, WriteError>
    where
        Req: Clone,
        Res: Positioned,
        M: Fn(Vec<u8>, Option<v1::Position>) -> Req,
        F: Fn(Channel, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        let until = self.until();
        let (id, ours) = match self.settings.request_id {
            Some(given) => (given, false),
            None => (self.fresh_id(until).await, true),
        };
        let made = || make(id.as_bytes().to_vec(), self.floor());
        let failure = match self.call(until, Repeat::Always, made(), &send).await {
            Ok(response) => return Ok(response),
            Err(failure) => failure,
        };
        if !(ours && is_too_old(&failure)) {
            return Err(WriteError::of(failure, id));
        }
        self.look(until).await;
        let id = self.id_of_now();
        let request = make(id.as_bytes().to_vec(), self.floor());
        self.call(until, Repeat::Always, request, &send).await.map_err(|failure| WriteError::of(failure, id))
    }

    /// An id that begins with the position seen. A client that has seen none asks for one first, because an id from
    /// before the ledger's horizon is refused.
    async fn fresh_id(&self, until: Instant) -> RequestId {
        if self.position().is_none() {
            self.look(until).await;
        }
        self.id_of_now()
    }

    fn id_of_now(&self) -> RequestId {
        RequestId::at(self.position().map_or(0, |position| position.index), self.random())
    }

    /// Asks where the ledger stands. Whatever is wrong shows at the write that follows.
    async fn look(&self, until: Instant) {
        let send = |channel, request| async move { wire::seal(channel).get_seal_status(request).await };
        let _ = self.call(until, Repeat::Always, v1::GetSealStatusRequest {}, send).await;
    }
}

/// Whether a write was refused for its old id, and no earlier attempt may have been done under it.
fn is_too_old(failure: &Failure) -> bool {
    match failure {
        Failure::Refused { refusal, maybe_done: false, .. } => {
            refusal.known_reason() == Some(Reason::RequestIdOld)
        }
        Failure::Refused { .. }
        | Failure::Sealed
        | Failure::NoAnswer { .. }
        | Failure::OtherGeneration(_) => false,
    }
}

/// An answer out of a response.
pub(crate) fn answer<Res, T>(
    response: Res,
    parse: impl FnOnce(Res) -> Result<T, Invalid>,
) -> Result<Answer<T>, Invalid>
where
    Res: Positioned,
{
    let position = wire::required(response.position(), "position")?.into();
    Ok(Answer { value: parse(response)?, position })
}
