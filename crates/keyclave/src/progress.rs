//! A line on the terminal for whatever takes over a second.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::output;

/// How long it stays quiet.
const QUIET: Duration = Duration::from_secs(1);
/// How often the line changes after that.
const REFRESH: Duration = Duration::from_millis(500);

/// Waits for `work`; after a second a line of its own says what is waited for, whoever reads it.
pub(crate) async fn announced<T>(doing: &str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    match tokio::time::timeout(QUIET, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            output::note(&format!("       {doing} …"));
            work.await
        }
    }
}

/// Waits for `work`; after a second a line says what is waited for and how long, if a person is watching.
pub(crate) async fn watched<T>(doing: &str, work: impl Future<Output = T>) -> T {
    if !output::is_watched() {
        return work.await;
    }
    let begun = Instant::now();
    let mut ticks = interval_at(begun + QUIET, REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut drawn = false;
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = ticks.tick() => {
                output::progress_line(&format!("{doing} … {} s", begun.elapsed().as_secs()));
                drawn = true;
            }
        }
    };
    if drawn {
        output::progress_line("");
    }
    done
}
