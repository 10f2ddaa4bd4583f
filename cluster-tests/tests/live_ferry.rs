//! Only sealed nodes are up, and the one with the longest log is sealed too: it ferries what was acknowledged to the
//! node that shares then unseal.

use std::time::Duration;

use cluster_tests::history::{Event, Key, KeyAct, KeyAnswer};
use cluster_tests::live::{Caller, Cluster, Journal, LiveError, SHARES_NEEDED, say, until, verdict};
use keyclave_client::seal::SealState;
use tokio::time::Instant;

/// Keys made in each phase.
const KEYS: Key = 8;
/// How long a cluster with two of three nodes up may take to serve after the last share.
const SERVE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_node_with_the_longest_log_ferries_it_to_the_one_that_is_unsealed() -> Result<(), LiveError>
{
    let mut cluster = Cluster::founded(3).await?;
    let journal = Journal::begin();
    let caller = journal.caller(cluster.client_of_all()?, 0);
    let leader = cluster.leader().await?;
    let (sealed, short) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    make(&caller, 0..KEYS).await;
    // One after the other both followers restart without their restart keys and stay sealed.
    for number in [sealed, short] {
        restart_sealed(&mut cluster, number).await?;
    }
    make(&caller, KEYS..2 * KEYS).await;
    // What follows is acknowledged by the leader and a sealed follower alone.
    cluster.kill(short)?;
    make(&caller, 2 * KEYS..3 * KEYS).await;
    cluster.kill(leader)?;
    for (class, node) in [("follower killed", short), ("leader killed, sealed nodes left", leader)] {
        journal.record(Event::Fault { class: class.to_owned(), node: node as u64 });
    }
    cluster.start(short).await?;
    must_be_sealed(&cluster, &[sealed, short]).await?;
    let begun = Instant::now();
    cluster.give_shares(short, SHARES_NEEDED).await?;
    cluster.unsealed(&[short]).await?;
    let unsealed = begun.elapsed();
    let client = cluster.client(short)?.with_deadline(Duration::from_secs(2));
    let first = journal.caller(client, short);
    until("a write after the ferry", SERVE, async || match first.ask(9 * KEYS, KeyAct::Create).await {
        Some(KeyAnswer::Is { .. } | KeyAnswer::Exists) => Ok(()),
        said => Err(format!("{said:?}")),
    })
    .await?;
    let served = begun.elapsed();
    must_be_sealed(&cluster, &[sealed]).await?;
    say(format_args!(
        "leader {leader} killed, sealed {sealed} with the longest log and sealed {short} left: shares unsealed \
         {short} after {unsealed:.2?}, it acknowledged a write after {served:.2?} while {sealed} stayed sealed"
    ));
    cluster.start(leader).await?;
    cluster.come_back(&[sealed, leader]).await?;
    let keys: Vec<Key> = (1..=3 * KEYS).chain([9 * KEYS]).collect();
    let events = verdict(&cluster, &journal, &[1, 2, 3], &keys).await?;
    say(format_args!("{} keys, {events} events judged", keys.len()));
    Ok(())
}

/// Makes keys and a second version of each; all must be acknowledged.
async fn make(caller: &Caller, keys: std::ops::Range<Key>) {
    for key in keys {
        for (act, primary) in [(KeyAct::Create, 1), (KeyAct::Rotate, 2)] {
            let said = caller.ask(key + 1, act).await;
            assert_eq!(said, Some(KeyAnswer::Is { primary, enabled: true }), "key {key}, {act:?}");
        }
    }
}

/// A restart that nothing vouches for.
async fn restart_sealed(cluster: &mut Cluster, number: usize) -> Result<(), LiveError> {
    cluster.kill(number)?;
    if let Some(memory) = cluster.place().memory(number) {
        std::fs::remove_dir_all(memory).map_err(LiveError::system("removing a restart key"))?;
    }
    cluster.start(number).await?;
    must_be_sealed(cluster, &[number]).await
}

async fn must_be_sealed(cluster: &Cluster, numbers: &[usize]) -> Result<(), LiveError> {
    for number in numbers {
        let status = cluster.node(*number)?.over_socket()?.seal_status().await?;
        assert_eq!(status.this_node.state, SealState::Sealed, "node {number}");
    }
    Ok(())
}
