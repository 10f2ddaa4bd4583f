//! Raft's calls: which lane they take, what the receiver is told of the sender, and snapshots that go wrong.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::stream;
use tonic::Code;

use crate::peer::{CHUNK_BYTES_MAX, Campaign};
use crate::transport::call::CallError;
use crate::transport::handshake::Kind;
use crate::transport::raft_calls::leader_named_by;
use crate::transport::raft_service::{SNAPSHOT_SILENCE_MS_MAX, Sender};
use crate::transport::testing::memory::Network;
use crate::transport::testing::station::{LIMIT, Station, address};
use crate::transport::testing::{TestKeys, block, key, node};

use super::keyed::pair;

#[test]
fn an_append_takes_the_keyed_lane_once_a_keyed_connection_stands() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        assert!(!a.append(2).await.unwrap());
        a.forward(2, Kind::Keyed).await.unwrap();
        assert!(a.append(2).await.unwrap());
        let heard = b.raft.heard.lock().unwrap().clone();
        assert_eq!(heard, [false, true].map(|keyed| Sender { node: node(1), keyed }));
    });
}

#[test]
fn a_receiver_that_hears_only_keyed_connections_gets_one() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        b.raft.keyed_only.store(true, Ordering::Relaxed);
        assert!(a.append(2).await.unwrap());
        let (ferry, b) = pair(&network, TestKeys::sealed(), TestKeys::one(42));
        b.raft.keyed_only.store(true, Ordering::Relaxed);
        assert!(ferry.append(2).await.is_err(), "a sealed sender has none to offer");
        assert!(b.raft.heard.lock().unwrap().is_empty());
    });
}

#[test]
fn an_append_falls_back_to_plain_when_the_peer_has_sealed() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        // The peer's own connection still stands while ours was never made.
        a.plug_in(&network);
        b.forward(1, Kind::Keyed).await.unwrap();
        b.keys.become_like(TestKeys::sealed());
        assert!(!a.append(2).await.unwrap());
    });
}

#[test]
fn keyed_connections_are_kept_to_whoever_takes_them() {
    block(async {
        let network = Network::default();
        let stations: Vec<_> = [(1, TestKeys::one(42)), (2, TestKeys::one(42)), (3, TestKeys::sealed())]
            .map(|(number, keys)| Station::in_memory(&network, number, keys))
            .into();
        for station in &stations {
            station.plug_in(&network);
            let peers = station.peers.clone();
            tokio::spawn(async move { peers.keep_keyed().await });
        }
        let [a, b, sealed] = stations.as_slice() else { panic!("three stations") };
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(a.connections.keyed(), [node(2)].into());
        assert_eq!(b.connections.keyed(), [node(1)].into());
        assert!(sealed.connections.keyed().is_empty());
        sealed.keys.become_like(TestKeys::one(42));
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        assert_eq!(a.connections.keyed(), [node(2), node(3)].into());
        assert_eq!(sealed.connections.keyed(), [node(1), node(2)].into());
        assert_eq!(a.connections.count(node(2), Kind::Keyed), 2, "one of ours and one of theirs, no more");
    });
}

#[test]
fn a_member_that_hangs_does_not_keep_others_from_being_keyed() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::sealed());
        let _mute = network.listen(&address(3), key(3));
        let peers = a.peers.clone();
        tokio::spawn(async move { peers.keep_keyed().await });
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(a.connections.keyed().is_empty());
        b.keys.become_like(TestKeys::one(42));
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(a.connections.keyed(), [node(2)].into());
    });
}

#[test]
fn what_is_asked_of_a_leader_is_answered_or_names_another() {
    block(async {
        let network = Network::default();
        let (a, _b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        let seen = a.peers.leader_seen(node(2), LIMIT).await.unwrap().answer;
        assert_eq!((seen.live, seen.leader, seen.term), (true, Some(node(3)), 5));
        let elsewhere = a.peers.seal_record_index(node(2), LIMIT).await.unwrap_err();
        let CallError::Answered(status) = elsewhere else { panic!("{elsewhere:?}") };
        assert_eq!(leader_named_by(&status), Some(node(3)));
        a.peers.campaign(node(2), Campaign { term: 5, last_index: 10 }, LIMIT).await.unwrap();
        assert!(a.peers.campaign(node(2), Campaign { term: 4, last_index: 10 }, LIMIT).await.is_err());
        assert_eq!(a.peers.read_clock(node(2), LIMIT).await.unwrap().0, 77);
        assert_eq!(a.peers.seal_record_index(node(2), LIMIT).await.unwrap().answer.index, 42);
    });
}

#[test]
fn handing_over_needs_a_keyed_connection() {
    block(async {
        let network = Network::default();
        let (a, _b) = pair(&network, TestKeys::sealed(), TestKeys::one(42));
        assert!(
            a.peers
                .campaign(node(2), Campaign { term: 5, last_index: 10 }, LIMIT)
                .await
                .unwrap_err()
                .lacks_only_proof()
        );
        assert!(a.peers.read_clock(node(2), LIMIT).await.unwrap_err().lacks_only_proof());
    });
}

#[test]
fn a_snapshot_arrives_in_its_parts() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        let sizes = [CHUNK_BYTES_MAX, 1, 0, 300_000];
        let chunks = stream::iter(sizes.map(|bytes| vec![7; bytes]));
        let heard = a.peers.install_snapshot(node(2), b"head".to_vec(), chunks, LIMIT).await.unwrap();
        assert_eq!(heard.answer, b"head");
        assert_eq!(*b.raft.chunks.lock().unwrap(), sizes.map(Ok));
    });
}

#[test]
fn a_chunk_that_is_too_large_ends_the_snapshot() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        let chunks = stream::iter([vec![7; CHUNK_BYTES_MAX + 1]]);
        let refused = a.peers.install_snapshot(node(2), b"head".to_vec(), chunks, LIMIT).await.unwrap_err();
        assert!(
            matches!(&refused, CallError::Answered(status) if status.code() == Code::InvalidArgument),
            "{refused:?}"
        );
        assert!(matches!(b.raft.chunks.lock().unwrap().as_slice(), [Err(_)]));
    });
}

#[test]
fn a_snapshot_whose_sender_falls_silent_is_given_up_by_both() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        let silence = Duration::from_millis(SNAPSHOT_SILENCE_MS_MAX);
        let begun = tokio::time::Instant::now();
        let chunks = futures::StreamExt::chain(stream::iter([vec![7; 10]]), stream::pending());
        let sent = a.peers.install_snapshot(node(2), b"head".to_vec(), chunks, Duration::from_secs(600));
        assert!(matches!(sent.await, Err(CallError::Answered(_))));
        assert!(begun.elapsed() <= silence + Duration::from_millis(10), "{:?}", begun.elapsed());
        assert!(matches!(b.raft.chunks.lock().unwrap().as_slice(), [Ok(10), Err(_)]));
        let chunks = stream::pending();
        let limit = Duration::from_secs(1);
        let sent = a.peers.install_snapshot(node(2), b"head".to_vec(), chunks, limit).await;
        assert!(matches!(sent, Err(CallError::Deadline { .. })), "{sent:?}");
    });
}

#[test]
fn a_snapshot_that_makes_progress_may_take_longer_than_one_step() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        let chunks = stream::unfold(0, |sent| async move {
            tokio::time::sleep(Duration::from_millis(700)).await;
            (sent < 5).then(|| (vec![7; 10], sent + 1))
        });
        let limit = Duration::from_secs(1);
        a.peers.install_snapshot(node(2), b"head".to_vec(), chunks, limit).await.unwrap();
        assert_eq!(b.raft.chunks.lock().unwrap().len(), 5);
    });
}
