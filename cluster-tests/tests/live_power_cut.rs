//! The power of disks is cut: each node's data lies on an ext4 of its own on a loop device, and FS_IOC_SHUTDOWN throws
//! away what has not reached it. First the leader's disk, then all three at once. And the same with a planted bug, which
//! must be found: a process whose syncs do nothing. Needs root and loop devices, and `cc` for the bug.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cluster_tests::history::{Event, Key, KeyAct, KeyAnswer};
use cluster_tests::live::{
    Cluster, Disk, Journal, LiveError, Load, Place, SHARES_NEEDED, on_disks, say, until, untouched_trails,
    verdict, verdict_under_load,
};
use keyclave_types::key::{Algorithm, KeyRules, Version};
use keyclave_types::name::KeyName;
use tokio::time::sleep;

/// How long callers write before each cut.
const LOAD: Duration = Duration::from_millis(700);
/// Keys made before stores are rewritten.
const KEYS: Key = 6;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_cut_power() -> Result<(), LiveError> {
    let Some((mut cluster, disks)) = on_disks(Place::fresh()?, &[], "power cut")? else { return Ok(()) };
    cluster.found().await?;
    let journal = Journal::begin();
    let load = Load::begin(&cluster, &journal).await?;
    sleep(LOAD).await;

    let leader = cluster.leader().await?;
    let disk = disks.get(leader - 1).ok_or(LiveError::Node(leader))?;
    cut(disk)?;
    journal.record(Event::Fault { class: "power of the leader's disk cut".to_owned(), node: leader as u64 });
    let (status, said) = cluster.server(leader)?.end().await?;
    assert_eq!(status.code(), Some(1), "a node whose disk failed must stop and say so: {said}");
    cluster.kill(leader)?;
    disk.again()?;
    cluster.start(leader).await?;
    cluster.come_back(&[leader]).await?;
    say(format_args!("power of leader {leader}'s disk cut under load: it ended with status 1 and came back"));
    sleep(LOAD).await;

    black_out(&mut cluster, &disks, &journal).await?;
    say(format_args!("power of all three disks cut under load at once: unsealed by shares"));
    let keys = load.keys();
    let tally = load.end().await;
    verdict_under_load(&cluster, &journal, &keys, tally).await?;
    say(format_args!("{} trail records verified", untouched_trails(&cluster)?));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_does_not_sync_is_found_to_lose_what_it_acknowledged() -> Result<(), LiveError> {
    let place = Place::fresh()?;
    let without_sync = match shim(place.root()) {
        Ok(shim) => {
            [OsString::from("env"), [OsString::from("LD_PRELOAD="), shim.into()].into_iter().collect()]
        }
        Err(error) => {
            say(format_args!("planted bug SKIPPED: {error}"));
            return Ok(());
        }
    };
    let Some((mut cluster, disks)) = on_disks(place, &without_sync, "power cut")? else { return Ok(()) };
    cluster.found().await?;
    let journal = Journal::begin();
    // The cluster itself outlives the cut: what is to be missed is what was acknowledged after this.
    disks.iter().try_for_each(Disk::sync)?;
    let load = Load::begin(&cluster, &journal).await?;
    sleep(LOAD).await;
    let keys = load.keys();
    let tally = load.end().await;
    assert!(tally.answered > 10, "too little load to lose anything of: {tally:?}");
    let found = match black_out(&mut cluster, &disks, &journal).await {
        Ok(()) => verdict(&cluster, &journal, &[1, 2, 3], &keys).await.map(drop),
        Err(error) => Err(error),
    };
    match found {
        Ok(()) => Err(LiveError::Broken {
            invariant: "planted bug",
            what: "syncs did nothing, the power was cut, and nothing was missed".to_owned(),
        }),
        Err(error) => {
            let text = error.to_string();
            let text = text.chars().take(200).collect::<String>();
            say(format_args!("planted bug found, {tally:?} before the cut without syncs: {text}"));
            Ok(())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn power_cut_while_stores_are_rewritten_loses_nothing_and_they_are_rewritten_after_it()
-> Result<(), LiveError> {
    let Some((mut cluster, disks)) = on_disks(Place::fresh()?, &[], "power cut")? else { return Ok(()) };
    cluster.found().await?;
    let journal = Journal::begin();
    let caller = journal.caller(cluster.client_of_all()?, 0);
    for key in 1..=KEYS {
        for (act, primary) in [(KeyAct::Create, 1), (KeyAct::Rotate, 2)] {
            assert_eq!(caller.ask(key, act).await, Some(KeyAnswer::Is { primary, enabled: true }));
        }
    }
    let client = cluster.client_of_all()?;
    let destroyed: KeyName = "app/destroyed".parse().expect("a key's name");
    client.create_key(&destroyed, Algorithm::Xaes256Gcm, KeyRules::default()).await?;
    client.rotate_key(&destroyed).await?;
    client.destroy_key_version(&destroyed, Version::FIRST).await?;
    // A store and its copy, in any of the directories; looked for without a rest, because it takes a moment only.
    let both = async {
        while !disks.iter().any(|disk| stores(disk) > 1) {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, both).await.map_err(|_| LiveError::TimedOut {
        what: "stores that are rewritten",
        limit,
        missing: "no directory had two of them".to_owned(),
    })?;
    black_out(&mut cluster, &disks, &journal).await?;
    let client = cluster.client_of_all()?;
    until("the purge of a destroyed version", limit, async || {
        let described = client.get_key(&destroyed).await.map_err(|error| error.to_string())?.value;
        let purges = described.versions.first().map(|first| first.purges.clone()).unwrap_or_default();
        let done = purges.len() == 3 && purges.iter().all(|purge| purge.purged);
        if done { Ok(()) } else { Err(format!("{purges:?}")) }
    })
    .await?;
    assert!(disks.iter().all(|disk| stores(disk) == 1), "a copy that was cut short is still there");
    let keys: Vec<Key> = (1..=KEYS).collect();
    verdict(&cluster, &journal, &[1, 2, 3], &keys).await?;
    say(format_args!(
        "power of all three disks cut while stores were rewritten: nothing lost, rewritten after it"
    ));
    Ok(())
}

/// How many stores of the ledger lie on a disk.
fn stores(disk: &Disk) -> usize {
    let found = std::fs::read_dir(disk.mounted().join("data/ledger")).into_iter().flatten().flatten();
    found.filter(|entry| entry.file_name().to_string_lossy().starts_with("store-")).count()
}

/// The power of all disks goes at once and returns; shares bring the cluster back.
async fn black_out(cluster: &mut Cluster, disks: &[Disk], journal: &Journal) -> Result<(), LiveError> {
    disks.iter().try_for_each(cut)?;
    journal.record(Event::Fault { class: "power of all disks cut".to_owned(), node: 0 });
    cluster.kill_all();
    disks.iter().try_for_each(Disk::again)?;
    cluster.start_all().await?;
    cluster.give_shares(1, SHARES_NEEDED).await?;
    cluster.unsealed(&[1]).await?;
    cluster.come_back(&[2, 3]).await
}

/// A library that makes every way to sync do nothing and say that it did.
fn shim(directory: &Path) -> Result<PathBuf, LiveError> {
    const SOURCE: &str = "int fsync(int f) { return 0; }\n\
        int fdatasync(int f) { return 0; }\n\
        int syncfs(int f) { return 0; }\n\
        int sync_file_range(int f, long long o, long long n, unsigned g) { return 0; }\n";
    let (source, library) = (directory.join("nosync.c"), directory.join("nosync.so"));
    std::fs::write(&source, SOURCE).map_err(LiveError::system("writing the shim"))?;
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    let made = cc.output().map_err(LiveError::system("compiling the shim with cc"))?;
    if made.status.success() {
        return Ok(library);
    }
    let said = String::from_utf8_lossy(&made.stderr).trim().to_owned();
    Err(LiveError::Tool { command: format!("{cc:?}"), said })
}

/// Everything that has not reached the device is gone, and so is the device.
fn cut(disk: &Disk) -> Result<(), LiveError> {
    let directory = File::open(disk.mounted()).map_err(LiveError::system("opening a disk"))?;
    shut_down(&directory).map_err(LiveError::system("cutting the power of a disk"))
}

#[allow(unsafe_code, reason = "no tool that is installed everywhere cuts the power of a file system")]
fn shut_down(directory: &File) -> std::io::Result<()> {
    use rustix::ioctl::{Setter, ioctl};
    /// FS_IOC_SHUTDOWN: _IOR('X', 125, __u32).
    const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
    /// FS_SHUTDOWN_FLAGS_NOLOGFLUSH: the journal's unwritten part is lost too.
    const NO_LOG_FLUSH: u32 = 2;
    // SAFETY: this request reads one u32 through the pointer that `Setter` makes of its input, and writes nothing.
    unsafe { Ok(ioctl(directory, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH))?) }
}
