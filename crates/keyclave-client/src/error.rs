//! Errors, one enum per class of operation: what may be asked again at will, what changes something, and what must
//! not be sent twice. Each says what to do next.

use std::fmt;
use std::time::Duration;

use keyclave_proto::request::Invalid;
use keyclave_types::ids::RequestId;

use crate::dial::DialError;
use crate::endpoint::Endpoint;
use crate::refusal::Refusal;
pub use crate::seen::OtherGeneration;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A node said no, and every node would.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// Every node that could be reached is sealed.
    #[error("the cluster is sealed")]
    Sealed,
    /// No node answered by the deadline.
    #[error("{0}")]
    NoAnswer(NoAnswer),
    /// The cluster was restored since this client last heard of it.
    #[error(transparent)]
    OtherGeneration(#[from] OtherGeneration),
    /// The answer makes no sense: another version's, or damaged on the way.
    #[error("the answer cannot be understood: {0}")]
    Answer(#[from] Invalid),
}

/// Why a write was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A node said no, and every node would. It was not done.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// Every node that could be reached is sealed. It was not done.
    #[error("the cluster is sealed")]
    Sealed,
    /// No node took it by the deadline. It was not done.
    #[error("it was not done: {0}")]
    NotDone(NoAnswer),
    /// It may or may not have been done. Repeating it under the same request id does it at most once.
    #[error("it is not known whether it was done (request id {request_id}): {no_answer}")]
    OutcomeUnknown {
        /// The id to repeat it under.
        request_id: RequestId,
        /// What was tried.
        no_answer: NoAnswer,
    },
    /// The cluster was restored since this client last heard of it.
    #[error(transparent)]
    OtherGeneration(#[from] OtherGeneration),
    /// It was done, but the answer makes no sense.
    #[error("it was done, but the answer cannot be understood: {0}")]
    Answer(#[from] Invalid),
}

/// Why something was not done that has no request id, and so is sent at most once to a node that may have taken it.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// A node said no. It was not done.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// Every node that could be reached is sealed. It was not done.
    #[error("the cluster is sealed")]
    Sealed,
    /// No node took it by the deadline. It was not done.
    #[error("it was not done: {0}")]
    NotDone(NoAnswer),
    /// It may or may not have been done.
    #[error("it is not known whether it was done: {0}")]
    OutcomeUnknown(NoAnswer),
    /// The cluster was restored since this client last heard of it.
    #[error(transparent)]
    OtherGeneration(#[from] OtherGeneration),
    /// It was done, but the answer makes no sense.
    #[error("it was done, but the answer cannot be understood: {0}")]
    Answer(#[from] Invalid),
}

/// Every endpoint that was tried, and how its last attempt ended.
#[derive(Debug, Clone)]
pub struct NoAnswer {
    /// How long it was tried.
    pub waited: Duration,
    /// By endpoint, in the order in which they were first tried.
    pub tried: Vec<(Endpoint, Silence)>,
}

/// How one endpoint gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Silence {
    /// There was no connection.
    #[error("{0}")]
    Dial(#[source] DialError),
    /// It did not answer in its time.
    #[error("no answer within {limit_ms} ms")]
    Slow {
        /// How long one attempt waited, in milliseconds.
        limit_ms: u64,
    },
    /// It could not at present, or the connection broke.
    #[error("{0}")]
    Unable(Box<Refusal>),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no node answered within {:.1} s", self.waited.as_secs_f64())?;
        for (at, (endpoint, silence)) in self.tried.iter().enumerate() {
            let before = if at == 0 { ": " } else { "; " };
            write!(f, "{before}{endpoint}: {silence}")?;
        }
        Ok(())
    }
}

const UNSEAL: &str = "unseal it with `keyclave operator unseal`";
const RESTORED: &str = "start the client anew and read again before writing";
const VERSIONS: &str = "check that client and cluster are of versions that fit";

impl ReadError {
    /// What to do next; empty where the text says all there is.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.advice(),
            Self::Sealed => UNSEAL,
            Self::NoAnswer(no_answer) => no_answer.advice(),
            Self::OtherGeneration(_) => RESTORED,
            Self::Answer(_) => VERSIONS,
        }
    }
}

impl WriteError {
    /// What to do next; empty where the text says all there is.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.advice(),
            Self::Sealed => UNSEAL,
            Self::NotDone(no_answer) => no_answer.advice(),
            Self::OutcomeUnknown { .. } => "look whether it was done, or repeat it with the same request id",
            Self::OtherGeneration(_) => RESTORED,
            Self::Answer(_) => VERSIONS,
        }
    }
}

impl OnceError {
    /// What to do next; empty where the text says all there is.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.advice(),
            Self::Sealed => UNSEAL,
            Self::NotDone(no_answer) => no_answer.advice(),
            Self::OutcomeUnknown(_) => "look at `keyclave operator status` before doing it again",
            Self::OtherGeneration(_) => RESTORED,
            Self::Answer(_) => VERSIONS,
        }
    }
}

impl NoAnswer {
    fn advice(&self) -> &'static str {
        let untrusted =
            |(_, silence): &(Endpoint, Silence)| matches!(silence, Silence::Dial(DialError::Certificate(_)));
        if self.tried.iter().all(untrusted) {
            "set KEYCLAVE_CACERT to the CA of this cluster, and name nodes as their certificates do"
        } else if self.tried.iter().all(|(endpoint, _)| endpoint.path().is_some()) {
            "start the node with `keyclave server`, or name its socket with --socket"
        } else {
            "check the endpoints, and the nodes with `keyclave operator status`"
        }
    }
}
