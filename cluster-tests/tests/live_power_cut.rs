//! The power of disks is cut: each node's data lies on an ext4 of its own on a loop device, and FS_IOC_SHUTDOWN throws
//! away what has not reached it. First the leader's disk, then all three at once. Needs root and loop devices.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cluster_tests::history::Event;
use cluster_tests::live::{
    Cluster, Journal, LiveError, Load, Place, SHARES_NEEDED, say, untouched_trails, verdict,
};
use tokio::time::sleep;

/// How long callers write before each cut.
const LOAD: Duration = Duration::from_millis(700);
/// Bytes of each disk; a sparse file.
const DISK_BYTES: u64 = 256 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_cut_power() -> Result<(), LiveError> {
    let place = Place::fresh()?;
    let mut nodes = Cluster::plan(&place, 3)?;
    let mut disks = Vec::new();
    for node in &mut nodes {
        match Disk::make(place.root(), node.number) {
            Ok(disk) => {
                node.data = disk.mounted.join("data");
                disks.push(disk);
            }
            Err(error) => {
                say(format_args!("power cut SKIPPED: {error}"));
                return Ok(());
            }
        }
    }
    let mut cluster = Cluster::of(place, nodes);
    // Moved behind the cluster, so that the disks are unmounted before its directories are removed.
    let disks = disks;
    cluster.found().await?;
    let journal = Journal::begin();
    let load = Load::begin(&cluster, &journal).await?;
    sleep(LOAD).await;

    let leader = cluster.leader().await?;
    let disk = disks.get(leader - 1).ok_or(LiveError::Node(leader))?;
    disk.cut()?;
    journal.record(Event::Fault { class: "power of the leader's disk cut".to_owned(), node: leader as u64 });
    let (status, said) = cluster.server(leader)?.end().await?;
    assert_eq!(status.code(), Some(1), "a node whose disk failed must stop and say so: {said}");
    cluster.kill(leader)?;
    disk.again()?;
    cluster.start(leader).await?;
    cluster.come_back(&[leader]).await?;
    say(format_args!("power of leader {leader}'s disk cut under load: it ended with status 1 and came back"));
    sleep(LOAD).await;

    disks.iter().try_for_each(Disk::cut)?;
    journal.record(Event::Fault { class: "power of all disks cut".to_owned(), node: 0 });
    cluster.kill_all();
    disks.iter().try_for_each(Disk::again)?;
    cluster.start_all().await?;
    cluster.give_shares(1, SHARES_NEEDED).await?;
    cluster.unsealed(&[1]).await?;
    cluster.come_back(&[2, 3]).await?;
    say(format_args!("power of all three disks cut under load at once: unsealed by shares"));

    let keys = load.keys();
    let tally = load.end().await;
    let events = verdict(&cluster, &journal, &[1, 2, 3], &keys).await?;
    let records = untouched_trails(&cluster)?;
    say(format_args!("{tally:?}, {} keys, {events} events judged, {records} trail records", keys.len()));
    assert!(tally.answered > 50, "too little load to judge: {tally:?}");
    Ok(())
}

/// An ext4 on a loop device.
struct Disk {
    image: PathBuf,
    mounted: PathBuf,
}

impl Disk {
    fn make(root: &Path, number: usize) -> Result<Self, LiveError> {
        let (image, mounted) = (root.join(format!("disk{number}.img")), root.join(format!("disk{number}")));
        let sparse = File::create(&image).and_then(|file| file.set_len(DISK_BYTES));
        sparse.and_then(|()| std::fs::create_dir(&mounted)).map_err(LiveError::system("making an image"))?;
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), &image])?;
        let disk = Self { image, mounted };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), LiveError> {
        run("mount", &["-o".as_ref(), "loop".as_ref(), &self.image, &self.mounted])
    }

    /// Everything that has not reached the device is gone, and so is the device.
    fn cut(&self) -> Result<(), LiveError> {
        let directory = File::open(&self.mounted).map_err(LiveError::system("opening a disk"))?;
        shut_down(&directory).map_err(LiveError::system("cutting the power of a disk"))
    }

    /// The power is back; its journal is replayed.
    fn again(&self) -> Result<(), LiveError> {
        run("umount", &[&self.mounted])?;
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: servers may still run. The loop device goes with the last of them.
        let _ = run("umount", &["-l".as_ref(), &self.mounted]);
    }
}

fn run(tool: &str, arguments: &[&Path]) -> Result<(), LiveError> {
    let failed = |said: String| LiveError::Tool { command: format!("{tool} {arguments:?}"), said };
    let output = Command::new(tool).args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
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
