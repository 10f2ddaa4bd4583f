//! A sealed process holds no byte of what is under the root: its readable memory (but for its program's own unwritable
//! pages) and its directories are searched for every 16-byte window of root, keyring, shares, token and plaintext, raw, in hexadecimal and in base64.
//!
//! The same search finds them in an unsealed process, so that it is known to find. `KEYCLAVE_MEMORY_CYCLES` says how often
//! every node is sealed and searched; the default is what a commit can wait for.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster_tests::live::{Cluster, LiveError, SHARES_NEEDED, say, until};
use cluster_tests::windows::{WINDOW_BYTES, Windows};
use keyclave_client::seal::{GivenShare, SealState, SealTarget, ShareOutcome, ShareTerms};
use keyclave_crypto::share::Share;
use keyclave_crypto::{shamir, wrap};
use keyclave_ledger::ledger::Ledger;
use keyclave_ledger::sled_disk::SledDisk;
use keyclave_types::ids::{PlainKind, RecordId};
use keyclave_types::key::{Algorithm, KeyRules};
use keyclave_types::request::NodeCode;
use keyclave_types::seal::SealRecord;

const CYCLES: &str = "KEYCLAVE_MEMORY_CYCLES";
const CYCLES_DEFAULT: usize = 1;
const NODES: usize = 3;
/// Read at a time.
const CHUNK_BYTES: usize = 1 << 20;
const SETTLE: Duration = Duration::from_secs(30);
/// What is encrypted, and must be gone with the keys.
const PLAINTEXT: &[u8] = b"a plaintext that a sealed process must have forgotten";

/// What must not be found, and where it is searched for.
struct Secrets(Windows);

impl Secrets {
    /// Hits in everything that can be read of a process.
    fn found_in_memory(&self, pid: u32) -> std::io::Result<usize> {
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let mut hits = 0;
        for line in maps.lines() {
            let (range, rest) = line.split_once(' ').unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
            let mut fields = rest.split_ascii_whitespace();
            let (rights, path) = (fields.next().unwrap(), fields.nth(3).unwrap_or_default());
            // The kernel's own pages cannot be read; what is a file's and cannot be written is that file, word for word.
            let a_files = path.starts_with('/') && !rights.contains('w');
            if rights.starts_with('r') && !path.starts_with("[v") && !a_files {
                hits += self.found_between(&memory, from, to);
            }
        }
        Ok(hits)
    }

    fn found_between(&self, file: &File, mut from: u64, to: u64) -> usize {
        let mut hits = 0;
        let mut chunk = vec![0; CHUNK_BYTES + WINDOW_BYTES - 1];
        while from < to {
            let wanted = chunk.len().min(usize::try_from(to - from).unwrap());
            // What goes away while it is read is not there any more.
            let Ok(read) = file.read_at(&mut chunk[..wanted], from) else { break };
            hits += self.0.found_in(&chunk[..read]);
            if read < chunk.len() {
                from += read.max(1) as u64;
            } else {
                from += CHUNK_BYTES as u64;
            }
        }
        hits
    }

    fn found_under(&self, path: &Path) -> usize {
        let Ok(entries) = std::fs::read_dir(path) else { return 0 };
        let each = entries.map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { self.found_under(&path) } else { self.found_in_file(&path) }
        });
        each.sum()
    }

    fn found_in_file(&self, path: &Path) -> usize {
        // A socket is no file; a segment may have been removed meanwhile.
        std::fs::read(path).map_or(0, |bytes| self.0.found_in(&bytes))
    }
}

/// Everything that must be forgotten. Node `stopped` does not run: its ledger is read.
fn secrets(cluster: &Cluster, stopped: usize) -> Result<Secrets, LiveError> {
    let mut windows = Windows::default();
    windows.add(PLAINTEXT);
    windows.add(cluster.root_token()?.as_bytes());
    let read = |text: &str| Share::from_text(text).unwrap();
    for text in cluster.shares()? {
        // Set and number stand in the clear in the seal record; the 32 bytes after them are the secret.
        windows.add(&read(text).to_bytes()[10..42]);
        windows.add_form(&text.as_bytes()[24..]);
    }
    let disk = Arc::new(SledDisk::open(&cluster.node(stopped)?.data.join("ledger")).unwrap());
    let record = Ledger::open(disk).unwrap().read(&RecordId::plain(PlainKind::Seal, 0)).unwrap().unwrap();
    let set = keyclave_types::envelope::decode::<SealRecord>(&record.blob).unwrap().current;
    let shares: Vec<Share> =
        cluster.shares()?.iter().take(usize::from(SHARES_NEEDED)).map(|text| read(text)).collect();
    let root = shamir::combine(&shares, set.threshold).unwrap();
    windows.add(root.expose());
    Ok(Secrets(with_keyring(windows, &root, &set, cluster)))
}

/// Adds the keyring.
fn with_keyring(
    mut windows: Windows,
    root: &keyclave_crypto::secret::Secret<32>,
    set: &keyclave_types::seal::ShareSet,
    cluster: &Cluster,
) -> Windows {
    let id = cluster.cluster_id().unwrap();
    let bound = [id.as_bytes().as_slice(), &set.id].concat();
    let keyring = wrap::unwrap(root, &bound, &set.wrapped_keyring).unwrap();
    windows.add(keyring.expose());
    windows
}

async fn code(cluster: &Cluster, number: usize) -> Result<NodeCode, LiveError> {
    Ok(cluster.node(number)?.over_socket()?.local_code().await?.0)
}

/// Waits until another process, sealed, runs in place of the one with this code.
async fn replaced(cluster: &Cluster, number: usize, before: &NodeCode) -> Result<(), LiveError> {
    until("a sealed process in place of the old one", SETTLE, async || {
        let socket = cluster.node(number).unwrap().over_socket().unwrap();
        let (now, _) = socket.local_code().await.map_err(|error| error.to_string())?;
        let state = socket.seal_status().await.map_err(|error| error.to_string())?.this_node.state;
        let sealed = now != *before && state == SealState::Sealed;
        if sealed { Ok(()) } else { Err(format!("node {number} is {state:?}")) }
    })
    .await
}

fn search(cluster: &mut Cluster, number: usize, windows: &Secrets, when: &str) -> Result<(), LiveError> {
    let pid = cluster.server(number)?.pid();
    let memory = windows.found_in_memory(pid).unwrap();
    assert_eq!(memory, 0, "node {number} {when}: {memory} windows in memory");
    let node = cluster.node(number)?;
    let runtime = node.runtime.as_deref().map_or(0, |path| windows.found_under(path));
    let found = windows.found_under(&node.data) + runtime + windows.found_in_file(&node.log);
    assert_eq!(found, 0, "node {number} {when}: {found} windows in its files");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_process_holds_no_byte_of_what_is_under_the_root() -> Result<(), LiveError> {
    let mut cluster = Cluster::founded(NODES).await?;
    let pid = cluster.server(1)?.pid();
    if File::open(format!("/proc/{pid}/mem")).is_err() {
        say(format_args!("skipped: the memory of a process that forbids dumps is read by root alone"));
        return Ok(());
    }
    let client = cluster.client(1)?;
    let key = "memory/key".parse().unwrap();
    client.create_key(&key, Algorithm::Xaes256Gcm, KeyRules::default()).await.unwrap();
    cluster.kill(3)?;
    let windows = secrets(&cluster, 3)?;
    cluster.forget_restart_key(3)?;
    cluster.start(3).await?;
    search(&mut cluster, 3, &windows, "never unsealed")?;
    client.encrypt(&key, None, PLAINTEXT, b"").await.unwrap();
    let held = windows.found_in_memory(cluster.server(1)?.pid()).unwrap();
    assert!(held > 0, "the search finds nothing where the keys are");
    drop(client);

    let cycles = std::env::var(CYCLES).ok().and_then(|text| text.parse().ok()).unwrap_or(CYCLES_DEFAULT);
    vouch(&cluster, 3).await?;
    for _ in 0..cycles {
        for number in 1..=NODES {
            let before = code(&cluster, number).await?;
            cluster.node(number)?.over_socket()?.seal_this_node().await.unwrap();
            replaced(&cluster, number, &before).await?;
            search(&mut cluster, number, &windows, "sealed on its socket")?;
            vouch(&cluster, number).await?;
        }
    }
    let before = [code(&cluster, 1).await?, code(&cluster, 2).await?, code(&cluster, 3).await?];
    cluster.client(1)?.seal(SealTarget::Cluster).await.unwrap();
    for (number, before) in (1..=NODES).zip(&before) {
        replaced(&cluster, number, before).await?;
        search(&mut cluster, number, &windows, "sealed with the cluster")?;
    }
    say(format_args!(
        "{} windows: {held} hits in an unsealed process, none in {} sealed ones and their files",
        windows.0.count(),
        1 + (cycles + 1) * NODES
    ));
    cluster.give_shares(1, SHARES_NEEDED).await?;
    cluster.unsealed(&[1]).await
}

/// One share, given on the machine, brings a node back.
async fn vouch(cluster: &Cluster, number: usize) -> Result<(), LiveError> {
    let socket = cluster.node(number)?.over_socket()?.with_deadline(SETTLE);
    let (code, key) = socket.local_code().await?;
    let terms =
        ShareTerms { vouch_for: Some((cluster.id_of(number).await?, code)), admit_all_members: false };
    let share = GivenShare::parse(&cluster.shares()?[0])?;
    let answer = socket.submit_share(&share, &key, terms).await?;
    assert!(matches!(answer.outcome, ShareOutcome::Vouched | ShareOutcome::NotNeeded), "{answer:?}");
    cluster.unsealed(&[number]).await
}
