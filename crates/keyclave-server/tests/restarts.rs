//! Processes that end and come back: unsealed by their peers where they may be, by shares where nobody is left.

mod support;

use std::time::Duration;

use keyclave_audit::directory::Directory;
use keyclave_audit::segment_key::NoKeys;
use keyclave_audit::verify::{Expectation, verify};
use keyclave_client::crypto::DecryptWith;
use keyclave_client::seal::SealState;
use keyclave_types::key::{Algorithm, KeyRules};
use support::{cluster, give_shares, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_comes_back_by_itself_and_a_whole_cluster_by_its_shares() {
    let _ = tracing_subscriber::fmt().with_test_writer().with_env_filter("info").try_init();
    let root = tempfile::tempdir().unwrap();
    let (mut servers, founded) = cluster(root.path(), 2).await;
    let key = "app/data".parse().unwrap();
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    admin.create_key(&key, Algorithm::Xaes256Gcm, KeyRules::default()).await.unwrap();
    let sealed = admin.encrypt(&key, None, b"plain", b"").await.unwrap().value.ciphertext;

    // The first node leads; while it is away the others elect another, and writes go on.
    within(Duration::from_secs(20), servers[0].end()).await.unwrap();
    let second = servers[1].client(&founded, Some(&founded.root_token));
    second.rotate_key(&key).await.unwrap();
    servers[0].begin();
    let restart_key_may_be_kept = std::path::Path::new("/dev/shm").is_dir()
        && std::fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() <= 1);
    if restart_key_may_be_kept {
        servers[0].until_unsealed().await;
    } else {
        println!("skipped: coming back by itself, because swap is on or there is no /dev/shm");
        let operator = servers[0].operator().await;
        let (code, _) = operator.local_code().await.unwrap();
        second.admit(1_u64.to_string().parse().unwrap(), &code).await.unwrap();
        servers[0].until_unsealed().await;
    }

    // Everyone ends: nobody can unseal anybody.
    for server in &mut servers {
        within(Duration::from_secs(20), server.end()).await.unwrap();
    }
    for server in &mut servers {
        server.begin();
    }
    let status = servers[1].operator().await.seal_status().await.unwrap();
    assert_eq!(status.this_node.state, SealState::Sealed);
    give_shares(&servers[2], &founded, 2).await;
    if restart_key_may_be_kept {
        for server in &servers {
            server.until_unsealed().await;
        }
        let first = servers[0].client(&founded, Some(&founded.root_token));
        let opened = first.decrypt(DecryptWith::Key(&key), &sealed, b"").await.unwrap().value;
        assert_eq!(opened.plaintext.as_slice(), b"plain");
    }

    for server in &mut servers {
        within(Duration::from_secs(20), server.end()).await.unwrap();
        let trail = Directory::at(&server.directory.join("audit"));
        let report = verify(&trail, &NoKeys, &Expectation::default()).unwrap();
        assert!(report.is_untouched(), "{report:?}");
        assert!(report.records > 0);
    }
}
