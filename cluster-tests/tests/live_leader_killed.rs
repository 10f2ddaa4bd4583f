//! SIGKILL of the leader while callers write: nothing acknowledged is lost, and writes go on.

use std::time::Duration;

use cluster_tests::history::{Event, KeyAct, KeyAnswer};
use cluster_tests::live::{Cluster, Journal, LiveError, Load, say, untouched_trails, verdict_under_load};
use tokio::time::{Instant, sleep};

/// Times that the leader is killed in one run.
const KILLS: u32 = 2;
/// How long callers write before the first kill and after each.
const LOAD: Duration = Duration::from_millis(800);
/// How long writes may stand still, on a busy machine and in a debug build.
const STANDSTILL_MAX: Duration = Duration::from_secs(10);
/// A key of its own per kill, begun after it, so that only another leader can have acknowledged it.
const AFTERWARDS: u32 = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_takes_no_acknowledged_write_with_it() -> Result<(), LiveError> {
    let mut cluster = Cluster::founded(3).await?;
    let journal = Journal::begin();
    let load = Load::begin(&cluster, &journal).await?;
    sleep(LOAD).await;
    let mut worst = Duration::ZERO;
    for kill in 0..KILLS {
        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        journal.record(Event::Fault { class: "leader killed".to_owned(), node: leader as u64 });
        let killed_at = Instant::now();
        let caller = journal.caller(cluster.client_of_all()?, 0);
        let made = caller.ask(AFTERWARDS + kill, KeyAct::Create).await;
        let standstill = killed_at.elapsed();
        worst = worst.max(standstill);
        assert_eq!(made, Some(KeyAnswer::Is { primary: 1, enabled: true }));
        say(format_args!(
            "leader {leader} killed under load, next write acknowledged after {standstill:.2?}"
        ));
        sleep(LOAD).await;
        cluster.start(leader).await?;
        cluster.come_back(&[leader]).await?;
    }
    let mut keys = load.keys();
    let tally = load.end().await;
    keys.extend((0..KILLS).map(|kill| AFTERWARDS + kill));
    verdict_under_load(&cluster, &journal, &keys, tally).await?;
    say(format_args!("{} trail records verified", untouched_trails(&cluster)?));
    assert!(worst < STANDSTILL_MAX, "writes stood still for {worst:.2?}");
    Ok(())
}
