//! What a server refuses at its start, and what a cluster refuses of a node: each says why, and harms nobody.

use std::path::Path;
use std::time::Duration;

use cluster_tests::history::{Event, Key, KeyAct, KeyAnswer};
use cluster_tests::live::{Cluster, Journal, LiveError, Node, free, say, verdict};
use keyclave_client::seal::SealState;
use keyclave_ledger::disk::{Area, Batch, Disk};
use keyclave_ledger::sled_disk::SledDisk;
use tokio::time::sleep;

/// Keys made in each test.
const KEYS: Key = 5;
/// How long a node that is refused is watched.
const WATCHED: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_and_a_port_taken_end_with_one_and_say_so() -> Result<(), LiveError> {
    let cluster = Cluster::founded(1).await?;
    let first = cluster.node(1)?;
    let other_ports = other(&cluster, first.clone(), "second", &[true, true, true])?;
    let said = must_end(&other_ports).await?;
    assert!(said.contains("in use by another process"), "{said}");
    for (taken, name) in [(0, "client port"), (1, "peer port"), (2, "health port")] {
        let mut fresh = [true; 3];
        if let Some(port) = fresh.get_mut(taken) {
            *port = false;
        }
        let mut node = other(&cluster, first.clone(), name, &fresh)?;
        node.data = cluster.place().root().join(format!("other{taken}"));
        let said = must_end(&node).await?;
        assert!(said.contains(name) && said.contains("is the port taken?"), "{said}");
    }
    let status = first.over_socket()?.seal_status().await?;
    assert_eq!(status.this_node.state, SealState::Unsealed, "the first process was harmed");
    say(format_args!("a directory in use and three taken ports: refused with exit status 1"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_disk_is_no_member_until_it_joins_anew() -> Result<(), LiveError> {
    let mut cluster = Cluster::founded(3).await?;
    let journal = Journal::begin();
    make_keys(&cluster, &journal).await?;
    let old = cluster.id_of(3).await?;
    cluster.kill(3)?;
    wipe(&cluster.node(3)?.data)?;
    journal.record(Event::Fault { class: "disk wiped".to_owned(), node: 3 });
    // Under its old arguments: the token in the file was spent by the directory that is gone.
    let said = must_end(cluster.node(3)?).await?;
    assert!(said.contains("refused this node"), "{said}");
    let client = cluster.client(1)?;
    let members = client.list_members().await?.value;
    let mut ids: Vec<_> = members.iter().map(|member| member.node).collect();
    assert_eq!(ids.len(), 3, "a wiped disk changed the membership");
    client.remove_member(old).await?;
    if let Some((_, spent)) = &cluster.node(3)?.join {
        std::fs::remove_file(spent).map_err(LiveError::system("removing a spent token"))?;
    }
    cluster.start(3).await?;
    cluster.let_join(3).await?;
    let new = cluster.id_of(3).await?;
    assert!(!ids.contains(&new), "the wiped disk came back under the id {new}");
    ids.retain(|id| *id != old);
    say(format_args!("node {old}'s disk wiped: refused; removed and joined anew it is node {new}"));
    let keys: Vec<Key> = (1..=KEYS).collect();
    verdict(&cluster, &journal, &[1, 2, 3], &keys).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_another_cluster_is_believed_by_nobody() -> Result<(), LiveError> {
    let mut foreign = Cluster::founded(1).await?;
    let foreign_cluster = foreign.node(1)?.over_socket()?.seal_status().await?.cluster;
    foreign.kill(1)?;
    let kept = std::env::temp_dir().join(format!("kclive-foreign-{}", std::process::id()));
    std::fs::rename(&foreign.node(1)?.data, &kept).map_err(LiveError::system("keeping a directory"))?;
    // The turn is held by one cluster at a time.
    drop(foreign);
    let mut cluster = Cluster::founded(3).await?;
    let journal = Journal::begin();
    cluster.kill(2)?;
    let own = cluster.node(2)?.data.clone();
    let aside = own.with_extension("aside");
    std::fs::rename(&own, &aside).map_err(LiveError::system("moving a directory"))?;
    std::fs::rename(&kept, &own).map_err(LiveError::system("moving a directory"))?;
    cluster.start(2).await?;
    journal.record(Event::Fault { class: "directory of another cluster".to_owned(), node: 2 });
    make_keys(&cluster, &journal).await?;
    sleep(WATCHED).await;
    let there = cluster.node(2)?.over_socket()?.seal_status().await?;
    assert_eq!(there.cluster, foreign_cluster);
    assert_eq!(there.this_node.state, SealState::Sealed, "a foreign node got a root");
    let status = cluster.status(cluster.leader().await?).await?;
    let reachable = status.health.iter().filter(|health| health.reachable).count();
    say(format_args!(
        "a directory of another cluster on a node's ports: sealed, {reachable} members reachable"
    ));
    cluster.kill(2)?;
    wipe(&own)?;
    std::fs::rename(&aside, &own).map_err(LiveError::system("moving a directory"))?;
    cluster.start(2).await?;
    cluster.come_back(&[2]).await?;
    let keys: Vec<Key> = (1..=KEYS).collect();
    verdict(&cluster, &journal, &[1, 2, 3], &keys).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_put_back_by_hand_keeps_a_node_from_starting() -> Result<(), LiveError> {
    let mut cluster = Cluster::founded(1).await?;
    let journal = Journal::begin();
    make_keys(&cluster, &journal).await?;
    cluster.kill(1)?;
    let store = cluster.node(1)?.data.join("ledger");
    let disk = SledDisk::open(&store).expect("a store that no process uses");
    let areas = [Area::RecordsEven, Area::RecordsOdd];
    let found = areas.map(|area| (area, disk.range(area, &[], 1).expect("records")));
    let (area, mut pairs) = found.into_iter().find(|(_, pairs)| !pairs.is_empty()).expect("a record");
    let (key, mut value) = pairs.remove(0);
    *value.last_mut().expect("a byte") ^= 1;
    let mut batch = Batch::default();
    batch.put(area, &key, value);
    disk.write(batch).and_then(|()| disk.sync()).expect("a record put back");
    drop(disk);
    let said = must_end(cluster.node(1)?).await?;
    assert!(said.contains("the disk was changed"), "{said}");
    say(format_args!("a record changed by hand: the node ended with exit status 1 and said so"));
    Ok(())
}

/// Keys with two versions each; all must be acknowledged.
async fn make_keys(cluster: &Cluster, journal: &Journal) -> Result<(), LiveError> {
    let caller = journal.caller(cluster.client_of_all()?, 0);
    for key in 1..=KEYS {
        for (act, primary) in [(KeyAct::Create, 1), (KeyAct::Rotate, 2)] {
            assert_eq!(caller.ask(key, act).await, Some(KeyAnswer::Is { primary, enabled: true }));
        }
    }
    Ok(())
}

/// The same node with a log of its own, and with fresh ports where told.
fn other(cluster: &Cluster, node: Node, name: &str, fresh: &[bool; 3]) -> Result<Node, LiveError> {
    let ports = free(3)?;
    let log = cluster.place().root().join(format!("{}.log", name.replace(' ', "-")));
    let mut node = Node { log, ..node };
    let places = [&mut node.clients, &mut node.peers, &mut node.health];
    for ((place, port), fresh) in places.into_iter().zip(ports).zip(fresh) {
        if *fresh {
            *place = port;
        }
    }
    Ok(node)
}

/// Starts a server that must end with status 1; the end of its log.
async fn must_end(node: &Node) -> Result<String, LiveError> {
    let (status, said) = node.start()?.end().await?;
    assert_eq!(status.code(), Some(1), "{said}");
    Ok(said)
}

fn wipe(directory: &Path) -> Result<(), LiveError> {
    std::fs::remove_dir_all(directory).map_err(LiveError::system("wiping a disk"))
}
