//! Keyed and plain: who gets through to which service, and for how long.

use std::time::Duration;

use keyclave_proto::peer::v1::RejoinRequest;
use keyclave_proto::peer::v1::rejoin_service_client::RejoinServiceClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use crate::transport::call::CallError;
use crate::transport::gate::GateReason;
use crate::transport::handshake::Kind;
use crate::transport::peers::PeerChannel;
use crate::transport::proof::PeerKeys;
use crate::transport::refused::Refused;
use crate::transport::testing::memory::{MemoryWire, Network};
use crate::transport::testing::station::{LIMIT, Station, address, forward_over};
use crate::transport::testing::{TestKeys, block, key, node};
use crate::transport::wire::Wire;

#[test]
fn only_a_keyed_connection_reaches_a_service_that_needs_proof() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        assert_eq!(a.forward(2, Kind::Keyed).await.unwrap(), b"request");
        assert!(matches!(a.forward(2, Kind::Plain).await, Err(CallError::Gate(GateReason::NeedsKeyed))));
        assert!(a.append(2).await.is_ok());
        assert_eq!(b.refused(), Vec::<String>::new());
    });
}

#[test]
fn a_member_without_the_keyring_is_heard_for_raft_and_nothing_else() {
    block(async {
        let network = Network::default();
        for keys in [TestKeys::sealed(), TestKeys::one(1)] {
            let (a, b) = pair(&network, keys, TestKeys::one(42));
            assert!(a.forward(2, Kind::Keyed).await.unwrap_err().lacks_only_proof());
            assert!(matches!(a.forward(2, Kind::Plain).await, Err(CallError::Gate(GateReason::NeedsKeyed))));
            assert!(!a.append(2).await.unwrap(), "and its word is known to be unproven");
            assert!(
                b.raft.heard.lock().unwrap().iter().all(|sender| sender.node == node(1) && !sender.keyed)
            );
            assert!(b.connections.keyed().is_empty());
        }
    });
}

#[test]
fn a_caller_learns_our_own_reason_through_tonic() {
    block(async {
        let network = Network::default();
        let (a, _b) = pair(&network, TestKeys::one(42), TestKeys::sealed());
        let sealed = a.forward(2, Kind::Keyed).await;
        assert!(matches!(sealed, Err(CallError::Refused(Refused::PeerSealed))), "{sealed:?}");
        let nobody = a.forward(3, Kind::Keyed).await;
        assert!(matches!(nobody, Err(CallError::Refused(Refused::Unreachable(_)))), "{nobody:?}");
        let stranger = a.forward(9, Kind::Keyed).await;
        assert!(matches!(stranger, Err(CallError::Refused(Refused::NotMember))), "{stranger:?}");
        let itself = a.forward(1, Kind::Keyed).await;
        assert!(matches!(itself, Err(CallError::Refused(Refused::Itself))), "{itself:?}");
    });
}

#[test]
fn what_the_peer_itself_says_is_told_apart_from_what_happened_on_the_way() {
    block(async {
        let network = Network::default();
        let (a, _b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        let said = a.forward_within(2, Kind::Keyed, b"no", LIMIT).await;
        assert!(
            matches!(&said, Err(CallError::Answered(status)) if status.code() == Code::NotFound),
            "{said:?}"
        );
    });
}

#[test]
fn a_removed_member_is_refused_on_its_living_connection_before_that_is_ended() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        a.forward(2, Kind::Keyed).await.unwrap();
        a.append(2).await.unwrap();
        b.directory.remove(1);
        for refused in [a.forward(2, Kind::Keyed).await.map(drop), a.append(2).await.map(drop)] {
            assert!(matches!(refused, Err(CallError::Gate(GateReason::NotMember))), "{refused:?}");
        }
        b.peers.membership_changed();
        assert_eq!(b.connections.count(node(1), Kind::Keyed), 0);
        let refused = a.forward(2, Kind::Keyed).await;
        assert!(matches!(refused, Err(CallError::Lost(_) | CallError::Refused(_))), "{refused:?}");
    });
}

#[test]
fn a_removed_member_learns_it_from_whoever_holds_the_keyring_and_nothing_else() {
    block(async {
        let network = Network::default();
        for keys in [TestKeys::one(42), TestKeys::sealed()] {
            let sealed = !keys.unsealed();
            let (a, b) = pair(&network, keys, TestKeys::one(42));
            let told = a.establish.watch_removed();
            b.directory.remember_removed(1);
            let kind = if sealed { Kind::Plain } else { Kind::Keyed };
            let refused = a.forward(2, kind).await;
            assert!(matches!(refused, Err(CallError::Refused(Refused::Removed))), "{refused:?}");
            let refused = a.append(2).await;
            assert!(matches!(refused, Err(CallError::Refused(Refused::Removed))), "{refused:?}");
            assert!(*told.borrow());
            assert!(
                b.connections.count(node(1), Kind::Plain) + b.connections.count(node(1), Kind::Keyed) == 0
            );
            assert!(b.raft.heard.lock().unwrap().is_empty());
            assert!(b.refused().iter().all(|refused| refused == "the other end is not a current member"));
        }
    });
}

#[test]
fn nobody_without_the_keyring_makes_a_member_believe_that_it_was_removed() {
    block(async {
        let network = Network::default();
        // A thief with a member's TLS key and another keyring, or none.
        for thief in [TestKeys::one(1), TestKeys::sealed()] {
            let (a, b) = pair(&network, TestKeys::one(42), thief);
            let told = a.establish.watch_removed();
            b.directory.remember_removed(1);
            for refused in [a.forward(2, Kind::Keyed).await.map(drop), a.append(2).await.map(drop)] {
                assert!(refused.is_err() && !matches!(refused, Err(CallError::Refused(Refused::Removed))));
            }
            assert!(!*told.borrow());
        }
        // Nor does one who holds it, of another node's removal: node 3 was, and node 1 is told of that.
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        b.directory.remember_removed(1);
        b.directory.mistake(1, 3);
        let refused = a.forward(2, Kind::Keyed).await;
        assert!(matches!(refused, Err(CallError::Refused(Refused::Unproven))), "{refused:?}");
        assert!(!*a.establish.watch_removed().borrow());
    });
}

#[test]
fn whoever_is_no_member_is_not_even_answered() {
    block(async {
        let network = Network::default();
        let (_, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        // The wire in memory lets everyone through; membership is asked again above it.
        let stranger = MemoryWire { network: network.clone(), key: key(9) };
        let mut bound = stranger.dial(&address(2).parse().unwrap(), &key(2)).await.unwrap();
        bound.stream.write_all(&[0x01]).await.unwrap();
        let mut answer = Vec::new();
        bound.stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"");
        assert_eq!(b.refused(), ["the other end is not a current member"]);
    });
}

#[test]
fn a_channel_to_a_removed_member_sends_nothing_more() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        let held = a.channel(2, Kind::Keyed).unwrap();
        forward_over(&held, b"request", LIMIT).await.unwrap();
        a.directory.replace_key(2);
        let refused = forward_over(&held, b"request", LIMIT).await;
        assert!(matches!(refused, Err(CallError::Refused(Refused::NotMember))), "{refused:?}");
        a.peers.membership_changed();
        assert!(a.connections.keyed().is_empty());
        drop(b);
    });
}

#[test]
fn each_new_connection_is_proven_anew() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        a.forward(2, Kind::Keyed).await.unwrap();
        assert_eq!((a.connections.keyed().len(), b.connections.keyed().len()), (1, 1));
        b.keys.become_like(TestKeys::sealed());
        b.connections.close_all();
        let refused = until_refused(&a).await;
        assert!(matches!(refused, Refused::PeerSealed), "{refused:?}");
        assert_eq!((a.connections.keyed().len(), b.connections.keyed().len()), (0, 0));
        b.keys.become_like(TestKeys::one(42));
        tokio::time::sleep(Duration::from_millis(201)).await;
        a.forward(2, Kind::Keyed).await.unwrap();
    });
}

#[test]
fn a_peer_at_another_address_is_found_by_the_next_connection() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        a.forward(2, Kind::Keyed).await.unwrap();
        network.unplug(&address(2));
        b.connections.close_all();
        until_refused(&a).await;
        b.serve(network.listen("moved:1", b.local.key));
        a.directory.locate(2, "moved:1");
        tokio::time::sleep(Duration::from_millis(201)).await;
        a.forward(2, Kind::Keyed).await.unwrap();
    });
}

#[test]
fn a_call_for_another_data_directory_reaches_no_service() {
    block(async {
        let network = Network::default();
        let (a, mut b) = (
            Station::in_memory(&network, 1, TestKeys::one(42)),
            Station::in_memory(&network, 2, TestKeys::one(42)),
        );
        b.local.incarnation = keyclave_types::ids::Incarnation::from_bytes([0xaa; 16]);
        b.plug_in(&network);
        let refused = a.append(2).await;
        assert!(matches!(refused, Err(CallError::Gate(GateReason::OtherReceiver))), "{refused:?}");
        assert!(b.raft.heard.lock().unwrap().is_empty());
    });
}

#[test]
fn a_dedicated_connection_gives_what_both_ends_may_sign_and_never_comes_back() {
    block(async {
        let network = Network::default();
        let (a, b) = pair(&network, TestKeys::one(42), TestKeys::one(42));
        let (one, two) =
            (a.peers.dedicated(node(2)).await.unwrap(), a.peers.dedicated(node(2)).await.unwrap());
        assert_ne!(one.exporter, two.exporter);
        for dedicated in [&one, &two] {
            assert_eq!(exporter_seen_over(&dedicated.channel).await, dedicated.exporter.0);
        }
        b.connections.close_all();
        let ended = async {
            loop {
                if let Err(CallError::Refused(refused)) = forward_over(&one.channel, b"", LIMIT).await {
                    return refused;
                }
            }
        };
        assert!(matches!(ended.await, Refused::Ended));
    });
}

/// Node 1, which dials, and node 2, which listens.
pub(super) fn pair(
    network: &Network,
    dialler: TestKeys,
    acceptor: TestKeys,
) -> (Station<MemoryWire>, Station<MemoryWire>) {
    let (a, b) = (Station::in_memory(network, 1, dialler), Station::in_memory(network, 2, acceptor));
    b.plug_in(network);
    (a, b)
}

/// Calls until no connection stands any more: the loss of the last one may be told to a call or two first.
async fn until_refused(station: &Station<MemoryWire>) -> Refused {
    for _ in 0..10 {
        if let Err(CallError::Refused(refused)) = station.forward(2, Kind::Keyed).await {
            return refused;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the connection is still answering");
}

async fn exporter_seen_over(channel: &PeerChannel) -> Vec<u8> {
    let asked = channel.call(LIMIT, |channel| async move {
        RejoinServiceClient::new(channel).rejoin(RejoinRequest::default()).await
    });
    asked.await.unwrap().sealed_root
}
