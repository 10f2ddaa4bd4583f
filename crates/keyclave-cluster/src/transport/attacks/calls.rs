//! Calls whose answer does not come: each ends by its own limit and says what may have happened.

use std::time::Duration;

use tokio::time::Instant;

use crate::transport::call::{CallError, MISSED_CALLS_MAX};
use crate::transport::handshake::Kind;
use crate::transport::testing::memory::Network;
use crate::transport::testing::station::{LIMIT, Station, address};
use crate::transport::testing::{TestKeys, block, key, node};

use super::keyed::pair;

const SHORT: Duration = Duration::from_millis(500);

#[test]
fn calls_that_queue_behind_a_hanging_connection_end_by_their_own_limits() {
    block(async {
        let network = Network::default();
        let a = Station::in_memory(&network, 1, TestKeys::one(42));
        let _mute = network.listen(&address(2), key(2));
        let begun = Instant::now();
        let calls = (0..4).map(|_| a.forward_within(2, Kind::Keyed, b"request", SHORT));
        for outcome in futures::future::join_all(calls).await {
            assert!(matches!(outcome, Err(CallError::Deadline { limit: SHORT })), "{outcome:?}");
        }
        assert!(begun.elapsed() <= SHORT + Duration::from_millis(2), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_connection_lost_under_way_leaves_the_fate_of_the_call_open() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        let hanging = a.forward_within(2, Kind::Keyed, b"hang", LIMIT);
        let cut = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            b.connections.close_all();
        };
        let (outcome, ()) = tokio::join!(hanging, cut);
        let error = outcome.unwrap_err();
        assert!(matches!(error, CallError::Lost(_)), "{error:?}");
        assert!(error.may_have_acted());
    });
}

#[test]
fn a_call_that_never_left_says_so() {
    block(async {
        let network = Network::default();
        let a = Station::in_memory(&network, 1, TestKeys::one(42));
        let error = a.forward(2, Kind::Keyed).await.unwrap_err();
        assert!(matches!(error, CallError::Refused(_)) && !error.may_have_acted(), "{error:?}");
    });
}

#[test]
fn a_connection_that_swallows_calls_is_given_up() {
    block(async {
        let network = Network::default();
        let (a, _b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        a.forward(2, Kind::Keyed).await.unwrap();
        let dialled = network.dialled();
        for _ in 1..MISSED_CALLS_MAX {
            a.forward_within(2, Kind::Keyed, b"hang", SHORT).await.unwrap_err();
        }
        a.forward(2, Kind::Keyed).await.unwrap();
        assert_eq!(network.dialled(), dialled, "an answer in between forgives");
        for _ in 0..MISSED_CALLS_MAX {
            a.forward_within(2, Kind::Keyed, b"hang", SHORT).await.unwrap_err();
        }
        assert_eq!(a.connections.count(node(2), Kind::Keyed), 0);
        until_answered(&a).await;
        assert_eq!(network.dialled(), dialled + 1);
    });
}

#[test]
fn a_peer_that_stops_without_a_word_is_noticed_by_the_keep_alive() {
    block(async {
        let network = Network::default();
        let a = Station::in_memory(&network, 1, TestKeys::one(42));
        let b = Station::in_memory(&network, 2, TestKeys::one(42));
        let mut listener = network.listen(&address(2), key(2));
        let accept = async {
            let raw = tokio_stream::StreamExt::next(&mut listener).await.unwrap().unwrap();
            b.establish.accept(raw).await.unwrap()
        };
        // The stream is held and never read again, as in a stopped process.
        let call = a.forward_within(2, Kind::Keyed, b"request", Duration::from_secs(60));
        let begun = Instant::now();
        let (stopped, outcome) = tokio::join!(accept, call);
        assert!(matches!(outcome, Err(CallError::Lost(_))), "{outcome:?}");
        assert!(begun.elapsed() <= Duration::from_millis(3_100), "{:?}", begun.elapsed());
        drop(stopped);
    });
}

#[test]
fn an_idle_connection_that_has_gone_dead_does_not_count_as_keyed_for_long() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        a.forward(2, Kind::Keyed).await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!((a.connections.keyed().len(), b.connections.keyed().len()), (1, 1), "idle is not dead");
        network.freeze();
        tokio::time::sleep(Duration::from_millis(3_100)).await;
        assert_eq!((a.connections.keyed().len(), b.connections.keyed().len()), (0, 0));
    });
}

#[test]
fn a_server_told_to_stop_does_not_wait_for_calls_that_hang() {
    block(async {
        let network = Network::default();
        let a = Station::in_memory(&network, 1, TestKeys::one(42));
        let b = Station::in_memory(&network, 2, TestKeys::one(42));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = b.serve_until(network.listen(&address(2), key(2)), async { drop(stopped.await) });
        let hanging = a.forward_within(2, Kind::Keyed, b"hang", Duration::from_secs(60));
        let end = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            stop.send(()).unwrap();
            let begun = Instant::now();
            serving.await.unwrap();
            begun.elapsed()
        };
        let (outcome, took) = tokio::join!(hanging, end);
        assert!(matches!(outcome, Err(CallError::Lost(_))), "{outcome:?}");
        assert!(took <= Duration::from_millis(1_100), "{took:?}");
        assert!(b.connections.keyed().is_empty());
    });
}

async fn until_answered(station: &Station<crate::transport::testing::memory::MemoryWire>) {
    for _ in 0..10 {
        if station.forward(2, Kind::Keyed).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("no new connection was made");
}
