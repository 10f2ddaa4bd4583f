//! One call: over all endpoints, round after round, until there is an answer, a refusal that every node would give,
//! or the deadline.

use std::future::Future;
use std::time::Duration;

use keyclave_proto::reason::Reason;
use keyclave_types::position::Position;
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::error::{NoAnswer, OnceError, OtherGeneration, ReadError, Silence, WriteError};
use crate::fleet::Member;
use crate::refusal::Refusal;
use crate::verdict::{Standing, Verdict, verdict};
use crate::wire::Positioned;

/// The most that one attempt waits while other endpoints are left to ask.
const ATTEMPT_MS_MAX: u64 = 4_000;
/// The least that one attempt waits: less would give up on honest answers.
const ATTEMPT_MS_MIN: u64 = 250;
/// The pause after the first round without an answer; doubled with each further one.
const PAUSE_MS_MIN: u64 = 25;
/// The longest such pause.
const PAUSE_MS_MAX: u64 = 1_000;

/// Whether a request may be sent again that may have been done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Repeat {
    /// It changes nothing, or carries a request id, or changes nothing the second time.
    Always,
    /// It may not.
    UnlessMaybeDone,
}

/// Why a call has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    Refused {
        refusal: Box<Refusal>,
        /// An earlier attempt may have been done.
        maybe_done: bool,
        no_answer: NoAnswer,
    },
    Sealed,
    NoAnswer {
        no_answer: NoAnswer,
        maybe_done: bool,
    },
    OtherGeneration(OtherGeneration),
}

impl Client {
    pub(crate) async fn call<Req, Res, F, Fut>(
        &self,
        until: Instant,
        repeat: Repeat,
        request: Req,
        send: F,
    ) -> Result<Res, Failure>
    where
        Req: Clone,
        Res: Positioned,
        F: Fn(Channel, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        let mut attempts = Attempts::begin(until);
        loop {
            let order = self.shared.fleet.order();
            let mut lasting = 0;
            for (at, member) in order.iter().enumerate() {
                let Some(limit) = attempts.limit(order.len() - at) else { return Err(attempts.give_up()) };
                let sent = send(member.channel(), self.dressed(request.clone(), limit));
                let status = match timeout(limit, sent).await {
                    Ok(Ok(response)) => {
                        self.note_receipt(response.metadata());
                        member.answered();
                        return self.accept(response.into_inner());
                    }
                    Ok(Err(status)) => {
                        self.note_receipt(status.metadata());
                        Some(status)
                    }
                    Err(_) => None,
                };
                lasting += usize::from(self.judge(&mut attempts, member, status.as_ref(), limit)?);
                if repeat == Repeat::UnlessMaybeDone && attempts.maybe_done {
                    return Err(attempts.give_up());
                }
            }
            if lasting == order.len() {
                return Err(attempts.give_up());
            }
            attempts.pause(self.jitter()).await;
        }
    }

    fn note_receipt(&self, metadata: &MetadataMap) {
        if let Some(receipts) = &self.settings.receipts {
            receipts.note(metadata);
        }
    }

    /// The request with its time and its caller's credential.
    fn dressed<Req>(&self, message: Req, limit: Duration) -> Request<Req> {
        let mut request = Request::new(message);
        request.set_timeout(limit);
        if let Some(token) = &self.settings.token
            && let Ok(mut bearer) = AsciiMetadataValue::try_from(format!("Bearer {}", token.as_str()))
        {
            bearer.set_sensitive(true);
            request.metadata_mut().insert("authorization", bearer);
        }
        request
    }

    fn accept<Res: Positioned>(&self, response: Res) -> Result<Res, Failure> {
        if let Some(position) = response.position() {
            self.shared.seen.note(Position::from(position)).map_err(Failure::OtherGeneration)?;
        }
        Ok(response)
    }

    /// Takes note of an attempt without an answer; whether trying this node again soon cannot help. A refusal that
    /// every node would give ends the call.
    fn judge(
        &self,
        attempts: &mut Attempts,
        member: &Member<'_>,
        status: Option<&Status>,
        limit: Duration,
    ) -> Result<bool, Failure> {
        let endpoint = member.endpoint();
        let Some(status) = status else {
            member.failed();
            attempts.note(endpoint, Silence::Slow { limit_ms: whole_ms(limit) }, true, false);
            return Ok(false);
        };
        match verdict(status) {
            Verdict::Final => {
                member.answered();
                let refusal = Box::new(Refusal::of(status, endpoint));
                let (maybe_done, no_answer) = (attempts.maybe_done, attempts.no_answer());
                Err(Failure::Refused { refusal, maybe_done, no_answer })
            }
            Verdict::Again { node, maybe_done } => {
                member.failed();
                let sealed = matches!(node, Standing::Sealed);
                let (silence, lasting) = match node {
                    Standing::Unreached(dial) => {
                        let lasting = dial.is_lasting();
                        (Silence::Dial(dial), lasting)
                    }
                    Standing::Slow => (Silence::Slow { limit_ms: whole_ms(limit) }, false),
                    Standing::Sealed | Standing::Fresh => {
                        (Silence::Unable(Box::new(Refusal::of(status, endpoint))), true)
                    }
                    Standing::Busy => (Silence::Unable(Box::new(Refusal::of(status, endpoint))), false),
                };
                attempts.note(endpoint, silence, maybe_done, sealed);
                Ok(lasting)
            }
        }
    }
}

/// What became of a call so far.
struct Attempts {
    began: Instant,
    until: Instant,
    rounds: u32,
    tried: Vec<(Endpoint, Silence)>,
    /// Endpoints whose last word was that they are sealed.
    sealed: Vec<Endpoint>,
    maybe_done: bool,
}

impl Attempts {
    fn begin(until: Instant) -> Self {
        let began = Instant::now();
        Self { began, until, rounds: 0, tried: Vec::new(), sealed: Vec::new(), maybe_done: false }
    }

    /// How long the next attempt may take, if there is time for one; `left` endpoints share it.
    fn limit(&self, left: usize) -> Option<Duration> {
        let remaining = self.until.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return None;
        }
        if left <= 1 {
            return Some(remaining);
        }
        let share = remaining / u32::try_from(left).unwrap_or(u32::MAX);
        let least = Duration::from_millis(ATTEMPT_MS_MIN);
        Some(share.clamp(least, Duration::from_millis(ATTEMPT_MS_MAX)).min(remaining))
    }

    fn note(&mut self, endpoint: &Endpoint, silence: Silence, maybe_done: bool, sealed: bool) {
        self.maybe_done |= maybe_done;
        self.sealed.retain(|other| other != endpoint);
        if sealed {
            self.sealed.push(endpoint.clone());
        }
        match self.tried.iter_mut().find(|(tried, _)| tried == endpoint) {
            Some((_, last)) => *last = silence,
            None => self.tried.push((endpoint.clone(), silence)),
        }
    }

    /// Waits before the next round: longer each time, and not in step with other clients.
    async fn pause(&mut self, jitter: u8) {
        let full_ms = PAUSE_MS_MIN.saturating_mul(1 << self.rounds.min(10)).min(PAUSE_MS_MAX);
        let pause_ms = full_ms / 2 + full_ms * u64::from(jitter) / 512;
        self.rounds += 1;
        let remaining = self.until.saturating_duration_since(Instant::now());
        sleep(Duration::from_millis(pause_ms).min(remaining)).await;
    }

    fn no_answer(&self) -> NoAnswer {
        NoAnswer { waited: self.began.elapsed(), tried: self.tried.clone() }
    }

    fn give_up(&self) -> Failure {
        // Nodes that were never reached say nothing; if all that spoke are sealed, so is the cluster.
        let spoke = self.tried.iter().filter(|(_, silence)| !matches!(silence, Silence::Dial(_))).count();
        if !self.maybe_done && spoke > 0 && spoke == self.sealed.len() {
            return Failure::Sealed;
        }
        Failure::NoAnswer { no_answer: self.no_answer(), maybe_done: self.maybe_done }
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a refusal is spoken before the request id is looked up, so that it says nothing of earlier attempts.
fn before_the_id(refusal: &Refusal) -> bool {
    match refusal.known_reason() {
        Some(
            Reason::Unauthenticated
            | Reason::Denied
            | Reason::LocalOnly
            | Reason::AccessHeadMismatch
            | Reason::ClockDoubtful
            | Reason::OtherGeneration
            | Reason::RequestIdOld
            | Reason::RequestIdAhead
            | Reason::InvalidField
            | Reason::Internal,
        )
        | None => true,
        Some(_) => false,
    }
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused { refusal, .. } => Self::Refused(refusal),
            Failure::Sealed => Self::Sealed,
            Failure::NoAnswer { no_answer, .. } => Self::NoAnswer(no_answer),
            Failure::OtherGeneration(other) => Self::OtherGeneration(other),
        }
    }
}

impl From<Failure> for OnceError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused { maybe_done: true, no_answer, .. } => Self::OutcomeUnknown(no_answer),
            Failure::Refused { refusal, .. } => Self::Refused(refusal),
            Failure::Sealed => Self::Sealed,
            Failure::NoAnswer { no_answer, maybe_done: true } => Self::OutcomeUnknown(no_answer),
            Failure::NoAnswer { no_answer, maybe_done: false } => Self::NotDone(no_answer),
            Failure::OtherGeneration(other) => Self::OtherGeneration(other),
        }
    }
}

impl WriteError {
    pub(crate) fn of(failure: Failure, request_id: keyclave_types::ids::RequestId) -> Self {
        match failure {
            Failure::Refused { refusal, maybe_done: true, no_answer } if before_the_id(&refusal) => {
                Self::OutcomeUnknown { request_id, no_answer }
            }
            Failure::Refused { refusal, .. } => Self::Refused(refusal),
            Failure::Sealed => Self::Sealed,
            Failure::NoAnswer { no_answer, maybe_done: true } => {
                Self::OutcomeUnknown { request_id, no_answer }
            }
            Failure::NoAnswer { no_answer, maybe_done: false } => Self::NotDone(no_answer),
            Failure::OtherGeneration(other) => Self::OtherGeneration(other),
        }
    }
}
