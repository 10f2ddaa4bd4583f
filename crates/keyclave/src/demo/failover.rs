//! The leader killed while writes go on, and its way back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyclave_client::Client;
use keyclave_client::seal::{RestartKey, SealState};
use keyclave_types::key::{Algorithm, KeyRules};
use keyclave_types::name::KeyName;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::steps::Steps;
use crate::failure::Failure;
use crate::local::cluster::Cluster;
use crate::local::told::Told;
use crate::local::wait::until;

/// Callers that write one key after the other.
const WRITERS: usize = 4;
/// How long they write before the leader is killed, and after writes go on.
const BEFORE: Duration = Duration::from_millis(500);
const AFTER: Duration = Duration::from_millis(500);
/// How long the killed node may take to come back.
const RETURN: Duration = Duration::from_secs(30);

/// The two steps.
pub(super) async fn tell(cluster: &mut Cluster, steps: &mut Steps) -> Result<(), Failure> {
    let killed = steps.step("kill-leader", "kill the leader while writes go on", kill(cluster)).await?;
    let title = format!("node {killed} restarts and is unsealed by its peers");
    steps.step("return", &title, come_back(cluster, &[killed])).await
}

/// Kills the leader under load; every write acknowledged before, during and after must be there afterwards.
async fn kill(cluster: &mut Cluster) -> Result<Told<usize>, Failure> {
    let leader = cluster.leader().await?;
    let client = cluster.client_of_all()?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write_on(client.clone(), writer, stop.clone()));
    }
    sleep(BEFORE).await;
    cluster.kill(leader);
    let killed_at = Instant::now();
    // Begun after the kill, so that only another leader can have acknowledged it.
    create(&client, &name("next", 0)).await?;
    let next = killed_at.elapsed();
    sleep(AFTER).await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = vec![name("next", 0)];
    while let Some(written) = writers.join_next().await {
        acknowledged.extend(written.map_err(|error| Failure::from_error("DEMO", &error))??);
    }
    for name in &acknowledged {
        client.get_key(name).await?;
    }
    let detail = format!(
        "node {leader}; next write acknowledged after {:.2} s, all {} are there",
        next.as_secs_f64(),
        acknowledged.len()
    );
    Ok(Told { value: leader, detail })
}

async fn write_on(client: Client, writer: usize, stop: Arc<AtomicBool>) -> Result<Vec<KeyName>, Failure> {
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let name = name(&format!("writer-{writer}"), acknowledged.len());
        create(&client, &name).await?;
        acknowledged.push(name);
    }
    Ok(acknowledged)
}

async fn create(client: &Client, name: &KeyName) -> Result<(), Failure> {
    client.create_key(name, Algorithm::Xaes256Gcm, KeyRules::default()).await?;
    Ok(())
}

fn name(writer: &str, number: usize) -> KeyName {
    format!("demo/{writer}/{number}").parse().expect("segments of small letters, digits and dashes")
}

/// Starts the nodes that were killed and waits until peers have unsealed them. Where swap or the lack of a tmpfs
/// turns the restart key off, they are admitted by their code, read from their own sockets.
pub(crate) async fn come_back(cluster: &mut Cluster, numbers: &[usize]) -> Result<Told<()>, Failure> {
    cluster.start().await?;
    let mut admitted = Vec::new();
    for number in numbers {
        if wait_or_admit(cluster, *number).await? {
            admitted.push(number.to_string());
        }
    }
    cluster.unsealed(numbers).await?;
    let detail = match admitted.is_empty() {
        true => "by its restart key".to_owned(),
        false => format!(
            "restart keys are off here (swap, or no tmpfs): {} by `operator admit`",
            admitted.join(", ")
        ),
    };
    Ok(Told { value: (), detail })
}

/// Whether the node had to be admitted. One whose restart key is in order must come back by itself.
async fn wait_or_admit(cluster: &Cluster, number: usize) -> Result<bool, Failure> {
    let socket = cluster.node(number).over_socket()?;
    let what = format!("the return of node {number}");
    let waits = until(&what, RETURN, || async {
        let status = socket.seal_status().await.map_err(|error| error.to_string())?.this_node;
        match (status.state, status.restart_key) {
            (SealState::Unsealed, _) => Ok(None),
            (SealState::Sealed, RestartKey::NoTmpfs | RestartKey::Swap | RestartKey::Off) => Ok(status.node),
            (state, restart_key) => Err(format!("it is {state:?}, its restart key {restart_key:?}")),
        }
    });
    let Some(node) = waits.await? else { return Ok(false) };
    let (code, _) = socket.local_code().await?;
    cluster.client_of_all()?.admit(node, &code).await?;
    Ok(true)
}
