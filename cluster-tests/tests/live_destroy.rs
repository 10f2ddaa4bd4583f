//! What is left of a destroyed version on the disks of real processes: nothing, once every node says so; a node that
//! was down says so when it has come back and done it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster_tests::live::{Cluster, LiveError, say, until};
use keyclave_client::Client;
use keyclave_ledger::ledger::Ledger;
use keyclave_ledger::sled_disk::SledDisk;
use keyclave_types::ids::RecordId;
use keyclave_types::key::{Algorithm, KeyRules, Version};
use keyclave_types::name::KeyName;

/// How long the nodes may take: a second until the order, three until the checkpoint, and some for a busy machine.
const PURGE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_a_destroyed_version_is_on_any_disk_once_every_node_says_purged() -> Result<(), LiveError>
{
    let mut cluster = Cluster::founded(3).await?;
    let key: KeyName = "app/payments".parse().expect("a key's name");
    let client = cluster.client_of_all()?;
    client.create_key(&key, Algorithm::Xaes256Gcm, KeyRules::default()).await?;
    client.rotate_key(&key).await?;
    let down = follower(&cluster).await?;
    cluster.kill(down)?;
    let before = records(&cluster.node(down)?.data);
    client.destroy_key_version(&key, Version::FIRST).await?;
    let up: Vec<usize> = (1..=cluster.count()).filter(|number| *number != down).collect();
    let absent = id(&cluster, &up, down).await?;
    purged(&client, &key, |node, purged| purged || node == absent).await?;
    let described = client.get_key(&key).await?.value;
    let first = described.versions.first().expect("a first version");
    let standing: Vec<_> = first.purges.iter().map(|purge| (purge.node.get(), purge.purged)).collect();
    assert!(standing.contains(&(absent, false)), "a node that is down has purged something: {standing:?}");
    let gone = |after: &BTreeMap<RecordId, Vec<u8>>| -> Vec<Vec<u8>> {
        before.iter().filter(|(id, _)| !after.contains_key(*id)).map(|(_, blob)| blob.clone()).collect()
    };
    cluster.start(down).await?;
    cluster.come_back(&[down]).await?;
    purged(&client, &key, |_, purged| purged).await?;
    cluster.kill_all();
    for number in 1..=cluster.count() {
        let directory = &cluster.node(number)?.data;
        let gone = gone(&records(directory));
        assert!(!gone.is_empty(), "no record went");
        for blob in &gone {
            assert!(!holds(directory, blob), "node {number} still holds a record that was deleted");
        }
    }
    say(format_args!(
        "a destroyed version: searched for in three directories after every node had purged it"
    ));
    Ok(())
}

/// A node that does not lead.
async fn follower(cluster: &Cluster) -> Result<usize, LiveError> {
    let leader = cluster.leader().await?;
    (1..=cluster.count()).find(|number| *number != leader).ok_or(LiveError::Node(leader))
}

/// The number in the cluster of the node that is none of these.
async fn id(cluster: &Cluster, up: &[usize], down: usize) -> Result<u64, LiveError> {
    let mut known = Vec::new();
    for number in up {
        known.push(cluster.id_of(*number).await?);
    }
    let members = cluster.client_of_all()?.list_members().await?.value;
    let other = members.iter().map(|member| member.node).find(|node| !known.contains(node));
    other.map(|node| node.get()).ok_or(LiveError::Node(down))
}

/// Waits until each node stands as it should.
async fn purged(client: &Client, key: &KeyName, right: impl Fn(u64, bool) -> bool) -> Result<(), LiveError> {
    until("the purge of a destroyed version", PURGE, async || {
        let described = client.get_key(key).await.map_err(|error| error.to_string())?.value;
        let purges = described.versions.first().map(|first| first.purges.clone()).unwrap_or_default();
        let done = purges.len() == 3 && purges.iter().all(|purge| right(purge.node.get(), purge.purged));
        if done { Ok(()) } else { Err(format!("{purges:?}")) }
    })
    .await
}

/// The sealed records in a directory that no process uses, each of which lies in its files as it is.
fn records(data: &Path) -> BTreeMap<RecordId, Vec<u8>> {
    let disk = SledDisk::open(&data.join("ledger")).expect("a store that no process uses");
    let ledger = Ledger::open(Arc::new(disk)).expect("records");
    let (_, records) = ledger.read_everything().expect("records");
    let records = records.into_iter().filter(|(id, _)| !id.is_plain());
    let blobs: BTreeMap<_, _> = records.map(|(id, record)| (id, record.blob)).collect();
    drop(ledger);
    let sample = blobs.values().find(|blob| blob.len() < 900).expect("a short record");
    assert!(holds(data, sample), "or the search proves nothing");
    blobs
}

fn holds(directory: &Path, needle: &[u8]) -> bool {
    let mut found = std::fs::read_dir(directory).expect("a node's directory");
    found.any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return holds(&path, needle);
        }
        // A socket is no file to read.
        std::fs::read(&path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
    })
}
