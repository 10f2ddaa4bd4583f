//! Connections that do not do what connections should: mute, slow, too many.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::transport::handshake::{HANDSHAKE_MS_MAX, Kind};
use crate::transport::incoming::HANDSHAKES_MAX;
use crate::transport::refused::Refused;
use crate::transport::testing::memory::{MemoryWire, Network};
use crate::transport::testing::station::{Station, address};
use crate::transport::testing::{TestKeys, block, key, node};
use crate::transport::wire::Wire;

use super::keyed::pair;

const DEADLINE: Duration = Duration::from_millis(HANDSHAKE_MS_MAX);

#[test]
fn whoever_does_not_finish_in_time_is_cut_and_honest_peers_do_not_wait() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        network.connect_mute(&address(2)).await;
        let thief = MemoryWire { network: network.clone(), key: key(3) };
        let mut silent = thief.dial(&address(2).parse().unwrap(), &key(2)).await.unwrap().stream;
        let mut slow = thief.dial(&address(2).parse().unwrap(), &key(2)).await.unwrap().stream;
        let begun = Instant::now();
        let drip = async {
            while slow.write_all(&[2]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(199)).await;
            }
            begun.elapsed()
        };
        let wait = async {
            let _ = silent.read_u8().await;
            begun.elapsed()
        };
        let honest = async {
            a.forward(2, Kind::Keyed).await.unwrap();
            begun.elapsed()
        };
        let (dripped, waited, honest) = tokio::join!(drip, wait, honest);
        assert!(honest < Duration::from_millis(10), "{honest:?}");
        assert!(waited <= DEADLINE + Duration::from_millis(2), "{waited:?}");
        assert!(dripped <= DEADLINE + Duration::from_millis(200), "{dripped:?}");
        let late = b.refusals.lock().unwrap().iter().filter(|r| matches!(r, Refused::Deadline)).count();
        assert_eq!(late, 3);
    });
}

#[test]
fn a_dialler_gives_a_mute_acceptor_up_in_time() {
    block(async {
        let network = Network::default();
        let a = Station::in_memory(&network, 1, TestKeys::one(42));
        // Held so that connections wait there for ever.
        let _mute = network.listen(&address(2), key(2));
        for kind in [Kind::Plain, Kind::Keyed] {
            let begun = Instant::now();
            let refused = a.establish.dial(node(2), &key(2), kind).await.map(drop);
            assert!(matches!(refused, Err(Refused::Deadline)));
            assert!(begun.elapsed() <= DEADLINE + Duration::from_millis(2));
        }
    });
}

#[test]
fn a_flood_of_mute_connections_drives_out_itself_and_nobody_else() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        let (rounds, before, after): (usize, usize, usize) = (50, HANDSHAKES_MAX + 1, HANDSHAKES_MAX / 2);
        for _ in 0..rounds {
            // All slots are taken when the honest peer comes, and more connections come while it shakes hands.
            for _ in 0..before {
                network.connect_mute(&address(2)).await;
            }
            let more = async {
                for _ in 0..after {
                    network.connect_mute(&address(2)).await;
                }
            };
            let expected = key(2);
            let honest = a.establish.dial(node(2), &expected, Kind::Keyed);
            let (stream, ()) = tokio::join!(honest, more);
            assert!(stream.is_ok(), "{:?}", stream.map(drop));
        }
        let refusals = b.refusals.lock().unwrap();
        assert!(refusals.iter().all(|refused| matches!(refused, Refused::Displaced)));
        // All but those that still hold a slot, out of which nobody has pushed them yet.
        let least = rounds * (before + after) - HANDSHAKES_MAX;
        assert!(refusals.len() >= least, "{} of {least}", refusals.len());
    });
}

#[test]
fn calls_to_a_sealed_peer_do_not_turn_into_handshakes() {
    block(async {
        let network = Network::default();
        let (a, _b) = pair(&network, TestKeys::one(42), TestKeys::sealed());
        let begun = Instant::now();
        let mut calls: u64 = 0;
        while begun.elapsed() < Duration::from_secs(1) {
            assert!(a.forward(2, Kind::Keyed).await.unwrap_err().lacks_only_proof());
            calls += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(calls > 300, "{calls}");
        assert!(network.dialled() <= 6, "{} handshakes for {calls} calls", network.dialled());
    });
}

#[test]
fn a_sealed_node_dials_nobody_in_vain() {
    block(async {
        let network = Network::default();
        let (a, _b) = pair(&network, TestKeys::sealed(), TestKeys::one(42));
        assert!(a.forward(2, Kind::Keyed).await.unwrap_err().lacks_only_proof());
        assert_eq!(network.dialled(), 0);
    });
}

#[test]
fn nobody_holds_more_connections_than_are_allowed() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        let mut held = Vec::new();
        for _ in 0..50 {
            held.push(a.establish.dial(node(2), &key(2), Kind::Plain).await.unwrap());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let count = b.connections.count(node(1), Kind::Plain);
        assert_eq!(count, crate::transport::connection::CONNECTIONS_PER_MEMBER_MAX);
        // A keyed connection is not pushed out by plain ones, which a thief of the TLS key can make.
        a.forward(2, Kind::Keyed).await.unwrap();
        assert_eq!(b.connections.count(node(1), Kind::Keyed), 1);
    });
}
