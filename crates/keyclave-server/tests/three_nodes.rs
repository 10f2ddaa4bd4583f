//! Three servers, founded and joined as an operator would, used as a service would: from any node.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod support;

use keyclave_client::crypto::DecryptWith;
use keyclave_types::key::{Algorithm, KeyRules, VersionState};
use keyclave_types::name::KeyName;
use support::{cluster, within};

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_made_at_one_node_encrypts_at_the_second_and_decrypts_at_the_third() {
    let _ = tracing_subscriber::fmt().with_test_writer().with_env_filter("keyclave=info").try_init();
    let root = tempfile::tempdir().unwrap();
    let (servers, founded) = cluster(root.path(), 2).await;
    let clients: Vec<_> = servers.iter().map(|s| s.client(&founded, Some(&founded.root_token))).collect();
    let key = name("app/data");
    clients[0].create_key(&key, Algorithm::Xaes256Gcm, KeyRules::default()).await.unwrap();
    let sealed = clients[1].encrypt(&key, None, b"plain", b"context").await.unwrap().value;
    let opened =
        clients[2].decrypt(DecryptWith::Key(&key), &sealed.ciphertext, b"context").await.unwrap().value;
    assert_eq!(opened.plaintext.as_slice(), b"plain");
    assert!(clients[2].decrypt(DecryptWith::Key(&key), &sealed.ciphertext, b"other").await.is_err());

    // A write at a follower, seen at once at every other node.
    let rotated = clients[2].rotate_key(&key).await.unwrap().value;
    let newer = clients[1].encrypt(&key, None, b"plain", b"").await.unwrap().value;
    assert_eq!(newer.version, rotated.primary);
    assert!(newer.version > sealed.version);
    let old = clients[0].decrypt(DecryptWith::AnyKey, &sealed.ciphertext, b"context").await.unwrap().value;
    assert_eq!(old.plaintext.as_slice(), b"plain");

    // Once a disable is acknowledged, no node acts on the old state.
    clients[1].disable_key(&key, None).await.unwrap();
    for client in &clients {
        assert!(client.encrypt(&key, None, b"x", b"").await.is_err());
        assert!(client.decrypt(DecryptWith::Key(&key), &newer.ciphertext, b"").await.is_err());
    }
    clients[0].enable_key(&key, None).await.unwrap();
    clients[2].destroy_key_version(&key, sealed.version).await.unwrap();
    for client in &clients {
        assert!(client.decrypt(DecryptWith::Key(&key), &sealed.ciphertext, b"context").await.is_err());
    }
    let described = clients[1].get_key(&key).await.unwrap().value;
    assert_eq!(described.versions[0].state, VersionState::Destroyed);
    for mut server in servers {
        within(std::time::Duration::from_secs(20), server.end()).await.unwrap();
    }
}
