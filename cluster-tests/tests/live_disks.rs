//! Disks that fail, fill up, or are not what they were: a sync error, no space on one node and on a quorum, a data
//! directory rolled back, two swapped, and one of a newer version. What needs root, strace or loop devices says so.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cluster_tests::history::{Event, Key, KeyAct, KeyAnswer};
use cluster_tests::live::{
    Caller, Cluster, Journal, LiveError, Load, Place, on_disks, say, until, verdict, verdict_under_load,
};
use keyclave_client::seal::SealState;
use keyclave_ledger::disk::{Area, Batch, Disk as _};
use keyclave_ledger::sled_disk::SledDisk;
use tokio::time::{Instant, sleep};

/// Keys made in each phase of a quiet test.
const KEYS: Key = 6;
/// How long callers write before a fault and after it.
const LOAD: Duration = Duration::from_millis(600);
/// How long a node that must not serve is watched.
const WATCHED: Duration = Duration::from_secs(3);
/// How long a node may take to notice that its disk fails, or that a peer's has been rolled back.
const NOTICE: Duration = Duration::from_secs(20);
/// The first key of each test's own that no load makes.
const OWN: Key = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_ends_the_process_which_says_why_and_the_others_go_on() -> Result<(), LiveError> {
    let mut cluster = Cluster::founded(3).await?;
    let journal = Journal::begin();
    let load = Load::begin(&cluster, &journal).await?;
    sleep(LOAD).await;
    let leader = cluster.leader().await?;
    let Some(mut strace) = failing_syncs(cluster.server(leader)?.pid()).await? else { return Ok(()) };
    journal.record(Event::Fault { class: "syncs fail".to_owned(), node: leader as u64 });
    let ended = cluster.server(leader)?.end().await;
    let _ = strace.kill();
    let _ = strace.wait();
    let (status, said) = ended?;
    assert_eq!(status.code(), Some(1), "{said}");
    let why = last_error(&said);
    assert!(why.contains("Input/output error"), "it must say what failed: {said}");
    let begun = Instant::now();
    let caller = journal.caller(cluster.client_of_all()?, 0);
    assert_eq!(caller.ask(OWN, KeyAct::Create).await, Some(KeyAnswer::Is { primary: 1, enabled: true }));
    say(format_args!(
        "syncs of leader {leader} failed: it ended with 1, the others wrote after {:.2?}: {why}",
        begun.elapsed()
    ));
    cluster.kill(leader)?;
    cluster.start(leader).await?;
    cluster.come_back(&[leader]).await?;
    finish(&cluster, &journal, load, &[OWN]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_clearly_loses_nothing_and_recovers() -> Result<(), LiveError> {
    let Some((mut cluster, disks)) = on_disks(Place::fresh()?, &[], "full disks")? else { return Ok(()) };
    cluster.found().await?;
    let journal = Journal::begin();
    let load = Load::begin(&cluster, &journal).await?;
    sleep(LOAD).await;
    let leader = cluster.leader().await?;
    let (second, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let disk = |number: usize| disks.get(number - 1).ok_or(LiveError::Node(number));

    // One: it stops and says so, the others acknowledge on.
    disk(leader)?.fill()?;
    journal.record(Event::Fault { class: "disk full".to_owned(), node: leader as u64 });
    let said = ends_for_want_of_space(&mut cluster, leader).await?;
    let caller = journal.caller(cluster.client_of_all()?, 0);
    assert_eq!(caller.ask(OWN, KeyAct::Create).await, Some(KeyAnswer::Is { primary: 1, enabled: true }));
    say(format_args!("disk of leader {leader} full: it ended with 1, the others wrote on: {said}"));

    // A quorum: what is left acknowledges nothing.
    disk(second)?.fill()?;
    journal.record(Event::Fault { class: "disks of a quorum full".to_owned(), node: second as u64 });
    let said = ends_for_want_of_space(&mut cluster, second).await?;
    let alone = journal.caller(cluster.client(third)?.with_deadline(WATCHED), third);
    let refused = alone.ask(OWN + 1, KeyAct::Create).await;
    assert_eq!(refused, None, "a minority acknowledged a write");
    say(format_args!("disks of {leader} and {second} full: no write acknowledged: {said}"));

    // Space again, and each comes back with what it had.
    for number in [leader, second] {
        disk(number)?.free()?;
        cluster.start(number).await?;
    }
    cluster.come_back(&[leader, second]).await?;
    caller.ask(OWN + 2, KeyAct::Create).await;
    finish(&cluster, &journal, load, &[OWN, OWN + 1, OWN + 2]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_rolled_back_is_noticed_and_not_spread() -> Result<(), LiveError> {
    let mut cluster = Cluster::founded(3).await?;
    let journal = Journal::begin();
    let caller = journal.caller(cluster.client_of_all()?, 0);
    make_keys(&caller, 0..KEYS).await;
    let victim = cluster.leader().await? % 3 + 1;
    let own = cluster.node(victim)?.data.clone();
    let earlier = own.with_extension("earlier");
    cluster.kill(victim)?;
    copy(&own, &earlier)?;
    cluster.start(victim).await?;
    cluster.come_back(&[victim]).await?;
    make_keys(&caller, KEYS..2 * KEYS).await;
    serves(&cluster, &journal, victim, 2 * KEYS).await?;
    cluster.kill(victim)?;
    std::fs::remove_dir_all(&own).map_err(LiveError::system("removing a directory"))?;
    std::fs::rename(&earlier, &own).map_err(LiveError::system("moving a directory"))?;
    cluster.start(victim).await?;
    journal.record(Event::Fault { class: "disk rolled back".to_owned(), node: victim as u64 });
    make_keys(&caller, 2 * KEYS..3 * KEYS).await;
    let noticed = until("a peer that notices", NOTICE, async || {
        let logs = (1..=3).filter(|peer| *peer != victim).filter_map(|peer| {
            let log = &cluster.node(peer).ok()?.log;
            std::fs::read_to_string(log).ok()?.contains("was its disk rolled back?").then_some(peer)
        });
        logs.min().ok_or_else(|| "no log says so".to_owned())
    });
    let noticed = noticed.await?;
    // It answers nothing of what it had, be it unsealed by its restart key or not.
    let there = journal.caller(cluster.client(victim)?.with_deadline(WATCHED / 3), victim);
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        let said = there.ask(2 * KEYS, KeyAct::Describe).await;
        assert_eq!(said, None, "a node that was rolled back answered");
    }
    say(format_args!(
        "directory of node {victim} rolled back: node {noticed} noticed, it served nothing for {WATCHED:?}"
    ));
    // The way out is that of a lost disk.
    let old = cluster.id_of(victim).await?;
    cluster.kill(victim)?;
    cluster.client_of_all()?.remove_member(old).await?;
    std::fs::remove_dir_all(&own).map_err(LiveError::system("wiping a disk"))?;
    if let Some((_, spent)) = &cluster.node(victim)?.join {
        let _ = std::fs::remove_file(spent);
        cluster.start(victim).await?;
        cluster.let_join(victim).await?;
    }
    let keys: Vec<Key> = (1..=3 * KEYS).collect();
    let nodes: Vec<usize> = (1..=3).filter(|node| cluster.server(*node).is_ok()).collect();
    verdict(&cluster, &journal, &nodes, &keys).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_swapped_directories_answer_nothing_until_they_are_back() -> Result<(), LiveError> {
    let mut cluster = Cluster::founded(3).await?;
    let journal = Journal::begin();
    let caller = journal.caller(cluster.client_of_all()?, 0);
    make_keys(&caller, 0..KEYS).await;
    let (second, third) = (cluster.node(2)?.data.clone(), cluster.node(3)?.data.clone());
    cluster.kill(2)?;
    cluster.kill(3)?;
    swap(&second, &third)?;
    cluster.start(2).await?;
    cluster.start(3).await?;
    journal.record(Event::Fault { class: "directories swapped".to_owned(), node: 2 });
    for number in [2, 3] {
        let log = std::fs::read_to_string(&cluster.node(number)?.log).unwrap_or_default();
        assert!(log.contains("were data directories swapped?"), "node {number} does not say so: {log}");
    }
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        for number in [2, 3] {
            // Each runtime directory holds the other's restart key, which vouches for nobody.
            let status = cluster.node(number)?.over_socket()?.seal_status().await?;
            assert_eq!(status.this_node.state, SealState::Sealed, "node {number} with another's directory");
        }
        let there = journal.caller(cluster.client_of_all()?.with_deadline(WATCHED / 3), 0);
        there.ask(1, KeyAct::Describe).await;
    }
    cluster.kill(2)?;
    cluster.kill(3)?;
    swap(&second, &third)?;
    cluster.start(2).await?;
    cluster.start(3).await?;
    cluster.come_back(&[2, 3]).await?;
    make_keys(&caller, KEYS..2 * KEYS).await;
    say(format_args!("directories of 2 and 3 swapped: both stayed sealed; put right, both came back"));
    let keys: Vec<Key> = (1..=2 * KEYS).collect();
    verdict(&cluster, &journal, &[1, 2, 3], &keys).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_a_newer_version_is_refused_by_its_format() -> Result<(), LiveError> {
    /// A format that no version has written yet.
    const NEWER: u8 = 0x7f;
    let mut cluster = Cluster::founded(1).await?;
    cluster.kill(1)?;
    let data = cluster.node(1)?.data.clone();
    let mut refused = Vec::new();
    for slot in ["node/membership", "node/identity", "pins"] {
        let before =
            rewrite(&data, slot, |value| value.first_mut().map(|format| std::mem::replace(format, NEWER)))?;
        let (status, said) = cluster.node(1)?.start()?.end().await?;
        assert_eq!(status.code(), Some(1), "{slot}: {said}");
        let why = last_error(&said);
        assert!(why.contains("0x7f"), "{slot} of another format, and it said: {said}");
        refused.push(why);
        rewrite(&data, slot, |value| {
            value.first_mut().zip(before).map(|(format, before)| std::mem::replace(format, before))
        })?;
    }
    cluster.start(1).await?;
    let status = cluster.node(1)?.over_socket()?.seal_status().await?;
    assert_eq!(status.this_node.state, SealState::Sealed, "put right, it is the member that it was");
    say(format_args!("values of a newer format: refused with exit status 1: {}", refused.join(" | ")));
    Ok(())
}

/// Changes a kept value behind the product's back.
fn rewrite<T>(
    data: &Path,
    slot: &str,
    change: impl FnOnce(&mut Vec<u8>) -> Option<T>,
) -> Result<Option<T>, LiveError> {
    let broken = |what: String| LiveError::Broken { invariant: "newer format", what };
    let disk = Arc::new(SledDisk::open(&data.join("ledger")).map_err(|error| broken(error.to_string()))?);
    let kept = disk.range(Area::Meta, &[], usize::MAX).map_err(|error| broken(error.to_string()))?;
    let found = kept.into_iter().find(|(key, _)| key.ends_with(slot.as_bytes()));
    let (key, mut value) = found.ok_or_else(|| broken(format!("nothing is kept as {slot}")))?;
    let changed = change(&mut value);
    let mut batch = Batch::default();
    batch.put(Area::Meta, &key, value);
    disk.write(batch).and_then(|()| disk.sync()).map_err(|error| broken(error.to_string()))?;
    Ok(changed)
}

/// A strace that lets every sync of the process fail from here on; none, with the reason said, where it cannot.
async fn failing_syncs(process: u32) -> Result<Option<Child>, LiveError> {
    let started = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e"])
        .args(["inject=fsync,fdatasync:error=EIO", "-p", &process.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut strace = match started {
        Ok(strace) => strace,
        Err(error) => {
            say(format_args!("failing syncs SKIPPED: strace does not start: {error}"));
            return Ok(None);
        }
    };
    let status = format!("/proc/{process}/status");
    let attached = until("strace", NOTICE, async || {
        let traced = std::fs::read_to_string(&status).unwrap_or_default();
        let traced = traced.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"));
        match (traced, strace.try_wait()) {
            (true, _) => Ok(true),
            (false, Ok(None)) => Err("it has not attached".to_owned()),
            (false, _) => Ok(false),
        }
    })
    .await?;
    if attached {
        return Ok(Some(strace));
    }
    let said = strace.wait_with_output().map_err(LiveError::system("waiting for strace"))?.stderr;
    say(format_args!("failing syncs SKIPPED: {}", String::from_utf8_lossy(&said).trim()));
    Ok(None)
}

/// Waits until a node ends because its disk is full, as the load makes it write; its last words.
async fn ends_for_want_of_space(cluster: &mut Cluster, number: usize) -> Result<String, LiveError> {
    let (status, said) = cluster.server(number)?.end().await?;
    assert_eq!(status.code(), Some(1), "{said}");
    let why = last_error(&said);
    assert!(why.contains("No space left on device"), "it must say what failed: {said}");
    cluster.kill(number)?;
    Ok(why)
}

/// The line with which a server says why it ended.
fn last_error(log: &str) -> String {
    let line = log.lines().rev().find(|line| line.starts_with("keyclave: "));
    line.unwrap_or_default().to_owned()
}

async fn finish(cluster: &Cluster, journal: &Journal, load: Load, own: &[Key]) -> Result<(), LiveError> {
    sleep(LOAD).await;
    let mut keys = load.keys();
    let tally = load.end().await;
    keys.extend(own);
    verdict_under_load(cluster, journal, &keys, tally).await
}

/// Keys with two versions each; all must be acknowledged.
async fn make_keys(caller: &Caller, keys: std::ops::Range<Key>) {
    for key in keys {
        for (act, primary) in [(KeyAct::Create, 1), (KeyAct::Rotate, 2)] {
            let said = caller.ask(key + 1, act).await;
            assert_eq!(said, Some(KeyAnswer::Is { primary, enabled: true }), "key {key}, {act:?}");
        }
    }
}

/// Waits until a node answers for a key, so that it has acknowledged everything up to there.
async fn serves(cluster: &Cluster, journal: &Journal, number: usize, key: Key) -> Result<(), LiveError> {
    let there = journal.caller(cluster.client(number)?, number);
    until("an answer", NOTICE, async || {
        there
            .ask(key, KeyAct::Describe)
            .await
            .map(drop)
            .ok_or_else(|| format!("node {number} does not answer"))
    })
    .await
}

fn copy(from: &Path, to: &Path) -> Result<(), LiveError> {
    let mut cp = Command::new("cp");
    cp.arg("-a").args([from, to]);
    let copied = cp.status().map_err(LiveError::system("copying a directory"))?;
    assert!(copied.success(), "{cp:?} failed");
    Ok(())
}

fn swap(one: &Path, other: &Path) -> Result<(), LiveError> {
    let aside = one.with_extension("aside");
    let moved = std::fs::rename(one, &aside)
        .and_then(|()| std::fs::rename(other, one))
        .and_then(|()| std::fs::rename(&aside, other));
    moved.map_err(LiveError::system("swapping directories"))
}
