//! SIGSTOP of a node under load while a key is disabled and a version destroyed elsewhere, then SIGCONT: what the node
//! still believes of itself and of the keys must reach nobody.

use std::time::Duration;

use cluster_tests::history::{Event, Key, KeyAct, KeyAnswer};
use cluster_tests::live::{Caller, Cluster, Journal, LiveError, Load, say, verdict_under_load};
use futures::future::join_all;
use tokio::time::{Instant, sleep};

/// How long the leader stands still: several election time-outs.
const LEADER_STILL: Duration = Duration::from_secs(5);
/// How long a follower does.
const FOLLOWER_STILL: Duration = Duration::from_secs(2);
/// How long callers write before and after.
const LOAD: Duration = Duration::from_millis(500);
/// Calls of each kind that wait at the stopped node, and rounds of them after it goes on.
const CALLS: usize = 6;
/// Keys of each round have numbers from here on.
const ROUND: Key = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_answers_nothing_stale_when_it_goes_on() -> Result<(), LiveError> {
    let mut cluster = Cluster::founded(3).await?;
    let journal = Journal::begin();
    let load = Load::begin(&cluster, &journal).await?;
    sleep(LOAD).await;
    let leader = cluster.leader().await?;
    stop_and_go_on(&mut cluster, &journal, "leader", leader, LEADER_STILL, ROUND).await?;
    let follower = cluster.leader().await? % 3 + 1;
    stop_and_go_on(&mut cluster, &journal, "follower", follower, FOLLOWER_STILL, ROUND + 2).await?;
    sleep(LOAD).await;
    let mut keys = load.keys();
    let tally = load.end().await;
    keys.extend(ROUND..ROUND + 4);
    verdict_under_load(&cluster, &journal, &keys, tally).await
}

/// Stops `node`, changes two keys elsewhere, asks the stopped node about them, and lets it go on.
async fn stop_and_go_on(
    cluster: &mut Cluster,
    journal: &Journal,
    role: &str,
    node: usize,
    still: Duration,
    disabled: Key,
) -> Result<(), LiveError> {
    let destroyed = disabled + 1;
    let elsewhere = journal.caller(cluster.client_preferring(node % 3 + 1)?, 0);
    let there = journal.caller(cluster.client(node)?, node);
    for key in [disabled, destroyed] {
        elsewhere.ask(key, KeyAct::Create).await;
        // At the node itself, so that it has the key open and the connection stands.
        assert_eq!(there.ask(key, KeyAct::Encrypt).await, Some(KeyAnswer::Used(1)));
    }
    elsewhere.ask(destroyed, KeyAct::Rotate).await;
    cluster.server(node)?.stop()?;
    let stopped_at = Instant::now();
    journal.record(Event::Fault { class: format!("{role} stopped"), node: node as u64 });
    let is = |primary, enabled| Some(KeyAnswer::Is { primary, enabled });
    assert_eq!(elsewhere.ask(disabled, KeyAct::SetEnabled(false)).await, is(1, false));
    assert_eq!(elsewhere.ask(destroyed, KeyAct::Destroy(1)).await, is(2, true));
    let acknowledged = stopped_at.elapsed();
    // All of these begin after the acknowledgements and lie in the stopped node's sockets.
    let waiting = tokio::spawn(ask_there(there.clone(), disabled));
    sleep(still.saturating_sub(stopped_at.elapsed())).await;
    cluster.server(node)?.go_on()?;
    let mut told = waiting.await.unwrap_or_default();
    for _ in 0..CALLS {
        told.extend(ask_there(there.clone(), disabled).await);
    }
    let answers = told.iter().flatten().count();
    say(format_args!(
        "{role} {node} stopped for {still:?}; disable and destroy acknowledged after {acknowledged:.2?}; \
         {answers} of {} calls at the stopped node answered, none stale",
        told.len()
    ));
    let stale = told.iter().flatten().filter(|said| matches!(said, KeyAnswer::Used(_))).count();
    assert_eq!(stale, 0, "used a disabled key or a destroyed version: {told:?}");
    assert!(answers > 0, "the node never answered again");
    Ok(())
}

/// Asks for what the old state allows and the new one does not.
async fn ask_there(caller: Caller, disabled: Key) -> Vec<Option<KeyAnswer>> {
    let calls = (0..CALLS).flat_map(|_| [(disabled, KeyAct::Encrypt), (disabled + 1, KeyAct::Decrypt(1))]);
    join_all(calls.map(|(key, act)| caller.ask(key, act))).await
}
