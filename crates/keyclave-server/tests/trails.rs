//! What a caller sees of the trail: receipts, signed heads, a hold, and a node that serves nobody while its trail was
//! tampered with.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use keyclave_audit::checkpoint::Checkpoint;
use keyclave_audit::directory::Directory;
use keyclave_audit::note::{self, NoteKey};
use keyclave_audit::record::{Head, Receipt};
use keyclave_audit::segment_key::NoKeys;
use keyclave_audit::verify::{Expectation, verify};
use keyclave_client::Client;
use keyclave_client::audit::Trails;
use keyclave_client::cluster::NewCluster;
use keyclave_client::error::WriteError;
use keyclave_client::receipts::Receipts;
use keyclave_types::ids::NodeId;
use keyclave_types::key::Algorithm;
use keyclave_types::name::KeyName;
use support::{Server, give_shares, subject, within};

async fn founded(server: &Server) -> (NewCluster, Client) {
    let cluster = support::found(server).await;
    let admin = server.client(&cluster, Some(&cluster.root_token));
    (cluster, admin)
}

/// How the trails stand once this node's is anchored up to `sequence`.
async fn anchored(admin: &Client, sequence: u64) -> Trails {
    within(Duration::from_secs(30), async {
        loop {
            let trails = admin.trails().await.unwrap().value;
            if trails.heads.iter().any(|head| head.sequence >= sequence) {
                return trails;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
}

fn checkpoint(trails: &Trails) -> Checkpoint {
    let key: NoteKey = trails.note_key.as_ref().unwrap().parse().unwrap();
    let note = trails.heads.first().unwrap().note.clone().unwrap();
    Checkpoint::parse(note::open(&note, &key).unwrap()).unwrap()
}

/// The last segment's file.
fn last_segment(server: &Server) -> PathBuf {
    let files = std::fs::read_dir(server.directory.join("audit")).unwrap();
    let names = files.map(|file| file.unwrap().path());
    names.filter(|path| path.to_string_lossy().ends_with(".jsonl")).max().unwrap()
}

async fn create(client: &Client, name: &str) -> Result<(), WriteError> {
    let name: KeyName = name.parse().unwrap();
    client.create_key(&name, Algorithm::Xaes256Gcm, Default::default()).await.map(|_| ())
}

/// Whether a write was not done, and these words say why.
fn says(error: &WriteError, words: &str) -> bool {
    format!("{error:?}").contains(words)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_has_a_receipt_for_a_record_that_an_anchor_stands_for() {
    let root = tempfile::tempdir().unwrap();
    let mut server = Server::start(root.path().join("1"), None);
    let (cluster, admin) = founded(&server).await;
    let receipts = Receipts::default();
    create(&admin.with_receipts(&receipts), "app/a").await.unwrap();
    // Refusals have one too.
    let nobody = subject(&admin, "service:nobody", &[]).await;
    let token = admin.create_token(&nobody, None).await.unwrap().value;
    let stranger = server.client(&cluster, Some(&token.text)).with_receipts(&receipts);
    assert!(create(&stranger, "app/b").await.is_err());
    let collected: Vec<Receipt> = receipts.collected().iter().map(|text| text.parse().unwrap()).collect();
    assert!(collected.len() >= 2, "{collected:?}");
    let last = *collected.last().unwrap();
    let trails = anchored(&admin, last.sequence).await;
    assert!(!trails.tampered && !trails.low && trails.hold.is_none());
    let checkpoint = checkpoint(&trails);
    within(Duration::from_secs(20), server.end()).await.unwrap();

    let mut expectation = Expectation {
        anchors: collected
            .iter()
            .map(|receipt| Head { sequence: receipt.sequence, hash: receipt.hash })
            .collect(),
        tree_heads: vec![checkpoint.tree],
        ..Expectation::default()
    };
    expectation.anchors.push(checkpoint.head);
    let files = Directory::at(&server.directory.join("audit"));
    let report = verify(&files, &NoKeys, &expectation).unwrap();
    assert!(report.is_untouched(), "{:?}", report.findings);
    expectation.anchors.push(Head { hash: [1; 32], ..checkpoint.head });
    assert!(!verify(&files, &NoKeys, &expectation).unwrap().is_untouched());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_trail_was_cut_or_changed_serves_nobody_until_a_person_acknowledges_it() {
    let root = tempfile::tempdir().unwrap();
    let mut server = Server::start(root.path().join("1"), None);
    let (cluster, admin) = founded(&server).await;
    for number in 0..5 {
        create(&admin, &format!("app/{number}")).await.unwrap();
    }
    anchored(&admin, 10).await;
    for cut in [true, false] {
        within(Duration::from_secs(20), server.end()).await.unwrap();
        let path = last_segment(&server);
        let text = std::fs::read_to_string(&path).unwrap();
        let changed = match cut {
            // Whole lines, so that nothing looks torn; what it grows by while it starts may be more.
            true => text.split_inclusive('\n').take(2).collect::<String>(),
            false => text.replacen("\"outcome\":\"OK\"", "\"outcome\":\"KO\"", 1),
        };
        assert_ne!(changed, text);
        std::fs::write(&path, changed).unwrap();
        server.begin();
        // Alone, it has nobody that would let it back.
        give_shares(&server, &cluster, 2).await;
        within(Duration::from_secs(20), async {
            while !admin.trails().await.unwrap().value.tampered {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        let quick = admin.with_deadline(Duration::from_secs(2));
        let refused = create(&quick, &format!("app/refused-{cut}")).await.unwrap_err();
        assert!(says(&refused, "audit trail was tampered with"), "{refused:?}");
        let other = quick.acknowledge_trail(NodeId::new(9).unwrap()).await.unwrap_err();
        assert!(says(&other, "ask that one"), "{other:?}");
        admin.acknowledge_trail(NodeId::new(1).unwrap()).await.unwrap();
        assert!(!admin.trails().await.unwrap().value.tampered);
        create(&admin, &format!("app/again-{cut}")).await.unwrap();
        // Its next heads are anchored as they come.
        anchored(&admin, 1).await;
    }
    within(Duration::from_secs(20), server.end()).await.unwrap();
    let files = Directory::at(&server.directory.join("audit"));
    let report = verify(&files, &NoKeys, &Expectation::default()).unwrap();
    assert!(!report.is_untouched(), "what was changed is found for good");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_holds_the_trail_and_a_program_cannot() {
    let root = tempfile::tempdir().unwrap();
    let mut server = Server::start(root.path().join("1"), None);
    let (cluster, admin) = founded(&server).await;
    admin.retain_trail(Some(400 * 24 * 3_600_000)).await.unwrap();
    admin.hold_trail("a trial").await.unwrap();
    let program = subject(&admin, "service:robot", &["administrator"]).await;
    let token = admin.create_token(&program, None).await.unwrap().value;
    let robot = server.client(&cluster, Some(&token.text));
    let refused = robot.release_trail().await.unwrap_err();
    assert!(says(&refused, "only a person"), "{refused:?}");
    let trails = admin.trails().await.unwrap().value;
    let hold = trails.hold.unwrap();
    assert_eq!((hold.by.as_str(), hold.reason.as_str()), ("user:root", "a trial"));
    assert_eq!(trails.keep_ms, Some(400 * 24 * 3_600_000));
    admin.release_trail().await.unwrap();
    assert!(admin.trails().await.unwrap().value.hold.is_none());
    within(Duration::from_secs(20), server.end()).await.unwrap();
}
