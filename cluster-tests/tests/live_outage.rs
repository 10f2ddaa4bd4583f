//! All nodes killed at once under load, and shares that bring the cluster back: nothing acknowledged is lost.

use std::time::Duration;

use cluster_tests::history::Event;
use cluster_tests::live::{
    Cluster, Journal, LiveError, Load, SHARES_NEEDED, say, untouched_trails, verdict_under_load,
};
use keyclave_client::error::ReadError;
use tokio::time::{Instant, sleep};

/// How long callers write before the outage and after it.
const LOAD: Duration = Duration::from_millis(800);

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_all_nodes_loses_nothing_that_was_acknowledged() -> Result<(), LiveError> {
    let mut cluster = Cluster::founded(3).await?;
    let journal = Journal::begin();
    let load = Load::begin(&cluster, &journal).await?;
    sleep(LOAD).await;
    cluster.kill_all();
    journal.record(Event::Fault { class: "all killed".to_owned(), node: 0 });
    cluster.start_all().await?;
    let sealed = cluster.client_of_all()?.cluster_status().await;
    assert!(matches!(sealed, Err(ReadError::Sealed)), "a restarted cluster without shares said {sealed:?}");
    let restarted_at = Instant::now();
    cluster.give_shares(2, SHARES_NEEDED).await?;
    cluster.unsealed(&[2]).await?;
    let unsealed = restarted_at.elapsed();
    cluster.come_back(&[1, 3]).await?;
    say(format_args!(
        "all three killed under load; {SHARES_NEEDED} shares unsealed one after {unsealed:.2?}, its peers by {:.2?}",
        restarted_at.elapsed()
    ));
    sleep(LOAD).await;
    let keys = load.keys();
    let tally = load.end().await;
    verdict_under_load(&cluster, &journal, &keys, tally).await?;
    say(format_args!("{} trail records verified", untouched_trails(&cluster)?));
    Ok(())
}
