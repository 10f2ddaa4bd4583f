//! Many clients, each making one call after the other, all at once for a fixed time: as `keyclave bench` does it, so
//! that both figures mean the same.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::failure::BenchError;

/// How long a client waits after a failed call, so that refusals do not become the load.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// What one measurement gave.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// Calls acknowledged within the time, a second.
    pub(crate) per_second: f64,
    /// How long half of them took at most.
    pub(crate) p50_ms: f64,
    /// How long nearly all of them took at most.
    pub(crate) p99_ms: f64,
    /// Calls that failed.
    pub(crate) failed: u64,
}

#[derive(Default)]
struct Tally {
    took: Vec<Duration>,
    in_time: u64,
    failed: u64,
}

/// Lets every client call for `span`. `call` gets the client, its number and the call's; the call numbered 0
/// connects and is not measured.
pub(crate) async fn run<Client, Call, Calling>(
    clients: Vec<Client>,
    span: Duration,
    call: Call,
) -> Result<Figure, BenchError>
where
    Client: Clone + Send + Sync + 'static,
    Call: Fn(Client, usize, u64) -> Calling + Clone + Send + Sync + 'static,
    Calling: Future<Output = Result<(), Status>> + Send + 'static,
{
    let begin = Arc::new(Barrier::new(clients.len()));
    let mut callers = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        let (begin, call) = (Arc::clone(&begin), call.clone());
        callers.spawn(async move {
            let connected = call(client.clone(), number, 0).await;
            begin.wait().await;
            connected?;
            Ok(call_on(span, |sequence| call(client.clone(), number, sequence)).await)
        });
    }
    let mut all = Tally::default();
    while let Some(one) = callers.join_next().await {
        let one: Result<Tally, Status> = one.map_err(BenchError::Client)?;
        let one = one.map_err(|status| BenchError::FirstPut(Box::new(status)))?;
        all.took.extend(one.took);
        all.in_time += one.in_time;
        all.failed += one.failed;
    }
    all.took.sort_unstable();
    Ok(Figure {
        per_second: all.in_time as f64 / span.as_secs_f64(),
        p50_ms: percentile_ms(&all.took, 50),
        p99_ms: percentile_ms(&all.took, 99),
        failed: all.failed,
    })
}

async fn call_on<Calling>(span: Duration, call: impl Fn(u64) -> Calling) -> Tally
where
    Calling: Future<Output = Result<(), Status>>,
{
    let end = Instant::now() + span;
    let mut mine = Tally::default();
    for sequence in 1.. {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        if call(sequence).await.is_ok() {
            mine.took.push(begun.elapsed());
            mine.in_time += u64::from(Instant::now() <= end);
        } else {
            mine.failed += 1;
            sleep(AFTER_FAILURE).await;
        }
    }
    mine
}

/// The nearest-rank percentile; zero of none.
fn percentile_ms(ascending: &[Duration], percent: usize) -> f64 {
    let rank = (ascending.len() * percent).div_ceil(100);
    ascending.get(rank.saturating_sub(1)).map_or(0.0, |took| took.as_secs_f64() * 1_000.0)
}

impl Figure {
    /// Each number's own median.
    pub(crate) fn median(figures: &[Self]) -> Self {
        let of = |number: fn(&Self) -> f64| {
            let mut numbers: Vec<f64> = figures.iter().map(number).collect();
            numbers.sort_by(f64::total_cmp);
            numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
        };
        Self {
            per_second: of(|figure| figure.per_second),
            p50_ms: of(|figure| figure.p50_ms),
            p99_ms: of(|figure| figure.p99_ms),
            failed: figures.iter().map(|figure| figure.failed).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_each_number_by_itself() {
        let figure = |per_second, p99_ms| Figure { per_second, p50_ms: 1.0, p99_ms, failed: 1 };
        let median = Figure::median(&[figure(5.0, 9.0), figure(1.0, 7.0), figure(3.0, 8.0)]);
        assert_eq!(median, Figure { per_second: 3.0, p50_ms: 1.0, p99_ms: 8.0, failed: 3 });
    }
}
