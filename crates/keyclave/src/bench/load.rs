//! The load: many clients, each making one call after the other, all at once for a fixed time.
//!
//! Deliberately absent: calls at a fixed rate. Clients wait for their answers, so a slow cluster is asked less.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use keyclave_client::Client;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::failure::Failure;

/// How long a client waits after a failed call, so that refusals do not become the load.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// One call of one client.
#[derive(Clone)]
pub(super) struct Turn {
    pub(super) client: Client,
    /// Which client, from 0.
    pub(super) number: usize,
    /// Which of its calls; the one numbered 0 connects and is not measured.
    pub(super) sequence: u64,
}

/// What all clients together did.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// How long each acknowledged call took, ascending.
    pub(super) took: Vec<Duration>,
    /// Of those, the ones acknowledged before the time was up.
    pub(super) in_time: u64,
    pub(super) span: Duration,
    pub(super) failed: u64,
    /// What the first failure was.
    pub(super) failure: Option<Failure>,
}

/// Lets every client call for `span`.
pub(super) async fn run<Call, Calling>(
    clients: Vec<Client>,
    span: Duration,
    call: Call,
) -> Result<Measured, Failure>
where
    Call: Fn(Turn) -> Calling + Clone + Send + Sync + 'static,
    Calling: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let begin = Arc::new(Barrier::new(clients.len()));
    let mut callers = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        let first = Turn { client, number, sequence: 0 };
        callers.spawn(call_on(first, span, Arc::clone(&begin), call.clone()));
    }
    let mut all = Measured { span, ..Measured::default() };
    while let Some(one) = callers.join_next().await {
        all.add(one.map_err(|error| Failure::from_error("BENCH", &error))??);
    }
    all.took.sort_unstable();
    Ok(all)
}

async fn call_on<Call, Calling>(
    first: Turn,
    span: Duration,
    begin: Arc<Barrier>,
    call: Call,
) -> Result<Measured, Failure>
where
    Call: Fn(Turn) -> Calling,
    Calling: Future<Output = Result<(), Failure>>,
{
    let connected = call(first.clone()).await;
    begin.wait().await;
    connected?;
    let end = Instant::now() + span;
    let mut mine = Measured::default();
    for sequence in 1.. {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        match call(Turn { sequence, ..first.clone() }).await {
            Ok(()) => {
                mine.took.push(begun.elapsed());
                mine.in_time += u64::from(Instant::now() <= end);
            }
            Err(failure) => {
                mine.failed += 1;
                mine.failure.get_or_insert(failure);
                sleep(AFTER_FAILURE).await;
            }
        }
    }
    Ok(mine)
}

impl Measured {
    fn add(&mut self, other: Self) {
        self.took.extend(other.took);
        self.in_time += other.in_time;
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
    }

    /// Acknowledged calls a second.
    pub(super) fn per_second(&self) -> f64 {
        self.in_time as f64 / self.span.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The time within which `percent` of the calls were acknowledged; zero if none was.
    pub(super) fn within(&self, percent: usize) -> Duration {
        percentile(&self.took, percent)
    }
}

/// The nearest-rank percentile of ascending values; zero of none.
pub(super) fn percentile(ascending: &[Duration], percent: usize) -> Duration {
    let rank = (ascending.len() * percent).div_ceil(100);
    ascending.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(count: usize) -> Vec<Client> {
        let client = Client::local("/nowhere".as_ref()).build().unwrap();
        vec![client; count]
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let of = |count: u64| (1..=count).map(Duration::from_millis).collect::<Vec<_>>();
        assert_eq!(percentile(&[], 50), Duration::ZERO);
        assert_eq!(percentile(&of(1), 99), Duration::from_millis(1));
        assert_eq!(percentile(&of(4), 50), Duration::from_millis(2));
        assert_eq!(percentile(&of(100), 99), Duration::from_millis(99));
        assert_eq!(percentile(&of(1_000), 50), Duration::from_millis(500));
    }

    #[tokio::test(start_paused = true)]
    async fn each_client_calls_one_after_the_other_for_the_whole_time() {
        let call = |_: Turn| async {
            sleep(Duration::from_millis(100)).await;
            Ok(())
        };
        let measured = run(clients(3), Duration::from_secs(1), call).await.unwrap();
        assert_eq!((measured.in_time, measured.took.len(), measured.failed), (30, 30, 0));
        assert!((measured.per_second() - 30.0).abs() < 0.1);
        assert_eq!(measured.within(99), Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_after_the_time_is_no_throughput_and_failures_are_counted() {
        let call = |turn: Turn| async move {
            sleep(Duration::from_millis(600)).await;
            if turn.number == 1 && turn.sequence > 0 { Err(Failure::failed("X", "no")) } else { Ok(()) }
        };
        let measured = run(clients(2), Duration::from_secs(1), call).await.unwrap();
        assert_eq!((measured.in_time, measured.took.len(), measured.failed), (1, 2, 2));
        assert!(measured.failure.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_cannot_connect_ends_the_measurement_and_holds_up_no_other() {
        let call = |turn: Turn| async move {
            if turn.number == 1 {
                Err(Failure::failed("X", "no"))
            } else {
                sleep(Duration::from_secs(1)).await;
                Ok(())
            }
        };
        assert!(run(clients(2), Duration::from_secs(1), call).await.is_err());
    }
}
