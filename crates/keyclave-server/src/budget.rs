//! How much of the process's memory calls may take before and while they are answered: calls under way and bytes of
//! their bodies, for each kind of caller apart, so that no stranger uses up what is there for the known.
//!
//! Called by admission. A call keeps what it took until its answer has been sent.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use keyclave_policy::Principal;
use keyclave_proto::reason::Reason;
use keyclave_proto::status::status;
use keyclave_types::access::Subject;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;

use crate::connections::{Source, UnderWay};
use crate::metrics::Measured;

/// What one kind of caller may use, all of them together.
pub(crate) struct Budget {
    limits: Limits,
    calls: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    per_source: Mutex<BTreeMap<Source, usize>>,
    /// Bytes of bodies by whom the credential speaks for.
    per_party: Mutex<BTreeMap<Party, usize>>,
}

/// Whom a credential speaks for, all of that one's tokens together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Party {
    /// A subject.
    Subject(Subject),
}

impl Party {
    /// Whom `principal` is. None for who has shown no credential.
    pub(crate) fn of(principal: &Principal) -> Option<Self> {
        match principal {
            Principal::Subject { subject, .. } => Some(Self::Subject(subject.clone())),
            Principal::LocalSocket | Principal::Member(_) | Principal::Unauthenticated => None,
        }
    }
}

/// How much that is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Calls under way.
    pub(crate) calls_max: usize,
    /// Calls under way from one source.
    pub(crate) calls_per_source_max: usize,
    /// Bytes of bodies, of all calls under way.
    pub(crate) bytes_max: usize,
    /// Those of one party.
    pub(crate) bytes_per_party_max: usize,
    /// How long the whole of a body may take to arrive.
    pub(crate) body_ms_max: u64,
}

/// What one call holds.
pub(crate) struct Held {
    budget: Arc<Budget>,
    source: Source,
    party: Option<Party>,
    _call: OwnedSemaphorePermit,
    bytes: Mutex<Option<OwnedSemaphorePermit>>,
    under_way: Option<UnderWay>,
}

impl Budget {
    /// Everything of it is free.
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            calls: Arc::new(Semaphore::new(limits.calls_max)),
            bytes: Arc::new(Semaphore::new(limits.bytes_max)),
            per_source: Mutex::default(),
            per_party: Mutex::default(),
        })
    }

    /// Calls under way, and bytes of their bodies.
    pub(crate) fn standing(&self) -> (usize, usize) {
        let Limits { calls_max, bytes_max, .. } = self.limits;
        let (calls, bytes) = (self.calls.available_permits(), self.bytes.available_permits());
        (calls_max.saturating_sub(calls), bytes_max.saturating_sub(bytes))
    }

    /// Begins one call from `source`, by `party` if that is known; `under_way` keeps its connection from being idle.
    pub(crate) fn begin(
        self: &Arc<Self>,
        source: Source,
        party: Option<Party>,
        under_way: Option<UnderWay>,
    ) -> Result<Arc<Held>, Status> {
        let call = self.calls.clone().try_acquire_owned().map_err(|_| overloaded("calls"))?;
        let mut per_source = self.per_source.lock().unwrap_or_else(PoisonError::into_inner);
        let count = per_source.entry(source).or_default();
        if *count >= self.limits.calls_per_source_max {
            return Err(overloaded("calls from one source"));
        }
        *count += 1;
        drop(per_source);
        Ok(Arc::new(Held {
            budget: self.clone(),
            source,
            party,
            _call: call,
            bytes: Mutex::default(),
            under_way,
        }))
    }
}

fn overloaded(what: &str) -> Status {
    status(Reason::Overloaded, &format!("too many {what} are under way"), BTreeMap::new())
}

impl Held {
    fn take(&self, bytes: usize) -> Result<(), Status> {
        let wanted = u32::try_from(bytes).map_err(|_| overloaded("bytes"))?;
        let more =
            self.budget.bytes.clone().try_acquire_many_owned(wanted).map_err(|_| overloaded("bytes"))?;
        if let Some(party) = &self.party {
            let mut per_party = self.budget.per_party.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = per_party.get(party).copied().unwrap_or_default().saturating_add(bytes);
            if taken > self.budget.limits.bytes_per_party_max {
                return Err(overloaded("bytes of one caller"));
            }
            per_party.insert(party.clone(), taken);
        }
        let mut held = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_mut() {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }

    /// A request's body, of which at most `bytes_max` arrive, in the budget's time.
    pub(crate) fn request(self: &Arc<Self>, body: Body, bytes_max: usize) -> Body {
        let limit = Duration::from_millis(self.budget.limits.body_ms_max);
        Body::new(Arriving {
            body,
            held: self.clone(),
            left: bytes_max,
            deadline: Some(Box::pin(tokio::time::sleep(limit))),
        })
    }

    /// An answer's body, until whose end everything is held and measured.
    pub(crate) fn answer(self: Arc<Self>, body: Body, measured: Measured) -> Body {
        if let Some(under_way) = &self.under_way {
            under_way.answered();
        }
        Body::new(Leaving { body, measured, _held: self })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        give_back(&self.budget.per_source, &self.source, 1);
        if let Some(party) = &self.party {
            let held = self.bytes.get_mut().unwrap_or_else(PoisonError::into_inner);
            give_back(
                &self.budget.per_party,
                party,
                held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits),
            );
        }
    }
}

/// What stands at nothing is not kept.
fn give_back<K: Ord>(taken: &Mutex<BTreeMap<K, usize>>, by: &K, number: usize) {
    let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(count) = taken.get_mut(by) {
        *count = count.saturating_sub(number);
        if *count == 0 {
            taken.remove(by);
        }
    }
}

struct Arriving {
    body: Body,
    held: Arc<Held>,
    left: usize,
    /// None once the body has ended.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(task).is_ready()
        {
            let late = status(Reason::Deadline, "the request took too long to arrive", BTreeMap::new());
            return Poll::Ready(Some(Err(late)));
        }
        let frame = match std::task::ready!(Pin::new(&mut self.body).poll_frame(task)) {
            Some(Ok(frame)) => frame,
            ended => {
                self.deadline = None;
                return Poll::Ready(ended);
            }
        };
        if let Some(bytes) = frame.data_ref().map(Bytes::len) {
            let Some(left) = self.left.checked_sub(bytes) else {
                let large = status(Reason::MessageMax, "the request is too large", BTreeMap::new());
                return Poll::Ready(Some(Err(large)));
            };
            self.left = left;
            if let Err(refused) = self.held.take(bytes) {
                return Poll::Ready(Some(Err(refused)));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Leaving {
    body: Body,
    measured: Measured,
    _held: Arc<Held>,
}

impl http_body::Body for Leaving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(task);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.measured.saw(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use keyclave_proto::status::Details;
    use tonic::Code;

    use super::*;
    use crate::metrics::Metrics;

    const LIMITS: Limits = Limits {
        calls_max: 3,
        calls_per_source_max: 2,
        bytes_max: 100,
        bytes_per_party_max: 70,
        body_ms_max: 1_000,
    };

    fn source(n: u8) -> Source {
        Source::V4([10, 0, 0, n])
    }

    fn measured() -> Measured {
        Measured::begin(&Arc::new(Metrics::new(Default::default())), None)
    }

    /// A body of as many bytes as are asked for, and perhaps no end.
    struct Sent {
        left: usize,
        ends: bool,
    }

    impl http_body::Body for Sent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            let bytes = self.left.min(10);
            self.left -= bytes;
            match (bytes, self.ends) {
                (0, true) => Poll::Ready(None),
                (0, false) => Poll::Pending,
                _ => Poll::Ready(Some(Ok(Frame::data(vec![0; bytes].into())))),
            }
        }
    }

    async fn receive(held: &Arc<Held>, bytes_max: usize, sent: Sent) -> Result<usize, Status> {
        let mut body = held.request(Body::new(sent), bytes_max);
        let mut received = 0;
        while let Some(frame) =
            std::future::poll_fn(|task| Pin::new(&mut body).poll_frame(task)).await.transpose()?
        {
            received += frame.data_ref().map_or(0, Bytes::len);
        }
        Ok(received)
    }

    #[tokio::test]
    async fn what_a_call_took_is_free_when_its_answer_has_been_sent() {
        let budget = Budget::new(LIMITS);
        for _ in 0..10 {
            let (one, two) =
                (budget.begin(source(1), None, None).unwrap(), budget.begin(source(2), None, None).unwrap());
            assert_eq!(receive(&one, 100, Sent { left: 60, ends: true }).await.unwrap(), 60);
            let refused = receive(&two, 100, Sent { left: 60, ends: true }).await.unwrap_err();
            assert_eq!(refused.code(), Code::ResourceExhausted);
            let answer = one.answer(Body::empty(), measured());
            assert!(budget.bytes.available_permits() < 100);
            drop((answer, two));
            assert_eq!(budget.bytes.available_permits(), 100);
        }
        assert_eq!(budget.calls.available_permits(), 3);
        assert!(budget.per_source.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn one_party_leaves_room_for_another_however_many_calls_it_has() {
        let budget = Budget::new(LIMITS);
        let begin = |n, name: &str| {
            budget
                .begin(source(n), Some(Party::Subject(format!("service:{name}").parse().unwrap())), None)
                .unwrap()
        };
        let (one, two, other) = (begin(1, "a"), begin(2, "a"), begin(3, "b"));
        receive(&one, 100, Sent { left: 60, ends: true }).await.unwrap();
        let refused = receive(&two, 100, Sent { left: 20, ends: true }).await.unwrap_err();
        assert_eq!(Details::of(&refused).known_reason(), Some(Reason::Overloaded));
        receive(&other, 100, Sent { left: 20, ends: true }).await.unwrap();
        drop((one, two, other));
        assert_eq!(budget.standing(), (0, 0));
        assert!(budget.per_party.lock().unwrap().is_empty());
        let again = begin(1, "a");
        receive(&again, 100, Sent { left: 70, ends: true }).await.unwrap();
    }

    #[tokio::test]
    async fn neither_one_source_nor_all_of_them_have_more_calls_than_they_may() {
        let budget = Budget::new(LIMITS);
        let one =
            (budget.begin(source(1), None, None).unwrap(), budget.begin(source(1), None, None).unwrap());
        let refused = budget.begin(source(1), None, None).err().unwrap();
        assert_eq!(Details::of(&refused).known_reason(), Some(Reason::Overloaded));
        let _two = budget.begin(source(2), None, None).unwrap();
        assert!(budget.begin(source(3), None, None).is_err());
        drop(one);
        assert!(budget.begin(source(3), None, None).is_ok());
    }

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused_before_it_is_all_there() {
        let held = Budget::new(LIMITS).begin(source(1), None, None).unwrap();
        let refused = receive(&held, 25, Sent { left: 1_000_000, ends: true }).await.unwrap_err();
        assert_eq!(Details::of(&refused).known_reason(), Some(Reason::MessageMax));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_not_waited_for() {
        let held = Budget::new(LIMITS).begin(source(1), None, None).unwrap();
        let refused = receive(&held, 100, Sent { left: 10, ends: false }).await.unwrap_err();
        assert_eq!(refused.code(), Code::DeadlineExceeded);
    }
}
