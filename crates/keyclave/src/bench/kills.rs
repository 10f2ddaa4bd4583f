//! The leader killed again and again while clients write: how long until a write is acknowledged by another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyclave_client::Client;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::work::{create, name};
use crate::demo::failover::come_back;
use crate::failure::Failure;
use crate::local::cluster::Cluster;
use crate::output;

/// Callers that write while the leader is killed.
const WRITERS: usize = 4;
/// How long they write before it is, so that it dies with writes under way.
const BEFORE: Duration = Duration::from_secs(1);

/// Kills the leader so often, each time after the one before has come back; how long writes stood still, in the
/// order of the kills.
pub(super) async fn measure(cluster: &mut Cluster, kills: u64) -> Result<Vec<Duration>, Failure> {
    let mut stood_still = Vec::new();
    for kill in 1..=kills {
        let (killed, took) = one(cluster, &format!("bench/kills/{kill}")).await?;
        output::note(&format!(
            "kill {kill} of {kills}: node {killed}, next write after {:.2} s",
            took.as_secs_f64()
        ));
        stood_still.push(took);
        come_back(cluster, &[killed]).await?;
    }
    Ok(stood_still)
}

/// One kill: which node, and the time until the next acknowledged write.
async fn one(cluster: &mut Cluster, prefix: &str) -> Result<(usize, Duration), Failure> {
    let leader = cluster.leader().await?;
    let (stop, mut writers) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for writer in 0..WRITERS {
        let (client, prefix, stop) = (cluster.client_of_all()?, prefix.to_owned(), Arc::clone(&stop));
        writers.spawn(async move { write_on(&client, &prefix, writer, &stop).await });
    }
    let client = cluster.client_of_all()?;
    create(&client, &name(prefix, WRITERS, 0)).await?;
    sleep(BEFORE).await;
    cluster.kill(leader);
    let killed_at = Instant::now();
    // Begun after the kill, so that only another leader can have acknowledged it.
    create(&client, &name(prefix, WRITERS, 1)).await?;
    let took = killed_at.elapsed();
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended.map_err(|error| Failure::from_error("BENCH", &error))??;
    }
    Ok((leader, took))
}

async fn write_on(client: &Client, prefix: &str, writer: usize, stop: &AtomicBool) -> Result<(), Failure> {
    for sequence in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        create(client, &name(prefix, writer, sequence)).await?;
    }
    Ok(())
}
