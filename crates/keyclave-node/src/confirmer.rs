//! Confirmations shared: at most one question to the leader is under way, and everyone who comes meanwhile shares
//! the next one. So the cost of confirming does not grow with the number of requests.
//!
//! A confirmation given to a caller was always begun after the caller asked: that is the whole point.
//! Deliberately absent: who is asked and how; the question comes in as a value.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use keyclave_ledger::digest::Digest;
use keyclave_types::position::Generation;
use tokio::sync::{mpsc, oneshot};

use crate::world::Moment;

/// Requests that may wait for one confirmation; beyond it new ones are refused.
const WAITING_MAX: usize = 16_384;

/// An index that was current when it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Confirmed {
    /// The ledger's line.
    pub generation: Generation,
    /// Every write acknowledged before the question began lies at or below it.
    pub index: u64,
    /// An index at or above it, and the digest of the leader's records there.
    pub digest: (u64, Digest),
    /// When the question began; none if nobody here can tell its age.
    pub begun: Option<Moment>,
}

/// Why nobody vouched.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConfirmError {
    /// No leader that a quorum follows could be reached in time.
    #[error("no leader vouched for an index in time")]
    NoLeader,
    /// More requests wait than may.
    #[error("{WAITING_MAX} requests already wait for a confirmation")]
    Overloaded,
    /// The leader's records and ours differ at the same index: this node must not answer.
    #[error("this node's records differ from the leader's at index {index}")]
    Diverged {
        /// Where they differ.
        index: u64,
    },
    /// The node is ending.
    #[error("the node is shutting down")]
    Ending,
}

/// Hands out confirmations.
#[derive(Clone)]
pub struct Confirmer {
    waiting: mpsc::Sender<oneshot::Sender<Result<Confirmed, ConfirmError>>>,
    last: Last,
}

/// The confirmation that was given last.
type Last = Arc<Mutex<Option<Confirmed>>>;

/// A confirmation on its way; begun after the call that made this.
pub struct Confirming(Result<oneshot::Receiver<Result<Confirmed, ConfirmError>>, ConfirmError>);

impl Confirmer {
    /// A confirmer and the task that asks; the task ends when the last confirmer is gone.
    pub fn new<Ask, Asked>(ask: Ask) -> (Self, impl Future<Output = ()> + Send)
    where
        Ask: Fn() -> Asked + Send + 'static,
        Asked: Future<Output = Result<Confirmed, ConfirmError>> + Send,
    {
        let (waiting, queue) = mpsc::channel(WAITING_MAX);
        let last = Last::default();
        (Self { waiting, last: last.clone() }, ask_for_all(queue, last, ask))
    }

    /// The confirmation that was given last, however old it is.
    pub fn last(&self) -> Option<Confirmed> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins: what it resolves to was asked for after this call.
    pub fn begin(&self) -> Confirming {
        let (answer, confirming) = oneshot::channel();
        Confirming(match self.waiting.try_send(answer) {
            Ok(()) => Ok(confirming),
            Err(mpsc::error::TrySendError::Full(_)) => Err(ConfirmError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(ConfirmError::Ending),
        })
    }
}

impl Confirming {
    /// The confirmation.
    pub async fn confirmed(self) -> Result<Confirmed, ConfirmError> {
        self.0?.await.map_err(|_| ConfirmError::Ending)?
    }
}

async fn ask_for_all<Ask, Asked>(
    mut queue: mpsc::Receiver<oneshot::Sender<Result<Confirmed, ConfirmError>>>,
    last: Last,
    ask: Ask,
) where
    Ask: Fn() -> Asked,
    Asked: Future<Output = Result<Confirmed, ConfirmError>>,
{
    let mut sharing = Vec::new();
    while queue.recv_many(&mut sharing, WAITING_MAX).await > 0 {
        let answer = ask().await;
        if let Ok(confirmed) = &answer {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(*confirmed);
        }
        for waiting in sharing.drain(..) {
            // Whoever gave up meanwhile needs no answer.
            let _ = waiting.send(answer.clone());
        }
    }
}

/// Spawns the asking task on the current runtime.
pub fn spawn<Ask, Asked>(ask: Ask) -> Confirmer
where
    Ask: Fn() -> Asked + Send + 'static,
    Asked: Future<Output = Result<Confirmed, ConfirmError>> + Send + 'static,
{
    let (confirmer, task) = Confirmer::new(ask);
    tokio::spawn(task);
    confirmer
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::SeqCst;
    use std::time::Duration;

    use super::*;

    type Counter = Arc<AtomicU64>;

    fn counting(asked: Counter) -> Confirmer {
        spawn(move || {
            let asked = asked.clone();
            async move {
                let index = asked.fetch_add(1, SeqCst) + 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
                let digest = (index, Digest([0; 32]));
                Ok(Confirmed { generation: Generation(1), index, digest, begun: None })
            }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_confirmation_was_begun_after_it_was_asked_for() {
        let confirmer = counting(Counter::default());
        let early = confirmer.begin();
        tokio::time::sleep(Duration::from_millis(5)).await;
        let late = confirmer.begin();
        assert_eq!(confirmer.last(), None);
        assert_eq!(early.confirmed().await.unwrap().index, 1);
        assert_eq!(confirmer.last().unwrap().index, 1);
        assert_eq!(late.confirmed().await.unwrap().index, 2, "the first question had begun before this one");
        assert_eq!(confirmer.last().unwrap().index, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_asked_for_all_the_same_and_a_failure_takes_nothing_back() {
        let asked = Counter::default();
        let failing = asked.clone();
        let confirmer = spawn(move || {
            let asked = failing.clone();
            async move {
                match asked.fetch_add(1, SeqCst) + 1 {
                    1 => Ok(Confirmed {
                        generation: Generation(1),
                        index: 1,
                        digest: (1, Digest([0; 32])),
                        begun: None,
                    }),
                    _ => Err(ConfirmError::NoLeader),
                }
            }
        });
        drop(confirmer.begin());
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(confirmer.last().unwrap().index, 1);
        assert!(confirmer.begin().confirmed().await.is_err());
        assert_eq!(confirmer.last().unwrap().index, 1);
        assert_eq!(asked.load(SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_meanwhile_share_the_next_one() {
        let asked = Counter::default();
        let confirmer = counting(asked.clone());
        let first = confirmer.begin();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let sharing: Vec<_> = (0..1000).map(|_| confirmer.begin()).collect();
        first.confirmed().await.unwrap();
        for confirming in sharing {
            assert_eq!(confirming.confirmed().await.unwrap().index, 2);
        }
        assert_eq!(asked.load(SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_limit_callers_are_refused_and_nothing_grows() {
        let confirmer = counting(Counter::default());
        let _first = confirmer.begin();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let waiting: Vec<_> = (0..WAITING_MAX).map(|_| confirmer.begin()).collect();
        assert!(matches!(confirmer.begin().confirmed().await, Err(ConfirmError::Overloaded)));
        drop(waiting);
    }
}
