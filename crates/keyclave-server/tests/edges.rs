//! What happens at a server's edges: an init that was cut short, a seal while it serves, a flood without credentials.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod support;

use std::path::Path;
use std::time::Duration;

use keyclave_client::audit::AuditQuery;
use keyclave_client::error::ReadError;
use keyclave_ledger::disk::{Area, Batch, Disk};
use keyclave_ledger::sled_disk::SledDisk;
use keyclave_server::run::Stopped;
use keyclave_types::key::Algorithm;
use support::{Server, cluster, found, within};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_init_that_was_cut_short_before_its_end_leaves_a_node_that_can_be_initialised() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("1");
    let mut server = Server::start(directory.clone(), None);
    found(&server).await;
    within(Duration::from_secs(20), server.end()).await.unwrap();
    // The membership is what an init saves last: without it a directory is as after a crash just before.
    let left = root.path().join("2");
    for name in ["ledger", "audit"] {
        copy(&directory.join(name), &left.join(name));
    }
    {
        let disk = SledDisk::open(&left.join("ledger")).unwrap();
        let mut batch = Batch::default();
        batch.delete(Area::Meta, b"slot/node/membership".as_slice());
        disk.write(batch).unwrap();
        disk.sync().unwrap();
    }
    let mut server = Server::start(left, None);
    let again = found(&server).await;
    let admin = server.client(&again, Some(&again.root_token));
    admin.create_key(&"app/k".parse().unwrap(), Algorithm::Xaes256Gcm, Default::default()).await.unwrap();
    within(Duration::from_secs(20), server.end()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_moment_a_seal_is_acknowledged_nothing_is_served() {
    let root = tempfile::tempdir().unwrap();
    let (mut servers, founded) = cluster(root.path(), 0).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    let key = "app/k".parse().unwrap();
    admin.create_key(&key, Algorithm::Xaes256Gcm, Default::default()).await.unwrap();
    let operator = servers[0].operator().await;
    operator.seal_this_node().await.unwrap();
    assert!(admin.encrypt(&key, None, b"x", b"").await.is_err());
    let ended = within(Duration::from_secs(20), servers[0].wait()).await;
    assert_eq!(ended.unwrap(), Stopped::Sealed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_has_handed_over_and_let_go_of_its_directory() {
    let root = tempfile::tempdir().unwrap();
    let (mut servers, founded) = cluster(root.path(), 2).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    let key = "app/k".parse().unwrap();
    admin.create_key(&key, Algorithm::Xaes256Gcm, Default::default()).await.unwrap();
    let leader = admin.cluster_status().await.unwrap().value.leader.unwrap();
    let first = usize::try_from(leader.get()).unwrap() - 1;
    // Clients stay connected and go on calling: they must not keep it.
    let calling = servers[first].client(&founded, Some(&founded.root_token));
    let calls = tokio::spawn(async move { while calling.encrypt(&key, None, b"x", b"").await.is_ok() {} });
    within(Duration::from_secs(20), servers[first].end()).await.unwrap();
    drop(SledDisk::open(&servers[first].directory.join("ledger")).unwrap());
    let other = servers[(first + 1) % 3].client(&founded, Some(&founded.root_token));
    let now = other.cluster_status().await.unwrap().value.leader;
    assert!(now.is_some_and(|now| now != leader), "{leader} led, and now {now:?}");
    calls.abort();
    // Told to start again, it is a member that comes back.
    servers[first].begin();
    servers[first].until_unsealed().await;
    for server in &mut servers {
        within(Duration::from_secs(20), server.end()).await.unwrap();
        drop(SledDisk::open(&server.directory.join("ledger")).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_without_credentials_fills_nothing_and_a_refusal_says_where_the_ledger_stood() {
    let root = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(root.path(), 0).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    let nobody = servers[0].client(&founded, None);
    let key = "app/k".parse().unwrap();
    for _ in 0..600 {
        assert!(nobody.get_key(&key).await.is_err());
    }
    let refused = admin.get_key(&key).await.unwrap_err();
    assert!(matches!(&refused, ReadError::Refused(refusal) if refusal.position.is_some()), "{refused:?}");
    let mut recorded = 0;
    let mut query = AuditQuery { operation: Some("GetKey".to_owned()), ..Default::default() };
    loop {
        let page = admin.search_audit(query.clone()).await.unwrap().value;
        recorded += page.records.iter().filter(|record| record.outcome == "UNAUTHENTICATED").count();
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert!((1..300).contains(&recorded), "{recorded} of 600 refusals are on record");
}
